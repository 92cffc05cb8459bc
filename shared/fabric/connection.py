"""The Fabric connection to one database: its type, its owner and its credentials.

Source: "Connections" in the Fabric REST reference. Only who has a role on a connection sees it, but nobody else can use
its name.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress

import msgspec

from shared.desired.server_id import ServerId
from shared.fabric.client import pages, read, write
from shared.fabric.credentials import LOGIN_REMEDY, Basic, Credentials, details, login_of, type_of
from shared.fabric.refusals import ListNotFound
from shared.platform.errors import Blocked, Conflict, MirrorError, NotAllowed, NotFound

PREFERENCE = ("azurepostgresql", "postgresql")
"""The types of connections that lead to a flexible server, in lower case, the best first."""
PREFIX = "fabric-mirror"
"""The names of the app's connections begin with this."""
NAME_TAKEN = "DuplicateConnectionName"
"""Fabric's code for a name that another connection has."""
_UNREACHABLE = frozenset({"CreateGatewayConnectionFailed", "UpdateGatewayConnectionFailed"})


class ConnectionType(msgspec.Struct, frozen=True):
    """How Fabric creates a connection to PostgreSQL."""

    type: str
    method: str
    """The creation method."""
    server: str
    """The name of the parameter that takes the server's host name."""
    database: str
    """The name of the parameter that takes the database's name."""


class ConnectionResult(msgspec.Struct, frozen=True):
    """The connection that `ensure` found or created."""

    id: str
    created: bool
    """Whether `ensure` created it."""


class _Parameter(msgspec.Struct, frozen=True):
    name: str
    required: bool = False


class _Method(msgspec.Struct, frozen=True):
    name: str
    parameters: tuple[_Parameter, ...] = ()


class _Type(msgspec.Struct, frozen=True, rename="camel"):
    type: str
    creation_methods: tuple[_Method, ...] = ()
    supported_credential_types: tuple[str, ...] = (Basic.__name__,)


class _Details(msgspec.Struct, frozen=True):
    path: str = ""


class _Credentials(msgspec.Struct, frozen=True, rename="camel"):
    credential_type: str = ""


class _Connection(msgspec.Struct, frozen=True, rename="camel"):
    id: str
    connectivity_type: str
    display_name: str | None = None
    gateway_id: str | None = None
    connection_details: _Details = _Details()
    credential_details: _Credentials = _Credentials()

    def leads_to(self, host: str, database: str) -> bool:
        server, _, name = self.connection_details.path.partition(";")
        return (server.lower().removesuffix(":5432"), name) == (host.lower(), database)

    def uses(self, gateway: str) -> bool:
        """Whether the connection uses this gateway; empty: none, but Fabric's shared cloud."""
        if self.connectivity_type == "ShareableCloud":
            return not gateway
        return (self.gateway_id or "").lower() == gateway.lower()


class _Principal(msgspec.Struct, frozen=True):
    id: str


class _Assignment(msgspec.Struct, frozen=True):
    principal: _Principal


def name_of(server: ServerId, database: str, gateway: str = "") -> str:
    """The display name of the app's connection to a database: readable, and different for every database.

    The name of a connection through a gateway (a GUID) has the gateway's first digits at its end. Nobody can change the
    gateway of a connection, so both connections exist until nothing uses the old one.
    """
    digest = hashlib.sha256(f"{server}/{database}".encode()).hexdigest()[:8]
    return f"{PREFIX} {server.name}/{database} {digest}" + (f" {gateway[:8].lower()}" if gateway else "")


async def discover(gateway: str = "", credentials: str = Basic.__name__) -> ConnectionType:
    """The best type of connection to PostgreSQL that Fabric, or the gateway (a GUID), offers for these credentials.

    `credentials` is the name of their type. Raises `Blocked` when there is no such type of connection, `NotFound` for a
    gateway that the app can't see.
    """
    query = {"showAllCreationMethods": "true"} | ({"gatewayId": gateway} if gateway else {})
    types = pages(_Type, "/connections/supportedConnectionTypes", **query)
    try:
        offered = {kind.type.lower(): kind async for kind in types if credentials in kind.supported_credential_types}
    except (ListNotFound, NotAllowed) as error:
        if gateway:
            raise _no_such_gateway(error, gateway) from error
        if isinstance(error, ListNotFound):
            raise
        raise _not_allowed(error) from error
    for name in PREFERENCE:
        for method in offered[name].creation_methods if name in offered else ():
            parameters = _server_and_database(method)
            if parameters:
                return ConnectionType(offered[name].type, method.name, *parameters)
    where = f"The gateway {gateway}" if gateway else "Fabric"
    raise Blocked(
        f"{where} offers no PostgreSQL connection that takes a server and a database, and credentials of type "
        f"{credentials}.",
        code="NoPostgreSqlConnections",
        remedy="Update the gateway, or choose other FABRIC_CREDENTIALS."
        if gateway
        else "Choose other FABRIC_CREDENTIALS, or ask your Fabric administrator whether PostgreSQL is available.",
    )


