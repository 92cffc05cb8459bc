"""Keeps what the app saw of mirrors, and tells of changes: first it writes the rows, then it publishes the notices."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from itertools import compress

import msgspec

from shared.decisions.observation import Observation, failed
from shared.decisions.record import is_settled, is_told, judge, notice, why_dropped
from shared.platform import logs
from shared.platform.settings import settings
from shared.records import store, topic
from shared.records.rows import HealthRow, Remembered
from shared.steps import unexpected

log = logs.logger(__name__)


async def record(observations: Iterable[Observation], latest: Mapping[str, Remembered]) -> list[HealthRow]:
    """Keep observations and tell of changes; the rows. `latest`: the row before of each mirror, by its mirrored
    database's id.

    A change that the topic did not take is told with the next observation, under the same id.
    """
    judged = [_judged(observation, latest.get(observation.mirror.item)) for observation in observations]
    writable = await asyncio.gather(*(_is_writable(row, latest.get(row.item)) for row in judged))
    rows = list(compress(judged, writable))
    await store.write_health(rows)
    changed = [row for row in rows if not is_told(row)]
    if await topic.publish([notice(row) for row in changed]):
        await store.write_latest(msgspec.structs.replace(row, announced=row.level) for row in changed)
    return rows


async def _is_writable(row: HealthRow, previous: Remembered | None) -> bool:
    if is_settled(row, previous):
        return True
    why = why_dropped(row, await store.read_mirror(row.server, row.database))
    if why:
        with logs.about(server=row.server.key):
            log.info("%s", why)
    return not why


def _judged(observation: Observation, previous: Remembered | None) -> HealthRow:
    """The row of an observation. If the judgement itself fails, that is why the mirror is Unknown: an answer that
    nobody expected of one mirror must not spoil the rows of the others."""
    try:
        return judge(observation, previous, settings())
    except Exception as error:  # noqa: BLE001 - see above
        why = unexpected.reason(observation.mirror.server, error)
        return judge(failed(observation.mirror, datetime.now(UTC), why), previous, settings())
