"""A table of frozen structs in Table Storage: keys, properties, guarded updates and batches.

Limits: "Understanding the Table service data model" (keys without `/ \\ # ?` and control characters, 64 KiB a
property, 1 MiB an entity) and "Performing entity group transactions" (100 entities of one partition, 4 MiB).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from functools import cache
from itertools import groupby
from typing import Any, Literal, get_args, get_origin
from weakref import WeakSet

import msgspec
from azure.core import MatchConditions
from azure.core.exceptions import (
    ResourceExistsError,
    ResourceModifiedError,
    ResourceNotFoundError,
)
from azure.data.tables import EdmType, EntityProperty, TableEntity, UpdateMode
from azure.data.tables.aio import TableClient

from shared.platform.azure_errors import translated
from shared.platform.batches import by_size
from shared.platform.clients import table, tables
from shared.platform.errors import Blocked, Unavailable
from shared.platform.row import BATCH, Columns, Row, text

PAGE = 1000
"""Rows that the app deletes before it reads more."""
BATCH_BYTES = 4 * 2**20
ENTITY_BYTES = 2**20
AROUND_ENTITY = 4096
"""Bytes that an entity takes in a transaction in addition to its JSON: address, headers, types. In fact it is less."""
TOO_LARGE = "RecordTooLarge"
"""Code of the error of a row that is larger than Table Storage takes."""
PIECE = 16 * 1024
"""Characters of one property: at most 64 KiB in UTF-16, also where each character takes two units."""
WRITERS = 16
"""Transactions that the app sends at the same time."""
ATTEMPTS = 10
"""How often the app tries a guarded write."""
PIECES = 4
"""How many properties a view reads of a column in JSON: 64 Ki characters."""

_NATIVE: tuple[Any, ...] = (str, bool, float, datetime, str | None, bool | None, float | None, datetime | None)
_INTEGER: tuple[Any, ...] = (int, int | None)
_created: WeakSet[TableClient] = WeakSet()


def encode(row: Row) -> dict[str, Any]:
    """The entity of a row. A long text becomes several properties. Raises `Blocked` when the entity is too large."""
    partition, row_key = row.keys
    entity: dict[str, Any] = {"PartitionKey": partition, "RowKey": row_key}
    for name, kind in _hints(type(row)).items():
        value = getattr(row, name)
        if value is None or name == "etag":
            continue
        if kind in _INTEGER:
            entity[name] = EntityProperty(value, EdmType.INT64)
        elif isinstance(value, str) or kind not in _NATIVE:
            written = str(value) if isinstance(value, str) or kind in row.texts else msgspec.json.encode(value).decode()
            for number, start in enumerate(range(0, len(written) or 1, PIECE)):
                entity[_piece(name, number)] = written[start : start + PIECE]
        else:
            entity[name] = value
    size = sum(len(value.encode("utf-16-le")) for value in entity.values() if isinstance(value, str))
    if size > ENTITY_BYTES:
        raise Blocked(
            f"The record of {text(row_key)!r} takes {size:,} bytes; Table Storage keeps at most {ENTITY_BYTES:,}.",
            remedy=row.remedy_when_too_large,
            code=TOO_LARGE,
        )
    return entity


def decode[C: Columns](kind: type[C], entity: Mapping[str, Any]) -> C:
    """The struct of an entity. The function ignores properties that this version does not know."""
    values: dict[str, Any] = {}
    for name, hint in _hints(kind).items():
        value = entity.get(name)
        if value is None:
            continue
        if hint in _INTEGER:
            value = getattr(value, "value", value)
        elif isinstance(value, str):
            number = 1
            while (more := entity.get(_piece(name, number))) is not None:
                value, number = value + more, number + 1
            if hint not in _NATIVE:
                value = _value(kind, name, hint, value)
        elif isinstance(value, datetime):
            value = datetime.fromtimestamp(value.timestamp(), UTC)
        values[name] = value
    if isinstance(entity, TableEntity) and "etag" in _hints(kind):
        values["etag"] = entity.metadata["etag"]
    return kind(**values)


def _value(kind: type[Columns], name: str, hint: Any, written: str) -> Any:
    """The value of a property that the table holds as text. Raises `Blocked` for a word of another version."""
    if hint in kind.texts:
        return kind.texts[hint](written)
    if get_origin(hint) is not Literal:
        return msgspec.json.decode(written, type=hint) if written else None
    try:
        return msgspec.convert(written, hint)
    except msgspec.ValidationError:
        raise Blocked(
            f"A row says {name} is {written!r}; this version of the app knows {', '.join(get_args(hint))}.",
            code="RecordNotUnderstood",
            remedy="Another version of the app wrote the row: deploy that version, or a later one.",
        ) from None


class View[C: Columns]:
    """Some columns of one table, for reading. Raises the service's errors as errors of this system."""

    def __init__(self, name: str, kind: type[C]):
        self.name, self.kind = name, kind
        self._select: list[str] | None = [column for name in _hints(kind) for column in _columns(kind, name)]

    async def query(self, filter: str = "", **parameters: Any) -> AsyncIterator[C]:
        """The rows that an OData filter selects, in the order of their keys. `@name` stands for a parameter."""
        async for entity in self._entities(filter, self._select, **parameters):
            yield decode(self.kind, entity)

    async def _entities(
        self, filter: str, select: list[str] | None = None, **parameters: Any
    ) -> AsyncIterator[TableEntity]:
        client = await self._open()
        with _translated(self.name):
            async for entity in client.query_entities(filter, parameters=parameters, select=select):
                yield entity

    async def _open(self) -> TableClient:
        """The client of the table. The first call creates the table."""
        client = table(self.name)
        if client not in _created:
            with _translated(self.name):
                await tables().create_table_if_not_exists(self.name)
            _created.add(client)
        return client


