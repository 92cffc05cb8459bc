"""Table Storage: what is known of every server and mirror, and how each mirror was doing when.

| table | partition | row | holds |
| --- | --- | --- | --- |
| Servers | subscription | `{resource group}:{server}` | ServerRow |
| Mirrors | `{subscription}:{resource group}:{server}` | database | MirrorRow |
| MirrorHealth | workspace | mirrored database | HealthRow, the latest |
| MirrorHealthHistory | day (UTC) | `{mirrored database}:{inverted ticks}` | HistoryRow, newest first |

The history is partitioned by day, not by mirror, since a transaction writes to one partition: so one takes what was
seen of a hundred mirrors, whatever their workspaces. What was seen of one mirror is still a range of keys in each day,
and what is too old is a range of partitions.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any, ClassVar

import msgspec

from shared.desired.server_id import ServerId
from shared.platform.row import key
from shared.platform.table import Table
from shared.records.rows import HealthRow, HistoryRow, MirrorRow, ServerRow, day, inverted_ticks


class Range(msgspec.Struct, frozen=True):
    """The rows of one partition whose keys are after `after`, up to and including `upto`."""

    partition: str
    after: str
    upto: str

    filter: ClassVar[str] = "PartitionKey eq @partition and RowKey gt @after and RowKey le @upto"


_servers = Table("Servers", ServerRow)
_mirrors = Table("Mirrors", MirrorRow)
_health = Table("MirrorHealth", HealthRow)
_history = Table("MirrorHealthHistory", HistoryRow)


async def read_server(id: ServerId) -> ServerRow | None:
    """What is known of a server, or None."""
    return await _servers.read(*ServerRow(id=id).keys)


async def update_server(id: ServerId, **changes: Any) -> ServerRow:
    """Set the fields named in `changes`, and leave the others to whoever writes them at the same time.

    Nothing is written when nothing differs from what is there or, where there is no row, from a new one. Raises
    `Blocked` for a row larger than Table Storage keeps.
    """
    return await _servers.update(ServerRow(id=id), lambda row: msgspec.structs.replace(row, **changes))


async def delete_server(id: ServerId) -> None:
    """Forget a server; one that is not known is fine."""
    await _servers.delete(*ServerRow(id=id).keys)


def list_servers(columns: Iterable[str] | None = None) -> AsyncIterator[ServerRow]:
    """Every known server; all columns unless some are named."""
    return _servers.query(select=list(columns) if columns else None)


async def read_mirror(server: ServerId, database: str) -> MirrorRow | None:
    """What is known of a database, or None."""
    return await _mirrors.read(*MirrorRow(server=server, database=database).keys)


async def update_mirror(server: ServerId, database: str, **changes: Any) -> MirrorRow:
    """As `update_server`, for a database."""
    new = MirrorRow(server=server, database=database)
    return await _mirrors.update(new, lambda row: msgspec.structs.replace(row, **changes))


async def ask_for_restart(server: ServerId, database: str, item: str) -> bool:
    """Note that the mirrored database `item` is to be seeded anew. False: there is none, or another one, by now."""

    def ask(row: MirrorRow) -> MirrorRow:
        return msgspec.structs.replace(row, reseed=True) if row.item == item else row

    return (await _mirrors.update(MirrorRow(server=server, database=database), ask)).item == item


async def delete_mirror(server: ServerId, database: str) -> None:
    """Forget a database; one that is not known is fine."""
    await _mirrors.delete(*MirrorRow(server=server, database=database).keys)


async def list_mirrors_of(server: ServerId) -> list[MirrorRow]:
    """The known databases of one server."""
    return [row async for row in _mirrors.query("PartitionKey eq @partition", partition=key(server.key))]


WATCHED = ("server", "database", "host", "workspace", "workspace_name", "item", "item_name", "everything", "changed_at")
"""What a mirror is looked at with."""


def list_mirrors() -> AsyncIterator[MirrorRow]:
    """The known databases of all servers: their phases, and what is `WATCHED`."""
    return _mirrors.query(select=["phase", *WATCHED])


async def write_health(rows: Iterable[HealthRow]) -> None:
    """Keep observations as the latest ones and in the history. Writing them again changes nothing."""
    rows = list(rows)
    await _history.put(HistoryRow(**msgspec.structs.asdict(row) | {"failing": ()}) for row in rows)
    await _health.put(rows)


async def write_latest(rows: Iterable[HealthRow]) -> None:
    """Keep them as the latest observations alone."""
    await _health.put(rows)


async def read_health(workspace: str, item: str) -> HealthRow | None:
    """The latest observation of a mirrored database, or None."""
    return await _health.read(key(workspace), key(item))


STANDING = ("workspace", "item", "server", "database", "level", "pending", "details_at", "updated_at")
"""What a sweep is planned by."""
REMEMBERED = (*STANDING, "reasons", "since", "pending_since", "announced", "status", "slot", "storage_gib")
"""What the next observation is judged with."""


def latest(columns: Iterable[str]) -> AsyncIterator[HealthRow]:
    """The latest observation of every mirrored database, with the columns that are named."""
    return _health.query(select=list(columns))


async def latest_among(places: Iterable[tuple[str, str]]) -> list[HealthRow]:
    """What is `REMEMBERED` of some mirrored databases (workspace and item), and of others between them."""
    found: list[HealthRow] = []
    for workspace, group in groupby(sorted(places), key=lambda place: place[0]):
        items = [key(item) for _, item in group]
        within = "PartitionKey eq @partition and RowKey ge @first and RowKey le @last"
        rows = _health.query(within, list(REMEMBERED), partition=key(workspace), first=items[0], last=items[-1])
        found += [row async for row in rows]
    return found


def history_ranges(item: str, since: datetime, before: datetime | None = None) -> Iterator[Range]:
    """Where the observations of a mirrored database are since then, and before another time, newest first: a range of
    keys in each day, the latest day first."""
    end = (before or datetime.now(UTC)).astimezone(UTC)
    oldest = f"{key(item)}:{inverted_ticks(since)}"
    newest = f"{key(item)}:{inverted_ticks(before) if before else ''}"
    for days in range((end.date() - since.astimezone(UTC).date()).days + 1):
        yield Range(day(end - timedelta(days=days)), newest, oldest)


async def delete_health(workspace: str, item: str) -> None:
    """Forget the latest observation of a mirrored database that is gone. Its history ages out."""
    await _health.delete(key(workspace), key(item))


async def prune(before: datetime, most: int) -> int:
    """Delete the days of the history that ended before then, the oldest first, but no more than `most` observations.

    Returns how many there were.
    """
    return await _history.delete_where("PartitionKey lt @day", most=most, day=day(before))
