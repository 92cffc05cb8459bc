"""Fabric's published specification, against every request that the app's client sends and every answer that the
stand-in gives: each operation with its success, its operation in the background, and its errors."""

from __future__ import annotations

import ast
import inspect
import sys
import uuid
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import msgspec
import pytest
from azure.core.pipeline.policies import SansIOHTTPPolicy

from local.cloud.fabric.__main__ import Fabric
from local.topology import SERVICE_PRINCIPAL, Topology
from shared.desired.server_id import ServerId
from shared.fabric import client, connection, mirror, workspace
from shared.fabric.credentials import Basic, ServicePrincipal, WorkspaceIdentity
from shared.fabric.definition import definition
from shared.platform import errors
from shared.platform.settings import settings
from tests import fabric_specification as specification
from tests.component.fabric.callers import Caller, Control, connection_body
from tests.component.fabric.callers import definition as by_hand
from tests.component.fabric.source import PASSWORD, ROLE, Source
from tests.fabric_specification import Exchange

pytestmark = specification.needed

TABLES = "CREATE TABLE orders (id int PRIMARY KEY); CREATE TABLE lines (id int PRIMARY KEY)"
CALLERS = (connection, mirror, workspace)
CLIENT = {"read", "write", "pages"}
BRIEF = {"initializingSeconds": 0, "operationSeconds": 0, "pageSize": 1}
LONG_RUNNING = [
    "Connections_TestConnection",
    "Items_GetMirroredDatabaseDefinition",
    "Items_UpdateMirroredDatabaseDefinition",
]


@pytest.fixture
def seen() -> list[Exchange]:
    """What went over the wire so far."""
    return []


