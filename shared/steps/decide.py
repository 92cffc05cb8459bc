"""The first step of a run: see what is, decide, and note the run. Nothing outside the app's own rows is changed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any

import msgspec

from shared.decisions import allowed, readiness
from shared.decisions import parameters as server_parameters
from shared.decisions import run as deciding
from shared.decisions.answers import Decision, Miss, Prepare, Refuse, Release
from shared.decisions.login import is_rotation_due, login_of
from shared.decisions.run import Examine, Wait
from shared.desired.changes import GiveBackParameter
from shared.desired.intent import MirrorIntent
from shared.desired.server_id import ServerId
from shared.fabric import connection as fabric_connection
from shared.fabric import workspace as fabric_workspace
from shared.fabric.facts import WorkspaceFacts
from shared.platform import logs, reasons
from shared.platform.errors import MirrorError, Unavailable
from shared.platform.reasons import Reason
from shared.platform.settings import settings
from shared.records import store
from shared.records.rows import MirrorRow, ServerRow
from shared.source import parameter_list
from shared.source import server as flexible_server
from shared.source.facts import Absence, ServerFacts
from shared.source.parameters import Parameter
from shared.steps import credentials, inside, presence, recovery

LOOK_SECONDS = 15.0
"""Seconds between two looks at a server whose state has to change first."""

log = logs.logger(__name__)


async def decide(id: ServerId, run: str) -> Decision:
    """Decide what the run with the instance id `run` does for this server, and note the run in the server's row.

    Raises `Unavailable` for a server whose state has to change first.
    """
    row = await store.read_server(id)
    if foreign := deciding.if_not_allowed(id, row, settings()):
        log.info("%s: the server's subscription is not allowed.", type(foreign).__name__)
        return foreign
    facts = await flexible_server.observe(id)
    if isinstance(facts, Absence):
        decision: Decision = await presence.judge(facts, id, row, run)
    else:
        row = await presence.note_present(facts, row)
        mirrors = await store.list_mirrors_of(id)
        if deciding.may_be_forgotten(facts, row, mirrors, settings()):
            row, mirrors = await recovery.recover(facts, row)
        decision = await _decide(id, facts, row, mirrors, run)
    if not isinstance(decision, Refuse | Miss):
        log.info("%s: %s", type(decision).__name__, decision.why)
    return decision


async def _decide(
    id: ServerId, facts: ServerFacts, row: ServerRow | None, mirrors: Sequence[MirrorRow], run: str
) -> Decision:
    decision = deciding.look(facts, row, mirrors, _is_rotation_due(row), settings())
    match decision:
        case Examine(facts=present, intent=intent):
            return await _examine(present, intent, row, mirrors, run)
        case Wait(reason=reason):
            await store.update_server(id, run=run, phase="Waiting", reasons=(reason,))
            raise Unavailable(
                reason.message,
                code=reason.code,
                remedy=reason.remedy,
                retry_after=LOOK_SECONDS,
                patience=settings().limits.server_wait_minutes * 60,
            )
        case Release(fingerprint=fingerprint, leaving=leaving):
            row = await store.update_server(id, run=run, phase="Releasing", reasons=(), fingerprint=fingerprint)
            return msgspec.structs.replace(decision, parameters=await _given_back(facts, row, leaving))
        case Refuse():
            await store.update_server(id, run=run)
    return decision


async def _examine(
    facts: ServerFacts, intent: MirrorIntent, row: ServerRow | None, mirrors: Sequence[MirrorRow], run: str
) -> Prepare | Refuse:
    checked = await report(facts, intent, row)
    decision = deciding.after_report(facts, intent, row, mirrors, checked, _is_rotation_due(row), settings())
    changes: dict[str, Any] = {
        "run": run,
        "fingerprint": intent.fingerprint,
        "created_at": facts.created_at,
    }
    if isinstance(decision, Prepare):
        changes["phase"] = deciding.phase_of_preparation(row, intent, checked)
        changes |= {"reasons": (), "left": (), "baseline_worker_processes": checked.plan.baseline_worker_processes}
    await _note(facts.id, row, checked, changes)
    return decision


async def _given_back(facts: ServerFacts, row: ServerRow, leaving: Sequence[str]) -> tuple[GiveBackParameter, ...]:
    """The parameters that the release gives back. Where Azure does not tell them, none: the release is of more worth,
    and names those that stay."""
    if not {server_parameters.SWITCH, server_parameters.MIRRORED} & {*row.parameters}:
        return ()
    try:
        return server_parameters.give_back(await _parameters(facts), row.parameters, leaving)
    except MirrorError as error:
        log.warning("No parameter is given back: %s", error.message)
        return ()


async def _note(id: ServerId, row: ServerRow | None, report: readiness.Report, changes: dict[str, Any]) -> None:
    """Note what a run begins with. The server's row has the report in short form, and names the rows that have all of
    it; these are written before the row names them, and the earlier ones are deleted afterwards."""
    parts = store.parts_of(id, msgspec.json.encode(report).decode())
    report_id, before = parts[0].report_id, row.report_id if row else ""
    if report_id != before:
        await store.write_report(parts)
    await store.update_server(id, **changes, report=msgspec.json.encode(report.short).decode(), report_id=report_id)
    if report_id != before:
        await store.delete_reports(id, but=report_id)


async def report(facts: ServerFacts, intent: MirrorIntent, row: ServerRow | None) -> readiness.Report:
    """The checks and the plan for a server; nothing is changed."""
    databases = readiness.databases_of(intent, facts)
    gateway = readiness.gateway_of(intent, facts)
    parameters, (workspace, problem), (offered, refused), secret, (used, inside_facts) = await asyncio.gather(
        _parameters(facts),
        _or_reason(_workspace(intent.workspace, facts.principal_id.lower())),
        _or_reason(fabric_connection.discover(gateway, login_of(settings()).credential_type)),
        credentials.is_client_secret_there(),
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


def _is_rotation_due(row: ServerRow | None) -> bool:
    return is_rotation_due(row, login_of(settings()).role)


async def _parameters(facts: ServerFacts) -> dict[str, Parameter]:
    """The server's parameters; Azure tells those of a running server only."""
    return await parameter_list.parameters(facts.id) if facts.state == "Ready" else {}


async def _workspace(workspace: str, server: str) -> WorkspaceFacts | None:
    if allowed.workspace_problem(workspace, settings()):
        return None
    return await fabric_workspace.observe(workspace, server)


async def _or_reason[T](asked: Awaitable[T]) -> tuple[T | None, Reason | None]:
    """What Fabric answers, or why it does not."""
    try:
        return await asked, None
    except MirrorError as error:
        if error.retryable:
            raise
        return None, reasons.of(error)
