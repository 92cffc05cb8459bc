"""The process's credential and SDK clients: one of each, created on first use.

Clients belong to the event loop that first used them. The Functions worker has one loop, which ends with its process;
whoever ends a loop earlier, as tests do, calls `close` first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from azure.core.credentials_async import AsyncTokenCredential
from azure.data.tables.aio import TableServiceClient
from azure.eventgrid.aio import EventGridPublisherClient
from azure.identity.aio import ManagedIdentityCredential
from azure.keyvault.secrets.aio import SecretClient
from azure.mgmt.postgresqlflexibleservers.aio import PostgreSQLManagementClient

from shared.platform.clouds import CLOUDS, Cloud
from shared.platform.settings import settings
from shared.platform.version import VERSION

USER_AGENT = f"fabric-mirror/{VERSION}"
"""How services know this app and its version."""


_made: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, Any]] = WeakKeyDictionary()


def once[T](name: str, make: Callable[[], T]) -> T:
    """The client called `name` of the running event loop; made by `make` when there is none yet."""
    clients = _made.setdefault(asyncio.get_running_loop(), {})
    if name not in clients:
        clients[name] = make()
    found: T = clients[name]
    return found


async def close() -> None:
    """Close every client of the running event loop."""
    clients = _made.pop(asyncio.get_running_loop(), {})
    for client in reversed(clients.values()):
        await client.close()


def cloud() -> Cloud:
    """The cloud that the settings name."""
    return CLOUDS[settings().services.cloud]


def credential() -> AsyncTokenCredential:
    """The app's user-assigned managed identity."""
    return once("credential", lambda: ManagedIdentityCredential(client_id=settings().identity.client_id))


def management(subscription: str) -> PostgreSQLManagementClient:
    """The management client of flexible servers in one subscription (a GUID)."""
    return once(
        f"management {subscription}",
        lambda: PostgreSQLManagementClient(
            credential(),
            subscription,
            base_url=cloud().management,
            credential_scopes=[cloud().management_scope],
            polling_interval=1,
            user_agent=USER_AGENT,
        ),
    )


def tables() -> TableServiceClient:
    """Table Storage, opened as the app's identity."""
    return once(
        "tables",
        lambda: TableServiceClient(settings().services.tables, credential=credential(), user_agent=USER_AGENT),
    )


def vault() -> SecretClient:
    """The app's Key Vault."""
    return once("vault", lambda: SecretClient(settings().services.key_vault, credential(), user_agent=USER_AGENT))


def publisher() -> EventGridPublisherClient:
    """The topic of the notices."""
    return once(
        "publisher",
        lambda: EventGridPublisherClient(
            settings().services.notice_topic,
            credential(),
            user_agent=USER_AGENT,
            retry_total=1,
            retry_backoff_factor=0.5,
        ),
    )
