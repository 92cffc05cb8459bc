"""Which mirrors a sweep looks at, in which order, and when: as many as Fabric's quota lets it in its time. Pure.

A look takes one call to Fabric, for the tables, whose figures tell most; and a second one, for the status of a mirror
that is new, changed, not healthy, or whose status was not asked for long. The sweep is a timetable: each chunk has its
own seconds of the quota, so that chunks never compete for it, whichever processes look at them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import batched, groupby

import msgspec

from shared.fabric.quota import for_background
from shared.platform.row import EPOCH
from shared.platform.settings import Settings
from shared.platform.table import BATCH
from shared.records.rows import HealthRow, MirrorRow

SHARE_OF_THE_URGENT = 0.75
"""Of the calls, while others wait: a healthy mirror that fails would otherwise never be seen."""


class Chunk(msgspec.Struct, frozen=True):
    """Mirrors to be looked at together, `after` so many seconds. Those of one server stay together if they fit."""

    after: float
    mirrors: tuple[MirrorRow, ...]


class Plan(msgspec.Struct, frozen=True):
    """The timetable of a sweep. `left`: healthy mirrors, and others, that have to wait for the next one."""

    chunks: tuple[Chunk, ...]
    left: int


def plan(mirrors: Iterable[MirrorRow], latest: Mapping[str, HealthRow], now: datetime, settings: Settings) -> Plan:
    """The timetable for these mirrors. `latest`: what was last seen of each, by its item."""

    def seen(mirror: MirrorRow) -> HealthRow | None:
        return latest.get(mirror.item)

    def calls(mirror: MirrorRow) -> int:
        return 2 if needs_details(mirror, seen(mirror), now, settings) else 1

    waiting = sorted(mirrors, key=lambda mirror: _age(seen(mirror)))
    urgent = [mirror for mirror in waiting if is_urgent(mirror, seen(mirror))]
    healthy = [mirror for mirror in waiting if not is_urgent(mirror, seen(mirror))]
    pace = for_background(settings.fabric_calls_per_minute)
    budget = pace * settings.sweep_minutes
    first = _fitting([(m, calls(m)) for m in urgent], budget * SHARE_OF_THE_URGENT if healthy else budget)
    budget -= sum(map(calls, first))
    then = _fitting([(m, calls(m)) for m in healthy], budget)
    budget -= sum(map(calls, then))
    first += _fitting([(m, calls(m)) for m in urgent[len(first) :]], budget)
    chunks, spent = [], 0
    for chunk in _chunks([*_by_server(first), *_by_server(then)]):
        chunks.append(Chunk(round(60 * spent / pace, 1), chunk))
        spent += sum(map(calls, chunk))
    return Plan(tuple(chunks), len(waiting) - len(first) - len(then))


def is_urgent(mirror: MirrorRow, seen: HealthRow | None) -> bool:
    """Whether a mirror is new, changed, not healthy, or about to be judged otherwise."""
    return seen is None or seen.level != "Healthy" or seen.pending > 0 or mirror.changed_at > seen.updated_at


def needs_details(mirror: MirrorRow, seen: HealthRow | None, now: datetime, settings: Settings) -> bool:
    """Whether its status is to be asked for too, and the tables of its database looked at."""
    if seen is None or is_urgent(mirror, seen):
        return True
    return now - (seen.details_at or EPOCH) >= timedelta(minutes=settings.details_minutes)


def _age(seen: HealthRow | None) -> datetime:
    return seen.updated_at if seen else EPOCH


def _fitting(costs: Sequence[tuple[MirrorRow, int]], budget: float) -> list[MirrorRow]:
    """As many of them, from the first on, as the calls last for."""
    found = []
    for mirror, cost in costs:
        budget -= cost
        if budget < 0:
            break
        found.append(mirror)
    return found


def _by_server(mirrors: Iterable[MirrorRow]) -> list[MirrorRow]:
    return sorted(mirrors, key=lambda mirror: (mirror.workspace, mirror.server, mirror.database))


def _chunks(mirrors: Iterable[MirrorRow]) -> Iterator[tuple[MirrorRow, ...]]:
    """As many as one transaction takes, without parting the mirrors of a server unless they are more than that."""
    chunk: list[MirrorRow] = []
    for _, group in groupby(mirrors, key=lambda mirror: mirror.server):
        for part in batched(group, BATCH, strict=False):
            if len(chunk) + len(part) > BATCH:
                yield tuple(chunk)
                chunk = []
            chunk += part
    if chunk:
        yield tuple(chunk)
