"""Connections: their types, their credentials (never shown), who may use them, and gateways."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from local.cloud.fabric.credentials import CredentialDetails, Credentials, WorkspaceIdentity, read
from local.cloud.fabric.long_running import LongRunning
from local.cloud.fabric.protocol import BASE, Behaviour, decode, invalid, page, timestamp
from local.cloud.fabric.source import Source, SourceProblem
from local.cloud.fabric.workspaces import Principal, principal_type
from local.cloud.web import Answer, Call, Operation, Refusal

Role = Literal["User", "UserWithReshare", "Owner"]
RANK = {"User": 1, "UserWithReshare": 2, "Owner": 3}
POSTGRESQL = ("AzurePostgreSQL", "PostgreSQL")


def _type(name: str, methods: Mapping[str, Mapping[str, bool]], credentials: tuple[str, ...]) -> dict[str, Any]:
    """One row of the supported connection types. `methods`: parameters (required or not) by creation method."""
    return {
        "type": name,
        "creationMethods": [
            {"name": method, "parameters": [
                {"name": p, "dataType": "Text", "required": required} for p, required in parameters.items()
            ]}
            for method, parameters in methods.items()
        ],
        "supportedCredentialTypes": list(credentials),
        "supportedConnectionEncryptionTypes": ["Encrypted", "Any", "NotEncrypted"],
        "supportsSkipTestConnection": name in POSTGRESQL,
        "supportedCredentialTypesForUsageInUserControlledCode": [],
    }  # fmt: skip


DATABASE = {"server": True, "database": True}
ENTRA = ("OAuth2", "ServicePrincipal", "WorkspaceIdentity")
TYPES = [
    _type("SQL", {"SQL": {"server": True, "database": False}}, ("Basic", *ENTRA)),
    _type("Web", {"Web": {"url": True}}, ("Anonymous", "Basic", "Key")),
    _type("PostgreSQL", {"PostgreSQL": DATABASE, "PostgreSQL.Database": DATABASE}, ("Basic",)),
    _type("AzurePostgreSQL", {"AzurePostgreSQL": DATABASE}, ("Basic", *ENTRA)),
]


class Parameter(msgspec.Struct, frozen=True, rename="camel"):
    name: str
    value: str
    data_type: Literal["Text"]


class Details(msgspec.Struct, frozen=True, rename="camel"):
    type: str
    creation_method: str
    parameters: list[Parameter]


class NewConnection(msgspec.Struct, frozen=True, rename="camel"):
    connectivity_type: Literal["ShareableCloud", "VirtualNetworkGateway"]
    display_name: str
    connection_details: Details
    credential_details: CredentialDetails
    privacy_level: Literal["None", "Private", "Organizational", "Public"] = "Organizational"
    gateway_id: uuid.UUID | None = None


class ChangedConnection(msgspec.Struct, frozen=True, rename="camel"):
    connectivity_type: Literal["ShareableCloud", "VirtualNetworkGateway"]
    display_name: str | None = None
    privacy_level: Literal["None", "Private", "Organizational", "Public"] | None = None
    credential_details: CredentialDetails | None = None


class NewAssignment(msgspec.Struct, frozen=True):
    principal: Principal
    role: Role


class ChangedAssignment(msgspec.Struct, frozen=True):
    role: Role


class NewGateway(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """What the control needs for a virtual network data gateway."""

    display_name: str


class Connection(msgspec.Struct):
    """`roles`: role and principal type by object id."""

    id: str
    name: str
    connectivity: str
    gateway: str
    type: str
    privacy: str
    skipped_test: bool
    credentials: Credentials
    roles: dict[str, tuple[Role, str]]
    created: float

    @property
    def body(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "displayName": self.name,
            "gatewayId": self.gateway,
            "connectivityType": self.connectivity,
            "connectionDetails": {
                "type": self.type, "path": f"{self.credentials.host};{self.credentials.database}",
            },
            "privacyLevel": self.privacy,
            "credentialDetails": {
                "credentialType": self.credentials.login.TYPE,
                "singleSignOnType": "None",
                "connectionEncryption": self.credentials.encryption,
                "skipTestConnection": self.skipped_test,
            },
            "connectionRecency": {"createdDateTime": timestamp(self.created)},
        }  # fmt: skip


class Connections:
    """All connections of the tenant; a caller sees those it has a role on."""

    def __init__(self, behaviour: Behaviour, long_running: LongRunning, source: Source):
        self.behaviour, self.long_running, self.source = behaviour, long_running, source
        self.connections: dict[str, Connection] = {}
        self.gateways: dict[str, dict[str, Any]] = {}
        self.cloud_gateway = str(uuid.uuid4())

    @property
    def operations(self) -> list[Operation]:
        types, every = "/v1/connections/supportedConnectionTypes", "/v1/connections"
        one, roles = f"{every}/{{connection}}", f"{every}/{{connection}}/roleAssignments"
        return [
            Operation("GET", types, "Connections_ListSupportedConnectionTypes", self._list_types),
            Operation("GET", every, "Connections_ListConnections", self._list),
            Operation("POST", every, "Connections_CreateConnection", self._create),
            Operation("GET", one, "Connections_GetConnection", self._get),
            Operation("PATCH", one, "Connections_UpdateConnection", self._update),
            Operation("DELETE", one, "Connections_DeleteConnection", self._delete),
            Operation("POST", f"{one}/testConnection", "Connections_TestConnection", self._test),
            Operation("GET", roles, "Connections_ListConnectionRoleAssignments", self._list_roles),
            Operation("POST", roles, "Connections_AddConnectionRoleAssignment", self._add_role),
            Operation("GET", f"{roles}/{{who}}", "Connections_GetConnectionRoleAssignment", self._get_role),
            Operation("PATCH", f"{roles}/{{who}}", "Connections_UpdateConnectionRoleAssignment", self._update_role),
            Operation("DELETE", f"{roles}/{{who}}", "Connections_DeleteConnectionRoleAssignment", self._delete_role),
            Operation("GET", "/v1/gateways", "Gateways_ListGateways", self._list_gateways),
            Operation("GET", "/v1/gateways/{gateway}", "Gateways_GetGateway", self._get_gateway),
        ]

    def usable(self, id: str, caller: str) -> Connection | None:
        """The connection, if there is one and the caller may use it."""
        connection = self.connections.get(id.lower())
        return connection if connection and caller in connection.roles else None

    def add_gateway(self, gateway: NewGateway, capacity: str) -> dict[str, Any]:
        """A virtual network data gateway that everybody may use; it reaches private servers."""
        body: dict[str, Any] = {
            "id": str(uuid.uuid4()), "type": "VirtualNetwork", "displayName": gateway.display_name,
            "capacityId": capacity, "inactivityMinutesBeforeSleep": 30, "numberOfMemberGateways": 1,
            "virtualNetworkAzureResource": {
                "subscriptionId": str(uuid.UUID(int=0)), "resourceGroupName": "rg-network",
                "virtualNetworkName": "vnet", "subnetName": "fabric",
            },
        }  # fmt: skip
        self.gateways[body["id"]] = body
        return body

    async def _list_types(self, call: Call) -> Answer:
        if gateway := call.query.get("gatewayId"):
            self._gateway(gateway)
        if call.query.get("showAllCreationMethods", "").lower() == "true":
            return page(call, TYPES, self.behaviour.page_size)
        default = [row | {"creationMethods": row["creationMethods"][:1]} for row in TYPES]
        return page(call, default, self.behaviour.page_size)

    async def _list(self, call: Call) -> Answer:
        mine = [c.body for c in self.connections.values() if call.claims["oid"] in c.roles]
        return page(call, mine, self.behaviour.page_size)

    async def _create(self, call: Call) -> Answer:
        new = decode(call.body, NewConnection)
        self._require_free_name(new.display_name)
        if new.connectivity_type == "VirtualNetworkGateway" and new.gateway_id is None:
            raise invalid("gatewayId is required for the connectivity type VirtualNetworkGateway.")
        gateway = self._gateway(str(new.gateway_id))["id"] if new.gateway_id else self.cloud_gateway
        where = _parameters(new.connection_details)
        by_gateway = new.connectivity_type == "VirtualNetworkGateway"
        login = read(new.credential_details, _credential_types(new.connection_details.type), by_gateway)
        encryption = new.credential_details.connection_encryption
        credentials = Credentials(where["server"], where["database"], login, encryption, by_gateway)
        if not new.credential_details.skip_test_connection:
            await self._require_login(credentials)
        self._require_free_name(new.display_name)
        kind = principal_type(self.source.topology, call.claims["oid"])
        connection = Connection(
            str(uuid.uuid4()), new.display_name, new.connectivity_type, gateway, new.connection_details.type,
            new.privacy_level, new.credential_details.skip_test_connection, credentials,
            {call.claims["oid"]: ("Owner", kind)}, time.time(),
        )  # fmt: skip
        self.connections[connection.id] = connection
        return Answer(201, connection.body)

    async def _get(self, call: Call) -> Answer:
        return Answer(body=self._require(call, "User").body)

    async def _update(self, call: Call) -> Answer:
        connection, change = self._require(call, "Owner"), decode(call.body, ChangedConnection)
        if change.connectivity_type != connection.connectivity:
            raise invalid(f"The connection's connectivityType is {connection.connectivity} and can't be changed.")
        if change.display_name and change.display_name != connection.name:
            self._require_free_name(change.display_name)
        if change.credential_details:
            old = connection.credentials
            login = read(change.credential_details, _credential_types(connection.type), old.gateway)
            encryption = change.credential_details.connection_encryption
            credentials = msgspec.structs.replace(old, login=login, encryption=encryption)
            if not change.credential_details.skip_test_connection:
                await self._require_login(credentials)
            connection.credentials = credentials
            connection.skipped_test = change.credential_details.skip_test_connection
        connection.name = change.display_name or connection.name
        connection.privacy = change.privacy_level or connection.privacy
        return Answer(body=connection.body)

    async def _delete(self, call: Call) -> Answer:
        del self.connections[self._require(call, "Owner").id]
        return Answer()

    async def _test(self, call: Call) -> Answer:
        connection = self._require(call, "User")
        if isinstance(connection.credentials.login, WorkspaceIdentity):
            raise invalid("The status of a connection with a workspace identity can't be checked.")

        async def work() -> dict[str, Any]:
            try:
                await self.source.test(connection.credentials)
            except SourceProblem as problem:
                message = f"{problem.message} {problem.cause}".strip()
                return {"status": "Offline", "errors": [{"errorCode": problem.code, "message": message}]}
            return {"status": "Online", "errors": []}

        return await self.long_running.answer(call, work)

    async def _list_roles(self, call: Call) -> Answer:
        connection = self._require(call, "User")
        return page(call, [_role(connection, who) for who in connection.roles], self.behaviour.page_size)

    async def _add_role(self, call: Call) -> Answer:
        connection, new = self._require(call, "UserWithReshare"), decode(call.body, NewAssignment)
        who = str(new.principal.id)
        if who in connection.roles:
            raise Refusal(409, "AlreadyExists", f"The principal {who} already has a role on the connection.")
        if RANK[new.role] > RANK[connection.roles[call.claims["oid"]][0]]:
            raise _may_not(f"give the role {new.role}")
        connection.roles[who] = (new.role, new.principal.type)
        location = f"{BASE}/connections/{connection.id}/roleAssignments/{who}"
        return Answer(201, _role(connection, who), {"Location": location})

    async def _get_role(self, call: Call) -> Answer:
        connection = self._require(call, "User")
        return Answer(body=_role(connection, _assigned(call, connection)))

    async def _update_role(self, call: Call) -> Answer:
        connection, change = self._require(call, "Owner"), decode(call.body, ChangedAssignment)
        who = _assigned(call, connection)
        connection.roles[who] = (change.role, connection.roles[who][1])
        return Answer(body=_role(connection, who))

    async def _delete_role(self, call: Call) -> Answer:
        connection = self._require(call, "Owner")
        del connection.roles[_assigned(call, connection)]
        return Answer()

    async def _list_gateways(self, call: Call) -> Answer:
        return page(call, list(self.gateways.values()), self.behaviour.page_size)

    async def _get_gateway(self, call: Call) -> Answer:
        return Answer(body=self._gateway(call.parameters["gateway"]))

    def _gateway(self, id: str) -> dict[str, Any]:
        if id.lower() not in self.gateways:
            raise Refusal(404, "EntityNotFound", f"The gateway {id} could not be found.")
        return self.gateways[id.lower()]

    def _require(self, call: Call, minimum: Role) -> Connection:
        id = call.parameters["connection"]
        connection = self.usable(id, call.claims["oid"])
        if connection is None:
            raise Refusal(404, "EntityNotFound", f"The connection {id} could not be found.")
        if RANK[connection.roles[call.claims["oid"]][0]] < RANK[minimum]:
            raise _may_not(f"do this without the role {minimum} on it")
        return connection

    def _require_free_name(self, name: str) -> None:
        if not 0 < len(name) <= 200:
            raise invalid("displayName must have 1 to 200 characters.")
        if any(c.name.lower() == name.lower() for c in self.connections.values()):
            raise Refusal(409, "DuplicateConnectionName", f"The connection name {name!r} is already in use.")

    async def _require_login(self, credentials: Credentials) -> None:
        try:
            await self.source.test(credentials)
        except SourceProblem as problem:
            details = [("DM_GWPipeline_Gateway_DataSourceAccessError", problem.cause)]
            raise Refusal(400, problem.code, problem.message, details=details) from None


def _may_not(what: str) -> Refusal:
    message = f"The caller has insufficient permissions to manage this connection: it may not {what}."
    return Refusal(403, "InsufficientPermissionsToManageConnection", message)


def _parameters(details: Details) -> dict[str, str]:
    """The parameters by name, checked against the connection type."""
    offered = next((row for row in TYPES if row["type"] == details.type), None)
    methods = {m["name"]: m["parameters"] for m in offered["creationMethods"]} if offered else {}
    if details.creation_method not in methods:
        raise _invalid_details(f"there is no creation method {details.creation_method!r} of a type {details.type!r}")
    given = {parameter.name: parameter.value for parameter in details.parameters}
    names = [parameter["name"] for parameter in methods[details.creation_method]]
    missing = [p["name"] for p in methods[details.creation_method] if p["required"] and not given.get(p["name"])]
    if missing or not set(given) <= set(names):
        raise _invalid_details(f"the parameters of {details.type} are {names}, given were {sorted(given)}")
    if details.type not in POSTGRESQL:
        raise Refusal(501, "NotImplemented", f"The stand-in for fabric has no connections of type {details.type}.")
    return given


def _invalid_details(why: str) -> Refusal:
    return Refusal(
        400, "InvalidConnectionDetails", "The ConnectionDetails input provided is not valid.",
        details=[("InvalidParameter", f"{why}.")],
    )  # fmt: skip


def _credential_types(type: str) -> list[str]:
    return next(row["supportedCredentialTypes"] for row in TYPES if row["type"] == type)


def _assigned(call: Call, connection: Connection) -> str:
    who = call.parameters["who"].lower()
    if who not in connection.roles:
        raise Refusal(404, "EntityNotFound", f"There is no role assignment {who} on the connection.")
    return who


def _role(connection: Connection, who: str) -> dict[str, Any]:
    role, kind = connection.roles[who]
    return {"id": who, "principal": {"id": who, "type": kind}, "role": role}
