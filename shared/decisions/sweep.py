"""Which mirrors a sweep looks at, in which order, and when: as many as Fabric's quota allows in its time. Pure.

A look takes one call to Fabric, for the tables, whose figures tell most. It takes a second call, for the status, if the
mirror is new, changed or not healthy, or if nobody has asked for its status for long. The sweep is a timetable: each
chunk has its own seconds of the quota, so that chunks never compete for it, whichever processes look at them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import batched, groupby

import msgspec

from shared.decisions.answers import Chunk, Timetable
from shared.fabric.quota import for_background
from shared.platform.row import BATCH, EPOCH
from shared.platform.settings import Settings
from shared.records.columns import Watched
from shared.records.rows import LastLook

SHARE_OF_THE_URGENT = 0.75
"""Share of the calls for urgent mirrors while healthy ones wait: otherwise nobody would see a healthy mirror fail."""


MOST_BYTES = 3 * 2**20
"""Of a timetable as JSON: an activity's answer has at most 4 MiB (`maxGrpcMessageSizeInBytes`). What does not fit
waits for the next sweep."""


def plan(mirrors: Iterable[Watched], latest: Mapping[str, LastLook], now: datetime, settings: Settings) -> Timetable:
    """The timetable of a sweep. `latest`: the last look at each mirror, by the id of the mirrored database.

    Urgent mirrors come first, and among equals those whose last look is oldest. A mirror without a mirrored database,
    or which the app is releasing, is not looked at.
    """

    def last_look(mirror: Watched) -> LastLook | None:
        return latest.get(mirror.item)

    def calls(mirror: Watched) -> int:
        return 2 if needs_details(mirror, last_look(mirror), now, settings) else 1

    in_use = (mirror for mirror in mirrors if mirror.item and mirror.phase != "Releasing")
    waiting = sorted(in_use, key=lambda mirror: _seen_at(last_look(mirror)))
    urgent = [mirror for mirror in waiting if is_urgent(mirror, last_look(mirror))]
    healthy = [mirror for mirror in waiting if not is_urgent(mirror, last_look(mirror))]
    pace = for_background(settings.fabric.calls_per_minute)
    budget = pace * settings.health.sweep_minutes
    first = _fitting([(m, calls(m)) for m in urgent], budget * SHARE_OF_THE_URGENT)
    budget -= sum(map(calls, first))
    then = _fitting([(m, calls(m)) for m in healthy], budget)
    budget -= sum(map(calls, then))
    first += _fitting([(m, calls(m)) for m in urgent[len(first) :]], budget)
    chunks, spent = [], 0
    size = 0
    for chunk in _chunks([*_by_server(first), *_by_server(then)]):
        size += len(json.dumps(msgspec.to_builtins(chunk)))
        if size > MOST_BYTES:
            break
        chunks.append(Chunk(round(60 * spent / pace, 1), chunk))
        spent += sum(map(calls, chunk))
    return Timetable(tuple(chunks), len(waiting) - sum(len(chunk.mirrors) for chunk in chunks))


def is_urgent(mirror: Watched, last: LastLook | None) -> bool:
    """Whether a mirror is new, changed, not healthy, or about to get another level."""
    return last is None or last.level != "Healthy" or last.pending > 0 or mirror.changed_at > last.updated_at


def needs_details(mirror: Watched, last: LastLook | None, now: datetime, settings: Settings) -> bool:
    """Whether a look also asks for the mirror's status, and looks at the tables of its database."""
    if last is None or is_urgent(mirror, last):
        return True
    return now - (last.details_at or EPOCH) >= timedelta(minutes=settings.health.details_minutes)


def not_yet_seen(mirrors: Iterable[Watched], latest: Mapping[str, LastLook], begun: datetime) -> list[Watched]:
    """The mirrors of a chunk that the sweep, which has `begun` then, has not looked at yet.

    If the app crashes in the middle of a chunk, the chunk is probed again; one look must not count twice.
    """
    return [m for m in mirrors if m.item not in latest or latest[m.item].updated_at < begun]


def _seen_at(last: LastLook | None) -> datetime:
    return last.updated_at if last else EPOCH


def _fitting(costs: Sequence[tuple[Watched, int]], budget: float) -> list[Watched]:
    """As many of the mirrors, from the first on, as the budget of calls lasts for."""
    fitting = []
    for mirror, cost in costs:
        budget -= cost
        if budget < 0:
            break
        fitting.append(mirror)
    return fitting


def _by_server(mirrors: Iterable[Watched]) -> list[Watched]:
    return sorted(mirrors, key=lambda mirror: (mirror.workspace, mirror.server, mirror.database))


def _chunks(mirrors: Iterable[Watched]) -> Iterator[tuple[Watched, ...]]:
    """As many mirrors as one transaction writes. It parts those of one server only if they are more than that."""
    chunk: list[Watched] = []
    for _, group in groupby(mirrors, key=lambda mirror: mirror.server):
        for part in batched(group, BATCH, strict=False):
            if len(chunk) + len(part) > BATCH:
                yield tuple(chunk)
                chunk = []
            chunk += part
    if chunk:
        yield tuple(chunk)
