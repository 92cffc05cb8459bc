"""The flexible server in Azure Resource Manager: its facts, its parameters, and the few changes that the app makes.

A change is a long-running operation. `begin` starts it and returns a continuation token, `poll` asks once for its
state. Neither waits, so that an orchestration can wait. The tokens are azure-core's own: JSON, without request headers
except the client's request id. So an orchestration's history may contain them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, assert_never

from azure.core.async_paging import AsyncItemPaged
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.core.polling import AsyncLROPoller
from azure.core.polling.base_polling import BadResponse, BadStatus
from azure.mgmt.core.exceptions import ARMErrorFormat
from azure.mgmt.core.polling.async_arm_polling import AsyncARMPolling
from azure.mgmt.postgresqlflexibleservers import models

from shared.desired.changes import (
    AddAdministrator,
    Change,
    EnableEntraAuthentication,
    EnableSystemIdentity,
    GiveBackParameter,
    Progress,
    Restart,
    SetParameter,
)
from shared.desired.server_id import ServerId, parse
from shared.platform import reasons
from shared.platform.clients import management
from shared.platform.errors import Unavailable
from shared.platform.pipeline import Unreadable, is_object
from shared.platform.settings import settings
from shared.source.facts import Absence, Administrator, Glance, Listed, MaintenanceWindow, ServerFacts
from shared.source.refusals import SERVER_NOT_FOUND, OperationEnded, Passing, lost, translated

RETRY_AFTER = 5.0
"""Seconds until the app asks again for the state of an operation, when the service names no time."""
READING: dict[str, Any] = {"retry_total": 2, "retry_backoff_max": 5, "timeout": 40}
_ONCE: dict[str, Any] = {"retry_total": 0}
_ANY_AZURE_SERVICE = "0.0.0.0"
"""Begin and end of the firewall rule that stands for all Azure services."""
_SYSTEM_DATABASES = {"postgres", "azure_maintenance", "azure_sys", "template0", "template1"}


async def observe(id: ServerId) -> ServerFacts | Absence:
    """The server's facts, or that Azure does not find it. The app asks for all parts in parallel."""
    client, group, name = management(id.subscription), id.resource_group, id.name
    with translated(f"Reading server {id.name!r}"):
        server, administrators, rules, databases, replicas = await asyncio.gather(
            client.servers.get(group, name, **READING),
            _all(client.administrators_microsoft_entra.list_by_server(group, name, **READING)),
            _all(client.firewall_rules.list_by_server(group, name, **READING)),
            _all(client.databases.list_by_server(group, name, **READING)),
            _all(client.replicas.list_by_server(group, name, **READING)),
            return_exceptions=True,
        )
        if isinstance(server, ResourceNotFoundError):
            return Absence((server.error.code if server.error else None) or "")
        if isinstance(server, BaseException):
            raise server
        properties = _properties(server)
        ready = _text(properties.state) == "Ready"
        network, auth = properties.network, properties.auth_config
        public = network is not None and _text(network.public_network_access) == "Enabled"
        entra = auth is not None and _text(auth.active_directory_auth) == "Enabled"
        identity = server.identity
        identity_type = _text(identity.type) if identity else "None"
        return ServerFacts(
            id=id,
            location=server.location or "",
            version=int((properties.version or "0").split(".")[0]),
            state=_text(properties.state),
            tier=_text(server.sku.tier) if server.sku else "",
            storage_gib=(properties.storage.storage_size_gb or 0) if properties.storage else 0,
            high_availability=_mode(properties.high_availability),
            replication_role=_role(properties),
            replicas=len(_listed(replicas, ready)),
            elastic_cluster=properties.cluster is not None and bool(properties.cluster.cluster_size),
            identity_type=identity_type,
            principal_id=(identity.principal_id or "") if identity and "SystemAssigned" in identity_type else "",
            password_auth=auth is None or _text(auth.password_auth) != "Disabled",
            entra_auth=entra,
            administrators=tuple(_administrator(item) for item in _listed(administrators, ready and entra)),
            public_access=public,
            azure_services_allowed=any(_azure_services(rule) for rule in _listed(rules, ready and public)),
            host=properties.fully_qualified_domain_name or "",
            created_at=server.system_data.created_at if server.system_data else None,
            tags=dict(server.tags or {}),
            maintenance_window=_window(properties.maintenance_window),
            databases=tuple(sorted(_user_databases(_listed(databases, ready)))),
        )


