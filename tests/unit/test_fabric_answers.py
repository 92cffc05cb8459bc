"""What the app makes of answers that Fabric may give and the stand-in does not give: without a network."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest
from azure.core.rest import HttpRequest

from shared.fabric import client, connection, mirror
from shared.fabric.credentials import Basic
from shared.fabric.refusals import ListNotFound
from shared.platform import errors
from shared.platform.reasons import Reason
from tests.virtual_time import in_virtual_time, now


class Answer:
    """As much of a response as the client looks at."""

    def __init__(self, status: int, content: bytes, **headers: str):
        self.status_code, self.content, self.headers, self.reason = status, content, headers, "Reason"
        self.request = HttpRequest("GET", "https://f/x")


@pytest.fixture
def fabric(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`fabric(status, content)`: what every call is answered with."""

    def answers(status: int, content: bytes, **headers: str) -> None:
        class Pipeline:
            async def send_request(self, *_: Any, **__: Any) -> Answer:
                return Answer(status, content, **headers)

        class Made:
            pipeline = Pipeline()

        monkeypatch.setattr(client, "once", lambda *_: Made())
        monkeypatch.setattr(client, "cloud", lambda: type("Cloud", (), {"fabric": "https://f"}))

    return answers


@pytest.mark.parametrize(
    ("status", "content", "error", "code", "words"),
    [
        (403, b'{"error": {"code": "Forbidden", "message": "No."}}', errors.NotAllowed, "Forbidden", "No."),
        (502, b"<html>", errors.Unavailable, "Unavailable", "HTTP 502 Reason"),
        (502, b'{"message": 1, "new": "\xe9"}', errors.Unavailable, "Unavailable", "HTTP 502 Reason"),
        (404, b'{"errorCode": "ItemNotFound", "message": "Gone."}', errors.NotFound, "ItemNotFound", "Gone."),
        (400, b"{}", errors.Blocked, "Blocked", "HTTP 400 Reason"),
        (
            400,
            b'{"errorCode": "Busy", "message": "Later.", "isRetriable": true, "requestId": "r1"}',
            errors.Unavailable,
            "Busy",
            "Later. (Busy, request r1)",
        ),
        (
            400,
            b'{"errorCode": "C", "message": "M.", "moreDetails": [{"errorCode": "D", "message": "Why."}], "new": 1}',
            errors.Blocked,
            "C",
            "M. Why. (C, request unknown)",
        ),
        (409, b'{"errorCode": "Taken", "message": null}', errors.Conflict, "Taken", "HTTP 409 Reason (Taken"),
        (409, b'{"errorCode": null, "message": null}', errors.Conflict, "Conflict", "HTTP 409 Reason"),
    ],
)
async def test_refusals_in_any_form(
    fabric: Callable[..., None], status: int, content: bytes, error: type[errors.MirrorError], code: str, words: str
) -> None:
    fabric(status, content)
    with pytest.raises(error) as refused:
        await client.read(msgspec.Raw, "/x")
    assert type(refused.value) is error
    assert refused.value.code == code
    assert f"Fabric refused GET /x: {words}" in refused.value.message
    assert refused.value.remedy


@pytest.mark.parametrize(
    ("status", "content"),
    [
        (401, b""),
        (401, b"<html>"),
        (401, b'{"errorCode": "Unauthorized", "message": "Who?", "isRetriable": false}'),
        (403, b'{"error": {"code": "TokenExpired", "message": "Old."}}'),
    ],
)
async def test_a_refused_token_is_no_missing_role(fabric: Callable[..., None], status: int, content: bytes) -> None:
    fabric(status, content)
    with pytest.raises(errors.Unavailable, match="Fabric refused the app's token, and a new one, at GET /x") as refused:
        await client.read(msgspec.Raw, "/x")
    assert refused.value.code == "TokenRefused"
    assert "the role" not in refused.value.remedy
    assert "tenant setting" in refused.value.remedy


@pytest.mark.parametrize("status", [200, 400, 403, 404, 409])
@pytest.mark.parametrize("content", [b"", b"null", b"[]", b"<html>", b'{"errorCode": "It'])
async def test_what_is_no_json_is_an_error_of_fabric_and_no_absence(
    fabric: Callable[..., None], status: int, content: bytes
) -> None:
    fabric(status, content)
    with pytest.raises(errors.Unavailable, match=r"Fabric.* /x|Fabric.* https://f/x") as garbled:
        await client.read(dict[str, msgspec.Raw], "/x")
    assert garbled.value.remedy
    with pytest.raises(errors.Unavailable):
        [row async for row in client.pages(int, "/x")]


