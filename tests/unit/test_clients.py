"""The process's SDK clients: every service is told which app calls, and in which version."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from azure.core.credentials import AccessToken
from azure.core.messaging import CloudEvent
from azure.mgmt.postgresqlflexibleservers.aio import PostgreSQLManagementClient

from shared.platform import clients
from shared.platform.settings import settings
from shared.platform.version import VERSION
from tests.unit.facts import ENVIRONMENT, SUBSCRIPTION

TOPIC = "https://notices.westeurope-1.eventgrid.azure.net/api/events"


class Sent(Exception):
    """A request that was about to leave."""

    def __init__(self, headers: dict[str, str]):
        super().__init__("stopped before it left")
        self.headers = headers


class Credential:
    async def get_token(self, *_: str, **__: Any) -> AccessToken:
        return AccessToken("token", int(time.time()) + 3600)

    async def close(self) -> None:
        pass


def stop(request: Any) -> None:
    raise Sent(dict(request.http_request.headers))


@pytest.fixture(autouse=True)
async def app(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    for name, value in (ENVIRONMENT | {"NOTICE_TOPIC_ENDPOINT": TOPIC}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(clients, "credential", Credential)
    settings.cache_clear()
    yield
    await clients.close()
    settings.cache_clear()


def event() -> CloudEvent:
    return CloudEvent(source="/test", type="Test", data={}, id="1", time=datetime(2026, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    "call",
    [
        lambda: clients.management(SUBSCRIPTION).servers.get("rg", "pg", raw_request_hook=stop),
        lambda: clients.tables().get_service_properties(raw_request_hook=stop),
        lambda: clients.vault().get_secret("s", raw_request_hook=stop),
        lambda: clients.publisher().send(event(), raw_request_hook=stop),
    ],
    ids=["management", "tables", "vault", "publisher"],
)
async def test_a_service_is_told_the_app_and_its_version(call: Callable[[], Awaitable[object]]) -> None:
    with pytest.raises(Sent) as raised:
        await call()
    assert raised.value.headers["User-Agent"].startswith(f"fabric-mirror/{VERSION} azsdk-python-")


async def test_a_client_is_made_once() -> None:
    assert clients.vault() is clients.vault()
    assert clients.management(SUBSCRIPTION) is clients.management(SUBSCRIPTION)
    assert clients.management(SUBSCRIPTION) is not clients.management(SUBSCRIPTION.replace("a1", "a2"))


def test_the_version_of_the_rest_api_is_the_sdks_own() -> None:
    client = PostgreSQLManagementClient(Credential(), "subscription", credential_scopes=["scope"])
    assert client._config.api_version == clients.MANAGEMENT_API_VERSION
