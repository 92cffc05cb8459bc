"""The Fabric connection to one database: which type it is of, who made it, and its credentials.

Source: "Connections" in the Fabric REST reference. A connection is visible only to those who have a role on it, while
its name is taken for everybody.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import Any

import msgspec

from shared.desired.server_id import ServerId
from shared.fabric.client import pages, read, write
from shared.platform.errors import Blocked, Conflict, MirrorError, NotAllowed, NotFound

PREFERENCE = ("azurepostgresql", "postgresql")
"""Connection types that lead to a flexible server, by lower-case name, the best one first."""
PREFIX = "fabric-mirror"
NAME_TAKEN = "DuplicateConnectionName"
_UNREACHABLE = frozenset({"CreateGatewayConnectionFailed", "UpdateGatewayConnectionFailed"})


class Basic(msgspec.Struct, frozen=True, tag_field="credentialType"):
    """Fabric logs in with a role's name and password."""

    username: str
    password: str

    def __repr__(self) -> str:
        return f"Basic({self.username!r})"


class ServicePrincipal(msgspec.Struct, frozen=True, tag_field="credentialType", rename="camel"):
    """Fabric logs in as an application in Microsoft Entra ID. GUIDs, and the application's client secret."""

    tenant_id: str
    service_principal_client_id: str
    service_principal_secret: str

    def __repr__(self) -> str:
        return f"ServicePrincipal({self.service_principal_client_id})"


class WorkspaceIdentity(msgspec.Struct, frozen=True, tag_field="credentialType"):
    """Fabric logs in as the identity of the workspace in which the connection is used. It can't be tested beforehand,
    and not by way of a gateway (source: "Authenticate with Microsoft Fabric workspace identity")."""


type Credentials = Basic | ServicePrincipal | WorkspaceIdentity


class ConnectionType(msgspec.Struct, frozen=True):
    """How a connection to PostgreSQL is made here: type, creation method, and what it calls server and database."""

    type: str
    method: str
    server: str
    database: str


class ConnectionResult(msgspec.Struct, frozen=True):
    """The connection's id, and whether it was made just now."""

    id: str
    created: bool


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
        server, _, found = self.connection_details.path.partition(";")
        return (server.lower().removesuffix(":5432"), found) == (host.lower(), database)

    def comes_in_by(self, gateway: str) -> bool:
        if self.connectivity_type == "ShareableCloud":
            return not gateway
        return (self.gateway_id or "").lower() == gateway.lower()


class _Principal(msgspec.Struct, frozen=True):
    id: str


class _Assignment(msgspec.Struct, frozen=True):
    principal: _Principal


def name_of(server: ServerId, database: str, gateway: str = "") -> str:
    """The display name of our connection to a database: readable, and different for every database of every server.

    That of one that comes in by a gateway (a GUID) begins so, too: the way in of a connection can't be changed, and the
    old one must be there until nothing uses it.
    """
    digest = hashlib.sha256(f"{server}/{database}".encode()).hexdigest()[:8]
    return f"{PREFIX} {server.name}/{database} {digest}" + (f" {gateway[:8].lower()}" if gateway else "")


async def discover(gateway: str = "", credentials: str = Basic.__name__) -> ConnectionType:
    """The best type of connection to PostgreSQL that Fabric, or the gateway (a GUID), offers with this type of
    credentials. Raises `Blocked` when there is none, `NotFound` for a gateway that the app can't see.
    """
    query = {"showAllCreationMethods": "true"} | ({"gatewayId": gateway} if gateway else {})
    types = pages(_Type, "/connections/supportedConnectionTypes", **query)
    try:
        offered = {t.type.lower(): t async for t in types if credentials in t.supported_credential_types}
    except (NotFound, NotAllowed) as error:
        raise _no_such_gateway(error, gateway) if gateway else _not_allowed(error) from error
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
    """The connection called `name` (see `name_of`) to a database; made, and tested by Fabric, when there is none.

    `recorded` is the id that an earlier run noted. A connection that is found without it gets these credentials, as
    nobody knows which it has, and so does one with credentials of another type, and any that is there when they are
    `renewed`. One that comes in by another way than `gateway` (empty: Fabric's shared cloud) is left alone.

    Raises `Blocked` when Fabric can't log in or can't reach the server, `Conflict` when somebody else holds the name,
    `NotAllowed` when the app may not make or manage the connection.
    """
    found = await _recorded(recorded)
    if found is None or not found.comes_in_by(gateway):
        found = await _named(name)
    if found is None:
        try:
            return ConnectionResult(await _create(name, host, database, credentials, gateway), created=True)
        except MirrorError as error:
            if error.code != NAME_TAKEN or not (found := await _named(name)):
                raise _explained(error, name, host, credentials, gateway) from error
    _require_same(found, name, host, database, gateway)
    if renewed or found.id != recorded or found.credential_details.credential_type != _type_of(credentials):
        await update_credentials(found.id, credentials, host=host)
    return ConnectionResult(found.id, created=False)


