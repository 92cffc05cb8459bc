"""Facts about a flexible server and its tables: the types alone, so that decisions can use them without any SDK."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

from shared.desired.server_id import ServerId
from shared.desired.takeover import Identity, TableName

MAINTENANCE_DATABASE = "postgres"
"""The database that every server has. It is mirrored only where somebody names it."""
CLOSED = "DatabaseClosed"
"""The code of the reason that a database accepts no connections."""
NO_TABLES = "NoTables"
"""The code of the reason that a database has no table that can be mirrored."""
TAKEN = "SchemaTaken"
"""The code of the reason that others than administrators have put something under the name of the extension."""


class Administrator(msgspec.Struct, frozen=True):
    """A Microsoft Entra administrator of a server."""

    object_id: str
    """In lower case."""
    name: str
    """The PostgreSQL role that the administrator logs in as."""
    type: str
    """`User`, `Group` or `ServicePrincipal`."""


class MaintenanceWindow(msgspec.Struct, frozen=True):
    """When Azure maintains the server, in the time of the server's region."""

    custom: bool = False
    """Whether somebody chose the window. Otherwise Azure chooses it, and the other fields mean nothing."""
    day_of_week: int = 0
    """0 is Sunday."""
    hour: int = 0
    minute: int = 0


class ServerFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What Azure Resource Manager shows of a flexible server, without its parameters."""

    id: ServerId
    location: str
    version: int
    """The major version of PostgreSQL; 0 when the service names none."""
    state: str
    """`Ready`, `Stopped`, `Updating`, … as the service writes it."""
    tier: str
    storage_gib: int
    high_availability: str
    """`Disabled`, `SameZone` or `ZoneRedundant`."""
    replication_role: str
    """`None`, `Primary`, `AsyncReplica` or `GeoAsyncReplica`."""
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
    """Whether the firewall has the rule 0.0.0.0–0.0.0.0, which lets Fabric's shared cloud in."""
    host: str
    created_at: datetime | None
    tags: dict[str, str]
    maintenance_window: MaintenanceWindow
    databases: tuple[str, ...]
    """The user databases in order of name, without the templates, `postgres` and Azure's own databases."""

    def has(self, database: str) -> bool:
        """Whether the server has a database that somebody may name."""
        return database in self.databases or database == MAINTENANCE_DATABASE


TABLE_LIMIT_EXCEEDED = "TABLE_LIMIT_EXCEEDED"
"""The app's own status code, in addition to the service's, for a table beyond the limit."""
ROW_SECURITY = "ROW_SECURITY"
"""The same for a table with row-level security, which Fabric does not know."""
HIDDEN_ROWS = "ROW_SECURITY_FORCED"
"""The same for a table whose row-level security holds for the fabric role too."""
GENERATED = "GENERATED_REPLICA_IDENTITY"
"""The same for a table whose rows only generated columns would identify, which PostgreSQL does not publish."""


class TableStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Whether one table can be mirrored."""

    schema: str
    name: str
    status: str
    """`OK`, `WARNING` (mirrored with a loss) or `ERROR` (not mirrored)."""
    codes: tuple[str, ...]
    """The status codes of the table: the service's, and the app's own."""
    message: str
    owner: str
    remedy: str = ""
    """Statements to run, where they make it better."""
    reached: bool = False
    """The fabric role has the owner's rights: as the owner itself, or as a member of the owner."""


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """An owner of tables that are to be mirrored, and what the fabric role would gain as a member of it."""

    name: str
    tables: int
    """How many of the tables to mirror it owns."""
    example: str
    """The first of these tables: `schema.name`."""
    administrator: bool
    """It is an administrator of the server, by any way."""
    grantable: bool
    """The app may grant it to others."""
    grantors: tuple[str, ...]
    """The roles that may grant it."""
    beyond: tuple[str, ...]
    """The roles that it is a member of, by any way, and that reach beyond its own application."""
    joined: bool
    """The fabric role has its rights already."""
    other_tables: int
    """Tables and views of the database that it reaches as an owner and that are not to be mirrored."""
    other_databases: tuple[str, ...]
    """The other databases of the server in which it has something."""
    owns_database: bool = False
    """The database is its own, so that its members may drop it."""

    @property
    def is_built_in(self) -> bool:
        """It is one of PostgreSQL's own roles, which nobody can be a member of, or nobody should."""
        return self.name in self.beyond

    @property
    def strong(self) -> bool:
        """As a member of it, the fabric role would be more than this application's owner."""
        return self.administrator or bool(self.beyond)


