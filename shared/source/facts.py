"""What is seen of a flexible server and of the tables in it: the types alone, without any SDK."""

from __future__ import annotations

from datetime import datetime

import msgspec

from shared.desired.server_id import ServerId
from shared.desired.takeover import TableName


class Administrator(msgspec.Struct, frozen=True):
    """A Microsoft Entra administrator of a server. `name` is the PostgreSQL role it logs in as."""

    object_id: str
    name: str
    type: str


class MaintenanceWindow(msgspec.Struct, frozen=True):
    """When Azure maintains the server. Not `custom`: Azure chooses, and the rest says nothing. Day 0 is Sunday."""

    custom: bool = False
    day_of_week: int = 0
    hour: int = 0
    minute: int = 0


class ServerFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What Azure Resource Manager tells about a flexible server, its parameters apart."""

    id: ServerId
    location: str
    version: int
    """The major version of PostgreSQL; 0 when the service names none."""
    state: str
    tier: str
    storage_gib: int
    high_availability: str
    replication_role: str
    replicas: int
    elastic_cluster: bool
    identity_type: str
    principal_id: str
    """Object id of the system-assigned identity; empty when there is none."""
    password_auth: bool
    entra_auth: bool
    administrators: tuple[Administrator, ...]
    public_access: bool
    azure_services_allowed: bool
    """Whether the firewall has the rule 0.0.0.0–0.0.0.0, by which Fabric's shared cloud comes in."""
    host: str
    created_at: datetime | None
    tags: dict[str, str]
    maintenance_window: MaintenanceWindow
    databases: tuple[str, ...]
    """User databases in order of name: not the templates, `postgres`, and those that Azure keeps for itself."""


TABLE_LIMIT = 500
"""How many tables a mirrored database has at most (source: the limitations of Fabric mirroring, as in `tables`)."""
TABLE_LIMIT_EXCEEDED = "TABLE_LIMIT_EXCEEDED"
"""The app's own status code, in addition to the service's, for a table beyond the limit."""


class TableStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What the mirror does with one table. `status`: OK, WARNING (mirrored, with a loss) or ERROR (not mirrored)."""

    schema: str
    name: str
    status: str
    codes: tuple[str, ...]
    """The service's status codes of the table."""
    message: str
    owner: str


class TableReport(msgspec.Struct, frozen=True):
    """The tables of one database in order of schema and name. Without a selection: every table, but no views."""

    tables: tuple[TableStatus, ...]

    @property
    def eligible(self) -> tuple[TableName, ...]:
        """The tables that can be mirrored."""
        return tuple(TableName(table.schema, table.name) for table in self.tables if table.status != "ERROR")


class Slot(msgspec.Struct, frozen=True, kw_only=True):
    """A logical replication slot of one database."""

    name: str
    active: bool
    wal_status: str
    """Its WAL is kept (`reserved`), kept beyond `max_wal_size` (`extended`), about to go (`unreserved`) or `lost`."""
    retained_bytes: int
    """WAL that the server keeps for it."""
    lag_bytes: int
    """WAL written since what its consumer confirmed."""


class TrackedPublication(msgspec.Struct, frozen=True, kw_only=True):
    """A publication that `azure_cdc` ships to Fabric."""

    name: str
    owner: str
    destination_path: str
    active: bool
