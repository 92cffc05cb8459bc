"""A flexible server: its ARM document, the PostgreSQL behind it, and the parameters that both must agree on."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from local.cloud.arm import tags
from local.cloud.arm.parameters import CUSTOM, QUERY, Parameter, catalogue
from local.cloud.web import Refusal
from local.postgres import PostgresServer
from local.topology import MEMBERSHIP

RESOURCE_TYPE = "Microsoft.DBforPostgreSQL/flexibleServers"
NO_IDENTITY = "None"
# A server's properties as Azure fills them in where the request doesn't.
DEFAULTS: dict[str, Any] = {
    "version": "17",
    "replicationRole": "Primary",
    "replicaCapacity": 5,
    "availabilityZone": "1",
    "storage": {"storageSizeGB": 32, "autoGrow": "Disabled", "tier": "P4", "iops": 120, "type": "Premium_LRS"},
    "backup": {"backupRetentionDays": 7, "geoRedundantBackup": "Disabled"},
    "network": {"publicNetworkAccess": "Enabled"},
    "highAvailability": {"mode": "Disabled", "state": "NotEnabled"},
    "maintenanceWindow": {"customWindow": "Disabled", "dayOfWeek": 0, "startHour": 0, "startMinute": 0},
    "authConfig": {"activeDirectoryAuth": "Disabled", "passwordAuth": "Enabled"},
    "dataEncryption": {"type": "SystemManaged"},
}


class FlexibleServer:
    """One server. `document` is the resource as ARM shows it; everything else is its PostgreSQL and its children.

    `azure_cdc`: one of `topology.CHARACTERS`, where the server's tags do not choose another one.
    """

    def __init__(self, resource_id: str, document: dict[str, Any], azure_cdc: str = MEMBERSHIP):
        self.id, self.document, self.azure_cdc = resource_id, document, azure_cdc
        self.postgres: PostgresServer | None = None
        self.catalogue: dict[str, Parameter] = {}
        self.firewall_rules: dict[str, dict[str, str]] = {}
        self.administrators: dict[str, dict[str, str]] = {}
        self.restarts = 0
        self._held: dict[str, str] = {}

    @property
    def name(self) -> str:
        return self.document["name"]

    @property
    def properties(self) -> dict[str, Any]:
        return self.document["properties"]

    @property
    def state(self) -> str:
        return self.properties["state"]

    @state.setter
    def state(self, state: str) -> None:
        self.properties["state"] = state

    def attach(self, postgres: PostgresServer) -> None:
        """Give it the PostgreSQL that it runs on, just created."""
        self.postgres = postgres
        rows: list[Mapping[str, Any]] = list(postgres.execute(QUERY))
        self.catalogue = catalogue(rows, postgres.installed.folder)
        version = postgres.execute("SELECT current_setting('server_version') AS version")[0]["version"]
        self.document["properties"] |= {
            "fullyQualifiedDomainName": postgres.address,
            "minorVersion": version.partition(".")[2].partition(" ")[0],
        }
        defaults = {name: self.catalogue[name].default_value for name in CUSTOM}
        postgres.set_parameters(defaults | self.local_settings())
        self.show_identity()

    @property
    def engine(self) -> PostgresServer:
        """Its PostgreSQL, running. Raises the refusal that Azure gives for a stopped server."""
        if self.postgres is None or not self.postgres.running:
            message = f"The server '{self.name}' is stopped. Start the server before performing this operation."
            raise Refusal(400, "ServerStoppedError", message)
        return self.postgres

    def restart(self) -> None:
        """Restart PostgreSQL, with every parameter that waited for it."""
        engine = self.engine
        engine.stop()
        self._start(engine)
        self.restarts += 1

    def start(self) -> None:
        if self.postgres:
            self._start(self.postgres)

    def _start(self, postgres: PostgresServer) -> None:
        postgres.set_parameters(self._held)
        self._held = {}
        postgres.start()

    def set_parameter(self, parameter: Parameter, value: str | None) -> None:
        """Set a parameter (None: its default). PostgreSQL itself delays its own static ones; the others wait here."""
        if parameter.name not in CUSTOM:
            self.engine.set_parameters({parameter.name: value})
            return
        new = parameter.default_value if value is None else value
        self._held.pop(parameter.name, None)
        if parameter.is_dynamic_config:
            self.engine.set_parameters({parameter.name: new})
        elif new != self.engine.parameters[parameter.name]:
            self._held[parameter.name] = new

    def configurations(self) -> list[dict[str, Any]]:
        """Every parameter as ARM shows it: the value that was asked for, and whether it waits for a restart."""
        rows = {row["name"]: row for row in self.engine.execute(QUERY)}
        return [self._configuration(parameter, rows.get(parameter.name)) for parameter in self.catalogue.values()]

    def _configuration(self, parameter: Parameter, row: Mapping[str, Any] | None) -> dict[str, Any]:
        asked = {**self.engine.parameters, **self._held}.get(parameter.name)
        value = parameter.default_value if asked is None else asked
        changed = asked is not None and (parameter.name not in CUSTOM or value != parameter.default_value)
        properties = msgspec.to_builtins(parameter) | {
            "value": value,
            "source": "user-override" if changed else "system-default",
            "isConfigPendingRestart": bool(row and row["pending_restart"]) or parameter.name in self._held,
            "documentationLink": _documentation(parameter.name, self.properties["version"]),
        }
        name = properties.pop("name")
        return child(self, "configurations", name, properties)

    def show_identity(self) -> None:
        """Let the server itself know its system-assigned identity, as `SHOW azure.service_principal_id` tells."""
        principal = self.document.get("identity", {}).get("principalId", "")
        if self.postgres:
            self.postgres.set_parameters({"azure.service_principal_id": principal})

    def set_tags(self, new: Mapping[str, str]) -> None:
        """Replace its tags. Those that mean something to the stack count at once."""
        before = self.local_settings()
        self.document["tags"] = dict(new)
        if self.postgres and self.local_settings() != before:
            self.postgres.set_parameters(self.local_settings())

    def local_settings(self) -> dict[str, str | None]:
        """Settings that Azure does not have, and that are no server parameters: they make the stand-in's character."""
        chosen = tags.local_settings(self.document.get("tags", {}))
        return chosen | {"local.azure_cdc": chosen["local.azure_cdc"] or self.azure_cdc}

    def describe(self) -> dict[str, Any]:
        """The resource as it is answered to a caller."""
        return self.document | {"properties": {k: v for k, v in self.properties.items() if k != "createMode"}}