class IdentityChange(msgspec.Struct, frozen=True):
    """A table whose replica identity would not do once it is published."""

    before: Identity
    fitting: str
    """What has to follow REPLICA IDENTITY, in the form of `before.identity`."""


class EventTrigger(msgspec.Struct, frozen=True, kw_only=True):
    """A function that PostgreSQL calls when somebody sends DDL, and that runs as that somebody."""

    name: str
    event: str
    """`ddl_command_start`, `ddl_command_end`, `sql_drop`, `table_rewrite` or `login`."""
    tags: tuple[str, ...]
    """The commands that it is for; empty: all."""
    function: str
    owner: str
    """The owner of the function."""
    trusted: bool
    """The owner is an administrator of the server."""


class Missing(msgspec.Struct, frozen=True):
    """A right that the fabric role lacks and the app may not grant."""

    subject: str
    """What is missing: `CREATE ON DATABASE shop`."""
    statement: str
    """The SQL statement that grants it."""
    run_as: tuple[str, ...]
    """The roles that may run the statement."""


class Absence(msgspec.Struct, frozen=True):
    """Azure Resource Manager answered 404 when the app asked for a server."""

    code: str
    """The code of the answer. Empty: it had none."""

    @property
    def is_of_server(self) -> bool:
        """Whether the answer is about the server, and not about its resource group or subscription."""
        return self.code == "ResourceNotFound"


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """What the list of a subscription tells of a server, besides its id."""

    host: str
    """The fully qualified domain name, which no two servers have at a time."""
    created_at: datetime | None


class Glance(msgspec.Struct, frozen=True):
    """The few facts of a server that one request to Azure Resource Manager tells."""

    state: str
    storage_gib: int
    """0 where the service names no size."""
    host: str


class TableReport(msgspec.Struct, frozen=True):
    """The tables of one database in order of schema and name. Without a selection: every table, but no views."""

    tables: tuple[TableStatus, ...]
    limit: int
    """How many of them a mirrored database takes (source: the limitations of Fabric mirroring)."""

    @property
    def eligible(self) -> tuple[TableName, ...]:
        """The tables that can be mirrored."""
        return tuple(TableName(table.schema, table.name) for table in self.tables if table.status != "ERROR")


class Slot(msgspec.Struct, frozen=True, kw_only=True):
    """A logical replication slot of one database."""

    name: str
    active: bool
    wal_status: str
    """`reserved`, `extended` (more than `max_wal_size`), `unreserved` (the server may remove WAL soon) or `lost`."""
    retained_bytes: int
    """WAL that the server retains for the slot."""
    lag_bytes: int
    """WAL that the server wrote after the position that the consumer confirmed."""


class TrackedPublication(msgspec.Struct, frozen=True, kw_only=True):
    """A publication that `azure_cdc` ships to Fabric."""

    name: str
    owner: str
    destination_path: str
    """The path in OneLake. It has the id of the mirrored database in it."""
    active: bool


type DependentKind = Literal[
    "trigger", "after trigger", "rule", "foreign key", "index", "statistics", "check constraint", "generated column",
    "default", "domain", "range type", "sequence", "schema", "default privileges", "subscription", "event trigger",
    "row-level security", "other owner", "no inheritance", "set role",
]  # fmt: skip
"""What depends on a table's owner: objects of the table first, then those of its owner or of the database."""


class Dependent(msgspec.Struct, frozen=True, kw_only=True):
    """Something that would behave differently if a table had another owner."""

    kind: DependentKind
    table: TableName
    """The table; the first of many, where the object is of their owner or of the database."""
    owner: str
    """The owner of the table."""
    object: str
    """The object in words: `trigger keep of s.c`."""
    subject: str
    """What the object uses, or the role that it concerns: a function, a relation, a role."""
    statement: str = ""
    """The SQL that makes the object independent of the owner; empty where there is none."""
