"""The credential and the SDK clients of the process: one of each, created when the app first uses it.

A client belongs to the event loop that first used it. The Functions worker has one loop, which ends with its process.
A program that ends a loop earlier, such as a benchmark or a test, calls `close` first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from azure.core.pipeline.transport import AioHttpTransport
from azure.data.tables.aio import TableClient, TableServiceClient
from azure.eventgrid.aio import EventGridPublisherClient
from azure.keyvault.secrets.aio import SecretClient
from azure.mgmt.postgresqlflexibleservers.aio import PostgreSQLManagementClient

from shared.platform.clouds import CLOUDS, Cloud
from shared.platform.identity import ManagedIdentity
from shared.platform.pipeline import FreshToken, JsonOnly
from shared.platform.settings import settings
from shared.platform.version import VERSION

USER_AGENT = f"fabric-mirror/{VERSION}"
"""Tells a service which app calls, and in which version."""
MANAGEMENT_API_VERSION = "2026-10-01"
"""The version of the flexible servers' REST API, which is the SDK's own."""


_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, Any]] = WeakKeyDictionary()


def once[T](name: str, make: Callable[[], T]) -> T:
    """The client called `name` of the running event loop. `make` creates it when there is none yet."""
    clients = _clients.setdefault(asyncio.get_running_loop(), {})
    if name not in clients:
        clients[name] = make()
    client: T = clients[name]
    return client


async def close() -> None:
    """Close every client of the running event loop."""
    clients = _clients.pop(asyncio.get_running_loop(), {})
    for client in reversed(clients.values()):
        await client.close()


def cloud() -> Cloud:
    """The cloud that the settings name."""
    return CLOUDS[settings().services.cloud]


def credential() -> ManagedIdentity:
    """The app's user-assigned managed identity."""
    return once("credential", lambda: ManagedIdentity(settings().identity.client_id))


def fresh_token() -> FreshToken:
    """The policy that sends a call again with a new token after a 401."""
    return FreshToken(lambda: credential().renew())


def _options() -> dict[str, Any]:
    """What every client of an SDK has in common. Each gets policies of its own, since a policy knows its successor."""
    return {
        "user_agent": USER_AGENT,
        "per_call_policies": [fresh_token()],
        "per_retry_policies": [JsonOnly()],
    }


def management(subscription: str) -> PostgreSQLManagementClient:
    """The management client of flexible servers in one subscription (a GUID)."""
    return once(
        f"management {subscription}",
        lambda: PostgreSQLManagementClient(
            credential(),
            subscription,
            api_version=MANAGEMENT_API_VERSION,
            base_url=cloud().management,
            credential_scopes=[cloud().management_scope],
            polling_interval=1,
            **_options(),
        ),
    )


def tables() -> TableServiceClient:
    """The client of Table Storage."""
    return once(
        "tables",
        lambda: TableServiceClient(settings().services.tables, credential=credential(), **_table_options()),
    )


def table(name: str) -> TableClient:
    """The client of one table. `tables().get_table_client` would leave out the policies that the app adds."""
    return once(
        f"table {name}",
        lambda: TableClient(settings().services.tables, name, credential=credential(), **_table_options()),
    )


def _table_options() -> dict[str, Any]:
    """The clients of all tables share their connections."""
    return {**_options(), "transport": once("connections to Table Storage", AioHttpTransport)}


def vault() -> SecretClient:
    """The client of the app's Key Vault."""
    return once("vault", lambda: SecretClient(settings().services.key_vault, credential(), **_options()))


def publisher() -> EventGridPublisherClient:
    """The client that publishes to the app's Event Grid topic."""
    return once(
        "publisher",
        lambda: EventGridPublisherClient(
            settings().services.notice_topic,
            credential(),
            user_agent=USER_AGENT,
            per_call_policies=[fresh_token()],
            retry_total=1,
            retry_backoff_factor=0.5,
        ),
    )