@pytest.mark.parametrize("content", [b"{}", b'{"value": null}', b'{"continuationToken": "t"}'])
async def test_a_list_without_rows_is_no_empty_list(fabric: Callable[..., None], content: bytes) -> None:
    fabric(200, content)
    with pytest.raises(errors.Unavailable, match="differs from its documentation"):
        [row async for row in client.pages(int, "/x")]
    fabric(200, b'{"value": []}')
    assert [row async for row in client.pages(int, "/x")] == []


async def test_one_404_of_a_list_is_looked_at_again(fabric: Callable[..., None]) -> None:
    fabric(404, b'{"errorCode": "EntityNotFound", "message": "Gone."}')
    with pytest.raises(ListNotFound, match=r"Gone\. \(EntityNotFound") as absent:
        [row async for row in client.pages(int, "/x")]
    assert (absent.value.retryable, absent.value.code) == (True, "EntityNotFound")
    assert absent.value.patience
    with pytest.raises(errors.NotFound):
        [row async for row in client.pages(int, "/x", method="POST")]


@pytest.mark.parametrize(
    ("status", "code", "remedy"),
    [
        (403, b"InsufficientPrivileges", "the role Member on the workspace"),
        (403, b"CapacityNotActive", "Resume the capacity"),
    ],
)
async def test_what_to_do_about_a_refusal(fabric: Callable[..., None], status: int, code: bytes, remedy: str) -> None:
    fabric(status, b'{"errorCode": "%s", "message": "M."}' % code)
    with pytest.raises(errors.MirrorError) as refused:
        await client.read(msgspec.Raw, "/x")
    assert refused.value.code == code.decode()
    assert remedy in refused.value.remedy


def one_after_the_other(monkeypatch: pytest.MonkeyPatch, *answers: Answer) -> list[str]:
    """Answers every call with the next of `answers`; the paths that are asked for."""
    asked: list[str] = []

    async def send(_: str, path: str, **__: Any) -> Answer:
        asked.append(path)
        return answers[len(asked) - 1]

    monkeypatch.setattr(client, "_send", send)
    return asked


def patient(seconds: float) -> dict[str, str]:
    return {"Retry-After": f"{seconds:g}"}


FAILED = b'{"status": "Failed", "error": {"errorCode": "E", "message": "M", "requestId": null, "isRetriable": %s}}'


