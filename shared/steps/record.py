"""What a run leaves behind in the rows of its server and mirrors."""

from __future__ import annotations

from typing import Any

import msgspec

from shared.desired.server_id import ServerId
from shared.platform.reasons import Reason
from shared.records import store
from shared.steps import announce


async def outcome(id: ServerId, phase: str, reasons: list[dict[str, Any]]) -> None:
    """The end of a run."""
    row = await store.update_server(id, phase=phase, reasons=msgspec.convert(reasons, tuple[Reason, ...]))
    await announce.tell(row)


async def mirror_problem(id: ServerId, database: str, reasons: list[dict[str, Any]]) -> None:
    """Why one database is not mirrored."""
    await store.update_mirror(id, database, phase="Blocked", reasons=msgspec.convert(reasons, tuple[Reason, ...]))
