"""One look at mirrors, from Fabric and PostgreSQL. If the app can't see a side, it has the reason instead, no error."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from shared.decisions.health import is_suspect
from shared.decisions.observation import FabricSide, Observation, SourceSide, earlier_slot, failed, pick, refused
from shared.decisions.sweep import needs_details
from shared.fabric import mirror as fabric_mirror
from shared.platform.errors import MirrorError
from shared.platform.reasons import Reason
from shared.platform.settings import settings
from shared.records.columns import Watched
from shared.records.rows import Remembered
from shared.steps import unexpected
from shared.steps.server_view import ServerView

QUIET_SECONDS = 10.0
"""Seconds in which no look ends, after which the observations so far are handed on. Pauses of the quota are shorter."""


async def observe(mirrors: Sequence[Watched], latest: Mapping[str, Remembered]) -> AsyncIterator[list[Observation]]:
    """How mirrors are now. `latest`: the row before of each mirror, by its mirrored database's id.

    As a rule all observations come in one list. Those of servers that keep a look waiting come in later lists, so that
    no other mirror waits for them.
    """
    views = {mirror.server: ServerView(mirror.server) for mirror in mirrors}
    looks = {asyncio.create_task(_one(m, latest.get(m.item), views[m.server])) for m in mirrors}
    try:
        observations: list[Observation] = []
        while looks:
            done, looks = await asyncio.wait(looks, timeout=QUIET_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            observations += [look.result() for look in done]
            if observations and not (done and looks):
                yield observations
                observations = []
    finally:
        for look in looks:
            look.cancel()


async def _one(mirror: Watched, previous: Remembered | None, view: ServerView) -> Observation:
    try:
        return await _look(mirror, previous, view)
    except Exception as error:  # noqa: BLE001 - one look that fails spoils no other
        return failed(mirror, datetime.now(UTC), unexpected.reason(mirror.server, error))


async def _look(mirror: Watched, previous: Remembered | None, view: ServerView) -> Observation:
    """A glance at its tables in Fabric and at its slot; and a look at the rest if that is due or something is wrong."""
    fabric, source = await asyncio.gather(_answer(mirror, _tables(mirror)), _slot(mirror, previous, view))
    glance = Observation(mirror=mirror, at=datetime.now(UTC), fabric=fabric, source=source)
    if not needs_details(mirror, previous, glance.at, settings()) and not is_suspect(glance, settings()):
        return glance
    source = await _with_details(mirror, previous, source, view)
    if isinstance(fabric, FabricSide) and not fabric.gone:
        answer = await _answer(mirror, _with_status(mirror, fabric))
        fabric = msgspec.structs.replace(fabric, unseen=answer) if isinstance(answer, Reason) else answer
    return Observation(mirror=mirror, at=datetime.now(UTC), fabric=fabric, source=source)


async def _answer(mirror: Watched, question: Awaitable[FabricSide]) -> FabricSide | Reason:
    """What Fabric answers, or why it does not."""
    try:
        return await question
    except MirrorError as error:
        return refused(error)
    except Exception as error:  # noqa: BLE001 - one look that fails spoils no other
        return unexpected.reason(mirror.server, error)


async def _tables(mirror: Watched) -> FabricSide:
    return FabricSide(tables=await fabric_mirror.tables_status(mirror.workspace, mirror.item))


async def _with_status(mirror: Watched, side: FabricSide) -> FabricSide:
    return msgspec.structs.replace(side, status=await fabric_mirror.status(mirror.workspace, mirror.item))


async def _slot(mirror: Watched, previous: Remembered | None, view: ServerView) -> SourceSide | Reason:
    slots = await view.slots()
    if isinstance(slots, Reason):
        return slots
    side = pick(mirror.item, slots.get(mirror.database, ()), (), earlier=earlier_slot(mirror, previous))
    return msgspec.structs.replace(side, storage_gib=previous.storage_gib if previous else None)


async def _with_details(
    mirror: Watched, previous: Remembered | None, side: SourceSide | Reason, view: ServerView
) -> SourceSide | Reason:
    """The side, with what the database tells. Only the database tells whether a slot is gone or has another name."""
    slots = await view.slots()
    if isinstance(side, Reason) or isinstance(slots, Reason):
        return side
    details, size = await asyncio.gather(view.details(mirror.database), view.storage_gib())
    size = size or side.storage_gib
    if isinstance(details, Reason):
        return msgspec.structs.replace(side, storage_gib=size, unseen=details) if side.slot else details
    earlier = earlier_slot(mirror, previous)
    picked = pick(mirror.item, slots.get(mirror.database, ()), details.publications, earlier=earlier)
    return SourceSide(picked.slot, picked.publication, details.tables, size)
