"""Flexible servers in the stand-in for Azure Resource Manager: made, listed, stopped and deleted with the real SDK."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import psycopg
import pytest
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.mgmt.postgresqlflexibleservers.aio import PostgreSQLManagementClient

from local.stack import Stack
from tests.component.arm.shared_server import GROUP, NAME, connect, events
from tests.component.azure_resource_manager import ADMINISTRATOR, ask, change, create_server, server_path


async def test_a_created_server_is_a_postgresql_that_the_administrator_can_use(
    stack: Stack, arm: PostgreSQLManagementClient
) -> None:
    server = await arm.servers.get(GROUP, NAME)
    assert (server.id, server.location, server.tags) == (server_path(stack, NAME), "westeurope", {"Team": "data"})
    assert server.properties
    assert (server.properties.version, server.properties.state) == ("18", "Ready")
    assert (server.properties.replication_role, server.properties.high_availability.mode) == ("Primary", "Disabled")
    assert server.sku.tier == "GeneralPurpose"
    assert server.system_data.created_at
    assert "administratorLoginPassword" not in server.as_dict()["properties"]
    with connect(stack, server) as connection:
        row = connection.execute("SELECT rolname, rolsuper FROM pg_roles WHERE rolname = current_user").fetchone()
    assert row == (ADMINISTRATOR, False)


@pytest.mark.parametrize(
    ("name", "changed", "message"),
    [
        ("pg-new", {"version": "13"}, "'13' is not one of 14, 15, 16, 17, 18"),
        ("PG_New", {}, "'PG_New' must be 3 to 63 lower-case letters"),
        ("pg-new", {"administratorLogin": "azuresu"}, "'azuresu' is empty, reserved"),
        ("pg-new", {"administratorLoginPassword": ""}, "administratorLoginPassword: it is missing"),
        ("pg-new", {"createMode": "Replica", "sourceServerResourceId": "/x/pg-none"}, "no server '/x/pg-none'"),
    ],
)
async def test_refuses_a_server_that_azure_would_refuse(
    stack: Stack, name: str, changed: dict[str, str], message: str
) -> None:
    properties = {"version": "18", "administratorLogin": "someone", "administratorLoginPassword": "x"} | changed
    body = {"location": "westeurope", "properties": properties}
    status, _, answer = ask(stack, "PUT", server_path(stack, name), body)
    assert (status, answer["error"]["code"]) == (400, "InvalidParameterValue")
    assert message in answer["error"]["message"]
    assert ask(stack, "GET", server_path(stack, name))[0] == 404


async def test_lists_in_pages_and_keeps_what_a_server_was_created_as(
    stack: Stack, arm: PostgreSQLManagementClient
) -> None:
    await asyncio.gather(
        asyncio.to_thread(
            create_server, stack, "pg-burstable", "17", sku={"name": "Standard_B1ms", "tier": "Burstable"},
            highAvailability={"mode": "ZoneRedundant"}, cluster={"clusterSize": 2},
            network={"publicNetworkAccess": "Disabled"}, maintenanceWindow={"customWindow": "Enabled", "startHour": 3},
        ),
        asyncio.to_thread(
            create_server, stack, "pg-replica", createMode="Replica", sourceServerResourceId=server_path(stack, NAME)
        ),
    )  # fmt: skip
    by_group = [server.name async for server in arm.servers.list_by_resource_group(GROUP)]
    by_subscription = {server.name: server async for server in arm.servers.list_by_subscription()}
    replicas = [server.name async for server in arm.replicas.list_by_server(GROUP, NAME)]
    assert by_group == ["pg-burstable", "pg-replica", NAME]
    assert list(by_subscription) == by_group
    assert replicas == ["pg-replica"]
    assert by_subscription["pg-replica"].properties.replication_role == "AsyncReplica"
    odd = by_subscription["pg-burstable"]
    assert (odd.sku.tier, odd.properties.high_availability.state) == ("Burstable", "Healthy")
    assert (odd.properties.cluster.cluster_size, odd.properties.network.public_network_access) == (2, "Disabled")
    window = odd.properties.maintenance_window
    assert (window.custom_window, window.start_hour, window.start_minute) == ("Enabled", 3, 0)
    pages = arm.servers.list_by_resource_group(GROUP).by_page()
    first = [server.name async for server in await anext(pages)]
    change(stack, "DELETE", server_path(stack, "pg-burstable"))
    rest = [server.name async for page in pages async for server in page]
    assert [*first, *rest] == by_group  # nobody is left out when somebody goes between two pages
    change(stack, "DELETE", server_path(stack, "pg-replica"))
    assert [server.name async for server in arm.servers.list_by_resource_group(GROUP)] == [NAME]


async def test_a_stopped_server_is_really_down_until_it_is_started(
    stack: Stack, arm: PostgreSQLManagementClient
) -> None:
    server = await arm.servers.get(GROUP, NAME)
    await (await arm.servers.begin_stop(GROUP, NAME)).result()
    assert (await arm.servers.get(GROUP, NAME)).properties.state == "Stopped"
    with pytest.raises(psycopg.OperationalError, match="Connection refused"):
        connect(stack, server)
    with pytest.raises(HttpResponseError, match="is stopped") as refused:
        await arm.configurations.get(GROUP, NAME, "wal_level")
    assert (refused.value.status_code, refused.value.error.code) == (400, "ServerStoppedError")
    with pytest.raises(ResourceExistsError, match="Current Server State = Stopped") as not_ready:
        await arm.servers.begin_restart(GROUP, NAME)
    assert not_ready.value.error.code == "ServerIsNotReady"
    tagged = await (await arm.servers.begin_update(GROUP, NAME, {"tags": {"Team": "night"}})).result()
    assert (tagged.tags, tagged.properties.state) == ({"Team": "night"}, "Stopped")
    await (await arm.servers.begin_start(GROUP, NAME)).result()
    assert (await arm.servers.get(GROUP, NAME)).properties.state == "Ready"
    connect(stack, server).close()


async def test_a_deleted_server_is_gone(stack: Stack, arm: PostgreSQLManagementClient) -> None:
    create_server(stack, "pg-short", "14")
    server = await arm.servers.get(GROUP, "pg-short")
    await (await arm.servers.begin_delete(GROUP, "pg-short")).result()
    with pytest.raises(ResourceNotFoundError, match="flexibleServers/pg-short") as gone:
        await arm.servers.get(GROUP, "pg-short")
    assert gone.value.error.code == "ResourceNotFound"
    with pytest.raises(psycopg.OperationalError):
        connect(stack, server)
    assert events(stack, "Microsoft.DBforPostgreSQL/flexibleServers/delete", server_path(stack, "pg-short"))
    assert ask(stack, "DELETE", server_path(stack, "pg-short"))[0] == 204


async def test_a_server_whose_creation_fails_does_not_exist(stack: Stack) -> None:
    stack.control("arm", "POST", "faults", {"operation": "Servers_CreateOrUpdate", "fail_operation": True})
    properties = {"version": "18", "administratorLogin": "someone", "administratorLoginPassword": "x"}
    body = {"location": "westeurope", "properties": properties}
    operation = change(stack, "PUT", server_path(stack, "pg-unborn"), body)
    assert (operation["status"], operation["error"]["code"]) == ("Failed", "InternalServerError")
    assert ask(stack, "GET", server_path(stack, "pg-unborn"))[0] == 404


def test_nothing_is_left_of_the_servers_when_the_stack_ends(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with Stack(tmp_path, ["arm"]) as stack:
        document = create_server(stack, "pg-gone")
        address = document["properties"]["fullyQualifiedDomainName"]
        folder = Path(stack.control("arm", "GET", "servers")[0]["folder"])
        assert folder.exists()
    assert not folder.exists()
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        assert probe.connect_ex((address, 5432)) != 0
