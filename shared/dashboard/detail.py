"""The page of one mirror: how it is and why, its history as charts, and the tables that fail."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import msgspec

from shared.dashboard import charts, listing, words
from shared.dashboard import query as queries
from shared.dashboard.charts import Span
from shared.records import glance, store
from shared.records.glance import Observation
from shared.records.rows import HealthRow, MirrorRow

RANGES = {24: "24 hours", 24 * 7: "7 days", 24 * 30: "30 days"}
MOST_CHANGES = 20
NOT_KNOWN = "not known"


class Change(msgspec.Struct, frozen=True):
    """From `at` on, a mirror was seen at another level than before."""

    at: datetime
    before: str
    level: str


class Detail(msgspec.Struct, frozen=True, kw_only=True):
    """What the page shows. `history` is oldest first; `recorded` is the database's own row, None once released.

    `hours` are shown, and at most `most_hours` can be.
    """

    row: HealthRow
    recorded: MirrorRow | None
    now: datetime
    hours: int
    most_hours: int
    history: tuple[Observation, ...]

    @property
    def ranges(self) -> dict[int, str]:
        """The ranges to choose from: hours and names."""
        return {hours: name for hours, name in RANGES.items() if hours <= self.most_hours}

    @property
    def changes(self) -> list[Change]:
        """The last changes of level, newest first."""
        found = [
            Change(here.updated_at, before.level, here.level)
            for before, here in pairwise(self.history)
            if before.level != here.level
        ]
        return found[: -MOST_CHANGES - 1 : -1]


async def look(workspace: str, mirrored_database: str, parameters: Mapping[str, str]) -> Detail:
    """The mirror that an address names. Raises `NotFound`, and `InvalidInput` naming the parameter that is wrong."""
    row = await listing.read(workspace, mirrored_database)
    most_hours = listing.most_hours()
    hours = queries.count(parameters, "hours", listing.HOURS, most_hours)
    now = datetime.now(UTC)
    history = [seen async for seen in glance.observations(row.item, now - timedelta(hours=hours))]
    return Detail(
        row=row,
        recorded=await store.read_mirror(row.server, row.database),
        now=now,
        hours=hours,
        most_hours=most_hours,
        history=tuple(reversed(history)),
    )


class Figure(msgspec.Struct, frozen=True):
    """One chart with its labels: `ends` are the figures at the top and the foot of the scale, `now` the last one."""

    title: str
    now: str
    ends: tuple[str, str]
    svg: str


def figures(found: Detail) -> list[Figure]:
    """Latency, retained WAL and rows over time. Those of which nothing is known are left out."""
    span = span_of(found)
    over = f"over the last {range_name(found.hours)}"
    drawn: list[tuple[str, str, Callable[[float], str], bool]] = [
        ("Latency", "latency_seconds", words.duration, True),
        ("WAL retained for the mirror", "retained_wal_bytes", words.size, True),
        ("Rows replicated", "rows", words.number, False),
    ]
    made = []
    for title, name, say, from_zero in drawn:
        points = [(seen.updated_at, getattr(seen, name)) for seen in found.history]
        known = [value for _, value in points if value is not None]
        if known:
            low, high, last = (0.0 if from_zero else min(known)), max(known), points[-1][1]
            now = NOT_KNOWN if last is None else say(last)
            label = f"{title} {over}: {say(min(known))} at least, {say(high)} at most, {now} at the end."
            svg = charts.line(points, span, (low, high), label)
            made.append(Figure(title, now, (say(high), say(low)), svg))
    return made


def levels(found: Detail) -> str:
    """The levels over time as a band."""
    seen = [(row.updated_at, row.level) for row in found.history]
    changes = words.plural(len(found.changes), "change")
    label = f"Level over the last {range_name(found.hours)}: {changes}, {found.row.level} at the end."
    return charts.band(seen, span_of(found), label)


def span_of(found: Detail) -> Span:
    """The time that the charts cover."""
    return Span(found.now - timedelta(hours=found.hours), found.now)


def range_name(hours: int) -> str:
    """`24 hours`, `7 days`."""
    return RANGES.get(hours) or words.plural(hours, "hour")
