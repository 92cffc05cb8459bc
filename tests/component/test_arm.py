"""Azure Resource Manager's stand-in, driven by the real management SDK through the front door, on real PostgreSQL."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.identity.aio import ManagedIdentityCredential
from azure.mgmt.postgresqlflexibleservers.aio import PostgreSQLManagementClient
from azure.mgmt.postgresqlflexibleservers.models import Configuration, Server

from local.cloud import tokens
from local.stack import Stack
from tests.component.azure_resource_manager import (
    ADMINISTRATOR,
    PASSWORD,
    ask,
    change,
    create_server,
    server_path,
)

GROUP = "rg-mirrors"
NAME = "pg-shared"
OVERRIDE = "user-override"


@pytest.fixture(scope="module")
def stack(stack_factory: Callable[..., Stack]) -> Stack:
    """A stack with one server, PostgreSQL 18, that the tests share."""
    stack = stack_factory("front_door", "identity", "eventgrid", "arm", fresh=True)
    create_server(stack, NAME, tags={"Team": "data"})
    return stack


@pytest.fixture
async def arm(stack: Stack, become: Callable[[Stack, str], None]) -> AsyncIterator[PostgreSQLManagementClient]:
    become(stack, "operator")
    trust = str(stack.topology.authority)
    async with (
        ManagedIdentityCredential() as credential,
        PostgreSQLManagementClient(
            credential, stack.topology.subscription, connection_verify=trust, retry_backoff_factor=0.01
        ) as client,
    ):
        yield client


def connect(stack: Stack, server: Server, user: str = ADMINISTRATOR, password: str = PASSWORD) -> psycopg.Connection:
    assert server.properties
    return psycopg.connect(
        host=server.properties.fully_qualified_domain_name, dbname="postgres", user=user, password=password,
        sslmode="verify-full", sslrootcert=str(stack.topology.authority), autocommit=True,
    )  # fmt: skip


def show(stack: Stack, server: Server, parameter: str) -> str:
    with connect(stack, server) as connection:
        return connection.execute(f"SHOW {parameter}").fetchone()[0]  # type: ignore[index, arg-type]


def restarts(stack: Stack, name: str = NAME) -> int:
    return next(server["restarts"] for server in stack.control("arm", "GET", "servers") if server["name"] == name)


def set_parameter(stack: Stack, name: str, value: str | None) -> dict[str, Any]:
    """Set it without the SDK, which waits a whole second between two looks; its properties afterwards."""
    path = f"{server_path(stack, NAME)}/configurations/{name}"
    source = "system-default" if value is None else OVERRIDE
    operation = change(stack, "PUT", path, {"properties": {"value": value, "source": source}})
    assert operation["status"] == "Succeeded", operation
    return ask(stack, "GET", path)[2]["properties"]


def events(stack: Stack, operation: str, resource: str) -> list[dict[str, Any]]:
    """The events of an operation on a resource (without regard to letter case), once there is one."""
    end = time.monotonic() + 5
    while time.monotonic() < end:
        received = stack.control("eventgrid", "GET", "events?topic=system")
        found = [
            event for event in received
            if event["data"]["operationName"] == operation and event["subject"].lower() == resource.lower()
        ]  # fmt: skip
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"no event {operation} for {resource}")


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
    for name in ("pg-burstable", "pg-replica"):
        change(stack, "DELETE", server_path(stack, name))
    assert [server.name async for server in arm.servers.list_by_resource_group(GROUP)] == [NAME]


async def test_an_identity_is_a_long_running_operation_that_another_process_can_wait_for(
    stack: Stack, arm: PostgreSQLManagementClient
) -> None:
    started = await arm.servers.begin_update(GROUP, NAME, {"identity": {"type": "SystemAssigned"}})
    token = started.continuation_token()
    with pytest.raises(ResourceExistsError, match="is busy processing another operation") as refused:
        await arm.configurations.begin_update(GROUP, NAME, "work_mem", {"properties": {"value": "8192"}})
    assert refused.value.error.code == "ServerIsBusy"
    assert (await arm.servers.get(GROUP, NAME)).properties.state == "Updating"
    resumed = await arm.servers.begin_update(GROUP, NAME, {}, continuation_token=token)
    server = await resumed.result()
    assert resumed.status() == "Succeeded"
    assert re.fullmatch(r"[0-9a-f-]{36}", server.identity.principal_id)
    assert server.properties.state == "Ready"
    assert show(stack, server, "azure.service_principal_id") == server.identity.principal_id
    change(stack, "PATCH", server_path(stack, NAME), {"identity": {"type": "None"}})
    assert (await arm.servers.get(GROUP, NAME)).identity.principal_id is None
    change(stack, "PATCH", server_path(stack, NAME), {"identity": {"type": "SystemAssigned"}})
    assert (await arm.servers.get(GROUP, NAME)).identity.principal_id not in (None, server.identity.principal_id)


async def test_every_write_raises_an_event_with_the_callers_claims(
    stack: Stack, arm: PostgreSQLManagementClient
) -> None:
    operator = stack.topology.principals["operator"]
    raised = events(stack, "Microsoft.DBforPostgreSQL/flexibleServers/write", server_path(stack, NAME))[0]
    assert raised["eventType"] == "Microsoft.Resources.ResourceWriteSuccess"
    data = raised["data"]
    assert data["resourceUri"] == server_path(stack, NAME)
    assert data["claims"]["http://schemas.microsoft.com/identity/claims/objectidentifier"] == operator.object_id
    assert data["claims"]["appid"] == operator.client_id
    assert data["authorization"]["evidence"]["principalId"] == operator.object_id.replace("-", "")
    body = {"properties": {"value": "1000", "source": OVERRIDE}}
    name = "log_min_duration_statement"
    answer: Configuration = await (await arm.configurations.begin_update(GROUP, NAME, name, body)).result()
    assert answer.properties.value == "1000"
    parameter = f"{server_path(stack, NAME)}/configurations/log_min_duration_statement"
    assert events(stack, "Microsoft.DBforPostgreSQL/flexibleServers/configurations/write", parameter)


async def test_static_parameters_wait_for_a_restart_that_really_happens(
    stack: Stack, arm: PostgreSQLManagementClient
) -> None:
    server, before = await arm.servers.get(GROUP, NAME), restarts(stack)
    wanted = {"wal_level": "logical", "azure_cdc.max_fabric_mirrors": "5", "max_worker_processes": "11"}
    for name, value in wanted.items():
        set_parameter(stack, name, value)
        properties = (await arm.configurations.get(GROUP, NAME, name)).properties
        assert (properties.value, properties.source, properties.is_config_pending_restart) == (value, OVERRIDE, True)
        assert properties.is_dynamic_config is False
        assert show(stack, server, name) != value
    await (await arm.servers.begin_restart(GROUP, NAME)).result()
    assert restarts(stack) == before + 1
    found = {c.name: c async for c in arm.configurations.list_by_server(GROUP, NAME)}
    for name, value in wanted.items():
        assert show(stack, server, name) == value
        assert found[name].properties.is_config_pending_restart is False
    assert events(stack, "Microsoft.DBforPostgreSQL/flexibleServers/restart/action", server_path(stack, NAME))


@pytest.mark.parametrize("name", ["max_replication_slots", "azure_cdc.max_fabric_mirrors"])
async def test_a_static_parameter_set_back_no_longer_waits(stack: Stack, name: str) -> None:
    before = ask(stack, "GET", f"{server_path(stack, NAME)}/configurations/{name}")[2]["properties"]["value"]
    assert set_parameter(stack, name, "6")["isConfigPendingRestart"] is True
    assert set_parameter(stack, name, before)["isConfigPendingRestart"] is False


async def test_dynamic_parameters_count_at_once_and_can_be_reset(stack: Stack, arm: PostgreSQLManagementClient) -> None:
    server = await arm.servers.get(GROUP, NAME)
    extensions = set_parameter(stack, "azure.extensions", "PG_TRGM,azure_cdc")
    assert (extensions["value"], extensions["isDynamicConfig"]) == ("PG_TRGM,azure_cdc", True)
    assert show(stack, server, "azure.extensions") == "PG_TRGM,azure_cdc"
    set_parameter(stack, "work_mem", "8192")
    assert show(stack, server, "work_mem") == "8MB"
    reset = set_parameter(stack, "work_mem", None)
    assert (reset["value"], reset["source"]) == ("4096", "system-default")
    assert show(stack, server, "work_mem") == "4MB"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("wal_level", "minimal", "'minimal' is not among its allowed values: replica,logical"),
        ("max_worker_processes", "many", "'many' is not among its allowed values: 0-262143"),
        ("max_wal_senders", "101", "5-100"),
        ("shared_preload_libraries", "azure_cdc,evil", "auto_explain,azure_cdc"),
        ("azure.fabric_mirror_enabled", "perhaps", "on,off"),
        ("azure.service_principal_id", "me", "it is read-only"),
        ("data_directory", "/tmp", "it is read-only"),
        ("work_mem", None, "the value is missing"),
    ],
)
async def test_refuses_a_value_that_is_not_allowed(stack: Stack, name: str, value: str | None, message: str) -> None:
    path = f"{server_path(stack, NAME)}/configurations/{name}"
    status, _, answer = ask(stack, "PATCH", path, {"properties": {"value": value, "source": OVERRIDE}})
    assert (status, answer["error"]["code"]) == (400, "InvalidParameterValue")
    assert name in answer["error"]["message"]
    assert message in answer["error"]["message"]


async def test_databases_belong_to_the_administrators(stack: Stack, arm: PostgreSQLManagementClient) -> None:
    server = await arm.servers.get(GROUP, NAME)
    body = {"properties": {"charset": "UTF8", "collation": "en_US.utf8"}}
    made = await (await arm.databases.begin_create(GROUP, NAME, "Shop", body)).result()
    names = {database.name async for database in arm.databases.list_by_server(GROUP, NAME)}
    with connect(stack, server) as connection:
        owner = connection.execute("SELECT datdba::regrole::text FROM pg_database WHERE datname = 'Shop'").fetchone()
    await (await arm.databases.begin_delete(GROUP, NAME, "Shop")).result()
    assert made.name == "Shop"
    assert names == {"postgres", "azure_sys", "azure_maintenance", "Shop"}
    assert owner == ("azure_pg_admin",)
    with pytest.raises(ResourceNotFoundError, match="'Shop' was not found"):
        await arm.databases.get(GROUP, NAME, "Shop")
    with pytest.raises(HttpResponseError, match="the system database 'postgres' cannot be deleted"):
        await arm.databases.begin_delete(GROUP, NAME, "postgres")


async def test_firewall_rules(arm: PostgreSQLManagementClient) -> None:
    def rule(start: str, end: str) -> dict[str, dict[str, str]]:
        return {"properties": {"startIpAddress": start, "endIpAddress": end}}

    await (await arm.firewall_rules.begin_create_or_update(GROUP, NAME, "azure", rule("0.0.0.0", "0.0.0.0"))).result()
    found = [r async for r in arm.firewall_rules.list_by_server(GROUP, NAME)]
    assert [(r.name, r.properties.start_ip_address) for r in found] == [("azure", "0.0.0.0")]
    for start, end, message in [("10.0.0.9", "10.0.0.1", "after its end"), ("here", "there", "two IPv4 addresses")]:
        with pytest.raises(HttpResponseError, match=message):
            await arm.firewall_rules.begin_create_or_update(GROUP, NAME, "odd", rule(start, end))
    await (await arm.firewall_rules.begin_delete(GROUP, NAME, "azure")).result()
    assert [r async for r in arm.firewall_rules.list_by_server(GROUP, NAME)] == []


async def test_an_entra_administrator_logs_in_with_a_token(stack: Stack, arm: PostgreSQLManagementClient) -> None:
    server, app = await arm.servers.get(GROUP, NAME), stack.topology.principals["id-fabric-mirror"]
    body = {"properties": {"principalName": app.name, "principalType": "ServicePrincipal"}}
    administrators = arm.administrators_microsoft_entra
    await (await administrators.begin_create_or_update(GROUP, NAME, app.object_id, body)).result()
    listed = [each.properties.principal_name async for each in administrators.list_by_server(GROUP, NAME)]
    token, _ = tokens.mint(stack.topology, app, tokens.POSTGRESQL)
    with connect(stack, server, app.name, token) as connection:
        rights = connection.execute(
            "SELECT pg_has_role('azure_pg_admin', 'USAGE'), rolcreaterole, rolsuper FROM pg_roles WHERE rolname = %s",
            (app.name,),
        ).fetchone()
    assert listed == [app.name]
    assert rights == (True, True, False)
    for wrong in (
        tokens.mint(stack.topology, app, tokens.ARM)[0],
        tokens.mint(stack.topology, stack.topology.principals["operator"], tokens.POSTGRESQL)[0],
    ):
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            connect(stack, server, app.name, wrong)
    await (await administrators.begin_delete(GROUP, NAME, app.object_id)).result()
    with pytest.raises(psycopg.OperationalError):
        connect(stack, server, app.name, token)
    with pytest.raises(ResourceNotFoundError):
        await administrators.get(GROUP, NAME, app.object_id)
    await (await administrators.begin_create_or_update(GROUP, NAME, app.object_id, body)).result()
    connect(stack, server, app.name, token).close()


async def test_entra_administrators_need_entra_authentication(stack: Stack) -> None:
    app = stack.topology.principals["id-fabric-mirror"]
    path = server_path(stack, NAME)
    change(stack, "PATCH", path, {"properties": {"authConfig": {"activeDirectoryAuth": "Disabled"}}})
    body = {"properties": {"principalName": app.name, "principalType": "ServicePrincipal"}}
    status, _, answer = ask(stack, "PUT", f"{path}/administrators/{app.object_id}", body)
    change(stack, "PATCH", path, {"properties": {"authConfig": {"activeDirectoryAuth": "Enabled"}}})
    assert (status, answer["error"]["code"]) == (400, "AadAuthOperationCannotBePerformedWhenAADAuthIsDisabled")
    _, _, document = ask(stack, "GET", path)
    assert document["properties"]["authConfig"] == {"activeDirectoryAuth": "Enabled", "passwordAuth": "Enabled"}


async def test_tags_are_the_servers_own_and_can_be_set_while_it_is_busy(
    stack: Stack, arm: PostgreSQLManagementClient
) -> None:
    path = server_path(stack, NAME)
    tags = f"{path}/providers/Microsoft.Resources/tags/default"

    def patch(operation: str, **values: str) -> dict[str, str]:
        status, _, answer = ask(stack, "PATCH", tags, {"operation": operation, "properties": {"tags": values}})
        assert status == 200, answer
        return answer["properties"]["tags"]

    running = await arm.servers.begin_update(GROUP, NAME, {"tags": {"Team": "data", "stage": "prod"}})
    assert patch("Merge", Fabric="on") == {"Team": "data", "Fabric": "on"}
    await running.result()
    assert patch("Merge", TEAM="bi") == {"stage": "prod", "TEAM": "bi"}
    assert (await arm.servers.get(GROUP, NAME)).tags == {"stage": "prod", "TEAM": "bi"}
    assert patch("Delete", stage="other", team="bi") == {"stage": "prod"}
    assert ask(stack, "PUT", tags, {"properties": {"tags": {"Team": "data"}}})[2]["properties"]["tags"] == {
        "Team": "data"
    }
    raised = events(stack, "Microsoft.Resources/tags/write", path)[0]
    assert raised["data"]["resourceProvider"] == "Microsoft.Resources"
    assert "/resourcegroups/" in raised["data"]["resourceUri"]
    for body, code in [
        ({"operation": "Shuffle", "properties": {"tags": {}}}, "InvalidRequestContent"),
        ({"operation": "Merge", "properties": {"tags": {"a": "x" * 257}}}, "InvalidTagValueLength"),
        ({"operation": "Merge", "properties": {"tags": {f"t{n}": "" for n in range(51)}}}, "TagsLimitExceeded"),
        ({"operation": "Merge", "properties": {"tags": {"a": 1}}}, "InvalidRequestContent"),
        (["nonsense"], "InvalidRequestContent"),
    ]:
        status, _, answer = ask(stack, "PATCH", tags, body)
        assert (status, answer["error"]["code"]) == (400, code)


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


async def test_paths_are_read_without_regard_to_letter_case(stack: Stack) -> None:
    status, _, answer = ask(stack, "GET", server_path(stack, NAME).upper())
    assert (status, answer["name"]) == (200, NAME)


@pytest.mark.parametrize(
    ("how", "path", "expected"),
    [
        ({"principal": ""}, "", (401, "AuthenticationFailed")),
        ({"audience": tokens.KEY_VAULT}, "", (401, "InvalidAuthenticationToken")),
        ({"query": ""}, "", (400, "MissingApiVersionParameter")),
        ({}, "/backups", (501, "NotImplemented")),
    ],
)
async def test_refuses_strangers_and_says_what_it_does_not_implement(
    stack: Stack, how: dict[str, str], path: str, expected: tuple[int, str]
) -> None:
    status, headers, answer = ask(stack, "GET", server_path(stack, NAME) + path, **how)
    assert (status, answer["error"]["code"]) == expected
    if status == 401:
        assert "login.microsoftonline.com" in headers["WWW-Authenticate"]
    if status == 501:
        assert "/backups" in answer["error"]["message"]


async def test_knows_only_its_own_subscription_and_group(stack: Stack) -> None:
    assert ask(stack, "GET", "/subscriptions")[2]["value"][0]["subscriptionId"] == stack.topology.subscription
    stranger = server_path(stack, NAME).replace(stack.topology.subscription, "0" * 36)
    assert ask(stack, "GET", stranger)[2]["error"]["code"] == "SubscriptionNotFound"
    elsewhere = server_path(stack, NAME).replace(GROUP, "rg-other")
    assert ask(stack, "GET", elsewhere)[2]["error"]["code"] == "ResourceGroupNotFound"


async def test_faults_come_as_azure_would_send_them(stack: Stack, arm: PostgreSQLManagementClient) -> None:
    throttled = {"operation": "Servers_Get", "status": 429, "code": "TooManyRequests", "retry_after": 1, "times": 1}
    stack.control("arm", "POST", "faults", throttled)
    started = time.monotonic()
    await arm.servers.get(GROUP, NAME)
    assert time.monotonic() - started >= 1
    stack.control("arm", "POST", "faults", {"operation": "Servers_Restart", "fail_operation": True})
    before = restarts(stack)
    with pytest.raises(HttpResponseError, match="unexpected error"):
        await (await arm.servers.begin_restart(GROUP, NAME)).result()
    assert restarts(stack) == before
    assert (await arm.servers.get(GROUP, NAME)).properties.state == "Ready"


async def test_a_server_whose_creation_fails_does_not_exist(stack: Stack) -> None:
    stack.control("arm", "POST", "faults", {"operation": "Servers_CreateOrUpdate", "fail_operation": True})
    properties = {"version": "18", "administratorLogin": "someone", "administratorLoginPassword": "x"}
    body = {"location": "westeurope", "properties": properties}
    operation = change(stack, "PUT", server_path(stack, "pg-unborn"), body)
    assert (operation["status"], operation["error"]["code"]) == ("Failed", "InternalServerError")
    assert ask(stack, "GET", server_path(stack, "pg-unborn"))[0] == 404


@pytest.mark.parametrize("child", ["databases/new", "firewallRules/new", "configurations/work_mem"])
async def test_one_change_at_a_time(stack: Stack, child: str) -> None:
    path = server_path(stack, NAME)
    status, headers, _ = ask(stack, "POST", f"{path}/restart")
    refused, _, answer = ask(stack, "PUT", f"{path}/{child}", {"properties": {"value": "8192"}})
    again, _, _ = ask(stack, "POST", f"{path}/restart")
    assert (status, refused, again) == (202, 409, 409)
    assert answer["error"]["code"] == "ServerIsBusy"
    assert ask(stack, "GET", f"{path}/configurations/work_mem")[0] == 200  # reads wait for PostgreSQL
    while ask(stack, "GET", headers["Azure-AsyncOperation"])[2]["status"] == "InProgress":
        await asyncio.sleep(0.02)


async def test_a_failed_operation_says_what_postgresql_said(stack: Stack) -> None:
    operation = change(stack, "PUT", f"{server_path(stack, NAME)}/databases/{'d' * 70}", {"properties": {}})
    assert operation["status"] == "Succeeded"  # PostgreSQL truncates the name
    again = change(stack, "PUT", f"{server_path(stack, NAME)}/databases/{'d' * 71}", {"properties": {}})
    assert (again["status"], again["error"]["code"]) == ("Failed", "OperationFailed")
    assert "already exists" in again["error"]["message"]


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