async def glance(id: ServerId) -> Glance:
    """The server's state, size and host. Raises `Unavailable` when Azure does not find it."""
    with translated(f"Reading server {id.name!r}"):
        server = await management(id.subscription).servers.get(id.resource_group, id.name, **READING)
        properties = _properties(server)
    size = (properties.storage.storage_size_gb or 0) if properties.storage else 0
    return Glance(_text(properties.state), size, properties.fully_qualified_domain_name or "")


async def listed(subscription: str) -> dict[ServerId, Listed]:
    """Every flexible server of the subscription (a GUID)."""
    return {parse(server.id or ""): _listing(server) async for server in _servers(subscription)}


async def list_servers(subscription: str) -> AsyncIterator[tuple[ServerId, dict[str, str]]]:
    """Every flexible server of the subscription (a GUID), with its tags."""
    async for server in _servers(subscription):
        yield parse(server.id or ""), dict(server.tags or {})


async def _servers(subscription: str) -> AsyncIterator[models.Server]:
    with translated(f"Listing the servers of subscription {subscription}"):
        async for server in management(subscription).servers.list_by_subscription(**READING):
            yield server


async def begin(id: ServerId, change: Change) -> str:
    """Start a change and return the continuation token for `poll`.

    Raises `Unavailable` when the server is busy with another operation; `NotAllowed`, or `Blocked` with the service's
    code and message, when the service refuses.
    """
    with translated(_doing(id, change)):
        return (await _poller(id, change, None, _OneRequest())).continuation_token()


async def poll(id: ServerId, change: Change, token: str) -> Progress:
    """Ask once for the state of the operation that `begin` started. Raises like `begin` when it failed.

    An operation that failed for a reason that passes, or that Azure no longer knows, has to be begun again: `again`
    says why.
    """
    polling = _OneRequest()
    try:
        with translated(_doing(id, change)):
            await (await _poller(id, change, token, polling)).wait()
    except Passing as passing:
        return Progress(False, token, RETRY_AFTER, again=reasons.of(passing))
    except Unavailable as error:
        if error.code != SERVER_NOT_FOUND:
            raise
        return Progress(False, token, RETRY_AFTER, again=reasons.of(lost(_doing(id, change))))
    return Progress(polling.finished(), token, polling.retry_after)


class _OneRequest(AsyncARMPolling):
    """Polls once instead of until the end, and does not read the changed resource afterwards."""

    def __init__(self) -> None:
        super().__init__(timeout=RETRY_AFTER, **_ONCE)

    def initialize(self, client: Any, initial_response: Any, deserialization_callback: Any) -> None:
        """Take the answer that the operation began with. Raises `Unreadable` where it does not name the operation."""
        answer = initial_response.http_response
        is_named = any(name in answer.headers for name in ("Azure-AsyncOperation", "Location"))
        if (answer.content and not is_object(answer.content)) or (answer.status_code == 202 and not is_named):
            raise Unreadable(f"HTTP {answer.status_code} with {len(answer.content)} bytes names no operation")
        super().initialize(client, initial_response, deserialization_callback)

    async def run(self) -> None:
        try:
            if not self.finished():
                await self.update_status()
        except BadStatus as error:
            answer = self._pipeline_response.http_response
            raise HttpResponseError(response=answer, error_format=ARMErrorFormat) from error
        except BadResponse as error:
            raise Unreadable(f"the state of the operation is missing in its answer: {error}") from error
        if self.status().lower() in ("failed", "canceled"):
            answer = self._pipeline_response.http_response
            raise OperationEnded(self.status(), response=answer, error_format=ARMErrorFormat)

    @property
    def retry_after(self) -> float:
        return float(self._extract_delay())


async def _poller(id: ServerId, change: Change, token: str | None, polling: _OneRequest) -> AsyncLROPoller[Any]:
    """Start the operation, or resume it by its token."""
    client, group, name = management(id.subscription), id.resource_group, id.name
    options: dict[str, Any] = {"polling": polling, "continuation_token": token, **_ONCE}
    match change:
        case EnableSystemIdentity() | EnableEntraAuthentication():
            patch = await _patch(id, change) if token is None else models.ServerForPatch()
            return await client.servers.begin_update(group, name, patch, **options)
        case AddAdministrator():
            administrator = models.AdministratorMicrosoftEntraAdd(
                properties=models.AdministratorMicrosoftEntraPropertiesForAdd(
                    principal_type="ServicePrincipal", principal_name=change.name, tenant_id=change.tenant
                )
            )
            entra = client.administrators_microsoft_entra
            return await entra.begin_create_or_update(group, name, change.object_id, administrator, **options)
        case SetParameter() | GiveBackParameter():
            value = models.ConfigurationForUpdate(
                properties=models.ConfigurationProperties(value=change.value, source="user-override")
            )
            return await client.configurations.begin_update(group, name, change.name, value, **options)
        case Restart():
            return await client.servers.begin_restart(group, name, **options)
        case _:
            assert_never(change)


