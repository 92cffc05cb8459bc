"""Connections: discovered, made once, found again, refused in words that say what to do."""

import asyncio
import logging
import uuid
from collections.abc import Callable

import pytest
from psycopg import sql

from local.topology import SERVICE_PRINCIPAL, Topology
from shared.desired.server_id import ServerId
from shared.fabric import connection
from shared.fabric.credentials import Basic, ServicePrincipal, WorkspaceIdentity
from shared.platform import errors
from tests.component.fabric.callers import Caller, Control, connection_body
from tests.component.fabric.source import PASSWORD, ROLE, Source

FREE_ADDRESS = "127.0.0.248"
LOGIN = Basic(ROLE, PASSWORD)


@pytest.fixture(scope="module")
def database(source: Source) -> str:
    return source.database("CREATE TABLE orders (id int PRIMARY KEY)")


@pytest.fixture
def name(server: ServerId, database: str) -> str:
    return connection.name_of(server, database)


async def test_azures_type_is_preferred() -> None:
    assert await connection.discover() == connection.ConnectionType(
        "AzurePostgreSQL", "AzurePostgreSQL", "server", "database"
    )


async def test_types_of_a_gateway(control: Control, calls: Callable[..., list[str]]) -> None:
    gateway = control("POST", "gateways", {"displayName": "gw"})["id"]
    assert (await connection.discover(gateway)).type == "AzurePostgreSQL"
    nowhere = str(uuid.uuid4())
    with pytest.raises(errors.NotFound, match=f"no virtual network data gateway {nowhere} that the app") as refused:
        await connection.discover(nowhere)
    assert (refused.value.code, "FABRIC_GATEWAY" in refused.value.remedy) == ("GatewayNotFound", True)
    forbidden = {"operation": "Connections_ListSupportedConnectionTypes", "status": 403, "code": "Forbidden"}
    control("POST", "faults", forbidden)
    with pytest.raises(errors.NotFound, match="that the app can use") as refused:
        await connection.discover(gateway)
    assert "Connection creator" in refused.value.remedy
    control("POST", "faults", forbidden)
    with pytest.raises(errors.NotAllowed) as not_allowed:
        await connection.discover()
    assert "Service principals can create workspaces, connections" in not_allowed.value.remedy


async def test_names_differ_by_server_and_database_and_fit() -> None:
    longest = ServerId("s", "r" * 90, "p" * 63)
    names = {connection.name_of(longest, "d" * 63), connection.name_of(longest, "D" * 63)}
    names |= {connection.name_of(ServerId("s", "other", "p" * 63), "d" * 63)}
    assert len(names) == 3
    assert max(len(name) for name in names) <= 200


async def test_made_once_and_found_again(
    source: Source, database: str, name: str, calls: Callable[..., list[str]]
) -> None:
    first = await connection.ensure(name, source.server.address, database, LOGIN)
    assert first.created
    again = await connection.ensure(name, source.server.address, database, LOGIN, recorded=first.id)
    assert again == connection.ConnectionResult(first.id, created=False)
    assert calls(writes=True) == ["Connections_CreateConnection"]


async def test_one_that_is_found_by_name_gets_these_credentials(
    source: Source, database: str, name: str, operator: Caller, calls: Callable[..., list[str]]
) -> None:
    role = f"r_{uuid.uuid4().hex[:8]}"
    source.server.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'one'").format(sql.Identifier(role)))
    first = await connection.ensure(name, source.server.address, database, Basic(role, "one"))
    source.server.execute(sql.SQL("ALTER ROLE {} PASSWORD 'two'").format(sql.Identifier(role)))
    again = await connection.ensure(name, source.server.address, database, Basic(role, "two"))
    assert again == connection.ConnectionResult(first.id, created=False)
    assert calls(writes=True) == ["Connections_CreateConnection", "Connections_UpdateConnection"]


async def test_one_that_was_deleted_is_made_anew(source: Source, database: str, name: str) -> None:
    first = await connection.ensure(name, source.server.address, database, LOGIN)
    await connection.remove(first.id)
    await connection.remove(first.id)
    second = await connection.ensure(name, source.server.address, database, LOGIN, recorded=first.id)
    assert second.created
    assert second.id != first.id


