"""The SDK clients of the app on a wire that answers what a test says: their own pipelines, without a network."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from azure.core.credentials import AccessToken, AccessTokenInfo
from azure.core.pipeline.transport import AioHttpTransport
from azure.core.rest import HttpRequest
from azure.core.rest._http_response_impl_async import AsyncHttpResponseImpl

from shared.platform import clients
from shared.platform.settings import settings
from tests.unit.facts import ENVIRONMENT

JSON = {"Content-Type": "application/json"}
HTML = {"Content-Type": "text/html"}
CHALLENGE = {
    **JSON,
    "WWW-Authenticate": 'Bearer authorization="https://login.windows.net/t", resource="https://vault.azure.net"',
}


class Says:
    """An answer: status, body and headers."""

    def __init__(self, status: int, body: bytes = b"", headers: dict[str, str] = JSON):
        self.status, self.body, self.headers = status, body, headers

    def to(self, request: HttpRequest) -> AsyncHttpResponseImpl:
        answer = AsyncHttpResponseImpl(
            request=request, internal_response=None, block_size=4096, content_type=self.headers.get("Content-Type"),
            headers=dict(self.headers), reason="Reason", status_code=self.status, stream_download_generator=None,  # type: ignore[arg-type]
        )  # fmt: skip
        answer._content = self.body
        answer._is_closed = answer._is_stream_consumed = True
        return answer


class Wire:
    """What the clients send, answered with one of `answers` after the other; the last one stays."""

    def __init__(self, *answers: Says | Exception):
        self.answers = list(answers)
        self.sent: list[tuple[str, str, str]] = []

    async def send(self, request: HttpRequest, **_: Any) -> AsyncHttpResponseImpl:
        if "Authorization" in request.headers or ".vault." not in request.url.partition("?")[0]:
            self.sent.append((request.method, request.url.partition("?")[0], request.headers.get("Authorization", "")))
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        else:  # Key Vault says whose token it takes
            answer = Says(401, b"{}", CHALLENGE)
        if isinstance(answer, Exception):
            raise answer
        return answer.to(request)

    @property
    def tokens(self) -> list[str]:
        return [token for *_, token in self.sent]


class Identity:
    """A credential whose tokens have numbers: `renew` makes a new one."""

    def __init__(self) -> None:
        self.number = 1

    def renew(self) -> None:
        self.number += 1

    async def get_token(self, *_: str, **__: Any) -> AccessToken:
        return AccessToken(f"t{self.number}", int(time.time()) + 3600)

    async def get_token_info(self, *_: str, **__: Any) -> AccessTokenInfo:
        return AccessTokenInfo(f"t{self.number}", int(time.time()) + 3600)

    async def close(self) -> None:
        pass


@pytest.fixture
async def wired(monkeypatch: pytest.MonkeyPatch) -> Any:
    """`wired(*answers)`: the wire that the clients are at."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    settings.cache_clear()
    identity = Identity()
    monkeypatch.setattr(clients, "credential", lambda: identity)

    def at(*answers: Says | Exception) -> Wire:
        wire = Wire(*answers)
        monkeypatch.setattr(AioHttpTransport, "send", lambda _, request, **options: wire.send(request, **options))

        async def sleep(*_: object) -> None:
            return None

        monkeypatch.setattr(AioHttpTransport, "sleep", sleep)
        return wire

    yield at
    await clients.close()
    settings.cache_clear()


type Wired = Callable[..., Wire]
