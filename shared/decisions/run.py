"""What a run does for its server, from what is there and what is wanted. Pure.

The decision has two halves. `look` needs no more than the server's facts and the app's rows. Where it says `Examine`,
the readiness report is made, which asks PostgreSQL and Fabric, and `after_report` decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from shared.decisions import allowed, readiness
from shared.decisions.start import is_restart_due
from shared.desired import intent as desired
from shared.desired.changes import Change, GiveBackParameter, SetParameter
from shared.desired.intent import MirrorIntent
from shared.desired.server_id import ServerId
from shared.desired.takeover import TableName
from shared.platform import reasons
from shared.platform.errors import InvalidInput
from shared.platform.reasons import Reason
from shared.platform.settings import Limits, RestartPolicy, Rights, Settings
from shared.records.rows import MirrorRow, ServerPhase, ServerRow
from shared.source.facts import ServerFacts

UNTOUCHED = frozenset({"New", "Released", "Deleted"})
"""Phases of a server on which nothing of the app is left."""
SETTLED_STATES = frozenset({"Ready", "Disabled", "Inaccessible"})
"""States of a server that don't change by themselves, or not for the better."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody asked for besides the mirroring. It waits for no readiness, and for no decision about a restart."""

    host: str = ""
    databases: tuple[str, ...] = ()
    """The databases whose connections need the present password."""
    rotation: int = 0
    """Number of the last new password that was asked for."""
    rotate: bool = False
    """That password has not reached the server and all connections."""
    restarts: tuple[str, ...] = ()
    """The databases whose mirrors are to be restarted."""


class Prepare(msgspec.Struct, frozen=True, kw_only=True, tag="prepare"):
    """Prepare the server, mirror the databases of `asked`, and release those that are `leaving`."""

    why: str
    asked: Asked
    access: tuple[Change, ...]
    """What lets the app and Fabric in. It is changed first: only then PostgreSQL tells the rest."""
    parameters: tuple[SetParameter, ...]
    leaving: tuple[str, ...]
    tables: dict[str, tuple[TableName, ...]]
    """The chosen tables of each database; none: all of its tables."""
    workspace: str
    workspace_name: str
    gateway: str
    """GUID of the gateway by which Fabric comes in; empty: Fabric reaches the server itself."""
    restart: RestartPolicy
    rights: Rights = "auto"
    consent: str = ""
    """Where somebody named the rights, as the record of a consent says it."""
    fingerprint: str
    limits: Limits
    """How long the run waits: orchestrations read no settings, so the decision brings them."""


class Release(msgspec.Struct, frozen=True, kw_only=True, tag="release"):
    """Give back the databases that are `leaving`, and then the server."""

    why: str
    fingerprint: str
    leaving: tuple[str, ...]
    parameters: tuple[GiveBackParameter, ...] = ()
    """What is set back on the server once all databases are given back."""


class Forget(msgspec.Struct, frozen=True, kw_only=True, tag="forget"):
    """The server is gone: leave Fabric. What is needed to give back stays recorded for a while."""

    why: str


class Miss(msgspec.Struct, frozen=True, kw_only=True, tag="missing"):
    """Azure does not find the server, and that is no proof of its deletion: nothing is undone."""

    reason: Reason


class Refuse(msgspec.Struct, frozen=True, kw_only=True, tag="blocked"):
    """Something stands in the way. Nothing is changed but what was `asked` for, and what is too much to keep."""

    reasons: tuple[Reason, ...]
    asked: Asked
    leave: tuple[str, ...] = ()
    """The databases in which the fabric role is a member of an owner that has become strong, and leaves it."""


class Nothing(msgspec.Struct, frozen=True, kw_only=True, tag="none"):
    """There is nothing to do."""

    why: str


class Wait(msgspec.Struct, frozen=True, kw_only=True):
    """The server's state has to change first."""

    reason: Reason


class Examine(msgspec.Struct, frozen=True, kw_only=True):
    """The server is wanted: make the readiness report."""

    facts: ServerFacts
    intent: MirrorIntent


type Decision = Prepare | Release | Forget | Miss | Refuse | Nothing


def intent_of(facts: ServerFacts, row: ServerRow | None, settings: Settings) -> MirrorIntent:
    """What is wanted for the server, by its tags and by the request in its row. Raises `InvalidInput`."""
    tags = desired.read_tags(facts.tags, settings.scope.tag_prefix)
    return desired.combine(tags, row.request if row else None, settings)


def if_not_allowed(id: ServerId, row: ServerRow | None, settings: Settings) -> Refuse | Nothing | None:
    """What a run does for a server that the app may not touch: nothing, not even what was asked for. None: it may.

    A server that was mirrored before its subscription was taken off the list says so. Nothing of it is given up, as
    the app may be allowed again.
    """
    problem = allowed.server_problem(id, settings)
    if problem is None:
        return None
    if row is None or row.phase in UNTOUCHED:
        return Nothing(why=problem.message)
    return Refuse(reasons=(problem,), asked=Asked())


