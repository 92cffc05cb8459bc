"""The Fabric stand-in as an API: roles, items and definitions, errors, pages, quota, long-running operations."""

from __future__ import annotations

import base64
import json
import time
import uuid
from typing import Any

import pytest
import requests
from azure.core.exceptions import HttpResponseError
from microsoft_fabric_api.generated.core import models

from local.cloud import tokens
from local.topology import Topology
from tests.component.fabric.callers import API, Caller, Control, connection_body, definition, eventually


def refused(answer: requests.Response, status: int, code: str, *words: str) -> None:
    body = answer.json()
    assert (answer.status_code, body["errorCode"]) == (status, code), body
    assert body["requestId"] == answer.headers["requestId"]
    assert answer.headers["x-ms-public-api-error-code"] == code
    assert {"message", "moreDetails", "isRetriable"} <= body.keys()
    for word in words:
        assert word in answer.text


@pytest.fixture
def workspace(operator: Caller, app: Caller, topology: Topology) -> str:
    """A workspace of its own, on the capacity, with the app as Member."""
    new = {"displayName": f"ws-{uuid.uuid4()}", "capacityId": topology.capacity}
    made: str = operator.call("POST", "/workspaces", new).json()["id"]
    member = {"principal": {"id": app.object_id, "type": "ServicePrincipal"}, "role": "Member"}
    assert operator.call("POST", f"/workspaces/{made}/roleAssignments", member).status_code == 201
    return made


@pytest.fixture
def connection(app: Caller) -> str:
    """A connection that was never tested, for what needs only its id."""
    name = f"c-{uuid.uuid4()}"
    body = connection_body(name, "127.0.0.250", "shop", "u", "p", skipTestConnection=True)
    made: str = app.call("POST", "/connections", body).json()["id"]
    return made


def item_body(name: str, connection: str, **more: Any) -> dict[str, Any]:
    return {"displayName": name, "definition": definition(connection, "shop"), **more}


def test_official_client_reads_capacities_and_workspaces(app: Caller, topology: Topology) -> None:
    core = app.client.core
    found = next(w for w in core.workspaces.list_workspaces() if w.id == topology.workspace)
    workspace = core.workspaces.get_workspace(topology.workspace)
    assert found.display_name == workspace.display_name
    assert workspace.capacity_assignment_progress == "Completed"
    (capacity,) = core.capacities.list_capacities()
    assert (capacity.id, capacity.state) == (workspace.capacity_id, "Active")


def test_paused_capacity_is_seen_and_refuses_new_items(
    app: Caller, topology: Topology, control: Control, connection: str
) -> None:
    control("PUT", f"capacities/{topology.capacity}", {"state": "Inactive"})
    assert app.call("GET", f"/capacities/{topology.capacity}").json()["state"] == "Inactive"
    answer = app.call("POST", f"/workspaces/{topology.workspace}/mirroredDatabases", item_body("m", connection))
    refused(answer, 403, "CapacityNotActive", topology.capacity)


def test_role_assignments_with_official_client(app: Caller, operator: Caller, workspace: str) -> None:
    roles = app.client.core.workspaces
    server = models.ServicePrincipal(id=str(uuid.uuid4()))
    request = models.AddWorkspaceRoleAssignmentRequest(principal=server, role="Contributor")
    assert roles.add_workspace_role_assignment(workspace, request).role == "Contributor"
    with pytest.raises(HttpResponseError) as again:
        roles.add_workspace_role_assignment(workspace, request)
    assert again.value.status_code == 409
    assert "PrincipalAlreadyHasWorkspaceRolePermissions" in str(again.value.response.text())
    listed = {a.principal.id: a.role for a in roles.list_workspace_role_assignments(workspace)}
    assert listed == {operator.object_id: "Admin", app.object_id: "Member", server.id: "Contributor"}
    operator.client.core.workspaces.update_workspace_role_assignment(
        workspace, server.id, models.UpdateWorkspaceRoleAssignmentRequest(role="Viewer")
    )
    assert roles.get_workspace_role_assignment(workspace, server.id).role == "Viewer"
    operator.client.core.workspaces.delete_workspace_role_assignment(workspace, server.id)
    refused(app.call("GET", f"/workspaces/{workspace}/roleAssignments/{server.id}"), 404, "EntityNotFound")


