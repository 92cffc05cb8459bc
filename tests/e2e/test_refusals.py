"""What is malformed, unknown, foreign or not allowed gets a clear answer or a recorded reason, and changes nothing."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from local.scenario import Operator, Server, eventually

WRITE = "Microsoft.DBforPostgreSQL/flexibleServers/write"


@pytest.fixture(scope="module")
def server(operator: Operator) -> Server:
    """A server that nobody gets to mirror."""
    return operator.create_server("pg-plain", 18, "shop")


@pytest.fixture(autouse=True)
def _nothing_changes(operator: Operator, server: Server) -> Iterator[None]:
    """Whatever a test here asks for: the app must not write to ARM or Fabric, and the server must not be restarted."""
    operator.quiet(server)
    before = operator.writes_of_the_app()
    yield
    operator.quiet(server)
    assert operator.writes_of_the_app() == before
    assert operator.restarts(server) == 0


def problem(answer: Any) -> tuple[int, str, str]:
    """The status, code and detail of an answer that has to be problem details."""
    assert answer.headers["Content-Type"].startswith("application/problem+json"), answer
    assert answer.body["status"] == answer.status
    assert "Traceback" not in answer.body["detail"]
    return answer.status, answer.body["code"], answer.body["detail"]


def event(operator: Operator, resource: str, operation: str = WRITE, **more: Any) -> dict[str, Any]:
    return {
        "id": str(uuid.uuid4()),
        "topic": f"/subscriptions/{operator.topology.subscription}",
        "subject": resource,
        "eventType": "Microsoft.Resources.ResourceWriteSuccess",
        "eventTime": "2026-01-01T00:00:00Z",
        "dataVersion": "2",
        "metadataVersion": "1",
        "data": {"operationName": operation, "resourceUri": resource, "status": "Succeeded"},
    } | more


def deliver(operator: Operator, events: Any, code: str | None = None) -> int:
    """What the host answers to a delivery of these events."""
    code = operator.topology.host_keys["eventgrid_extension"] if code is None else code
    path = f"/runtime/webhooks/eventgrid?functionName=server_changed&code={code}"
    headers = {"aeg-event-type": "Notification", "content-type": "application/json"}
    body = events if isinstance(events, bytes) else json.dumps(events).encode()
    return operator.call("POST", path, body, key=None, **headers).status


@contextmanager
def no_run(operator: Operator, server: Server) -> Iterator[None]:
    """What is done inside starts no run: the next one is that of an event sent at the end."""
    runs = operator.quiet(server)
    yield
    assert deliver(operator, [event(operator, server.id)]) == 202
    assert operator.quiet(server, after=runs) == runs + 1


@pytest.mark.parametrize(
    ("tags", "code", "named"),
    [
        ({"fabric_mirror": "perhaps"}, "InvalidTag", "'perhaps'"),
        ({"fabric_mirror": "enabled", "fabric_mirror_workspace": "sales"}, "InvalidTag", "fabric-mirror-workspace"),
        ({"fabric_mirror": "enabled", "fabric_mirror_restart": "sometimes"}, "InvalidTag", "'sometimes'"),
        ({"fabric_mirror": "enabled", "fabric_mirror_databases": "shop,nosuch"}, "DatabaseExists", "'nosuch'"),
        ({"fabric_mirror": "enabled", "fabric_mirror_workspace": str(uuid.UUID(int=7))}, "WorkspaceAllowed", "-0007"),
    ],
    ids=["state", "workspace", "restart", "unknown database", "foreign workspace"],
)
def test_a_tag_that_cannot_be_followed_is_recorded_with_its_reason(
    operator: Operator, server: Server, tags: dict[str, str], code: str, named: str
) -> None:
    try:
        operator.tag(server, **tags)
        seen = eventually(
            lambda: operator.mirroring(server), lambda seen: named.strip("-") in json.dumps(seen.get("reasons")), 20
        )
        assert seen["phase"] == "Blocked"
        [reason] = [reason for reason in seen["reasons"] if reason["code"] == code]
        assert named.strip("-") in reason["message"]
        assert reason["remedy"]
        assert seen["mirrors"] == []
    finally:
        operator.tag(server)


@pytest.mark.parametrize(
    ("body", "status", "code", "named"),
    [
        (b"{", 400, "InvalidBody", "not a JSON object"),
        (b"[1]", 400, "InvalidBody", "not a JSON object"),
        (b"\xff\xfe", 400, "InvalidBody", "not a JSON object"),
        ({"database": "shop"}, 400, "InvalidBody", "'database'"),
        ({"databases": "shop"}, 400, "InvalidBody", "Databases is 'shop'"),
        ({"databases": [""]}, 400, "InvalidBody", "''"),
        ({"workspace": "sales"}, 400, "InvalidBody", "'sales'"),
        ({"restart": "sometimes"}, 400, "InvalidBody", "'sometimes'"),
        ({"databases": ["Shop"]}, 404, "DatabaseNotFound", "'Shop'"),
    ],
)
def test_a_body_that_cannot_be_followed_is_refused(
    operator: Operator, server: Server, body: Any, status: int, code: str, named: str
) -> None:
    with no_run(operator, server):
        refused = problem(operator.call("PUT", operator.door(server), body))
    assert refused[:2] == (status, code)
    assert named in refused[2]


def test_a_request_that_cannot_be_read_is_refused_before_anything_is_asked(operator: Operator, server: Server) -> None:
    """Through the host: unit tests ask each door."""
    door = operator.door(server)
    for path, body, refused in (
        (door, b'{"tables": "' + b"x" * 2**18 + b'"}', (413, "BodyTooLarge", "at most 262,144 were expected")),
        (f"{door}?restrat=now", b"", (400, "InvalidQuery", "'restrat'; this address takes none")),
        (door, b'{"restart": "\xff"}', (400, "InvalidBody", "not a JSON object in UTF-8")),
        (door, b'{"restart": ' + b'{"a":' * 20_000, (400, "InvalidBody", "recursion")),
        (door, {"workspace": str(uuid.UUID(int=7))}, (403, "WorkspaceNotAllowed", "-0007")),
    ):
        status, code, detail = problem(operator.call("PUT", path, body))
        assert (status, code) == refused[:2]
        assert refused[2].strip("-") in detail
    assert operator.call("GET", "/api/dashboard?serach=x").status == 400


def test_a_request_against_a_tag_is_refused(operator: Operator, server: Server) -> None:
    try:
        operator.tag(server, fabric_mirror="disabled")
        status, code, detail = problem(operator.call("PUT", operator.door(server)))
        assert (status, code) == (409, "ForbiddenByTag")
        assert "fabric-mirror=disabled" in detail
    finally:
        operator.tag(server)


@pytest.mark.parametrize("key", [None, "wrong"])
@pytest.mark.parametrize(("method", "what"), [("PUT", "mirroring"), ("GET", "mirroring"), ("GET", "readiness")])
def test_a_request_needs_a_key(operator: Operator, server: Server, method: str, what: str, key: str | None) -> None:
    answer = operator.call(method, operator.door(server, what), key=key)
    assert (answer.status, answer.body) == (401, "")


def test_other_servers_than_the_allowed_ones(operator: Operator) -> None:
    topology = operator.topology
    elsewhere = operator.door("pg-plain").replace(topology.subscription, str(uuid.UUID(int=9)))
    assert problem(operator.call("PUT", elsewhere))[:2] == (403, "SubscriptionNotAllowed")
    assert problem(operator.call("PUT", operator.door("pg-nosuch")))[:2] == (404, "ServerNotFound")
    assert problem(operator.call("GET", operator.door("pg-nosuch")))[:2] == (404, "NotMirrored")
    status, _, detail = problem(operator.call("PUT", operator.door("-")))
    assert (status, "'-'" in detail) == (400, True)
    status, _, detail = problem(operator.call("PUT", operator.door("x").replace(topology.subscription, "mine")))
    assert (status, "'mine'" in detail) == (400, True)


def test_events_of_something_else_start_no_run(operator: Operator, server: Server) -> None:
    here = server.id
    elsewhere = here.replace(operator.topology.subscription, str(uuid.UUID(int=9)))
    nonsense = [
        event(operator, here.replace("flexibleServers", "servers")),
        event(operator, "/subscriptions/x/resourceGroups/y/providers/Microsoft.Storage/storageAccounts/z"),
        event(operator, f"{here}/databases/shop", f"{WRITE[:-6]}/databases/write"),
        event(operator, elsewhere),
        event(operator, here, "Microsoft.DBforPostgreSQL/flexibleServers/backups/write"),
        event(operator, here, eventType="Microsoft.Storage.BlobCreated"),
        event(operator, here, data={}),
        event(operator, here, data=None),
        event(operator, here, data="flexibleServers"),
        event(operator, here, data=[1, 2]),
        event(operator, "", data={"operationName": WRITE, "resourceUri": {"a": 1}}),
        event(operator, here, data={"operationName": ["x"], "resourceUri": here, "claims": "x", "authorization": []}),
    ]
    with no_run(operator, server):
        assert [deliver(operator, [each]) for each in nonsense] == [202] * len(nonsense)
        assert deliver(operator, nonsense) == 202
    mailboxes = str(operator.durable("entities/server_mailbox").body)
    assert operator.topology.subscription in mailboxes
    assert str(uuid.UUID(int=9)) not in mailboxes


def test_an_event_of_a_server_that_is_not_there_changes_nothing(operator: Operator, server: Server) -> None:
    assert deliver(operator, [event(operator, server.id.replace("pg-plain", "pg-gone"))]) == 202
    operator.quiet("pg-gone", after=0)
    assert operator.call("GET", operator.door("pg-gone")).status == 404


def test_the_webhook_needs_its_key_and_json(operator: Operator, server: Server) -> None:
    with no_run(operator, server):
        assert deliver(operator, [event(operator, server.id)], code="wrong") == 403
        assert deliver(operator, [event(operator, server.id)], code="") == 401
        assert deliver(operator, b"not json") == 500
        assert deliver(operator, b'"text"') == 500
