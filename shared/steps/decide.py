"""The first step of a run: see what is, see what is wanted, and decide. Nothing outside our own rows is changed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Sequence
from typing import Any, Literal

import msgspec

from shared.decisions import readiness
from shared.desired import intent as desired
from shared.desired.changes import Change, SetParameter
from shared.desired.intent import MirrorIntent, RestartPolicy, Wish
from shared.desired.server_id import ServerId
from shared.fabric import connection as fabric_connection
from shared.fabric import workspace as fabric_workspace
from shared.fabric.facts import WorkspaceFacts
from shared.platform import reasons
from shared.platform.errors import InvalidInput, MirrorError, Unavailable
from shared.platform.reasons import Reason
from shared.platform.settings import settings
from shared.records import store
from shared.records.rows import MirrorRow, ServerRow
from shared.source import server as flexible_server
from shared.source.facts import ServerFacts
from shared.source.parameters import Parameter
from shared.steps import credentials, inside
from shared.steps.login import is_rotation_due
from shared.steps.mirror import is_restart_due

UNTOUCHED = frozenset({"New", "Released", "Deleted"})
"""Phases of a server on which nothing of ours is left."""
SETTLED_STATES = frozenset({"Ready", "Disabled", "Inaccessible"})
"""States of a server that don't change by themselves, or not for the better."""
LOOK_SECONDS = 15.0


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What this run does.

    `prepare`: make the changes that let the app and Fabric in (`access`), set `parameters`, mirror `databases` of
    `host` (their chosen `tables`, or all), release the databases that are `leaving`. `release`: release `leaving` and
    the server. `forget`: the server is gone. `blocked`: `reasons` say why nothing else is done. `none`: nothing to do.

    Before that, whatever stands in its way: `rotate` the password, restart the mirrors of the databases `restarts`.
    """

    action: Literal["prepare", "release", "forget", "blocked", "none"]
    reasons: tuple[Reason, ...] = ()
    rotate: bool = False
    restarts: tuple[str, ...] = ()
    access: tuple[Change, ...] = ()
    parameters: tuple[SetParameter, ...] = ()
    databases: tuple[str, ...] = ()
    leaving: tuple[str, ...] = ()
    host: str = ""
    tables: dict[str, tuple[tuple[str, str], ...]] = {}
    workspace: str = ""
    workspace_name: str = ""
    gateway: str = ""
    rotation: int = 0
    restart: RestartPolicy = "auto"
    fingerprint: str = ""
    operation_limit_minutes: float = 0
    mirror_start_limit_minutes: float = 0
    poll_seconds: float = 0


async def decide(id: ServerId, run: str) -> Decision:
    """Decide what the run with the instance id `run` does for this server, and note the run in the server's row."""
    facts, row, mirrors = await asyncio.gather(
        flexible_server.observe(id), store.read_server(id), store.list_mirrors_of(id)
    )
    if facts is None:
        return Decision(action="none" if row is None or row.phase == "Deleted" else "forget")
    try:
        intent = wanted(facts, row)
    except InvalidInput as error:
        await store.update_server(id, run=run)
        asked_for = _asked_for(facts, row, mirrors, [mirror.database for mirror in mirrors])
        return Decision(action="blocked", reasons=(reasons.of(error),), **asked_for)
    if not intent.wanted and (row is None or (not mirrors and row.phase in UNTOUCHED)):
        return Decision(action="none")
    if facts.state not in SETTLED_STATES:
        not_ready = _not_ready(facts)
        await store.update_server(id, run=run, phase="Waiting", reasons=(reasons.of(not_ready),))
        raise not_ready
    if not intent.wanted:
        await store.update_server(id, run=run, phase="Releasing", reasons=(), fingerprint=intent.fingerprint)
        return Decision(action="release", leaving=tuple(mirror.database for mirror in mirrors))
    return await _prepare(facts, intent, row or ServerRow(id=id), mirrors, run)


def wanted(facts: ServerFacts, row: ServerRow | None) -> MirrorIntent:
    """What is wanted for the server, by its tags and the request kept for it. Raises `InvalidInput`."""
    tags = desired.read_tags(facts.tags, settings().tag_prefix)
    request = msgspec.json.decode(row.request, type=Wish) if row and row.request else None
    return desired.combine(tags, request, settings())


