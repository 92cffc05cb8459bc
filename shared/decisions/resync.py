"""Which servers need a look although no event told of them, as far as their tags and their rows tell. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from shared.decisions import allowed
from shared.decisions.readiness.report import Report
from shared.decisions.run import UNTOUCHED
from shared.desired import intent as desired
from shared.desired.server_id import ServerId
from shared.platform.errors import InvalidInput
from shared.platform.settings import Settings
from shared.records.rows import ServerRow
from shared.source.facts import CLOSED, NO_TABLES


def why_look(id: ServerId, tags: Mapping[str, str] | None, row: ServerRow | None, settings: Settings) -> str:
    """Why a server needs a look; empty: it is as it should be. `tags` is None: Azure does not list the server.

    Only the servers of allowed subscriptions are listed, so that of others a missing list says nothing.
    """
    if problem := allowed.server_problem(id, settings):
        says_so = row is None or row.phase in UNTOUCHED or any(reason.code == problem.code for reason in row.reasons)
        return "" if says_so else "its subscription is not allowed any more, and its row does not say so"
    if tags is None:
        return "it is not listed any more" if row is not None and row.phase != "Deleted" else ""
    if row is not None and row.phase in ("Deleted", "Missing"):
        return f"it is listed, and it is {row.phase}"
    try:
        tag_wish = desired.read_tags(tags, settings.scope.tag_prefix)
    except InvalidInput:
        return "its tags can't be understood, and its row does not say so" if _lacks_refusal(row) else ""
    if row is None:
        return "it is tagged, and nothing of it is recorded" if tag_wish.state is True else ""
    intent = desired.combine(tag_wish, row.request, settings)
    if not intent.wanted:
        return f"nobody wants it mirrored, and it is {row.phase}" if row.phase not in UNTOUCHED else ""
    if row.phase != "Mirrored":
        return f"it is wanted, and it is {row.phase}"
    if row.fingerprint != intent.fingerprint:
        return "something else is wanted than the last run worked for"
    return "a new password was asked for and is not everywhere" if row.rotation > row.rotated else ""


def left_out(row: ServerRow) -> tuple[str, ...]:
    """The databases of a mirrored server that the last run left out, since they had no table or accepted no
    connections. No event tells when that changes."""
    if row.phase != "Mirrored":
        return ()
    try:
        report = msgspec.json.decode(row.report, type=Report)
    except msgspec.MsgspecError:
        return ()
    subjects = dict.fromkeys(check.subject for check in report.checks if check.id in (NO_TABLES, CLOSED))
    return tuple(name for name in subjects if name not in report.plan.databases)


def _lacks_refusal(row: ServerRow | None) -> bool:
    return row is None or row.phase != "Blocked"
