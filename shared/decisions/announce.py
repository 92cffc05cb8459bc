"""Which notice a server gives. A notice tells of a phase that somebody has to know of, and tells of it once. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from shared.platform.reasons import Reason, short
from shared.records.columns import ServerNews
from shared.records.notices import (
    MOST_MIRRORS,
    Data,
    Notice,
    PreparationBlocked,
    PreparedMirror,
    RestartApprovalRequired,
    ServerPrepared,
    ServerReleased,
)
from shared.records.rows import APPROVAL_REQUIRED, MirrorRow, ServerRow

SETTLED = timedelta(minutes=1)
"""Time after which a run does not send the notice of what it recorded any more."""

type Server = ServerRow | ServerNews


def change_of(server: Server) -> str:
    """What a notice would tell of the server, as words that differ from those of the last notice if it has to be sent.

    Empty: nothing. A run that ends as the last one did, for the same reasons and the same wish, is not told of again.
    """
    codes = ",".join(sorted({reason.code for reason in server.reasons}))
    match server.phase:
        case "Mirrored" | "Released":
            return f"{server.phase} {server.fingerprint}"
        case "Blocked" | "Missing":
            return f"{server.phase} {server.fingerprint} {codes}"
        case "Waiting" if _needs_approval(server.reasons):
            return f"{server.phase} {server.run}"
    return ""


def is_due(server: Server) -> bool:
    """Whether a notice has to be sent of the server."""
    change = change_of(server)
    return bool(change) and change != server.announced


def is_overdue(server: Server, now: datetime) -> bool:
    """Whether a notice has to be sent of the server that its own run could not send."""
    return now - server.updated_at > SETTLED and is_due(server)


def notice(server: Server, mirrors: Iterable[MirrorRow]) -> Notice:
    """The notice of a server that has one due. `mirrors`: the rows of its databases."""
    return Notice(
        subject=str(server.id),
        change=f"{change_of(server)} {server.run}",
        at=server.updated_at,
        data=_data(server, mirrors),
    )


def _data(server: Server, mirrors: Iterable[MirrorRow]) -> Data:
    id = str(server.id)
    match server.phase:
        case "Mirrored":
            prepared = tuple(PreparedMirror(row.database, row.workspace, row.item) for row in mirrors)
            named = prepared[:MOST_MIRRORS]
            return ServerPrepared(server=id, run=server.run, mirrors=named, count=len(prepared))
        case "Released":
            return ServerReleased(server=id, run=server.run)
        case "Waiting":
            return RestartApprovalRequired(server=id, run=server.run, reasons=short(server.reasons))
    return PreparationBlocked(server=id, run=server.run, reasons=short(server.reasons))


def _needs_approval(reasons: tuple[Reason, ...]) -> bool:
    return any(reason.code == APPROVAL_REQUIRED for reason in reasons)