@pytest.fixture(autouse=True)
def recorder(seen: list[Exchange], monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that the app's client sends is recorded, where it would be logged."""

    class Recorder(SansIOHTTPPolicy[Any, Any]):
        def on_response(self, request: Any, response: Any) -> None:
            sent, answer = request.http_request, response.http_response
            seen.append(_exchange(sent.method, sent.url, sent.content, answer, answer.content))

    monkeypatch.setattr(client, "HttpLoggingPolicy", Recorder)


@pytest.fixture
def call_sites(monkeypatch: pytest.MonkeyPatch) -> set[tuple[str, int]]:
    """From where in the Fabric modules the client was called: module and line."""
    sites: set[tuple[str, int]] = set()

    def note(module: ModuleType, name: str) -> None:
        real = getattr(module, name)

        def called(*arguments: Any, **named: Any) -> Any:
            sites.add((module.__name__, sys._getframe(1).f_lineno))
            return real(*arguments, **named)

        monkeypatch.setattr(module, name, called)

    for module in CALLERS:
        for name in CLIENT & vars(module).keys():
            note(module, name)
    return sites


async def test_every_request_of_the_app_and_its_answer(
    stack: Topology,
    source: Source,
    server: ServerId,
    workspace: str,
    operator: Caller,
    control: Control,
    seen: list[Exchange],
    call_sites: set[tuple[str, int]],
) -> None:
    await _workspaces(workspace, operator)
    await _connections(source, server, control)
    await _mirrors(source, server, workspace, control)
    missed = [site for module in CALLERS for site in _calls_of_the_client(module) if not _among(site, call_sites)]
    assert missed == []
    assert specification.departures(seen) == []


async def _workspaces(id: str, operator: Caller) -> None:
    roles, somebody = f"/workspaces/{id}/roleAssignments", str(uuid.uuid4())
    assert await workspace.observe(id)
    with pytest.raises(errors.Blocked):
        await workspace.identity(id)
    assert await workspace.observe(str(uuid.uuid4())) is None
    await workspace.ensure_member(id, somebody)
    operator.call("PATCH", f"{roles}/{settings().identity.object_id}", {"role": "Admin"})
    operator.call("PATCH", f"{roles}/{somebody}", {"role": "Viewer"})
    await workspace.ensure_member(id, somebody)


async def _connections(source: Source, server: ServerId, control: Control) -> None:
    gateway = control("POST", "gateways", {"displayName": "gw"})["id"]
    login, principal = Basic(ROLE, PASSWORD), source.topology.principals[SERVICE_PRINCIPAL]
    source.map_to(principal)
    application = ServicePrincipal(source.topology.tenant, principal.client_id, principal.header)
    for way in ("", gateway):
        database = source.database(TABLES)
        name, host = connection.name_of(server, database), source.server.address
        with pytest.raises(errors.Blocked):
            await connection.ensure(name, host, database, Basic(ROLE, "wrong"), gateway=way)
        made = await connection.ensure(name, host, database, login, gateway=way)
        assert await connection.ensure(name, host, database, login, gateway=way, recorded=made.id)
        assert await connection.ensure(name, host, database, login, gateway=way)  # new credentials
        assert await connection.ensure(name, host, database, application, gateway=way, recorded=made.id)
        if not way:
            assert await connection.ensure(name, host, database, WorkspaceIdentity(), recorded=made.id)
        await connection.share(made.id, str(uuid.uuid4()))
        await connection.remove(made.id)
        await connection.remove(made.id)
        await connection.remove_unused(server, database, host)


async def _mirrors(source: Source, server: ServerId, workspace: str, control: Control) -> None:
    database = source.database(TABLES)
    name = connection.name_of(server, database)
    link = (await connection.ensure(name, source.server.address, database, Basic(ROLE, PASSWORD))).id
    every = definition(link, database)
    item = (await mirror.ensure(workspace, every, name="every", mark=name)).id
    assert (await mirror.marked(workspace, [name]))[name].id == item
    path = f"/workspaces/{workspace}/mirroredDatabases/{item}"
    await client.write(msgspec.Raw, "PATCH", path, {"description": "Ask Ann."})
    await mirror.ensure(workspace, every, name="", mark=name, recorded=item)
    chosen = definition(link, database, [("public", "orders"), ("no", "where")], retention_days=3)
    await mirror.ensure(workspace, chosen, name="", mark=name)
    control("PUT", "behaviour", BRIEF | {"longRunning": LONG_RUNNING})
    await mirror.ensure(workspace, every, name="", mark=name, recorded=item)
    control("POST", "faults", {"operation": LONG_RUNNING[2], "fail_operation": True})
    with pytest.raises(errors.Blocked):
        await mirror.ensure(workspace, definition(link, database, retention_days=4), name="", mark=name, recorded=item)
    assert await mirror.start(workspace, item)
    while (await mirror.status(workspace, item)).status != "Running":
        continue
    assert await mirror.tables_status(workspace, item)
    control("PUT", f"capacities/{source.topology.capacity}", {"state": "Inactive"})
    with pytest.raises(errors.Unavailable, match="Paused"):
        await mirror.start(workspace, item)
    control("PUT", f"capacities/{source.topology.capacity}", {"state": "Active"})
    while (await mirror.status(workspace, item)).status != "Stopped":
        continue
    await mirror.start(workspace, item)
    await mirror.stop(workspace, item)
    await mirror.delete(workspace, item)
    await mirror.delete(workspace, item)


def test_every_answer_of_the_stand_in(
    stack: Topology, source: Source, workspace: str, operator: Caller, control: Control, seen: list[Exchange]
) -> None:
    operator.session.hooks["response"].append(
        lambda answer, **_: seen.append(
            _exchange(answer.request.method, answer.url, answer.request.body, answer, answer.content)
        )
    )
    for background in (False, True):
        control("PUT", "behaviour", BRIEF | {"longRunning": LONG_RUNNING * background})
        _use_everything(stack, source, operator, control)
    succeeded = {specification.operation_of(exchange).name: exchange for exchange in seen if exchange.status < 300}
    assert {operation.name for operation in Fabric(stack).service.operations} == set(succeeded)
    for name, exchange in succeeded.items():
        for status in (400, 429):
            fault = {"operation": name, "status": status} | ({"retry_after": 1} if status == 429 else {})
            control("POST", "faults", fault)
            answer = operator.session.request(exchange.method, exchange.url, data=exchange.body, timeout=10)
            assert answer.status_code == status
    _ask_for_refusals(stack, workspace, operator)
    assert specification.departures([*seen, *_results(seen)]) == []


def _use_everything(stack: Topology, source: Source, caller: Caller, control: Control) -> None:
    def ask(method: str, path: str, body: Any = None, **query: str) -> dict[str, Any]:
        answer = caller.call(method, path, body, **query)
        assert answer.ok, answer.text
        if answer.status_code != 202 or "x-ms-operation-id" not in answer.headers:
            return answer.json() if answer.text else {}
        operation = f"/operations/{answer.headers['x-ms-operation-id']}"
        while (state := caller.call("GET", operation)).json()["status"] == "Running":
            continue
        if not state.headers["Location"].endswith("/result"):
            return {}
        return caller.call("GET", f"{operation}/result").json()

    database = source.database(TABLES)
    gateway = control("POST", "gateways", {"displayName": "gw"})["id"]
    somebody = {"principal": {"id": str(uuid.uuid4()), "type": "ServicePrincipal"}}
    one = ask("POST", "/workspaces", {"displayName": f"ws-{uuid.uuid4()}", "description": "d"})["id"]
    ask("POST", f"/workspaces/{one}/assignToCapacity", {"capacityId": stack.capacity})
    for path in ("/workspaces", f"/workspaces/{one}", "/capacities", f"/capacities/{stack.capacity}", "/gateways"):
        ask("GET", path)
    ask("GET", f"/gateways/{gateway}")
    for query in ({}, {"showAllCreationMethods": "true"}, {"gatewayId": gateway}):
        ask("GET", "/connections/supportedConnectionTypes", **query)

    made = connection_body(f"c-{uuid.uuid4()}", source.server.address, database, ROLE, PASSWORD)
    through = made | {"displayName": f"g-{uuid.uuid4()}", "connectivityType": "VirtualNetworkGateway"}
    for body in (made, through | {"gatewayId": gateway}):
        link = ask("POST", "/connections", body)["id"]
        ask("GET", "/connections")
        ask("GET", f"/connections/{link}")
        ask("POST", f"/connections/{link}/testConnection")
        change = {"connectivityType": body["connectivityType"], "privacyLevel": "Private"}
        ask("PATCH", f"/connections/{link}", change)
    untested = made | {"displayName": f"u-{uuid.uuid4()}"}
    untested["credentialDetails"] = untested["credentialDetails"] | {"skipTestConnection": True}
    untested["connectionDetails"] = connection_body("", "127.0.0.246", "no", "", "")["connectionDetails"]
    assert ask("POST", f"/connections/{ask('POST', '/connections', untested)['id']}/testConnection")["errors"]

    items = f"/workspaces/{one}/mirroredDatabases"
    body = {"displayName": "m", "description": "d", "definition": by_hand(link, database, retentionInDays=2)}
    item = f"{items}/{ask('POST', items, body)['id']}"
    ask("POST", items, {"displayName": "n", "definition": by_hand(link, database, [("public", "no_such_table")])})
    ask("GET", items)
    ask("GET", item)
    ask("PATCH", item, {"displayName": "m2", "description": "e"})
    ask("POST", f"{item}/getDefinition")
    tables = [("public", "orders"), ("public", "no_such_table")]
    ask("POST", f"{item}/updateDefinition", {"definition": by_hand(link, database, tables)})
    ask("POST", f"{item}/startMirroring")
    while ask("POST", f"{item}/getMirroringStatus")["status"] != "Running":
        continue
    listed = ask("POST", f"{item}/getTablesMirroringStatus")
    ask("POST", f"{item}/getTablesMirroringStatus", continuationToken=listed["continuationToken"])
    ask("POST", f"{item}/stopMirroring")
    ask("DELETE", item)

    for roles in (f"/workspaces/{one}/roleAssignments", f"/connections/{link}/roleAssignments"):
        low, high = ("Viewer", "Member") if "workspaces" in roles else ("User", "UserWithReshare")
        role = f"{roles}/{ask('POST', roles, somebody | {'role': low})['id']}"
        ask("GET", roles)
        ask("GET", role)
        ask("PATCH", role, {"role": high})
        ask("DELETE", role)
    ask("DELETE", f"/connections/{link}")


def _ask_for_refusals(stack: Topology, workspace: str, caller: Caller) -> None:
    """What is refused by the service's own rules: each a request in the specified form, with a known code."""
    nothing = str(uuid.uuid4())
    items = f"/workspaces/{workspace}/mirroredDatabases"
    unreachable = connection_body(f"c-{nothing}", "127.0.0.246", "shop", "u", "p")
    for method, path, body, code in (
        ("GET", f"/workspaces/{nothing}", None, "WorkspaceNotFound"),
        ("GET", f"/capacities/{nothing}", None, "CapacityNotFound"),
        ("GET", f"/operations/{nothing}", None, "OperationNotFound"),
        ("GET", f"/gateways/{nothing}", None, "EntityNotFound"),
        ("GET", f"/connections/{nothing}", None, "EntityNotFound"),
        ("GET", f"{items}/{nothing}", None, "ItemNotFound"),
        ("POST", "/workspaces", {"displayName": "Mirrors"}, "WorkspaceNameAlreadyExists"),
        ("POST", "/connections", unreachable, "CreateGatewayConnectionFailed"),
        ("POST", items, {"displayName": "m", "definition": {"parts": []}}, "CorruptedPayload"),
        ("POST", items, {"displayName": "m", "definition": by_hand(nothing, "shop")}, "ConnectionNotFound"),
        ("GET", f"{items}?continuationToken=nonsense", None, "InvalidInput"),
    ):
        assert caller.call(method, path, body).json()["errorCode"] == code


def _results(seen: list[Exchange]) -> Iterator[Exchange]:
    """The results of long-running operations, as answers to the requests that began them."""
    begun = {e.headers["x-ms-operation-id"]: e for e in seen if e.status == 202 and "x-ms-operation-id" in e.headers}
    for exchange in seen:
        path = exchange.url.partition("/operations/")[2]
        if path.endswith("/result") and exchange.status == 200:
            first = begun[path.removesuffix("/result")]
            yield msgspec.structs.replace(first, status=200, headers={}, content=exchange.content)


def _exchange(method: str, url: str, body: str | bytes | None, answer: Any, content: bytes) -> Exchange:
    return Exchange(
        method=method,
        url=url,
        body=body.encode() if isinstance(body, str) else body or b"",
        status=answer.status_code,
        headers={name.lower(): value for name, value in answer.headers.items()},
        content=content,
    )


def _calls_of_the_client(module: ModuleType) -> Iterator[tuple[str, int, int]]:
    """Where the module calls Fabric: its name, and the first and last line."""
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        called = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id
        if called in CLIENT:
            yield module.__name__, node.lineno, node.end_lineno or node.lineno


def _among(site: tuple[str, int, int], called: set[tuple[str, int]]) -> bool:
    module, first, last = site
    return any((module, line) in called for line in range(first, last + 1))