class Table[R: Row](View[R]):
    """One table: whole rows, for reading and writing."""

    def __init__(self, name: str, kind: type[R]):
        super().__init__(name, kind)
        self._select = None  # all properties, also those that continue a long text

    async def read(self, partition: str, row_key: str) -> R | None:
        """The row, or None."""
        client = await self._open()
        with _translated(self.name):
            try:
                return decode(self.kind, await client.get_entity(partition, row_key))
            except ResourceNotFoundError:
                return None

    async def update(self, new: R, change: Callable[[R], R]) -> R:
        """Read the row, change it and write it. Try again when somebody else wrote it in between, by its ETag.

        `change` gets `new` when there is no such row. When it changes nothing, nothing is written. Returns the row as
        it is then. Raises `Unavailable` when somebody else wrote the row at each of `ATTEMPTS` tries.
        """
        client = await self._open()
        for attempt in range(ATTEMPTS):
            stored = await self.read(*new.keys)
            before = stored or new
            changed = change(before)
            if changed == before:
                return before
            changed = msgspec.structs.replace(changed, updated_at=datetime.now(UTC))
            with _translated(self.name):
                try:
                    return msgspec.structs.replace(changed, etag=await _write_guarded(client, changed, stored))
                except (ResourceExistsError, ResourceModifiedError, ResourceNotFoundError):
                    await asyncio.sleep(0.01 * attempt)
        raise Unavailable(f"Many write the record of {text(new.keys[1])!r} in {self.name} at the same time.")

    async def put(self, rows: Iterable[R]) -> None:
        """Write rows, whatever the table has, up to 100 of one partition at a time. The last of equal keys counts."""
        entities = {row.keys: encode(row) for row in rows}
        await self._submit("upsert", [entities[keys] for keys in sorted(entities)])

    async def delete(self, partition: str, row_key: str) -> None:
        """Delete the row, unless it is gone already."""
        client = await self._open()
        with _translated(self.name):
            await client.delete_entity(partition, row_key)

    async def delete_where(self, filter: str, *, most: int, **parameters: Any) -> int:
        """Delete the first `most` rows of a filter, up to 100 of one partition at a time. Returns their number."""
        count, entities = 0, list[dict[str, Any]]()
        async for entity in self._entities(filter, ["PartitionKey", "RowKey"], **parameters):
            entities.append(dict(entity))
            if len(entities) == min(PAGE, most - count):
                count += await self._submit("delete", entities)
                entities = []
            if count == most:
                return count
        return count + await self._submit("delete", entities)

    async def _submit(self, operation: Literal["upsert", "delete"], entities: list[dict[str, Any]]) -> int:
        client, writers = await self._open(), asyncio.Semaphore(WRITERS)

        async def submit(batch: list[dict[str, Any]]) -> None:
            options = {"mode": UpdateMode.REPLACE} if operation == "upsert" else {}
            async with writers:
                with _translated(self.name):
                    await client.submit_transaction([(operation, entity, options) for entity in batch])

        partitions = groupby(entities, key=lambda entity: entity["PartitionKey"])
        await asyncio.gather(*(submit(batch) for _, partition in partitions for batch in _batches(partition)))
        return len(entities)


def _batches(entities: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """The entities in batches that one transaction takes, by their number and their size."""
    return by_size(entities, lambda it: AROUND_ENTITY + len(json.dumps(it, default=str)), BATCH_BYTES, BATCH)


async def _write_guarded(client: TableClient, row: Row, stored: Row | None) -> str:
    """Write a row, unless somebody else wrote it after it was read. Returns its new ETag."""
    if stored is None:
        return str((await client.create_entity(encode(row)))["etag"])
    answer = await client.update_entity(
        encode(row), mode=UpdateMode.REPLACE, etag=stored.etag, match_condition=MatchConditions.IfNotModified
    )
    return str(answer["etag"])


def _translated(table: str) -> AbstractContextManager[None]:
    remedy = "Give the identity the role Storage Table Data Contributor on the storage account."
    return translated("Table Storage", f"table {table}", remedy)


@cache
def _hints(kind: type[Columns]) -> dict[str, Any]:
    return {field.name: field.type for field in msgspec.structs.fields(kind)}


def _columns(kind: type[Columns], name: str) -> Iterator[str]:
    """The properties that hold a field's value: several for JSON, of which a short value has only the first."""
    hint = _hints(kind)[name]
    if name == "etag":
        return
    yield name
    if hint not in (*_NATIVE, *_INTEGER) and hint not in kind.texts and get_origin(hint) is not Literal:
        yield from (_piece(name, number) for number in range(1, PIECES))


def _piece(name: str, number: int) -> str:
    return f"{name}_{number}" if number else name