async def test_wrong_credentials(source: Source, database: str, name: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(errors.Blocked, match=f"could not log in to {source.server.address} as '{ROLE}'") as refused:
        await connection.ensure(name, source.server.address, database, Basic(ROLE, "not-the-password"))
    assert refused.value.code == "IncorrectCredentials"
    assert "password authentication" in refused.value.remedy
    assert "request " in refused.value.message
    assert "not-the-password" not in str(refused.value) + caplog.text
    assert "Bearer ey" not in caplog.text


async def test_unreachable_server(database: str, name: str, control: Control) -> None:
    with pytest.raises(errors.Blocked, match=f"could not reach {FREE_ADDRESS}") as refused:
        await connection.ensure(name, FREE_ADDRESS, database, LOGIN)
    assert refused.value.code == "ServerUnreachable"
    assert "0.0.0.0" in refused.value.remedy
    gateway = control("POST", "gateways", {"displayName": "gw2"})["id"]
    with pytest.raises(errors.Blocked) as refused:
        await connection.ensure(name, FREE_ADDRESS, database, LOGIN, gateway=gateway)
    assert "gateway runs and reaches the server" in refused.value.remedy


async def test_through_a_gateway(source: Source, database: str, name: str, control: Control, myself: Caller) -> None:
    gateway = control("POST", "gateways", {"displayName": "gw3"})["id"]
    made = await connection.ensure(name, source.server.address, database, LOGIN, gateway=gateway)
    seen = myself.call("GET", f"/connections/{made.id}").json()
    assert (seen["connectivityType"], seen["gatewayId"]) == ("VirtualNetworkGateway", gateway)
    assert seen["credentialDetails"]["connectionEncryption"] == "Encrypted"
    assert not seen["credentialDetails"]["skipTestConnection"]
    await connection.update_credentials(made.id, LOGIN, host=source.server.address)


async def test_another_way_in_is_another_connection_beside_the_old_one(
    source: Source, database: str, server: ServerId, control: Control, myself: Caller
) -> None:
    gateways = [control("POST", "gateways", {"displayName": f"way-{number}"})["id"] for number in range(2)]
    known, made = "", {}
    for gateway in ("", *gateways, ""):
        name = connection.name_of(server, database, gateway)
        found = await connection.ensure(name, source.server.address, database, LOGIN, gateway=gateway, recorded=known)
        assert (found.created, found.id) == (gateway not in made, made.get(gateway, found.id))
        known = made[gateway] = found.id
        again = await connection.ensure(
            name, source.server.address, database, LOGIN, gateway=gateway.upper(), recorded=known
        )
        assert again == connection.ConnectionResult(known, created=False)
    assert {myself.call("GET", f"/connections/{id}").status_code for id in made.values()} == {200}
    await connection.remove_unused(server, database, "127.0.0.1")
    await connection.remove_unused(server, database + "!", source.server.address)
    assert {myself.call("GET", f"/connections/{id}").status_code for id in made.values()} == {200}
    await connection.remove_unused(server, database, source.server.address)
    assert {myself.call("GET", f"/connections/{id}").status_code for id in made.values()} == {404}


async def test_a_way_in_that_fails_leaves_the_old_one(
    database: str, server: ServerId, source: Source, control: Control, myself: Caller
) -> None:
    old = await connection.ensure(connection.name_of(server, database), source.server.address, database, LOGIN)
    gateway = control("POST", "gateways", {"displayName": "broken"})["id"]
    unreachable = {"operation": "Connections_CreateConnection", "status": 400, "code": "CreateGatewayConnectionFailed"}
    control("POST", "faults", unreachable)
    name = connection.name_of(server, database, gateway)
    with pytest.raises(errors.Blocked) as refused:
        await connection.ensure(name, source.server.address, database, LOGIN, gateway=gateway, recorded=old.id)
    assert refused.value.code == "ServerUnreachable"
    assert myself.call("GET", f"/connections/{old.id}").status_code == 200


async def test_one_that_was_made_without_an_answer_is_adopted(
    source: Source, database: str, name: str, calls: Callable[..., list[str]]
) -> None:
    """Both find none; the one that comes second is told that the name is taken, by the first."""
    both = await asyncio.gather(*(connection.ensure(name, source.server.address, database, LOGIN) for _ in range(2)))
    assert len({made.id for made in both}) == 1
    assert sorted(made.created for made in both) == [False, True]
    assert calls(writes=True).count("Connections_CreateConnection") == 2


async def test_one_that_is_not_the_apps_to_manage(
    source: Source, server: ServerId, database: str, name: str, operator: Caller, myself: Caller
) -> None:
    theirs = connection_body(name, source.server.address, database, ROLE, PASSWORD)
    held = operator.call("POST", "/connections", theirs).json()["id"]
    user = {"principal": {"id": myself.object_id, "type": "ServicePrincipal"}, "role": "User"}
    assert operator.call("POST", f"/connections/{held}/roleAssignments", user).ok
    with pytest.raises(errors.NotAllowed, match=f"may not manage the Fabric connection '{name}'") as refused:
        await connection.ensure(name, source.server.address, database, LOGIN)
    assert "identity Owner of that connection" in refused.value.remedy
    with pytest.raises(errors.NotAllowed, match=f"may not manage the Fabric connection '{held}'"):
        await connection.remove(held)
    await connection.remove_unused(server, database, source.server.address)
    assert operator.call("GET", f"/connections/{held}").ok


async def test_a_name_that_somebody_else_holds(source: Source, database: str, name: str, operator: Caller) -> None:
    theirs = connection_body(name, source.server.address, database, ROLE, PASSWORD)
    assert operator.call("POST", "/connections", theirs).status_code == 201
    with pytest.raises(errors.Conflict, match="exists that the app's identity can't see") as refused:
        await connection.ensure(name, source.server.address, database, LOGIN)
    assert refused.value.code == "ConnectionNameTaken"
    assert "Share it with the app's identity" in refused.value.remedy


async def test_a_name_that_leads_elsewhere(source: Source, database: str, name: str) -> None:
    other = source.database("CREATE TABLE t (id int PRIMARY KEY)")
    await connection.ensure(name, source.server.address, other, LOGIN)
    with pytest.raises(errors.Conflict, match=f"leads to '{source.server.address};{other}'") as refused:
        await connection.ensure(name, source.server.address, database, LOGIN)
    assert refused.value.code == "ConnectionNameTaken"


async def test_new_credentials_are_tested(source: Source, database: str, name: str) -> None:
    made = await connection.ensure(name, source.server.address, database, LOGIN)
    with pytest.raises(errors.Blocked, match="could not log in"):
        await connection.update_credentials(made.id, Basic(ROLE, "not yet"), host=source.server.address)


async def test_shared_with_a_group_once(
    source: Source, database: str, name: str, myself: Caller, calls: Callable[..., list[str]]
) -> None:
    made = await connection.ensure(name, source.server.address, database, LOGIN)
    group = str(uuid.uuid4())
    await connection.share(made.id, group)
    await connection.share(made.id, group.upper())
    assert calls(writes=True) == ["Connections_CreateConnection", "Connections_AddConnectionRoleAssignment"]
    assert myself.call("GET", f"/connections/{made.id}/roleAssignments/{group}").json()["role"] == "User"


async def test_a_group_that_fabric_does_not_know(source: Source, database: str, name: str, control: Control) -> None:
    made = await connection.ensure(name, source.server.address, database, LOGIN)
    unknown = {"operation": "Connections_AddConnectionRoleAssignment", "status": 400, "code": "PrincipalNotFound"}
    control("POST", "faults", unknown)
    group = str(uuid.uuid4())
    with pytest.raises(errors.Blocked, match=f"can't be shared with the group {group}") as refused:
        await connection.share(made.id, group)
    assert (refused.value.code, "CONNECTION_GROUP" in refused.value.remedy) == ("ConnectionGroup", True)


async def test_an_identity_that_may_not_make_connections(database: str, name: str, control: Control) -> None:
    control("POST", "faults", {"operation": "Connections_CreateConnection", "status": 403, "code": "Forbidden"})
    with pytest.raises(errors.NotAllowed) as refused:
        await connection.ensure(name, FREE_ADDRESS, database, LOGIN)
    assert "Service principals can create workspaces, connections" in refused.value.remedy


async def test_as_a_service_principal_and_as_the_workspaces_identity(
    stack: Topology, source: Source, database: str, name: str, myself: Caller
) -> None:
    host, principal = source.server.address, stack.principals[SERVICE_PRINCIPAL]
    as_principal = ServicePrincipal(stack.tenant, principal.client_id, principal.header)
    source.map_to(principal)
    made = await connection.ensure(name, host, database, as_principal)

    def kind() -> str:
        return str(myself.call("GET", f"/connections/{made.id}").json()["credentialDetails"]["credentialType"])

    assert (made.created, kind()) == (True, "ServicePrincipal")
    for other in (WorkspaceIdentity(), LOGIN, as_principal):  # what was chosen later is taken over
        again = await connection.ensure(name, host, database, other, recorded=made.id)
        assert again == connection.ConnectionResult(made.id, created=False)
        assert kind() == type(other).__name__


async def test_a_service_principal_that_does_not_get_in(
    stack: Topology, source: Source, database: str, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    principal = stack.principals[SERVICE_PRINCIPAL]
    wrong = ServicePrincipal(stack.tenant, principal.client_id, "an-old-secret")
    with pytest.raises(errors.Blocked, match=f"as the service principal {principal.client_id}") as refused:
        await connection.ensure(name, source.server.address, database, wrong)
    assert (refused.value.code, "AADSTS7000215" in refused.value.message) == ("IncorrectCredentials", True)
    assert "the secret in Key Vault is its current one" in refused.value.remedy
    assert "an-old-secret" not in f"{refused.value!r} {wrong!r} {caplog.text}"
    nobody = ServicePrincipal(stack.tenant, stack.principals["operator"].client_id, stack.principals["operator"].header)
    with pytest.raises(errors.Blocked) as refused:
        await connection.ensure(name, source.server.address, database, nobody)
    assert "FABRIC_ROLE is the service principal's display name" in refused.value.remedy


async def test_credentials_that_no_connection_takes() -> None:
    with pytest.raises(errors.Blocked, match="credentials of type Windows") as refused:
        await connection.discover(credentials="Windows")
    assert (refused.value.code, "FABRIC_CREDENTIALS" in refused.value.remedy) == ("NoPostgreSqlConnections", True)
