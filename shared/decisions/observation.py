"""What is seen of one mirror at one moment, from both sides. Each side may be unknown, without the other being so."""

from __future__ import annotations

from datetime import datetime

import msgspec

from shared.fabric.mirror import MirrorStatus, TableStatus
from shared.platform.reasons import Reason
from shared.records.rows import HealthRow, MirrorRow
from shared.source.facts import TableStatus as SourceTable
from shared.source.slots import Slot, TrackedPublication

RUNNING = "Running"


class FabricSide(msgspec.Struct, frozen=True):
    """The mirrored database (None: not looked at) and its tables. `gone`: there is no such item any more.

    `unseen`: why the status could not be seen, though it was asked for.
    """

    status: MirrorStatus | None = None
    tables: tuple[TableStatus, ...] = ()
    gone: bool = False
    unseen: Reason | None = None

    @property
    def runs(self) -> bool:
        """Whether the mirror runs, as far as is known: who has not asked, has seen nothing that speaks against it. Who
        got no answer goes by the tables."""
        if self.unseen:
            return any(table.status != "Stopped" for table in self.tables)
        return not self.gone and (self.status is None or self.status.status == RUNNING)


class SourceSide(msgspec.Struct, frozen=True):
    """The mirror's slot and publication in PostgreSQL; None: there is none.

    `tables` are those of the database (None: not looked at), `storage_gib` is the size of the server's storage.
    `unseen`: why the database could not be looked at, though the server told of the slot.
    """

    slot: Slot | None = None
    publication: TrackedPublication | None = None
    tables: tuple[SourceTable, ...] | None = None
    storage_gib: int | None = None
    unseen: Reason | None = None


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """One look at a mirror. A side that could not be seen is the reason why."""

    mirror: MirrorRow
    at: datetime
    fabric: FabricSide | Reason
    source: SourceSide | Reason


def known_slot(mirror: MirrorRow, seen: HealthRow | None) -> str:
    """The name of its slot, as it was `seen` before; empty: not known, also since it was changed or started anew."""
    return seen.slot if seen and mirror.changed_at <= seen.updated_at else ""
