"""The app with Azurite and the Event Grid stand-in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import uuid4

import pytest

from local.stack import Stack
from local.topology import NOTICE_TOPIC
from shared.desired.server_id import ServerId
from shared.platform import clients
from shared.platform.settings import settings
from tests.component.app import app_environment


@pytest.fixture(scope="package")
def stack(stack_factory: Callable[..., Stack]) -> Stack:
    return stack_factory("front_door", "identity", "azurite", "eventgrid")


@pytest.fixture(autouse=True)
async def app(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    endpoint = stack.topology.topic_endpoint(NOTICE_TOPIC)
    app_environment(stack.topology, monkeypatch, NOTICE_TOPIC_ENDPOINT=endpoint, HEALTH_GRACE_MINUTES="0.001")
    stack.control("eventgrid", "DELETE", "faults")
    stack.control("eventgrid", "DELETE", "events")
    yield
    await clients.close()
    settings.cache_clear()


@pytest.fixture
def told(stack: Stack) -> Callable[[], list[dict[str, Any]]]:
    """`told()`: the notices that arrived, in order."""
    return lambda: stack.control("eventgrid", "GET", f"events?topic={NOTICE_TOPIC}")  # type: ignore[return-value]


@pytest.fixture
def server() -> ServerId:
    return ServerId("11111111-1111-1111-1111-111111111111", "rg-shop", f"pg-{uuid4().hex[:8]}")