def can_be_asked(facts: ServerFacts, settings: Settings) -> bool:
    """Whether the app may look into PostgreSQL: it is an administrator of a server that works and can be written to.

    Of a server that it never prepared, the app is none.
    """
    is_open = facts.state == "Ready" and facts.entra_auth and facts.replication_role in readiness.WRITABLE_ROLES
    return is_open and readiness.is_administrator(facts, settings)


def may_be_forgotten(
    facts: ServerFacts, row: ServerRow | None, mirrors: Sequence[MirrorRow], settings: Settings
) -> bool:
    """Whether a server that nobody wants mirrored may have something of the app that the app has no record of.

    Where it has no record at all, a missing tag says nothing: somebody may have asked for the server over HTTP. Only a
    tag that forbids it counts then, or a `DELETE`, which leaves a row.
    """
    if mirrors or (row is not None and row.phase in UNTOUCHED):
        return False
    try:
        intent = intent_of(facts, row, settings)
    except InvalidInput:
        return False
    return not intent.wanted and (row is not None or intent.source == "tag")


def look(
    facts: ServerFacts,
    row: ServerRow | None,
    mirrors: Sequence[MirrorRow],
    rotate: bool,
    settings: Settings,
) -> Release | Refuse | Nothing | Wait | Examine:
    """The first half, for a server that is there. `rotate`: a new password is due."""
    try:
        intent = intent_of(facts, row, settings)
    except InvalidInput as error:
        asked = asked_for(facts, row, mirrors, [mirror.database for mirror in mirrors], rotate, settings)
        return Refuse(reasons=(reasons.of(error),), asked=asked)
    if not intent.wanted and (row is None or (not mirrors and row.phase in UNTOUCHED)):
        return Nothing(why="Nobody wants the server mirrored, and nothing of the app is left on it.")
    if facts.state not in SETTLED_STATES:
        return Wait(reason=_not_ready(facts))
    if not intent.wanted:
        return Release(
            why="Nobody wants the server mirrored any more.",
            fingerprint=intent.fingerprint,
            leaving=tuple(mirror.database for mirror in mirrors),
        )
    return Examine(facts=facts, intent=intent)


def after_report(
    facts: ServerFacts,
    intent: MirrorIntent,
    row: ServerRow | None,
    mirrors: Sequence[MirrorRow],
    report: readiness.Report,
    rotate: bool,
    settings: Settings,
) -> Prepare | Refuse:
    """The second half, for a server that is wanted."""
    plan = report.plan
    asked = asked_for(facts, row, mirrors, plan.databases, rotate, settings)
    if report.failures:
        return Refuse(reasons=reasons.short(report.failures), asked=asked, leave=plan.leave)
    return Prepare(
        why=f"The {intent.source} wants {', '.join(plan.databases)} mirrored, and nothing stands in the way.",
        asked=asked,
        access=tuple(change for change in plan.changes if not isinstance(change, SetParameter)),
        parameters=tuple(change for change in plan.changes if isinstance(change, SetParameter)),
        leaving=tuple(sorted({mirror.database for mirror in mirrors} - set(plan.databases))),
        tables={
            database: tuple(TableName(table.schema, table.table) for table in intent.tables_of(database))
            for database in plan.databases
        },
        workspace=intent.workspace,
        workspace_name=report.workspace_name,
        gateway=readiness.gateway_of(intent, facts),
        restart=intent.restart,
        rights=intent.rights,
        consent=_named_by(intent, settings),
        fingerprint=intent.fingerprint,
        limits=settings.limits,
    )


def phase_of_preparation(row: ServerRow | None, intent: MirrorIntent, report: readiness.Report) -> ServerPhase:
    """The phase of a server that is prepared now: still Mirrored where the last run did all of it."""
    is_done = row is not None and row.phase == "Mirrored" and row.fingerprint == intent.fingerprint
    return "Mirrored" if is_done and not report.plan.changes else "Preparing"


def asked_for(
    facts: ServerFacts,
    row: ServerRow | None,
    mirrors: Iterable[MirrorRow],
    databases: Sequence[str],
    rotate: bool,
    settings: Settings,
) -> Asked:
    """What people asked for of the `databases` that stay. A server that is not Ready can do nothing of it now, and a
    mirror whose workspace is not allowed any more is not restarted, as that copies its tables there."""
    is_ready = facts.state == "Ready"
    return Asked(
        host=facts.host,
        databases=tuple(databases),
        rotation=row.rotation if row else 0,
        rotate=is_ready and rotate,
        restarts=tuple(
            mirror.database
            for mirror in mirrors
            if is_ready
            and mirror.database in databases
            and is_restart_due(mirror)
            and not allowed.workspace_problem(mirror.workspace, settings)
        ),
    )


def _named_by(intent: MirrorIntent, settings: Settings) -> str:
    """Who named the rights."""
    match intent.rights_from:
        case "tag":
            return f"tag {settings.scope.tag_prefix}-rights"
        case "request":
            return "request"
    return "app setting TABLE_RIGHTS"


def _not_ready(facts: ServerFacts) -> Reason:
    return Reason(
        "ServerNotReady",
        f"Server {facts.id.name!r} is {facts.state}, not Ready.",
        "Start it, or wait until its operation has ended; it is then looked at again by itself.",
    )