async def _patch(id: ServerId, change: EnableSystemIdentity | EnableEntraAuthentication) -> models.ServerForPatch:
    """The update of the server. It keeps the server's other identities, or its other settings of authentication."""
    server = await management(id.subscription).servers.get(id.resource_group, id.name, **READING)
    if isinstance(change, EnableSystemIdentity):
        users = (server.identity.user_assigned_identities or {}) if server.identity else {}
        identity = models.UserAssignedIdentity(
            type="SystemAssigned,UserAssigned" if users else "SystemAssigned",
            user_assigned_identities={user: models.UserIdentity() for user in users} or None,
        )
        return models.ServerForPatch(identity=identity)
    auth = server.properties.auth_config if server.properties else None
    return models.ServerForPatch(
        properties=models.ServerPropertiesForPatch(
            auth_config=models.AuthConfigForPatch(
                active_directory_auth="Enabled",
                password_auth=auth.password_auth if auth else "Enabled",
                tenant_id=(auth.tenant_id if auth else None) or settings().identity.tenant,
            )
        )
    )


def _doing(id: ServerId, change: Change) -> str:
    """The beginning of a message about the change."""
    match change:
        case EnableSystemIdentity():
            doing = "Enabling the system-assigned identity"
        case EnableEntraAuthentication():
            doing = "Enabling Microsoft Entra authentication"
        case AddAdministrator():
            doing = f"Adding the Microsoft Entra administrator {change.name!r}"
        case SetParameter() | GiveBackParameter():
            doing = f"Setting parameter {change.name!r} to {change.value!r}"
        case Restart():
            return f"Restarting server {id.name!r}"
        case _:
            assert_never(change)
    return f"{doing} on server {id.name!r}"


async def _all[T](items: AsyncItemPaged[T]) -> list[T]:
    return [item async for item in items]


def _listed[T](items: list[T] | BaseException, offered: bool) -> list[T]:
    """The items of a list. None where the service refuses it because it is not `offered`: the server is not ready, or
    the feature is off."""
    if isinstance(items, HttpResponseError) and not offered:
        return []
    if isinstance(items, BaseException):
        raise items
    return items


def _listing(server: models.Server) -> Listed:
    host = (server.properties.fully_qualified_domain_name if server.properties else None) or ""
    return Listed(host=host, created_at=server.system_data.created_at if server.system_data else None)


def _properties(server: models.Server) -> models.ServerProperties:
    """The properties of a server, which each server has. Raises `Unreadable`."""
    if server.properties is None:
        raise Unreadable("the server was answered with no properties")
    return server.properties


def _text(value: Any) -> str:
    """The value of an enumeration as the service wrote it, also where the SDK does not know the value."""
    return str(getattr(value, "value", value) or "")


def _mode(high_availability: models.HighAvailability | None) -> str:
    return (_text(high_availability.mode) if high_availability else "") or "Disabled"


def _role(properties: models.ServerProperties) -> str:
    role = _text(properties.replica.role) if properties.replica else ""
    return role or _text(properties.replication_role) or "None"


def _administrator(item: models.AdministratorMicrosoftEntra) -> Administrator:
    properties = item.properties
    return Administrator(
        (properties.object_id or item.name or "").lower(),
        properties.principal_name or "",
        _text(properties.principal_type),
    )


def _azure_services(rule: models.FirewallRule) -> bool:
    return rule.properties.start_ip_address == _ANY_AZURE_SERVICE == rule.properties.end_ip_address


def _window(window: models.MaintenanceWindow | None) -> MaintenanceWindow:
    if window is None or _text(window.custom_window) != "Enabled":
        return MaintenanceWindow()
    return MaintenanceWindow(True, window.day_of_week or 0, window.start_hour or 0, window.start_minute or 0)


def _user_databases(databases: list[models.Database]) -> list[str]:
    return [database.name for database in databases if database.name and database.name not in _SYSTEM_DATABASES]
