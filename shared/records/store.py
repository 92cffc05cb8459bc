"""Table Storage: what the app knows of every server and mirror, and how each mirror was at which time.

| table | partition | row | holds |
| --- | --- | --- | --- |
| Servers | subscription | `{resource group}:{server}` | ServerRow |
| Mirrors | `{subscription}:{resource group}:{server}` | database | MirrorRow |
| Reports | `{subscription}:{resource group}:{server}` | `{report}:{part}` | ReportRow, the last readiness report |
| MirrorHealth | workspace | mirrored database | HealthRow, the latest |
| MirrorHealthHistory | day (UTC) | `{mirrored database}:{inverted ticks}` | HistoryRow, newest first |

The history is partitioned by day, not by mirror, since a transaction writes to one partition: so one transaction takes
the observations of a hundred mirrors, whatever their workspaces. The observations of one mirror are still a range of
keys in each day, and those that are too old are a range of partitions.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any, ClassVar

import msgspec

from shared.desired.server_id import ServerId
from shared.platform.row import key
from shared.platform.table import Table, View
from shared.records.columns import ServerNews, Swept, Watched
from shared.records.rows import (
    HealthRow,
    HistoryRow,
    LastLook,
    MirrorRow,
    Remembered,
    ReportRow,
    RestartIntent,
    ServerRow,
    day,
    history_of,
    inverted_ticks,
)


class Range(msgspec.Struct, frozen=True):
    """The rows of one partition whose keys are after `after`, up to and including `upto`."""

    partition: str
    after: str
    upto: str

    filter: ClassVar[str] = "PartitionKey eq @partition and RowKey gt @after and RowKey le @upto"


class Span(msgspec.Struct, frozen=True):
    """The rows of one partition whose keys are `first`, `last`, or between them."""

    partition: str
    first: str
    last: str


PART = 80_000
"""Characters of a report in one row: less than 1 MiB as JSON in ASCII, which Azurite counts, and less in UTF-16."""
MOST_PARTS = 10_000
"""More parts than the reports of one server have."""

_servers = Table("Servers", ServerRow)
_server_news = View("Servers", ServerNews)
_reports = Table("Reports", ReportRow)
_mirrors = Table("Mirrors", MirrorRow)
_watched = View("Mirrors", Watched)
_health = Table("MirrorHealth", HealthRow)
_last_looks = View("MirrorHealth", LastLook)
_remembered = View("MirrorHealth", Remembered)
_swept = View("MirrorHealth", Swept)
_history = Table("MirrorHealthHistory", HistoryRow)


async def read_server(id: ServerId) -> ServerRow | None:
    """The row of a server, or None."""
    return await _servers.read(*ServerRow(id=id).keys)


async def update_server(id: ServerId, **changes: Any) -> ServerRow:
    """Set the fields named in `changes`, and leave the others to whoever writes them at the same time.

    Writes nothing if nothing differs from the row that is there or, where there is no row, from a new one. Raises
    `Blocked` for a row larger than Table Storage keeps.
    """
    return await _servers.update(ServerRow(id=id), lambda row: msgspec.structs.replace(row, **changes))


async def note_restart(id: ServerId, before: RestartIntent | None, intent: RestartIntent | None) -> bool:
    """Put `intent` in the place of the intent `before`. False: by now the row has another one."""

    def noted(row: ServerRow) -> ServerRow:
        return msgspec.structs.replace(row, restart=intent) if row.restart == before else row

    return (await _servers.update(ServerRow(id=id), noted)).restart == intent


async def note_parameter(id: ServerId, name: str, is_set: bool) -> bool:
    """Note that the app sets a server parameter, or that it did not. False: the row says so already."""
    changed = False

    def noted(row: ServerRow) -> ServerRow:
        nonlocal changed
        changed = (name in row.parameters) != is_set
        names = {*row.parameters, name} if is_set else {*row.parameters} - {name}
        return msgspec.structs.replace(row, parameters=tuple(sorted(names)))

    await _servers.update(ServerRow(id=id), noted)
    return changed


async def delete_server(id: ServerId) -> None:
    """Delete the row of a server, and its report; it is fine if there is none."""
    await delete_reports(id)
    await _servers.delete(*ServerRow(id=id).keys)


def parts_of(id: ServerId, report: str) -> tuple[ReportRow, ...]:
    """The rows of a readiness report (JSON). The same report has the same id."""
    report_id = hashlib.sha256(report.encode()).hexdigest()[:16]
    texts = [report[start : start + PART] for start in range(0, len(report), PART)]
    return tuple(
        ReportRow(server=id, report_id=report_id, part=part, parts=len(texts), text=text)
        for part, text in enumerate(texts)
    )


async def write_report(parts: Sequence[ReportRow]) -> None:
    """Write a readiness report, besides the one that the server's row still names."""
    await _reports.put(parts)