def test_roles_are_enforced(app: Caller, operator: Caller, stranger: Caller, workspace: str) -> None:
    path = f"/workspaces/{workspace}"
    refused(stranger.call("GET", path), 403, "InsufficientPrivileges", "no role", "Viewer")
    assert [w["id"] for w in stranger.call("GET", "/workspaces").json()["value"]] == []
    admin = {"principal": {"id": stranger.object_id, "type": "ServicePrincipal"}, "role": "Admin"}
    refused(app.call("POST", f"{path}/roleAssignments", admin), 403, "InsufficientPrivileges", "Admin")
    refused(app.call("DELETE", f"{path}/roleAssignments/{app.object_id}"), 403, "InsufficientPrivileges", "Member")
    viewer = admin | {"role": "Viewer"}
    assert app.call("POST", f"{path}/roleAssignments", viewer).status_code == 201
    assert stranger.call("GET", path).status_code == 200
    refused(stranger.call("POST", f"{path}/mirroredDatabases", {}), 403, "InsufficientPrivileges", "Contributor")
    last = operator.call("DELETE", f"{path}/roleAssignments/{operator.object_id}")
    refused(last, 400, "InvalidInput", "last admin")


def test_unknown_things(app: Caller, workspace: str) -> None:
    nothing = uuid.uuid4()
    refused(app.call("GET", f"/workspaces/{nothing}"), 404, "WorkspaceNotFound", str(nothing))
    refused(app.call("GET", f"/workspaces/{workspace}/mirroredDatabases/{nothing}"), 404, "ItemNotFound", str(nothing))
    refused(app.call("GET", f"/operations/{nothing}"), 404, "OperationNotFound", str(nothing))
    refused(app.call("GET", f"/capacities/{nothing}"), 404, "CapacityNotFound", str(nothing))


def test_mirrored_database_with_official_client(app: Caller, workspace: str, connection: str) -> None:
    items = app.client.mirroreddatabase.items
    from microsoft_fabric_api.generated.mirroreddatabase import models as mirrored

    parts = definition(connection, "shop", retentionInDays=7)
    payload = parts["parts"][0]["payload"]
    part = mirrored.MirroredDatabaseDefinitionPart(path="mirroring.json", payload=payload, payload_type="InlineBase64")
    form = mirrored.MirroredDatabaseDefinition(parts=[part])
    made = items.create_mirrored_database(
        workspace, mirrored.CreateMirroredDatabaseRequest(display_name="shop", description="d", definition=form)
    )
    assert made.properties.sql_endpoint_properties.provisioning_status == "InProgress"
    time.sleep(0.15)
    seen = items.get_mirrored_database(workspace, made.id)
    assert (seen.display_name, seen.description, seen.type) == ("shop", "d", "MirroredDatabase")
    assert seen.properties.sql_endpoint_properties.provisioning_status == "Success"
    assert seen.properties.default_schema == "public"
    got = items.get_mirrored_database_definition(workspace, made.id)
    read = {p.path: p.payload for p in got.definition.parts}
    assert read["mirroring.json"] == payload
    assert json.loads(base64.b64decode(read[".platform"]))["metadata"]["displayName"] == "shop"
    items.update_mirrored_database(workspace, made.id, mirrored.UpdateMirroredDatabaseRequest(display_name="shop-2"))
    assert [i.display_name for i in items.list_mirrored_databases(workspace)] == ["shop-2"]
    items.delete_mirrored_database(workspace, made.id)
    assert list(items.list_mirrored_databases(workspace)) == []


def test_names_are_unique_in_a_workspace(app: Caller, workspace: str, connection: str) -> None:
    path = f"/workspaces/{workspace}/mirroredDatabases"
    assert app.call("POST", path, item_body("Shop", connection)).status_code == 201
    refused(app.call("POST", path, item_body("sHOP", connection)), 409, "ItemDisplayNameAlreadyInUse", "sHOP")


def encoded(value: Any) -> dict[str, Any]:
    payload = base64.b64encode(json.dumps(value).encode()).decode()
    return {"parts": [{"path": "mirroring.json", "payload": payload, "payloadType": "InlineBase64"}]}


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"parts": []}, "no part 'mirroring.json'"),
        ({"parts": [{"path": "mirroring.json", "payload": "!", "payloadType": "InlineBase64"}]}, "base64"),
        (encoded({}), "properties"),
        (encoded({"properties": {"source": {"type": "Oracle"}}}), "Oracle"),
    ],
)
def test_definitions_are_checked(app: Caller, workspace: str, parts: Any, words: str) -> None:
    body = {"displayName": "m", "definition": parts}
    answer = app.call("POST", f"/workspaces/{workspace}/mirroredDatabases", body)
    refused(answer, 400, "CorruptedPayload", words)


