"""The definition of a mirrored database: the part `mirroring.json`, checked as the service checks it.

The form is the one in the article "Mirrored database definition" of Fabric's REST reference.
"""

from __future__ import annotations

import base64
import binascii
import uuid
from typing import Annotated, Any, Literal

import msgspec

from local.cloud.web import Refusal

PART = "mirroring.json"
PLATFORM = ".platform"


class Part(msgspec.Struct, frozen=True, rename="camel"):
    path: str
    payload: str
    payload_type: Literal["InlineBase64"]


class Parts(msgspec.Struct, frozen=True):
    parts: list[Part]


class SourceProperties(msgspec.Struct, frozen=True):
    connection: uuid.UUID
    database: str


class Source(msgspec.Struct, frozen=True, rename="camel"):
    type: Literal["AzurePostgreSql"]
    type_properties: SourceProperties


class TargetProperties(msgspec.Struct, frozen=True, rename="camel"):
    format: Literal["Delta"]
    default_schema: str | None = None
    retention_in_days: Annotated[int, msgspec.Meta(ge=1, le=30)] = 1


class Target(msgspec.Struct, frozen=True, rename="camel"):
    type: Literal["MountedRelationalDatabase"]
    type_properties: TargetProperties


class TableName(msgspec.Struct, frozen=True, rename="camel"):
    schema_name: str
    table_name: str


class MountedSource(msgspec.Struct, frozen=True, rename="camel"):
    type_properties: TableName


class MountedTable(msgspec.Struct, frozen=True):
    source: MountedSource


class Properties(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    source: Source
    target: Target
    mounted_tables: list[MountedTable] | None = None


class Mirroring(msgspec.Struct, frozen=True):
    """`mirroring.json`."""

    properties: Properties

    @property
    def connection(self) -> str:
        return str(self.properties.source.type_properties.connection)

    @property
    def database(self) -> str:
        return self.properties.source.type_properties.database

    @property
    def way(self) -> tuple[SourceProperties, str | None]:
        """What can only be changed while the mirror is at rest."""
        return self.properties.source.type_properties, self.properties.target.type_properties.default_schema

    @property
    def tables(self) -> set[tuple[str, str]] | None:
        """The chosen tables by schema and name; None: every table, new ones too."""
        if self.properties.mounted_tables is None:
            return None
        names = [mounted.source.type_properties for mounted in self.properties.mounted_tables]
        return {(name.schema_name, name.table_name) for name in names}


def read(parts: Parts) -> tuple[Mirroring, str]:
    """The definition, and its payload as it was given. A `Refusal` says what is wrong with it."""
    payload = next((part.payload for part in parts.parts if part.path == PART), None)
    if payload is None:
        raise _corrupted(f"The definition has no part {PART!r}.")
    try:
        return msgspec.json.decode(base64.b64decode(payload, validate=True), type=Mirroring), payload
    except (binascii.Error, msgspec.DecodeError) as reason:
        raise _corrupted(f"The part {PART!r} is not a definition: {reason}.") from None


def of(connection: str, database: str) -> Parts:
    """The definition of a mirror of all tables of a database."""
    source = Source("AzurePostgreSql", SourceProperties(uuid.UUID(connection), database))
    target = Target("MountedRelationalDatabase", TargetProperties("Delta", "public"))
    payload = base64.b64encode(msgspec.json.encode(Mirroring(Properties(source, target)))).decode()
    return Parts([Part(PART, payload, "InlineBase64")])


def _corrupted(why: str) -> Refusal:
    details = [("CorruptedPayload", why)]
    return Refusal(400, "CorruptedPayload", "The provided payload is corrupted.", details=details)


def platform_payload(display_name: str, description: str, item: str) -> str:
    """The part `.platform`, which carries what the item is called."""
    body: dict[str, Any] = {
        "metadata": {"type": "MirroredDatabase", "displayName": display_name, "description": description},
        "config": {"version": "2.0", "logicalId": item},
    }
    return base64.b64encode(msgspec.json.encode(body)).decode()
