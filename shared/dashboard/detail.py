"""The page of one mirror: its level with the reasons, its history as charts, and the tables that fail."""

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
    """A change of a mirror's level."""

    at: datetime
    """When the app first saw the new level."""
    before: str
    level: str


class Detail(msgspec.Struct, frozen=True, kw_only=True):
    """What the page shows."""

    row: HealthRow
    recorded: MirrorRow | None
    """The database's own row; None after the release."""
    now: datetime
    hours: int
    """How many hours of the history the page shows."""
    most_hours: int
    """How many hours it can show."""
    history: tuple[Observation, ...]
    """The oldest first."""

    @property
    def ranges(self) -> dict[int, str]:
        """The ranges that a person can choose: hours and names."""
        return {hours: name for hours, name in RANGES.items() if hours <= self.most_hours}

    @property
    def changes(self) -> list[Change]:
        """The last changes of level, the newest first."""
        changes = [
            Change(after.updated_at, before.level, after.level)
            for before, after in pairwise(self.history)
            if before.level != after.level
        ]
        return changes[: -MOST_CHANGES - 1 : -1]


async def look(workspace: str, mirrored_database: str, parameters: Mapping[str, str]) -> Detail:
    """The mirror that an address names. Raises `NotFound`, or `InvalidInput`, which names the wrong parameter."""
    row = await listing.read(workspace, mirrored_database)
    most_hours = listing.most_hours()
    hours = queries.count(parameters, "hours", listing.HOURS, most_hours)
    now = datetime.now(UTC)
    history = [observation async for observation in glance.observations(row.item, now - timedelta(hours=hours))]
    return Detail(
        row=row,
        recorded=await store.read_mirror(row.server, row.database),
        now=now,
        hours=hours,
        most_hours=most_hours,
        history=tuple(reversed(history)),
    )


class Figure(msgspec.Struct, frozen=True):
    """One chart with its labels."""

    title: str
    now: str
    """The last figure."""
    ends: tuple[str, str]
    """The figures at the top and at the foot of the scale."""
    svg: str


def figures(shown: Detail) -> list[Figure]:
    """Charts of latency, retained WAL and rows over time, without those that have no known figure."""
    span = span_of(shown)
    over = f"over the last {range_name(shown.hours)}"
    charted: list[tuple[str, str, Callable[[float], str], bool]] = [
        ("Latency", "latency_seconds", words.duration, True),
        ("WAL retained for the mirror", "retained_wal_bytes", words.size, True),
        ("Rows replicated", "rows", words.number, False),
    ]
    drawn = []
    for title, name, say, from_zero in charted:
        points = [(observation.updated_at, getattr(observation, name)) for observation in shown.history]
        values = [value for _, value in points if value is not None]
        if values:
            low, high, last = (0.0 if from_zero else min(values)), max(values), points[-1][1]
            now = NOT_KNOWN if last is None else say(last)
            label = f"{title} {over}: {say(min(values))} at least, {say(high)} at most, now {now}."
            svg = charts.line(points, span, (low, high), label)
            drawn.append(Figure(title, now, (say(high), say(low)), svg))
    return drawn


def levels(shown: Detail) -> str:
    """The levels over time as a band."""
    history = [(observation.updated_at, observation.level) for observation in shown.history]
    changes = words.plural(len(shown.changes), "change")
    label = f"Level over the last {range_name(shown.hours)}: {changes}, now {shown.row.level}."
    return charts.band(history, span_of(shown), label)


def span_of(shown: Detail) -> Span:
    """The time that the charts show."""
    return Span(shown.now - timedelta(hours=shown.hours), shown.now)


def range_name(hours: int) -> str:
    """`24 hours`, `7 days`."""
    return RANGES.get(hours) or words.plural(hours, "hour")