async def ensure(
    name: str,
    host: str,
    database: str,
    credentials: Credentials,
    *,
    gateway: str = "",
    recorded: str = "",
    renewed: bool = False,
) -> ConnectionResult:
    """The connection called `name` (see `name_of`) to a database. Fabric creates and tests it when there is none.

    `recorded` is the id that an earlier run noted. An existing connection gets the credentials in three cases: when its
    id is not the recorded one, since nobody knows which credentials it has; when it has credentials of another type;
    and when the credentials are `renewed`. A connection that does not use `gateway` (a GUID; empty: Fabric's shared
    cloud) stays as it is.

    Raises `Blocked` when Fabric can't log in to the server or can't reach it, `Conflict` when another connection has
    the name, `NotAllowed` when the app may not create or manage the connection.
    """
    existing = await _recorded(recorded)
    if existing is None or not existing.uses(gateway):
        existing = await _named(name)
    if existing is None:
        try:
            return ConnectionResult(await _create(name, host, database, credentials, gateway), created=True)
        except MirrorError as error:
            if error.code != NAME_TAKEN or not (existing := await _named(name)):
                raise _explained(error, name, host, credentials, gateway) from error
    _require_same(existing, name, host, database, gateway)
    if renewed or existing.id != recorded or existing.credential_details.credential_type != type_of(credentials):
        await update_credentials(existing.id, credentials, host=host)
    return ConnectionResult(existing.id, created=False)


async def update_credentials(id: str, credentials: Credentials, *, host: str) -> None:
    """Give the connection these credentials, after Fabric has tested them. Raises like `ensure`."""
    connection = await read(_Connection, f"/connections/{id}")
    body = {"connectivityType": connection.connectivity_type, "credentialDetails": details(credentials)}
    gateway = connection.connectivity_type if connection.connectivity_type != "ShareableCloud" else ""
    try:
        await write(msgspec.Raw, "PATCH", f"/connections/{id}", body, repeatable=True)
    except MirrorError as error:
        raise _explained(error, connection.display_name or id, host, credentials, gateway) from error


async def share(id: str, group: str) -> None:
    """Let a group (an object id) see and use the connection.

    Raises `Blocked` with code `ConnectionGroup` when Fabric does not know the group.
    """
    roles = f"/connections/{id}/roleAssignments"
    async for assignment in pages(_Assignment, roles):
        if assignment.principal.id.lower() == group.lower():
            return
    body = {"principal": {"id": group, "type": "Group"}, "role": "User"}
    try:
        await write(msgspec.Raw, "POST", roles, body, repeatable=True)
    except Conflict:  # somebody shared it in the meantime
        return
    except (Blocked, NotFound) as error:
        raise Blocked(
            f"The Fabric connection {id} can't be shared with the group {group}. {error.message}",
            code="ConnectionGroup",
            remedy="Check that CONNECTION_GROUP is the object id of a group in the tenant's Microsoft Entra ID.",
        ) from error


async def remove(id: str) -> None:
    """Delete the connection, unless it is gone already. Raises `NotAllowed` when it is not the app's to delete."""
    try:
        await write(msgspec.Raw, "DELETE", f"/connections/{id}", repeatable=True)
    except NotFound:
        return
    except NotAllowed as error:
        raise _not_ours(error, id) from error


async def remove_unused(server: ServerId, database: str, host: str) -> None:
    """Delete every connection that leads to a database and has the name of the app's connections to it.

    An earlier run may have left them: it ended before it could note them, or could not delete them. A connection that
    the app may not delete stays.
    """
    name = name_of(server, database).lower()
    unused = [
        connection.id
        async for connection in pages(_Connection, "/connections")
        if (connection.display_name or "").lower().startswith(name) and connection.leads_to(host, database)
    ]
    for id in unused:
        with suppress(NotAllowed):
            await remove(id)


_CLOUD = {"connectivityType": "ShareableCloud"}


