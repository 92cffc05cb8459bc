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

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any, ClassVar

import msgspec

from shared.platform import server_id
from shared.platform.reasons import Reason
from shared.platform.server_id import ServerId
from shared.platform.table import EPOCH, Row, Table, key

LAST_TICK = 3_155_378_975_999_999_999
"""The last 100 ns of the year 9999, counted from year 1, as .NET counts."""


class _OfServer(Row, frozen=True, kw_only=True):
    """What all rows here share: servers are written as ARM resource ids."""

    texts: ClassVar[Mapping[type, Callable[[str], Any]]] = {ServerId: server_id.parse}


class ServerRow(_OfServer, frozen=True, kw_only=True):
    """One flexible server. `request` is the wish that came over HTTP, `report` the last readiness report (both JSON).

    `baseline_worker_processes` is what the server had before the first preparation; `role` the PostgreSQL role that
    we created there; `run` the orchestration instance of the last run; `restart_refused` the fingerprint of the wish
    for which there was no restart, and the code of the reason; `rotation` numbers the last new password that was asked
    for, by the time (seconds since 1970), and `rotated` the last one that is everywhere, in the connections too.
    """

    id: ServerId
    phase: str = "New"
    request: str = ""
    fingerprint: str = ""
    reasons: tuple[Reason, ...] = ()
    report: str = ""
    baseline_worker_processes: int | None = None
    role: str = ""
    run: str = ""
    restart_refused: str = ""
    rotation: int = 0
    rotated: int = 0
    announced: str = ""

    @property
    def keys(self) -> tuple[str, str]:
        return self.id.subscription, key(f"{self.id.resource_group}:{self.id.name}")


class MirrorRow(_OfServer, frozen=True, kw_only=True):
    """One database of a server and its mirrored database.

    `host` is the server's domain name, `item` and `item_name` the mirrored database's id and display name, `connection`
    the Fabric connection's id, `login` tells which credentials it was given last, `superseded` are connections that it
    takes the place of; `secret` is the name in Key Vault of what Fabric logs in with, `takeover` the former owners and
    privileges of its tables (JSON), `everything` that all of its tables are mirrored, new ones too; `reseed` that the
    mirror is to be stopped and started, which seeds its tables anew (`phase` is Restarting in between); `changed_at` is
    when it was last made, led elsewhere, stopped or started by us or found to have come up: until the grace time after
    it, nothing is wrong with what only begins.
    """

    server: ServerId
    database: str
    phase: str = "New"
    host: str = ""
    workspace: str = ""
    workspace_name: str = ""
    item: str = ""
    item_name: str = ""
    connection: str = ""
    login: str = ""
    superseded: tuple[str, ...] = ()
    secret: str = ""
    takeover: str = ""
    reasons: tuple[Reason, ...] = ()
    everything: bool = True
    reseed: bool = False
    changed_at: datetime = EPOCH

    @property
    def keys(self) -> tuple[str, str]:
        return key(self.server.key), key(self.database)


class HealthRow(_OfServer, frozen=True, kw_only=True):
    """How a mirror was at `updated_at`. None: not known. `since` is when its level was first seen.

    `pending` counts the last observations, the first at `pending_since`, that had another level which does not hold
    long enough yet; `announced` is the level that was told last. `failing` names tables that don't replicate, at most
    a few of `tables_failing`; `tables_at` is when the tables were looked at, `details_at` when the status was asked for
    and the database looked at. `slot` is the replication slot's name, `storage_gib` the size of the server's storage.
    """

    workspace: str
    item: str
    server: ServerId
    database: str
    level: str
    workspace_name: str = ""
    reasons: tuple[Reason, ...] = ()
    since: datetime = EPOCH
    pending: int = 0
    pending_since: datetime | None = None
    announced: str = ""
    status: str = ""
    tables: int | None = None
    tables_replicating: int | None = None
    tables_failing: int | None = None
    failing: tuple[Reason, ...] = ()
    rows: int | None = None
    bytes: int | None = None
    last_sync_at: datetime | None = None
    latency_seconds: float | None = None
    tables_at: datetime | None = None
    details_at: datetime | None = None
    slot: str = ""
    slot_active: bool | None = None
    wal_status: str = ""
    retained_wal_bytes: int | None = None
    storage_gib: int | None = None

    @property
    def keys(self) -> tuple[str, str]:
        return key(self.workspace), key(self.item)


class HistoryRow(HealthRow, frozen=True, kw_only=True):
    """The same, kept for HISTORY_DAYS, but without the names of failing tables."""

    @property
    def keys(self) -> tuple[str, str]:
        return _day(self.updated_at), f"{key(self.item)}:{inverted_ticks(self.updated_at)}"


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
        yield Range(_day(end - timedelta(days=days)), newest, oldest)


async def delete_health(workspace: str, item: str) -> None:
    """Forget the latest observation of a mirrored database that is gone. Its history ages out."""
    await _health.delete(key(workspace), key(item))


async def prune(before: datetime, most: int) -> int:
    """Delete the days of the history that ended before then, the oldest first, but no more than `most` observations.

    Returns how many there were.
    """
    return await _history.delete_where("PartitionKey lt @day", most=most, day=_day(before))


def _day(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d}"


def inverted_ticks(moment: datetime) -> str:
    """A row key that sorts later moments first."""
    ticks = (moment - datetime(1, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 10
    return f"{LAST_TICK - ticks:019}"