@pytest.mark.parametrize("days", [0, 31])
def test_retention_is_limited(app: Caller, workspace: str, connection: str, days: int) -> None:
    body = {"displayName": "m", "definition": definition(connection, "shop", retentionInDays=days)}
    answer = app.call("POST", f"/workspaces/{workspace}/mirroredDatabases", body)
    refused(answer, 400, "CorruptedPayload", "retentionInDays")


def test_definition_needs_a_connection_that_the_caller_may_use(
    operator: Caller, workspace: str, connection: str
) -> None:
    answer = operator.call("POST", f"/workspaces/{workspace}/mirroredDatabases", item_body("m", connection))
    refused(answer, 400, "ConnectionNotFound", connection)


def test_bad_bodies_name_the_field(app: Caller, workspace: str) -> None:
    refused(app.call("POST", f"/workspaces/{workspace}/mirroredDatabases"), 400, "InvalidInput", "displayName")
    bad = {"principal": {"id": "x", "type": "User"}, "role": "Member"}
    refused(app.call("POST", f"/workspaces/{workspace}/roleAssignments", bad), 400, "InvalidInput", "principal.id")


def test_start_waits_for_the_sql_endpoint(app: Caller, workspace: str, connection: str, control: Control) -> None:
    control("PUT", "behaviour", {"initializingSeconds": 30})
    path = f"/workspaces/{workspace}/mirroredDatabases"
    item = f"{path}/{app.call('POST', path, item_body('m', connection)).json()['id']}"
    assert app.call("POST", f"{item}/getMirroringStatus").json() == {"status": "Initializing"}
    refused(app.call("POST", f"{item}/startMirroring"), 400, "MirroringNotReady", "Initializing")
    control("PUT", "behaviour", {"initializingSeconds": 0})
    assert app.call("POST", f"{item}/getMirroringStatus").json() == {"status": "Initialized"}


def test_pages(app: Caller, workspace: str, connection: str, control: Control) -> None:
    path = f"/workspaces/{workspace}/mirroredDatabases"
    for number in range(5):
        assert app.call("POST", path, item_body(f"m{number}", connection)).status_code == 201
    control("PUT", "behaviour", {"pageSize": 2})
    names = [item.display_name for item in app.client.mirroreddatabase.items.list_mirrored_databases(workspace)]
    assert names == [f"m{number}" for number in range(5)]
    first = app.call("GET", path).json()
    assert first["continuationUri"] == f"{API}{path}?continuationToken={first['continuationToken']}"
    last = app.call(
        "GET", path, continuationToken=app.session.get(first["continuationUri"]).json()["continuationToken"]
    )
    assert [item["displayName"] for item in last.json()["value"]] == ["m4"]
    assert "continuationToken" not in last.json()
    refused(app.call("GET", path, continuationToken="nonsense"), 400, "InvalidInput", "nonsense")


@pytest.fixture
def item(app: Caller, workspace: str, connection: str) -> str:
    """The path of a mirrored database of its own."""
    path = f"/workspaces/{workspace}/mirroredDatabases"
    return f"{path}/{app.call('POST', path, item_body('m', connection)).json()['id']}"


def test_a_long_running_operation(app: Caller, item: str, control: Control) -> None:
    control("PUT", "behaviour", {"longRunning": ["Items_GetMirroredDatabaseDefinition"], "operationSeconds": 0.3})
    answer = app.call("POST", f"{item}/getDefinition")
    assert (answer.status_code, answer.headers["Retry-After"], answer.text) == (202, "1", "")
    operation = answer.headers["x-ms-operation-id"]
    assert answer.headers["Location"] == f"{API}/operations/{operation}"
    running = app.call("GET", f"/operations/{operation}")
    assert running.json()["status"] == "Running"
    refused(app.call("GET", f"/operations/{operation}/result"), 400, "OperationHasNoResult", "Running")
    time.sleep(0.4)
    done = app.call("GET", f"/operations/{operation}")
    assert (done.json()["status"], done.json()["percentComplete"]) == ("Succeeded", 100)
    parts = app.session.get(done.headers["Location"]).json()["definition"]["parts"]
    assert [part["path"] for part in parts] == ["mirroring.json", ".platform"]