def _server_and_database(method: _Method) -> tuple[str, str] | None:
    """The method's parameters for server and database; None when it lacks one of them or requires another one."""
    names = {parameter.name.lower(): parameter.name for parameter in method.parameters}
    required = {parameter.name.lower() for parameter in method.parameters if parameter.required}
    server = names.get("server") or names.get("host")
    if server and "database" in names and required <= {server.lower(), "database"}:
        return server, names["database"]
    return None


async def _create(name: str, host: str, database: str, credentials: Credentials, gateway: str) -> str:
    kind = await discover(gateway, type_of(credentials))
    body = {
        "displayName": name,
        "connectionDetails": {
            "type": kind.type,
            "creationMethod": kind.method,
            "parameters": [
                {"dataType": "Text", "name": kind.server, "value": host},
                {"dataType": "Text", "name": kind.database, "value": database},
            ],
        },
        "privacyLevel": "Organizational",
        "credentialDetails": details(credentials),
        **({"connectivityType": "VirtualNetworkGateway", "gatewayId": gateway} if gateway else _CLOUD),
    }
    return (await write(_Connection, "POST", "/connections", body)).id


async def _recorded(id: str) -> _Connection | None:
    try:
        return await read(_Connection, f"/connections/{id}") if id else None
    except NotFound:
        return None


async def _named(name: str) -> _Connection | None:
    async for connection in pages(_Connection, "/connections"):
        if (connection.display_name or "").lower() == name.lower():
            return connection
    return None


def _require_same(existing: _Connection, name: str, host: str, database: str, gateway: str) -> None:
    if not existing.leads_to(host, database) or not existing.uses(gateway):
        way = _way("" if existing.uses("") else existing.gateway_id or "")
        raise Conflict(
            f"The Fabric connection {name!r} ({existing.id}) leads to {existing.connection_details.path!r} {way}; "
            f"'{host};{database}' {_way(gateway)} was expected.",
            code="ConnectionNameTaken",
            remedy="Rename or delete that connection in Fabric (Manage connections and gateways).",
        )


def _way(gateway: str) -> str:
    return f"through gateway {gateway}" if gateway else "through the shared cloud"


def _explained(error: MirrorError, name: str, host: str, credentials: Credentials, gateway: str) -> MirrorError:
    """The error for one of Fabric's refusals, with a remedy."""
    if error.code == NAME_TAKEN:
        return Conflict(
            f"A Fabric connection called {name!r} exists that the app's identity can't see. {error.message}",
            code="ConnectionNameTaken",
            remedy="Share it with the app's identity as Owner, or rename or delete it.",
        )
    if error.code == "IncorrectCredentials":
        return Blocked(
            f"Fabric could not log in to {host} as {login_of(credentials)}. {error.message}",
            code="IncorrectCredentials",
            remedy=LOGIN_REMEDY[type(credentials)],
        )
    if error.code in _UNREACHABLE:
        remedy = (
            "Check that the virtual network data gateway runs and reaches the server at port 5432."
            if gateway
            else "Enable public access with the firewall rule that allows Azure services (0.0.0.0 to 0.0.0.0), or set "
            "a virtual network data gateway."
        )
        return Blocked(f"Fabric could not reach {host}. {error.message}", code="ServerUnreachable", remedy=remedy)
    if isinstance(error, NotAllowed) and error.code == "InsufficientPermissionsToManageConnection":
        return _not_ours(error, name)
    if isinstance(error, NotAllowed):
        return _not_allowed(error, gateway)
    return error


def _not_ours(error: NotAllowed, name: str) -> NotAllowed:
    return NotAllowed(
        f"The app's identity may not manage the Fabric connection {name!r}. {error.message}",
        code=error.code,
        remedy="Make the app's identity Owner of that connection, or rename or delete it.",
    )


def _not_allowed(error: MirrorError, gateway: str = "") -> NotAllowed:
    on_gateway = f"Make the app's identity Connection creator on the gateway {gateway}. " if gateway else ""
    return NotAllowed(
        error.message,
        code=error.code,
        remedy=f"{on_gateway}A Fabric administrator has to allow the tenant setting 'Service principals can create "
        "workspaces, connections, and deployment pipelines' for the app's identity.",
    )


def _no_such_gateway(error: MirrorError, gateway: str) -> NotFound:
    return NotFound(
        f"There is no virtual network data gateway {gateway} that the app can use. {error.message}",
        code="GatewayNotFound",
        remedy="Correct its id (FABRIC_GATEWAY, or gateway in the request), or make the app's identity Connection "
        "creator on it (Manage connections and gateways).",
    )