def child(server: FlexibleServer, kind: str, name: str, properties: Mapping[str, Any]) -> dict[str, Any]:
    """A resource below a server, e.g. one of its databases."""
    return {
        "id": f"{server.id}/{kind}/{name}",
        "name": name,
        "type": f"{RESOURCE_TYPE}/{kind}",
        "properties": dict(properties),
    }


def new_document(resource_id: str, name: str, body: Mapping[str, Any], creator: str) -> dict[str, Any]:
    """The document of a server that was just asked for, with Azure's defaults for what the request leaves open."""
    now = datetime.now(UTC).isoformat()
    document: dict[str, Any] = {
        "id": resource_id,
        "name": name,
        "type": RESOURCE_TYPE,
        "location": body["location"],
        "sku": body.get("sku") or {"name": "Standard_D2ds_v5", "tier": "GeneralPurpose"},
        "tags": body.get("tags") or {},
        "properties": merged(DEFAULTS, body.get("properties") or {}) | {"state": "Provisioning"},
        "systemData": {
            "createdAt": now, "createdBy": creator, "createdByType": "Application",
            "lastModifiedAt": now, "lastModifiedBy": creator, "lastModifiedByType": "Application",
        },
    }  # fmt: skip
    if document["properties"]["highAvailability"]["mode"] != "Disabled":
        document["properties"]["highAvailability"]["state"] = "Healthy"
    return document


def merged(before: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """`before` with `change` laid over it, object by object, as PATCH does. Neither is modified."""
    result = {name: merged(value, {}) if isinstance(value, Mapping) else value for name, value in before.items()}
    for name, value in change.items():
        old = result.get(name)
        result[name] = merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return result


def identity(before: Mapping[str, Any], change: Mapping[str, Any], tenant: str) -> dict[str, Any]:
    """The identity after a change. A system-assigned identity that is switched off and on again is another one."""
    kind = change.get("type") or before.get("type") or NO_IDENTITY
    if kind == NO_IDENTITY:
        return {"type": NO_IDENTITY}
    after: dict[str, Any] = {"type": kind, "tenantId": tenant}
    if "SystemAssigned" in kind:
        after["principalId"] = before.get("principalId") or str(uuid.uuid4())
    if "UserAssigned" in kind:
        identities = {**before.get("userAssignedIdentities", {}), **(change.get("userAssignedIdentities") or {})}
        after["userAssignedIdentities"] = {
            name: value or {"principalId": str(uuid.uuid4()), "clientId": str(uuid.uuid4())}
            for name, value in identities.items()
            if value is not None
        }
    return after


def _documentation(name: str, version: str) -> str:
    if name in CUSTOM:
        return "https://learn.microsoft.com/azure/postgresql/integration/concepts-fabric-mirroring"
    anchor = name.upper().replace("_", "-")
    return f"https://www.postgresql.org/search/?u=%2Fdocs%2F{version}%2F&q=GUC-{anchor}"
