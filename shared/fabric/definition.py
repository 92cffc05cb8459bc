"""The definition of a mirrored database, `mirroring.json`: writes, reads and compares it. Pure.

Source: "Mirrored database definition" in the Fabric REST reference.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import msgspec

from shared.platform.errors import Blocked, InvalidInput

PART = "mirroring.json"
"""The name of the part that holds the definition."""
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
    """What a mirrored database mirrors, and where Fabric writes it."""

    connection: str
    """The id of the connection that leads to the server."""
    database: str
    tables: frozenset[tuple[str, str]] | None = None
    """Schema and name of each table; None: every table, also those that somebody creates later."""
    default_schema: str | None = None
    """None: Fabric's default."""
    retention_days: int | None = None
    """None: Fabric's default."""

    def satisfied_by(self, existing: Definition) -> bool:
        """Whether an existing definition needs no change. Fabric itself fills in the fields that are None here."""
        return (
            existing.connection.lower() == self.connection.lower()
            and existing.database == self.database
            and existing.tables == self.tables
            and self.default_schema in (None, existing.default_schema)
            and self.retention_days in (None, existing.retention_days)
        )

    def leads_as(self, existing: Definition) -> bool:
        """Whether a mirror may run while this definition takes the place of an existing one.

        Source: "Mirrored database REST API": connection, database and default schema can only be updated while the
        status is Initialized or Stopped.
        """
        way = (self.connection.lower(), self.database, self.default_schema)
        return way == (existing.connection.lower(), existing.database, existing.default_schema)

    def over(self, existing: Definition) -> Definition:
        """This definition, with the existing values where it has None, so that the values that people set stay."""
        return msgspec.structs.replace(
            self,
            default_schema=self.default_schema or existing.default_schema,
            retention_days=self.retention_days or existing.retention_days,
        )


def definition(
    connection: str, database: str, tables: Tables | None = None, *, retention_days: int | None = None
) -> Definition:
    """The definition that the app wants for a database. `connection` is an id. Raises `InvalidInput`."""
    chosen = None if tables is None else frozenset(tables)
    if chosen is not None and not 0 < len(chosen) <= MOST_TABLES:
        raise InvalidInput(
            f"{len(chosen)} tables are chosen in the database {database!r}; 1 to {MOST_TABLES} were expected.",
            remedy="Name fewer tables." if chosen else "Name at least one table, or none at all for all of them.",
        )
    if retention_days is not None and retention_days not in RETENTION_DAYS:
        raise InvalidInput(f"Retention is {retention_days} days; 1 to 30 were expected.")
    return Definition(connection, database, chosen, retention_days=retention_days)


def parts(definition: Definition) -> dict[str, Any]:
    """The definition in the form of a request's body."""
    target: dict[str, Any] = {"format": "Delta"}
    if definition.default_schema is not None:
        target["defaultSchema"] = definition.default_schema
    if definition.retention_days is not None:
        target["retentionInDays"] = definition.retention_days
    properties: dict[str, Any] = {
        "source": {
            "type": "AzurePostgreSql",
            "typeProperties": {"connection": definition.connection, "database": definition.database},
        },
        "target": {
            "type": "MountedRelationalDatabase",
            "typeProperties": target,
        },
    }
    if definition.tables is not None:
        properties["mountedTables"] = [
            {"source": {"typeProperties": {"schemaName": schema, "tableName": name}}}
            for schema, name in sorted(definition.tables)
        ]
    payload = base64.b64encode(msgspec.json.encode({"properties": properties})).decode()
    return {"parts": [{"path": PART, "payload": payload, "payloadType": "InlineBase64"}]}


def parse(payload: str, item: str) -> Definition | None:
    """The definition of an item, from the Base64 payload of its `mirroring.json`; None when it has another source.

    Raises `Blocked` when the definition can't be read. If it counted as none, the app would write over it and lose the
    values that people set.
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
            remedy="Look at it in the Fabric portal. If nobody needs it, delete it: the next run creates another.",
        ) from error
    source, target = properties.source.type_properties, properties.target.type_properties
    tables = None
    if properties.mounted_tables:
        mounted = [table.source.type_properties for table in properties.mounted_tables]
        tables = frozenset((name.schema_name, name.table_name) for name in mounted)
    return Definition(source.connection, source.database, tables, target.default_schema, target.retention_in_days)
