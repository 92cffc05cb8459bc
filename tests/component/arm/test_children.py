"""What lies below a server in the stand-in for Azure Resource Manager, and its tags."""

from __future__ import annotations

import psycopg
import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.mgmt.postgresqlflexibleservers.aio import PostgreSQLManagementClient

from local.cloud import tokens
from local.stack import Stack
from tests.component.arm.shared_server import GROUP, NAME, connect, events, show
from tests.component.azure_resource_manager import ask, change, server_path


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


async def test_a_tag_chooses_the_character_of_azure_cdc_at_once(stack: Stack, arm: PostgreSQLManagementClient) -> None:
    path = server_path(stack, NAME)
    tags = f"{path}/providers/Microsoft.Resources/tags/default"
    server = await arm.servers.get(GROUP, NAME)
    assert show(stack, server, "local.azure_cdc") == "membership"
    for operation, value, character in (
        ("Merge", "ownership", "ownership"),
        ("Merge", "silent", "silent"),
        ("Delete", "silent", "membership"),
    ):
        body = {"operation": operation, "properties": {"tags": {"Local-Azure-CDC": value}}}
        assert ask(stack, "PATCH", tags, body)[0] == 200
        assert show(stack, server, "local.azure_cdc") == character
    assert not [c.name async for c in arm.configurations.list_by_server(GROUP, NAME) if c.name.startswith("local.")]
    body = {"operation": "Merge", "properties": {"tags": {"local-azure-cdc": "owner"}}}
    status, _, answer = ask(stack, "PATCH", tags, body)
    assert (status, answer["error"]["code"]) == (400, "InvalidTagValue")
    assert "'owner', expected one of membership, ownership, silent" in answer["error"]["message"]


async def test_tags_are_the_servers_own_and_can_be_set_while_it_is_busy(
    stack: Stack, arm: PostgreSQLManagementClient
) -> None:
    path = server_path(stack, NAME)
    tags = f"{path}/providers/Microsoft.Resources/tags/default"

    def patch(operation: str, **values: str) -> dict[str, str]:
        status, _, answer = ask(stack, "PATCH", tags, {"operation": operation, "properties": {"tags": values}})
        assert status == 200, answer
        return answer["properties"]["tags"]

    ask(stack, "PUT", tags, {"properties": {"tags": {"Team": "data"}}})
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


async def test_a_failed_operation_says_what_postgresql_said(stack: Stack) -> None:
    operation = change(stack, "PUT", f"{server_path(stack, NAME)}/databases/{'d' * 70}", {"properties": {}})
    assert operation["status"] == "Succeeded"  # PostgreSQL truncates the name
    again = change(stack, "PUT", f"{server_path(stack, NAME)}/databases/{'d' * 71}", {"properties": {}})
    assert (again["status"], again["error"]["code"]) == ("Failed", "OperationFailed")
    assert "already exists" in again["error"]["message"]
