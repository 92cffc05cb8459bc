"""Notices of servers: each phase that somebody has to know of is told once, and told again only when it comes again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from shared.platform.reasons import Reason
from shared.records import notices, store
from shared.records.notices import (
    Data,
    Notice,
    PreparationBlocked,
    PreparedMirror,
    RestartApprovalRequired,
    ServerPrepared,
    ServerReleased,
)
from shared.records.rows import APPROVAL_REQUIRED, ServerRow

SETTLED = timedelta(minutes=1)
"""After this long, what a run has recorded and not told is not going to be told by that run."""


async def tell(row: ServerRow) -> bool:
    """Tell what has become of a server, unless it was told. False: the topic did not take it, which stops nothing."""
    change = change_of(row)
    if not change or change == row.announced:
        return True
    told = Notice(subject=str(row.id), change=f"{change} {row.run}", at=row.updated_at, data=await _data(row))
    taken = await notices.publish([told])
    if taken:
        await store.update_server(row.id, announced=change)
    return taken


async def outstanding() -> None:
    """Tell of every server what could not be told when it happened, until the topic fails: it may keep one waiting."""
    now = datetime.now(UTC)
    async for row in store.list_servers(
        columns=("id", "phase", "fingerprint", "reasons", "run", "announced", "updated_at")
    ):
        if now - row.updated_at > SETTLED and not await tell(row):
            return


def change_of(row: ServerRow) -> str:
    """What there is to tell of a server, as words that differ whenever it has to be told anew; empty: nothing. Pure."""
    codes = ",".join(sorted({reason.code for reason in row.reasons}))
    match row.phase:
        case "Mirrored" | "Released":
            return f"{row.phase} {row.fingerprint}"
        case "Blocked":
            return f"{row.phase} {row.fingerprint} {codes}"
        case "Waiting" if _needs_approval(row.reasons):
            return f"{row.phase} {row.run}"
    return ""


async def _data(row: ServerRow) -> Data:
    server = str(row.id)
    match row.phase:
        case "Mirrored":
            found = await store.list_mirrors_of(row.id)
            mirrors = tuple(PreparedMirror(m.database, m.workspace, m.item) for m in found)
            return ServerPrepared(server=server, run=row.run, mirrors=mirrors)
        case "Released":
            return ServerReleased(server=server, run=row.run)
        case "Waiting":
            return RestartApprovalRequired(server=server, run=row.run, reasons=row.reasons)
    return PreparationBlocked(server=server, run=row.run, reasons=row.reasons)


def _needs_approval(reasons: tuple[Reason, ...]) -> bool:
    return any(reason.code == APPROVAL_REQUIRED for reason in reasons)
