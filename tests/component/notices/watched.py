"""A mirror that is looked at again and again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import msgspec

from shared.decisions.observation import FabricSide, Observation, SourceSide
from shared.desired.server_id import ServerId
from shared.fabric.facts import MirrorStatus, TableStatus
from shared.records import store
from shared.records.columns import Watched
from shared.records.rows import HealthRow, MirrorRow
from shared.source.facts import Slot
from shared.steps import record_health as keeping

NOW = datetime.now(UTC)
SLOT = Slot(name="s", active=True, wal_status="reserved", retained_bytes=0, lag_bytes=0)
WORKSPACE = "00000000-0000-0000-0000-0000000000b1"


def mirror(server: ServerId) -> MirrorRow:
    item = str(uuid4())
    return MirrorRow(server=server, database="shop", workspace=WORKSPACE, item=item, phase="Running")


class Mirror:
    """A mirror that is looked at again and again."""

    def __init__(self, server: ServerId):
        self.row, self.looks = mirror(server), 0

    async def seen(self, status: str = "Running", retained_gib: int = 0) -> HealthRow:
        """What is kept after it was seen with this status, and with a slot that retains so much WAL."""
        if not self.looks:
            await self.note()
        self.looks += 1
        table = TableStatus(schema="public", name="t", status="Replicating", rows=1, last_sync_at=NOW)
        observation = Observation(
            mirror=msgspec.convert(self.row, Watched, from_attributes=True),
            at=NOW + timedelta(minutes=5 * self.looks),
            fabric=FabricSide(MirrorStatus(status), (table,)),
            source=SourceSide(msgspec.structs.replace(SLOT, retained_bytes=retained_gib * 2**30)),
        )
        await keeping.record([observation], await self.latest())
        return (await self.latest())[self.row.item]

    async def note(self, **changes: Any) -> None:
        """Have it noted as one of ours, with these changes."""
        known = {"workspace": self.row.workspace, "item": self.row.item, "phase": self.row.phase}
        await store.update_mirror(self.row.server, "shop", **known | changes)

    async def latest(self) -> dict[str, HealthRow]:
        row = await store.read_health(self.row.workspace, self.row.item)
        return {self.row.item: row} if row else {}