async def update_credentials(id: str, credentials: Credentials, *, host: str) -> None:
    """Let the connection log in with these, from now on; Fabric tests them first. Errors are those of `ensure`."""
    connection = await read(_Connection, f"/connections/{id}")
    body = {"connectivityType": connection.connectivity_type, "credentialDetails": _details(credentials)}
    gateway = connection.connectivity_type if connection.connectivity_type != "ShareableCloud" else ""
    try:
        await write(msgspec.Raw, "PATCH", f"/connections/{id}", body, repeatable=True)
    except MirrorError as error:
        raise _explained(error, connection.display_name or id, host, credentials, gateway) from error


async def share(id: str, group: str) -> bool:
    """Let a group (object id) see and use the connection. Returns whether anything was changed."""
    roles = f"/connections/{id}/roleAssignments"
    async for assignment in pages(_Assignment, roles):
        if assignment.principal.id.lower() == group.lower():
            return False
    body = {"principal": {"id": group, "type": "Group"}, "role": "User"}
    try:
        await write(msgspec.Raw, "POST", roles, body, repeatable=True)
    except Conflict:
        return False
    except (Blocked, NotFound) as error:
        raise Blocked(
            f"The Fabric connection {id} can't be shared with the group {group}. {error.message}",
            code="ConnectionGroup",
            remedy="Check that CONNECTION_GROUP is the object id of a group in the tenant's Microsoft Entra ID.",
        ) from error
    return True


async def remove(id: str) -> None:
    """Delete the connection; one that is gone already is fine. Raises `NotAllowed` when it is not the app's."""
    try:
        await write(msgspec.Raw, "DELETE", f"/connections/{id}", repeatable=True)
    except NotFound:
        return
    except NotAllowed as error:
        raise _not_ours(error, id) from error


async def remove_unused(server: ServerId, database: str, host: str) -> None:
    """Delete what has the name of our connections to a database and leads there: what an earlier run could not note any
    more, or could not delete. What is not the app's stays."""
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
_LOGIN_REMEDY: dict[type[Credentials], str] = {
    Basic: "Check that password authentication is enabled on the server and that the role may log in.",
    ServicePrincipal: "Check that FABRIC_ROLE is the service principal's display name, that FABRIC_PRINCIPAL_OBJECT_ID "
    "is the object id of its enterprise application, and that the secret in Key Vault is its current one.",
    WorkspaceIdentity: "Check that FABRIC_ROLE is the name of the workspace.",
}


def _type_of(credentials: Credentials) -> str:
    return type(credentials).__name__


def _who(credentials: Credentials) -> str:
    match credentials:
        case Basic(username=role):
            return repr(role)
        case ServicePrincipal(service_principal_client_id=client):
            return f"the service principal {client}"
    return "the workspace's identity"


def _details(credentials: Credentials) -> dict[str, Any]:
    return {
        "singleSignOnType": "None",
        "connectionEncryption": "Encrypted",
        "skipTestConnection": isinstance(credentials, WorkspaceIdentity),
        "credentials": msgspec.to_builtins(credentials),
    }


def _server_and_database(method: _Method) -> tuple[str, str] | None:
    """What the method calls the two; None when it lacks one of them or demands more."""
    names = {parameter.name.lower(): parameter.name for parameter in method.parameters}
    demanded = {parameter.name.lower() for parameter in method.parameters if parameter.required}
    server = names.get("server") or names.get("host")
    if server and "database" in names and demanded <= {server.lower(), "database"}:
        return server, names["database"]
    return None


async def _create(name: str, host: str, database: str, credentials: Credentials, gateway: str) -> str:
    kind = await discover(gateway, _type_of(credentials))
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
        "credentialDetails": _details(credentials),
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


def _require_same(found: _Connection, name: str, host: str, database: str, gateway: str) -> None:
    if not found.leads_to(host, database) or not found.comes_in_by(gateway):
        way = "by the shared cloud" if found.comes_in_by("") else f"by gateway {found.gateway_id}"
        wanted = f"by gateway {gateway}" if gateway else "by the shared cloud"
        raise Conflict(
            f"The Fabric connection {name!r} ({found.id}) leads to {found.connection_details.path!r} {way}; "
            f"'{host};{database}' {wanted} was expected.",
            code="ConnectionNameTaken",
            remedy="Rename or delete that connection in Fabric (Manage connections and gateways).",
        )


def _explained(error: MirrorError, name: str, host: str, credentials: Credentials, gateway: str) -> MirrorError:
    """Fabric's refusal in words that say what to do."""
    if error.code == NAME_TAKEN:
        return Conflict(
            f"A Fabric connection called {name!r} exists that the app's identity can't see. {error.message}",
            code="ConnectionNameTaken",
            remedy="Share it with the app's identity as Owner, or rename or delete it.",
        )
    if error.code == "IncorrectCredentials":
        return Blocked(
            f"Fabric could not log in to {host} as {_who(credentials)}. {error.message}",
            code="IncorrectCredentials",
            remedy=_LOGIN_REMEDY[type(credentials)],
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
        f"The Fabric connection {name!r} is not the app's to manage. {error.message}",
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