@in_virtual_time
async def test_an_operation_is_followed_through_unknown_states_to_its_result(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = one_after_the_other(
        monkeypatch,
        Answer(202, b"", Location="https://f/operations/o-1"),
        Answer(200, b'{"status": "Pondering"}', **patient(0)),
        Answer(200, b'{"status": "Succeeded"}'),
        Answer(200, b"7"),
    )
    assert await client.write(int, "POST", "/x", {}) == 7
    assert asked == ["/x", "/operations/o-1", "/operations/o-1", "/operations/o-1/result"]
    assert now() == client.SHORTEST_PAUSE


@in_virtual_time
async def test_an_operation_is_followed_for_minutes_and_never_begun_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    accepted, working = (Answer(status, b'{"status": "Running"}', **patient(90)) for status in (202, 200))
    accepted.headers["x-ms-operation-id"] = "o-1"
    asked = one_after_the_other(
        monkeypatch, accepted, working, working, working, Answer(200, b'{"status": "Succeeded"}')
    )
    await client.write(msgspec.Raw, "POST", "/x", {})
    assert asked == ["/x", *["/operations/o-1"] * 4]
    assert now() == 3 * client.LONGEST_PAUSE
    one_after_the_other(monkeypatch, accepted, *[working] * 6)
    with pytest.raises(errors.Unavailable, match=r"still working on /x") as waiting:
        await client.write(msgspec.Raw, "POST", "/x", {})
    assert (waiting.value.code, waiting.value.retry_after) == ("OperationNotOver", client.LONGEST_PAUSE)


async def test_an_operation_that_nobody_can_follow_is_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    one_after_the_other(monkeypatch, Answer(202, b"", requestId="r-1"))
    with pytest.raises(
        errors.Unavailable, match=r"Fabric accepted /x and does not name the operation \(request r-1\)"
    ) as e:
        await client.write(msgspec.Raw, "DELETE", "/x")
    assert e.value.code == "OperationNotOver"


async def test_a_result_that_nobody_wants_is_not_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    accepted = Answer(202, b"", Location="https://f/operations/o-1/result", **{"x-ms-operation-id": "o-1"})
    asked = one_after_the_other(monkeypatch, accepted, Answer(200, b'{"status": "Succeeded"}'))
    await client.write(msgspec.Raw, "POST", "/x", {})
    assert asked == ["/x", "/operations/o-1"]


async def test_an_operation_that_failed_for_what_passes_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    for code in (b"InternalError", b"ServiceUnavailable", b"OperationTimedOut", b"TooManyRequests"):
        accepted = Answer(202, b"", **{"x-ms-operation-id": "o-1"})
        one_after_the_other(monkeypatch, accepted, Answer(200, (FAILED % b"false").replace(b'"E"', b'"%s"' % code)))
        with pytest.raises(errors.Unavailable, match="An operation of Fabric failed: M") as failed:
            await client.write(msgspec.Raw, "POST", "/x", {})
        assert failed.value.code == code.decode()
        assert failed.value.patience, "it is Blocked after some minutes"


@pytest.mark.parametrize(
    "state", [b'{"status": "Failed"}', b'{"status": "Failed", "error": {}}', b'{"status": "Canceled"}']
)
async def test_an_operation_that_ended_without_a_reason_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, state: bytes
) -> None:
    accepted = Answer(202, b"", **{"x-ms-operation-id": "o-1"})
    one_after_the_other(monkeypatch, accepted, Answer(200, state, requestId="r-1"))
    with pytest.raises(
        errors.Unavailable, match=r"failed: no reason was given \(UnknownError, operation o-1"
    ) as failed:
        await client.write(msgspec.Raw, "POST", "/x", {})
    assert (failed.value.code, bool(failed.value.patience)) == ("UnknownError", True)


@pytest.mark.parametrize(("retriable", "error"), [(b"true", errors.Unavailable), (b"false", errors.Blocked)])
async def test_a_failed_operation_says_whether_it_may_be_tried_again(
    monkeypatch: pytest.MonkeyPatch, retriable: bytes, error: type[errors.MirrorError]
) -> None:
    accepted = Answer(202, b"", **{"x-ms-operation-id": "o-1"})
    one_after_the_other(monkeypatch, accepted, Answer(200, FAILED % retriable, requestId="r-1"))
    with pytest.raises(error, match=r"An operation of Fabric failed: M \(E, operation o-1, request r-1\)") as failed:
        await client.write(msgspec.Raw, "POST", "/x", {})
    assert type(failed.value) is error


async def test_a_field_that_is_null_is_as_one_that_is_absent(fabric: Callable[..., None]) -> None:
    fabric(200, b'{"status": "Running", "error": {"errorCode": "E", "message": "M", "requestId": null}, "new": null}')
    assert await mirror.status("w", "i") == mirror.MirrorStatus("Running", Reason("E", "M"))
    fabric(200, b'{"data": [{"status": "Failed", "sourceTableName": "t", "sourceSchemaName": null, "metrics": null}]}')
    assert await mirror.tables_status("w", "i") == (mirror.TableStatus(schema="", name="t", status="Failed"),)
    fabric(200, b'{"status": "\xe9"}')
    with pytest.raises(errors.Unavailable, match=r"differs from its documentation: .*utf-8.*request unknown"):
        await mirror.status("w", "i")
    fabric(200, b'{"status": null}')
    with pytest.raises(errors.Unavailable, match=r"differs from its documentation: .*`status` .*request unknown"):
        await mirror.status("w", "i")


async def test_a_connection_of_others_may_leave_things_out(fabric: Callable[..., None]) -> None:
    """Somebody else's connection with nulls in it must not hide ours, which comes after it."""
    foreign = {"id": "1", "displayName": None, "connectionDetails": None, "credentialDetails": None}
    ours = {"id": "2", "displayName": "Ours", "connectionDetails": {"path": "h;d"}}
    both = [one | {"connectivityType": "ShareableCloud", "gatewayId": None} for one in (foreign, ours)]
    fabric(200, msgspec.json.encode({"value": both, "continuationToken": None}))
    with pytest.raises(errors.Conflict, match="The Fabric connection 'ours' \\(2\\) leads to 'h;d'"):
        await connection.ensure("ours", "elsewhere", "d", Basic("role", "password"))


