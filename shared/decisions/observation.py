"""What the app sees of one mirror at one moment, from both sides. One side may be unknown while the other is not. Pure.

Fabric tells of the mirrored database and its tables, PostgreSQL of the slot, the publication and the tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from shared.desired.server_id import ServerId
from shared.fabric.facts import MirrorStatus, TableStatus
from shared.platform import reasons
from shared.platform.errors import MirrorError, NotFound
from shared.platform.reasons import Reason
from shared.records.columns import Watched
from shared.records.rows import Remembered
from shared.source.facts import Slot, TrackedPublication
from shared.source.facts import TableStatus as SourceTable

RUNNING = "Running"
ITEM_GONE = frozenset({"ItemNotFound", "EntityNotFound"})
"""Fabric's error codes for an item that is not in the workspace. A workspace that is not there has another code."""


class FabricSide(msgspec.Struct, frozen=True):
    """What Fabric tells of a mirrored database."""

    status: MirrorStatus | None = None
    """None: the app did not ask for it, or got no answer."""
    tables: tuple[TableStatus, ...] = ()
    gone: bool = False
    """The workspace has no such item any more."""
    unseen: Reason | None = None
    """Why there is no status, though the app asked for it."""

    @property
    def runs(self) -> bool:
        """Whether the mirror runs, as far as the app knows: without a status nothing speaks against it, unless Fabric
        refused to tell it and says that all tables are stopped."""
        if self.unseen:
            return any(table.status != "Stopped" for table in self.tables)
        return not self.gone and (self.status is None or self.status.status == RUNNING)


class SourceSide(msgspec.Struct, frozen=True):
    """What PostgreSQL and Azure tell of a mirror's source."""

    slot: Slot | None = None
    """None: there is no slot of the mirror."""
    publication: TrackedPublication | None = None
    """None: there is no publication of the mirror, or the app did not look for it."""
    tables: tuple[SourceTable, ...] | None = None
    """The tables of the database; None: the app did not look at them."""
    storage_gib: int | None = None
    """Size of the server's storage; None: not known."""
    unseen: Reason | None = None
    """Why the app could not look at the database, though the server told of the slot."""


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """One look at a mirror. In place of a side that the app could not see is the reason why."""

    mirror: Watched
    at: datetime
    fabric: FabricSide | Reason
    source: SourceSide | Reason


def failed(mirror: Watched, at: datetime, why: Reason) -> Observation:
    """A look that failed as a whole."""
    return Observation(mirror=mirror, at=at, fabric=why, source=why)


def refused(error: MirrorError) -> FabricSide | Reason:
    """What an error of Fabric says of a mirror: that the mirrored database is gone, or why the app could not see it."""
    if isinstance(error, NotFound) and error.code in ITEM_GONE:
        return FabricSide(gone=True)
    return reasons.of(error)


def not_ready(server: ServerId, state: str, why: Reason) -> Reason:
    """Why a server did not tell of its slots: its `state` in Azure if that explains it, otherwise `why`.

    The state is empty if Azure Resource Manager did not tell it.
    """
    if state in ("", "Ready"):
        return why
    return Reason("ServerNotReady", f"Server {server.name!r} is {state}.", "Start it, or wait until it is.")


def earlier_slot(mirror: Watched, previous: Remembered | None) -> str:
    """Name of the mirror's slot at the previous look. Empty: not known, also since the mirror was changed or started,
    which may give it another slot."""
    return previous.slot if previous and mirror.changed_at <= previous.updated_at else ""


def pick(
    item: str, slots: Sequence[Slot], publications: Sequence[TrackedPublication], *, earlier: str = ""
) -> SourceSide:
    """The slot and the publication of a mirrored database among those of its source.

    The publication ships to the item's place in OneLake, and the slot has the publication's name. Without the
    publications, the slot has the name that it had at an `earlier` look. If neither tells the name, and the database
    has a single slot, it is that one.
    """
    publication = next((p for p in publications if item.lower() in p.destination_path.lower()), None)
    name = publication.name if publication else earlier
    slot = next((slot for slot in slots if slot.name == name), None)
    if slot is None and not name and len(slots) == 1:
        slot = slots[0]
    return SourceSide(slot, publication)
