"""One look at mirrors, from Fabric and PostgreSQL. A side that can't be seen is the reason why; that is no error."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from shared.decisions.health import MIB, classify
from shared.decisions.observation import FabricSide, Observation, SourceSide, known_slot
from shared.decisions.sweep import needs_details
from shared.fabric import mirror as fabric_mirror
from shared.platform import reasons
from shared.platform.errors import MirrorError, NotFound
from shared.platform.reasons import Reason
from shared.platform.settings import settings
from shared.records.rows import HealthRow, MirrorRow
from shared.source.slots import Slot, TrackedPublication
from shared.steps import unexpected
from shared.steps.server_view import ServerView

QUIET_SECONDS = 10.0
"""Seconds without a look that ends, after which what was seen so far is handed on. The quota causes shorter ones."""
ITEM_GONE = frozenset({"ItemNotFound", "EntityNotFound"})


async def observe(mirrors: Sequence[MirrorRow], latest: Mapping[str, HealthRow]) -> AsyncIterator[list[Observation]]:
    """How mirrors (those that have their item) are now. `latest`: what was last seen of each, by its item.

    In one list as a rule. Mirrors whose server keeps a look waiting come in later ones, so that nobody waits for them.
    """
    views = {mirror.server: ServerView(mirror.server, mirror.host) for mirror in mirrors}
    looks = {asyncio.create_task(_one(m, latest.get(m.item), views[m.server])) for m in mirrors}
    try:
        seen: list[Observation] = []
        while looks:
            done, looks = await asyncio.wait(looks, timeout=QUIET_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            seen += [look.result() for look in done]
            if seen and not (done and looks):
                yield seen
                seen = []
    finally:
        for look in looks:
            look.cancel()


async def _one(mirror: MirrorRow, seen: HealthRow | None, view: ServerView) -> Observation:
    try:
        return await _look(mirror, seen, view)
    except Exception as error:  # noqa: BLE001 - one look that fails spoils no other
        return unexpected.nothing(mirror, error)


async def _look(mirror: MirrorRow, seen: HealthRow | None, view: ServerView) -> Observation:
    """A glance at its tables in Fabric and its slot; and at the rest when that is due or something looks wrong."""
    fabric, source = await asyncio.gather(_told(mirror, _tables(mirror)), _slot(mirror, seen, view))
    glance = Observation(mirror=mirror, at=datetime.now(UTC), fabric=fabric, source=source)
    if not needs_details(mirror, seen, glance.at, settings()) and not _is_suspect(glance):
        return glance
    source = await _with_details(mirror, seen, source, view)
    if isinstance(fabric, FabricSide) and not fabric.gone:
        asked = await _told(mirror, _with_status(mirror, fabric))
        fabric = msgspec.structs.replace(fabric, unseen=asked) if isinstance(asked, Reason) else asked
    return Observation(mirror=mirror, at=datetime.now(UTC), fabric=fabric, source=source)


def _is_suspect(glance: Observation) -> bool:
    slot = glance.source.slot if isinstance(glance.source, SourceSide) else None
    waits = slot is not None and slot.lag_bytes > settings().lag_warn_mib * MIB
    return waits or classify(glance, settings()).level != "Healthy"


async def _told(mirror: MirrorRow, look: Awaitable[FabricSide]) -> FabricSide | Reason:
    try:
        return await look
    except MirrorError as error:
        gone = isinstance(error, NotFound) and error.code in ITEM_GONE
        return FabricSide(gone=True) if gone else reasons.of(error)
    except Exception as error:  # noqa: BLE001 - one look that fails spoils no other
        return unexpected.reason(mirror.server, error)


async def _tables(mirror: MirrorRow) -> FabricSide:
    return FabricSide(tables=await fabric_mirror.tables_status(mirror.workspace, mirror.item))


async def _with_status(mirror: MirrorRow, side: FabricSide) -> FabricSide:
    return msgspec.structs.replace(side, status=await fabric_mirror.status(mirror.workspace, mirror.item))


async def _slot(mirror: MirrorRow, seen: HealthRow | None, view: ServerView) -> SourceSide | Reason:
    found = await view.slots()
    if isinstance(found, Reason):
        return found
    side = pick(mirror.item, found.get(mirror.database, ()), (), known=known_slot(mirror, seen))
    return msgspec.structs.replace(side, storage_gib=seen.storage_gib if seen else None)


async def _with_details(
    mirror: MirrorRow, seen: HealthRow | None, side: SourceSide | Reason, view: ServerView
) -> SourceSide | Reason:
    """With what the database tells. Whether a slot is gone, or only called otherwise now, nothing else does."""
    slots = await view.slots()
    if isinstance(side, Reason) or isinstance(slots, Reason):
        return side
    details, size = await asyncio.gather(view.details(mirror.database), view.storage_gib())
    size = size or side.storage_gib
    if isinstance(details, Reason):
        return msgspec.structs.replace(side, storage_gib=size, unseen=details) if side.slot else details
    known = known_slot(mirror, seen)
    found = pick(mirror.item, slots.get(mirror.database, ()), details.publications, known=known)
    return SourceSide(found.slot, found.publication, details.tables, size)


def pick(item: str, found: Sequence[Slot], tracked: Sequence[TrackedPublication], *, known: str = "") -> SourceSide:
    """The slot and the publication of a mirrored database among those of its source.

    The publication ships to the item's place in OneLake, and the slot bears its name, which is `known` from an earlier
    look. Where nothing tells, a database with a single slot has it for the mirror.
    """
    publication = next((p for p in tracked if item.lower() in p.destination_path.lower()), None)
    name = publication.name if publication else known
    slot = next((s for s in found if s.name == name), None)
    if slot is None and not name and len(found) == 1:
        slot = found[0]
    return SourceSide(slot, publication)