def test_official_client_waits_for_a_definition(app: Caller, item: str, control: Control) -> None:
    control("PUT", "behaviour", {"longRunning": ["Items_GetMirroredDatabaseDefinition"], "operationSeconds": 0.1})
    parts = item.split("/")
    poller = app.client.mirroreddatabase.items.begin_get_mirrored_database_definition(parts[2], parts[4])
    got = eventually(lambda: poller.result, lambda result: result is not None)
    assert "mirroring.json" in [part.path for part in got.definition.parts]


def test_ordered_failure_of_an_operation(app: Caller, item: str, connection: str, control: Control) -> None:
    control("POST", "faults", {"operation": "Items_UpdateMirroredDatabaseDefinition", "fail_operation": True})
    before = app.call("POST", f"{item}/getDefinition").json()
    change = {"definition": definition(connection, "shop", retentionInDays=9)}
    answer = app.call("POST", f"{item}/updateDefinition", change)
    assert answer.status_code == 202
    time.sleep(0.2)
    failed = app.call("GET", f"/operations/{answer.headers['x-ms-operation-id']}").json()
    assert (failed["status"], failed["error"]["errorCode"]) == ("Failed", "InjectedFault")
    assert app.call("POST", f"{item}/getDefinition").json() == before


def test_quota_of_a_caller(app: Caller, operator: Caller, control: Control) -> None:
    assert control("PUT", "quota", {})["calls"] == 200
    control("PUT", "quota", {"calls": 3, "seconds": 1.5})
    time.sleep(1.6)
    answers = [app.call("GET", "/workspaces") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    refused(answers[3], 429, "RequestBlocked", "until")
    assert answers[3].json()["isRetriable"]
    assert answers[3].headers["Retry-After"] == "2"
    assert operator.call("GET", "/workspaces").status_code == 200
    started = time.monotonic()
    assert list(app.client.core.workspaces.list_workspaces())
    assert 1.0 < time.monotonic() - started < 4
    assert control("GET", "quota")["callers"][app.object_id]["refused"] >= 2


def test_ordered_faults(app: Caller, control: Control) -> None:
    fault = {"operation": "Workspaces_ListWorkspaces", "status": 429, "code": "RequestBlocked", "retry_after": 7}
    control("POST", "faults", fault)
    answer = app.call("GET", "/workspaces")
    refused(answer, 429, "RequestBlocked")
    assert answer.headers["Retry-After"] == "7"
    assert app.call("GET", "/workspaces").status_code == 200


def test_what_is_not_there_is_not_implemented(app: Caller) -> None:
    refused(app.call("GET", "/admin/items"), 501, "NotImplemented", "GET /v1/admin/items")


def test_tokens_are_checked(app: Caller, topology: Topology) -> None:
    wrong, _ = tokens.mint(topology, topology.principals["operator"], "https://management.azure.com")
    for header in ("", "Bearer nonsense", f"Bearer {wrong}"):
        answer = requests.get(f"{API}/workspaces", headers={"Authorization": header}, timeout=10)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_seeded_mirrors_look_as_if_they_ran(app: Caller, topology: Topology, control: Control) -> None:
    seeded = control("POST", "seed", {"mirrors": 1000, "tables": 3})
    assert len(set(seeded)) == 1000
    item = f"/workspaces/{topology.workspace}/mirroredDatabases/{seeded[-1]}"
    try:
        assert app.call("POST", f"{item}/getMirroringStatus").json() == {"status": "Running"}
        tables = app.call("POST", f"{item}/getTablesMirroringStatus").json()["data"]
        assert [table["status"] for table in tables] == ["Replicating"] * 3
        assert app.call("POST", f"{item}/getDefinition").status_code == 200
        assert app.call("POST", f"{item}/startMirroring").status_code == 200
        status = eventually(lambda: app.call("POST", f"{item}/getMirroringStatus").json(), lambda s: "error" in s)
        assert status["error"]["errorCode"] == "ConnectionNotFound"
    finally:
        for made in seeded:
            app.call("DELETE", item.replace(seeded[-1], made))


def test_control_refuses_nonsense(topology: Topology) -> None:
    url = f"http://127.0.0.1:{topology.ports['front_door']}/control/fabric/"
    key = {"x-control-key": topology.control_key}
    for path, body, word in (
        ("behaviour", {"longRunning": ["Items_Nothing"]}, "Items_Nothing"),
        ("behaviour", {"pageSise": 3}, "pageSise"),
        ("quota", {"calls": "many"}, "calls"),
        ("capacities/none", {"state": "Active"}, "none"),
    ):
        answer = requests.put(url + path, json=body, headers=key, timeout=10)
        assert answer.status_code == 400
        assert word in answer.json()["error"]
