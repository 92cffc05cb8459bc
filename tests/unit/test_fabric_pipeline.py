"""What the client's own pipeline repeats and follows, where the stand-in gives no such answers: without a network."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ServiceResponseTimeoutError
from azure.core.pipeline.transport import AioHttpTransport
from azure.core.rest import HttpRequest

from shared.fabric import client
from shared.fabric.quota import background
from shared.platform import errors
from shared.platform.identity import NoToken
from tests.unit.facts import settings
from tests.virtual_time import in_virtual_time, now


class Answer:
    """As much of a response as the pipeline and the client look at. `request`: what it answers."""

    request: HttpRequest

    def __init__(self, status: int, content: bytes, **headers: str):
        self.status_code, self.content, self.headers, self.reason = status, content, headers, "Reason"

    async def read(self) -> bytes:
        return self.content

    async def close(self) -> None:
        return


class Wire:
    """What the client's own pipeline sends, answered with one of `answers` after the other; the last one stays."""

    def __init__(self, *answers: Answer | Exception):
        self.answers = list(answers)
        self.sent: list[tuple[str, str, str | None, str]] = []
        self.timeouts: list[float | None] = []

    async def send(self, request: HttpRequest, *, read_timeout: float | None = None, **__: Any) -> Answer:
        self.sent.append((request.method, request.url, request.content, request.headers.get("Authorization", "")))
        self.timeouts.append(read_timeout)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        answer.request = request
        return answer


@pytest.fixture
def wired(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Wire]:
    """`wired(*answers)`: the wire that the client is at."""

    class Credential:
        def renew(self) -> None:
            tokens.append("renewed")

        async def get_token(self, *_: str, **__: Any) -> AccessToken:
            return AccessToken(tokens[-1], 1 << 40)

    tokens = ["secret"]
    credential = Credential()

    def at(*answers: Answer | Exception) -> Wire:
        wire = Wire(*answers)
        monkeypatch.setattr(AioHttpTransport, "send", wire.send)
        return wire

    cloud = SimpleNamespace(fabric="https://f/v1", fabric_scope="https://f/.default")
    monkeypatch.setattr(client, "cloud", lambda: cloud)
    monkeypatch.setattr(client, "credential", lambda: credential)
    monkeypatch.setattr(client, "settings", settings)
    return at


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "target", ["https://elsewhere/v1/x", "//elsewhere/v1/x", "http://f/v1/x", "https://f.elsewhere/v1/x"]
)
def test_neither_token_nor_body_follows_a_redirect_to_another_host(
    wired: Callable[..., Wire], status: int, target: str
) -> None:
    @in_virtual_time
    async def run(method: str) -> None:
        wire = wired(Answer(status, b"", location=target))
        with pytest.raises(errors.Blocked, match=rf"Fabric refused {method} /x: HTTP {status}"):
            await client.write(msgspec.Raw, method, "/x", {"password": "p"})
        assert [url for _, url, *_ in wire.sent] == ["https://f/v1/x"]

    run("POST")
    run("GET")


@pytest.mark.parametrize("target", ["https://f/v1/y", "/v1/y"])
@in_virtual_time
async def test_a_redirect_within_the_host_is_followed(wired: Callable[..., Wire], target: str) -> None:
    wire = wired(Answer(307, b"", location=target), Answer(200, b"7"))
    assert await client.write(int, "POST", "/x", {"a": 1}) == 7
    assert wire.sent[1] == ("POST", "https://f/v1/y", '{"a": 1}', "Bearer secret")


@in_virtual_time
async def test_a_token_that_is_refused_is_replaced_by_a_new_one(wired: Callable[..., Wire]) -> None:
    wire = wired(Answer(401, b'{"errorCode": "TokenExpired"}'), Answer(200, b"7"))
    assert await client.write(int, "POST", "/x", {"a": 1}) == 7
    assert [token for *_, token in wire.sent] == ["Bearer secret", "Bearer renewed"]
    wire = wired(Answer(401, b""))
    with pytest.raises(errors.Unavailable) as refused:
        await client.read(msgspec.Raw, "/x")
    assert (refused.value.code, len(wire.sent)) == ("TokenRefused", 2)


@in_virtual_time
async def test_a_missing_token_is_no_missing_role(wired: Callable[..., Wire], monkeypatch: pytest.MonkeyPatch) -> None:
    async def none(*_: str, **__: Any) -> AccessToken:
        raise NoToken("no endpoint")

    wire = wired(Answer(200, b"7"))
    monkeypatch.setattr(client.credential(), "get_token", none)
    with pytest.raises(errors.Unavailable, match="got no token for Fabric: no endpoint") as missing:
        await client.read(int, "/x")
    assert (missing.value.code, wire.sent) == ("TokenMissing", [])


BUSY = b'{"errorCode": "Busy", "message": "Later.", "isRetriable": %s}'


@in_virtual_time
async def test_a_read_is_repeated_where_fabric_says_that_it_may_be(wired: Callable[..., Wire]) -> None:
    wire = wired(Answer(400, BUSY % b"true"), Answer(200, b"7"))
    assert await client.read(int, "/x") == 7
    for method, content, raised in (("GET", b"false", errors.Blocked), ("POST", b"true", errors.Unavailable)):
        wire = wired(Answer(400, BUSY % content))
        with pytest.raises(raised, match="Busy"):
            await client.write(msgspec.Raw, method, "/x")
        assert len(wire.sent) == 1


@pytest.mark.parametrize(
    ("status", "asked", "pauses", "tries"),
    [
        (429, "0", (0, 0), 4),
        (503, "2", (2, 2), 4),
        (503, timedelta(minutes=-1), (0, 0), 4),
        (503, timedelta(hours=1), (3500, 3600), 1),
        (429, timedelta(hours=1), (3500, 3600), 1),
        (503, "soon", (15, 15), 4),
    ],
)
@in_virtual_time
async def test_retry_after_in_any_form_is_waited_for_here_only_when_it_is_short(
    wired: Callable[..., Wire], status: int, asked: str | timedelta, pauses: tuple[float, float], tries: int
) -> None:
    """In seconds, or as the date that is so far away."""
    value = asked if isinstance(asked, str) else format_datetime(datetime.now(UTC) + asked, usegmt=True)
    wire = wired(Answer(status, b"", **{"Retry-After": value}))
    with pytest.raises(errors.Unavailable) as unavailable:
        await client.read(msgspec.Raw, "/x")
    assert pauses[0] <= (unavailable.value.retry_after or 0) <= pauses[1]
    assert len(wire.sent) == tries
    assert now() < 15


@in_virtual_time
async def test_a_sweep_bears_less_with_a_fabric_that_is_silent(wired: Callable[..., Wire]) -> None:
    silent = wired(ServiceResponseTimeoutError("silent"))
    with pytest.raises(errors.Unavailable, match="out of reach at GET /x: silent"):
        await client.read(msgspec.Raw, "/x")
    assert len(silent.sent) == 4
    silent = wired(ServiceResponseTimeoutError("silent"))
    with background(), pytest.raises(errors.Unavailable, match="out of reach at GET /x: silent"):
        await client.read(msgspec.Raw, "/x")
    assert silent.timeouts == [30, 30]