async def report(facts: ServerFacts, intent: MirrorIntent, row: ServerRow | None) -> readiness.Report:
    """The checks and the plan for a server; nothing is changed."""
    databases = readiness.databases_of(intent, facts)
    parameters, (workspace, problem), (offered, refused), secret, (used, inside_facts) = await asyncio.gather(
        _parameters(facts),
        _told(_workspace(intent.workspace, facts.principal_id.lower())),
        _told(fabric_connection.discover(readiness.gateway_of(intent, facts), settings().fabric_credentials)),
        credentials.is_secret_kept(),
        inside.look(facts, databases, intent),
    )
    return readiness.check(
        readiness.Facts(
            server=facts,
            parameters=parameters,
            workspace=workspace,
            workspace_problem=problem,
            connections=offered.type if offered else "",
            connections_problem=refused,
            principal_secret=secret,
            used=used,
            databases=inside_facts,
            baseline_worker_processes=row.baseline_worker_processes if row else None,
        ),
        intent,
        settings(),
    )


def _not_ready(facts: ServerFacts) -> Unavailable:
    return Unavailable(
        f"Server {facts.id.name!r} is {facts.state}, not Ready.",
        code="ServerNotReady",
        remedy="Start it, or wait until its operation has ended; it is then looked at again by itself.",
        retry_after=LOOK_SECONDS,
        patience=settings().server_wait_minutes * 60,
    )


async def _prepare(
    facts: ServerFacts, intent: MirrorIntent, row: ServerRow, mirrors: list[MirrorRow], run: str
) -> Decision:
    found = await report(facts, intent, row)
    kept = msgspec.json.encode(found).decode()
    asked_for = _asked_for(facts, row, mirrors, found.plan.databases)
    if found.failures:
        await store.update_server(facts.id, run=run, report=kept, fingerprint=intent.fingerprint)
        return Decision(action="blocked", reasons=found.failures, **asked_for)
    settled = row.phase == "Mirrored" and row.fingerprint == intent.fingerprint and not found.plan.changes
    await store.update_server(
        facts.id,
        run=run,
        phase="Mirrored" if settled else "Preparing",
        reasons=(),
        report=kept,
        fingerprint=intent.fingerprint,
        baseline_worker_processes=found.plan.baseline_worker_processes,
    )
    return Decision(
        action="prepare",
        access=tuple(change for change in found.plan.changes if not isinstance(change, SetParameter)),
        parameters=tuple(change for change in found.plan.changes if isinstance(change, SetParameter)),
        leaving=tuple(sorted({mirror.database for mirror in mirrors} - set(found.plan.databases))),
        tables={
            database: tuple((table.schema, table.table) for table in intent.tables_of(database))
            for database in found.plan.databases
        },
        workspace=intent.workspace,
        workspace_name=found.workspace_name,
        gateway=readiness.gateway_of(intent, facts),
        restart=intent.restart,
        fingerprint=intent.fingerprint,
        operation_limit_minutes=settings().operation_limit_minutes,
        mirror_start_limit_minutes=settings().mirror_start_limit_minutes,
        poll_seconds=settings().poll_seconds,
        **asked_for,
    )


def _asked_for(
    facts: ServerFacts, row: ServerRow | None, mirrors: Iterable[MirrorRow], databases: Sequence[str]
) -> dict[str, Any]:
    """What people asked for of the `databases` that stay, beside their being mirrored."""
    ready = facts.state == "Ready"
    return {
        "host": facts.host,
        "databases": tuple(databases),
        "rotation": row.rotation if row else 0,
        "rotate": ready and is_rotation_due(row),
        "restarts": tuple(m.database for m in mirrors if ready and m.database in databases and is_restart_due(m)),
    }


async def _parameters(facts: ServerFacts) -> dict[str, Parameter]:
    """The server's parameters; Azure tells those of a running server only."""
    return await flexible_server.parameters(facts.id) if facts.state == "Ready" else {}


async def _workspace(workspace: str, server: str) -> WorkspaceFacts | None:
    return await fabric_workspace.observe(workspace, server) if workspace in settings().allowed_workspaces else None


async def _told[T](asked: Awaitable[T]) -> tuple[T | None, Reason | None]:
    """What Fabric tells, or why it does not."""
    try:
        return await asked, None
    except MirrorError as error:
        if error.retryable:
            raise
        return None, reasons.of(error)
