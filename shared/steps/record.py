"""What a run leaves behind in the rows of its server and mirrors."""

from __future__ import annotations

from typing import Any

from shared.decisions.outcome import Outcome
from shared.desired.server_id import ServerId
from shared.platform.errors import Blocked
from shared.platform.reasons import Reason, short
from shared.platform.table import TOO_LARGE
from shared.records import store
from shared.steps import announce


async def outcome(id: ServerId, ended: Outcome) -> None:
    """The end of a run. Where the row has no room for it, the row gives up its copy of the report."""
    changes: dict[str, Any] = {"phase": ended.phase, "reasons": short(ended.reasons)}
    try:
        row = await store.update_server(id, **changes)
    except Blocked as error:
        if error.code != TOO_LARGE:
            raise
        row = await store.update_server(id, **changes, report="")
    await announce.tell(row)


async def mirror_problem(id: ServerId, database: str, reasons: tuple[Reason, ...]) -> None:
    """Why one database is not mirrored."""
    await store.update_mirror(id, database, phase="Blocked", reasons=short(reasons))
