"""The definition of a mirrored database, `mirroring.json`: written, read back and compared. Pure.

Source: "Mirrored database definition" in the Fabric REST reference.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import msgspec

from shared.platform.errors import Blocked, InvalidInput

PART = "mirroring.json"
MOST_TABLES = 500
RETENTION_DAYS = range(1, 31)

Tables = Sequence[tuple[str, str]]
"""Schema and name of each table."""


class _Name(msgspec.Struct, frozen=True, rename="camel"):
    schema_name: str = ""
    table_name: str = ""


class _TableSource(msgspec.Struct, frozen=True, rename="camel"):
    type_properties: _Name = _Name()


class _Mounted(msgspec.Struct, frozen=True):
    source: _TableSource = _TableSource()


class _SourceProperties(msgspec.Struct, frozen=True):
    connection: str = ""
    database: str = ""


class _Source(msgspec.Struct, frozen=True, rename="camel"):
    type: str = ""
    type_properties: _SourceProperties = _SourceProperties()


class _TargetProperties(msgspec.Struct, frozen=True, rename="camel"):
    default_schema: str | None = None
    retention_in_days: int | None = None


class _Target(msgspec.Struct, frozen=True, rename="camel"):
    type_properties: _TargetProperties = _TargetProperties()


class _Properties(msgspec.Struct, frozen=True, rename="camel"):
    source: _Source = _Source()
    target: _Target = _Target()
    mounted_tables: tuple[_Mounted, ...] | None = None


class _Mirroring(msgspec.Struct, frozen=True):
    properties: _Properties = _Properties()


class _AnySource(msgspec.Struct, frozen=True):
    type: str = ""


class _AnyProperties(msgspec.Struct, frozen=True):
    source: _AnySource = _AnySource()


class _AnyMirroring(msgspec.Struct, frozen=True):
    properties: _AnyProperties = _AnyProperties()


class Definition(msgspec.Struct, frozen=True):
    """What a mirrored database mirrors. `tables` None: every table, new ones too. None elsewhere: Fabric's default."""

    connection: str
    database: str
    tables: frozenset[tuple[str, str]] | None = None
    default_schema: str | None = None
    retention_days: int | None = None

    def satisfied_by(self, found: Definition) -> bool:
        """Whether `found` is what is wanted here; Fabric fills in what was left to its default."""
        return (
            found.connection.lower() == self.connection.lower()
            and found.database == self.database
            and found.tables == self.tables
            and self.default_schema in (None, found.default_schema)
            and self.retention_days in (None, found.retention_days)
        )

    def leads_as(self, found: Definition) -> bool:
        """Whether the way is that of `found`, so that a mirror may run while it is changed from one to the other.

        Source: "Mirrored database REST API": connection, database and default schema can only be updated while the
        status is Initialized or Stopped.
        """
        way = (self.connection.lower(), self.database, self.default_schema)
        return way == (found.connection.lower(), found.database, found.default_schema)

    def over(self, found: Definition) -> Definition:
        """This, with what `found` says where nothing is wanted, so that what people set by hand stays."""
        return msgspec.structs.replace(
            self,
            default_schema=self.default_schema or found.default_schema,
            retention_days=self.retention_days or found.retention_days,
        )


def definition(
    connection: str,
    database: str,
    tables: Tables | None = None,
    default_schema: str | None = None,
    retention_days: int | None = None,
) -> Definition:
    """The definition for a database and the connection (id) that leads to it. Raises `InvalidInput`."""
    chosen = None if tables is None else frozenset(tables)
    if chosen is not None and not 0 < len(chosen) <= MOST_TABLES:
        raise InvalidInput(
            f"{len(chosen)} tables are chosen in the database {database!r}; 1 to {MOST_TABLES} were expected.",
            remedy="Name fewer tables." if chosen else "Name at least one table, or none at all for all of them.",
        )
    if retention_days is not None and retention_days not in RETENTION_DAYS:
        raise InvalidInput(f"Retention is {retention_days} days; 1 to 30 were expected.")
    return Definition(connection, database, chosen, default_schema, retention_days)


def parts(wanted: Definition) -> dict[str, Any]:
    """The definition as a request carries it."""
    target = {"defaultSchema": wanted.default_schema, "retentionInDays": wanted.retention_days}
    properties: dict[str, Any] = {
        "source": {
            "type": "AzurePostgreSql",
            "typeProperties": {"connection": wanted.connection, "database": wanted.database},
        },
        "target": {
            "type": "MountedRelationalDatabase",
            "typeProperties": {"format": "Delta"} | {name: v for name, v in target.items() if v is not None},
        },
    }
    if wanted.tables is not None:
        properties["mountedTables"] = [
            {"source": {"typeProperties": {"schemaName": schema, "tableName": name}}}
            for schema, name in sorted(wanted.tables)
        ]
    payload = base64.b64encode(msgspec.json.encode({"properties": properties})).decode()
    return {"parts": [{"path": PART, "payload": payload, "payloadType": "InlineBase64"}]}


def parse(payload: str, item: str) -> Definition | None:
    """The definition of an item in the Base64 payload of its `mirroring.json`; None when it is of another source.

    Raises `Blocked` when it can't be read: taken for none, it would be written over, and what people set would be lost.
    """
    if not payload:
        return None
    try:
        content = base64.b64decode(payload)
        if msgspec.json.decode(content, type=_AnyMirroring).properties.source.type.lower() != "azurepostgresql":
            return None
        properties = msgspec.json.decode(content, type=_Mirroring).properties
    except ValueError as error:
        raise Blocked(
            f"The definition of the mirrored database {item} can't be read: {error}",
            code="DefinitionUnreadable",
            remedy="Look at it in the Fabric portal. Where nobody needs it, delete it: what is missing is made.",
        ) from error
    source, target = properties.source.type_properties, properties.target.type_properties
    names = None
    if properties.mounted_tables:
        mounted = [table.source.type_properties for table in properties.mounted_tables]
        names = frozenset((name.schema_name, name.table_name) for name in mounted)
    return Definition(source.connection, source.database, names, target.default_schema, target.retention_in_days)
