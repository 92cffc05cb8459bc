"""What a run leaves behind in the rows of its server and mirrors."""

from __future__ import annotations

from shared.decisions.outcome import Outcome
from shared.desired.server_id import ServerId
from shared.platform.reasons import Reason
from shared.records import store
from shared.steps import announce


async def outcome(id: ServerId, ended: Outcome) -> None:
    """The end of a run."""
    await announce.tell(await store.update_server(id, phase=ended.phase, reasons=ended.reasons))


async def mirror_problem(id: ServerId, database: str, reasons: tuple[Reason, ...]) -> None:
    """Why one database is not mirrored."""
    await store.update_mirror(id, database, phase="Blocked", reasons=reasons)
