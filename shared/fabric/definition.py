"""The definition of a mirrored database, `mirroring.json`: written, read back and compared. Pure.

Source: "Mirrored database definition" in the Fabric REST reference.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any

import msgspec

from shared.platform.errors import InvalidInput

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
    default_schema: str | None = "public",
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


def parse(payload: str) -> Definition | None:
    """The definition in the Base64 payload of `mirroring.json`; None when it is not one of a PostgreSQL source."""
    try:
        properties = msgspec.json.decode(base64.b64decode(payload), type=_Mirroring).properties
    except (binascii.Error, msgspec.MsgspecError):
        return None
    if properties.source.type.lower() != "azurepostgresql":
        return None
    source, target = properties.source.type_properties, properties.target.type_properties
    names = None
    if properties.mounted_tables:
        mounted = [table.source.type_properties for table in properties.mounted_tables]
        names = frozenset((name.schema_name, name.table_name) for name in mounted)
    return Definition(source.connection, source.database, names, target.default_schema, target.retention_in_days)