async def test_a_mirror_in_a_status_that_is_not_known_is_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = Answer(200, b'{"status": "Rebalancing", "since": "yesterday"}')
    asked = one_after_the_other(monkeypatch, answer, answer)
    assert await mirror.status("w", "i") == mirror.MirrorStatus("Rebalancing")
    with pytest.raises(errors.Unavailable, match="The mirrored database i is Rebalancing; it can be started when"):
        await mirror.start("w", "i")
    assert asked == ["/workspaces/w/mirroredDatabases/i/getMirroringStatus"] * 2


async def test_pages_are_not_followed_to_another_host(
    fabric: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, dict[str, str]]] = []
    pages = [
        b'{"value": [1], "continuationToken": "a%3D", "continuationUri": "https://elsewhere/x?continuationToken=a%3D"}',
        b'{"value": [2], "continuationUri": "https://f/x?continuationToken=b"}',
        b'{"value": [3]}',
    ]

    async def send(_: str, path: str, *, query: dict[str, str], **__: Any) -> Answer:
        asked.append((path, query))
        return Answer(200, pages[len(asked) - 1])

    fabric(200, b"")
    monkeypatch.setattr(client, "_send", send)
    assert [row async for row in client.pages(int, "/x")] == [1, 2, 3]
    assert asked == [("/x", {}), ("/x", {"continuationToken": "a="}), ("https://f/x?continuationToken=b", {})]


def offered(*types: tuple[Any, ...]) -> Callable[..., AsyncIterator[Any]]:
    """Answers the question for connection types. `types`: name, creation methods, and what more is said of it."""

    async def pages(kind: type[Any], *_: Any, **__: Any) -> AsyncIterator[Any]:
        for name, methods, *more in types:
            made = [
                {"name": method, "parameters": [{"name": p, "required": required} for p, required in parameters]}
                for method, parameters in methods
            ]
            said = {"type": name, "creationMethods": made, "new": 1, **dict(*more)}
            yield msgspec.convert(said, kind)

    return pages


BOTH = [("Server", True), ("Database", True)]
ENTRA_ONLY = {"supportedCredentialTypes": ["OAuth2", "ServicePrincipal"]}
BASIC_TOO = {"supportedCredentialTypes": ["OAuth2", "Basic"]}


@pytest.mark.parametrize(
    ("types", "chosen"),
    [
        ([("PostgreSQL", [("P", BOTH)]), ("AzurePostgreSql", [("A", BOTH)])], ("AzurePostgreSql", "A")),
        ([("SQL", [("S", BOTH)]), ("postgresql", [("P", BOTH)])], ("postgresql", "P")),
        (
            [("AzurePostgreSQL", [("A", BOTH)], ENTRA_ONLY), ("PostgreSQL", [("P", BOTH)], BASIC_TOO)],
            ("PostgreSQL", "P"),
        ),
        (
            [("AzurePostgreSQL", [("A", [("server", True)])]), ("PostgreSQL", [("P", [*BOTH, ("option", False)])])],
            ("PostgreSQL", "P"),
        ),
        (
            [("PostgreSQL", [("P1", [*BOTH, ("tenant", True)]), ("P2", [("host", True), ("Database", False)])])],
            ("PostgreSQL", "P2"),
        ),
    ],
)
async def test_the_best_connection_type_that_fits(
    monkeypatch: pytest.MonkeyPatch, types: list[Any], chosen: tuple[str, str]
) -> None:
    monkeypatch.setattr(connection, "pages", offered(*types))
    found = await connection.discover()
    assert (found.type, found.method) == chosen
    assert (found.server.lower() in ("server", "host"), found.database) == (True, "Database")


@pytest.mark.parametrize(("gateway", "who"), [("", "Fabric offers"), ("g-1", "The gateway g-1 offers")])
async def test_no_connection_type_that_fits(monkeypatch: pytest.MonkeyPatch, gateway: str, who: str) -> None:
    monkeypatch.setattr(connection, "pages", offered(("SQL", [("S", BOTH)]), ("PostgreSQL", [("P", [("url", True)])])))
    with pytest.raises(errors.Blocked, match=f"{who} no PostgreSQL connection") as refused:
        await connection.discover(gateway)
    assert refused.value.code == "NoPostgreSqlConnections"
    assert refused.value.remedy