async def read_report(id: ServerId, report_id: str) -> str:
    """A readiness report in full (JSON); empty: there is none any more, since another one has taken its place."""
    within = "PartitionKey eq @partition and report_id eq @report"
    rows = [row async for row in _reports.query(within, partition=key(id.key), report=report_id)]
    return "".join(row.text for row in rows) if rows and len(rows) == rows[0].parts else ""


async def delete_reports(id: ServerId, but: str = "") -> None:
    """Delete the readiness reports of a server, but for one."""
    within = "PartitionKey eq @partition and report_id ne @report"
    await _reports.delete_where(within, most=MOST_PARTS, partition=key(id.key), report=but)


def list_servers() -> AsyncIterator[ServerRow]:
    """The rows of all servers."""
    return _servers.query()


def server_news() -> AsyncIterator[ServerNews]:
    """Of every server, what a notice is made from."""
    return _server_news.query()


async def read_mirror(server: ServerId, database: str) -> MirrorRow | None:
    """The row of a database, or None."""
    return await _mirrors.read(*MirrorRow(server=server, database=database).keys)


async def update_mirror(server: ServerId, database: str, **changes: Any) -> MirrorRow:
    """As `update_server`, for a database."""
    new = MirrorRow(server=server, database=database)
    return await _mirrors.update(new, lambda row: msgspec.structs.replace(row, **changes))


async def ask_for_restart(server: ServerId, database: str, item: str) -> bool:
    """Note that the tables of the mirrored database `item` are to be copied again. False: by now the database has no
    mirrored database, or another one."""

    new = MirrorRow(server=server, database=database)
    return (await _mirrors.update(new, lambda row: row.asked_to_copy_again(item))).item == item


async def delete_mirror(server: ServerId, database: str) -> None:
    """Delete the row of a database; it is fine if there is none."""
    await _mirrors.delete(*MirrorRow(server=server, database=database).keys)


async def list_mirrors_of(server: ServerId) -> list[MirrorRow]:
    """The rows of the databases of one server."""
    return [row async for row in _mirrors.query("PartitionKey eq @partition", partition=key(server.key))]


def watched() -> AsyncIterator[Watched]:
    """Of every database of all servers, what a sweep looks at its mirror with."""
    return _watched.query()


async def write_health(rows: Iterable[HealthRow]) -> None:
    """Write observations as the latest ones and to the history. Writing them again changes nothing."""
    rows = list(rows)
    await _history.put(history_of(row) for row in rows)
    await _health.put(rows)


async def write_latest(rows: Iterable[HealthRow]) -> None:
    """Write observations as the latest ones alone."""
    await _health.put(rows)


async def read_health(workspace: str, item: str) -> HealthRow | None:
    """The latest observation of a mirrored database, or None."""
    return await _health.read(key(workspace), key(item))


def last_looks() -> AsyncIterator[LastLook]:
    """Of the latest observation of every mirrored database, what a sweep is planned by."""
    return _last_looks.query()


def swept() -> AsyncIterator[Swept]:
    """Of the latest observation of every mirrored database, what a sweep is summed up by."""
    return _swept.query()


async def remembered(places: Iterable[tuple[str, str]]) -> list[Remembered]:
    """What the next looks at some mirrored databases (workspace and item) are judged with, and at others whose keys lie
    between theirs."""
    within = "PartitionKey eq @partition and RowKey ge @first and RowKey le @last"
    spans = spans_of(places)
    return [row for span in spans async for row in _remembered.query(within, **msgspec.structs.asdict(span))]


def spans_of(places: Iterable[tuple[str, str]]) -> Iterator[Span]:
    """For each workspace, the keys from the first to the last of its mirrored databases."""
    for workspace, group in groupby(sorted(places), key=lambda place: place[0]):
        items = sorted(key(item) for _, item in group)
        yield Span(key(workspace), items[0], items[-1])


def history_ranges(item: str, since: datetime, before: datetime | None = None) -> Iterator[Range]:
    """Where the history has the observations of a mirrored database since a time, and before another one: a range of
    keys in each day, the latest day first."""
    end = (before or datetime.now(UTC)).astimezone(UTC)
    oldest = f"{key(item)}:{inverted_ticks(since)}"
    newest = f"{key(item)}:{inverted_ticks(before) if before else ''}"
    for days in range((end.date() - since.astimezone(UTC).date()).days + 1):
        yield Range(day(end - timedelta(days=days)), newest, oldest)


async def delete_health(workspace: str, item: str) -> None:
    """Delete the latest observation of a mirrored database that is gone. Its history ages out."""
    await _health.delete(key(workspace), key(item))


async def prune(before: datetime, most: int) -> int:
    """Delete the days of the history that ended before a time, the oldest first, but no more than `most` observations.

    Returns how many observations it deleted.
    """
    return await _history.delete_where("PartitionKey lt @day", most=most, day=day(before))
