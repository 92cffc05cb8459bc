"""The restart of a server: whether one is needed, whether it may be now, and what is noted while it is waited for."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from uuid import uuid4

import msgspec

from shared.decisions import parameters as server_parameters
from shared.decisions import restart as deciding
from shared.decisions import restart_once as once
from shared.decisions.answers import Asked, Verdict
from shared.decisions.login import is_rotation_due, login_of
from shared.decisions.restart_once import Seen
from shared.desired.changes import Progress, Restart
from shared.desired.server_id import ServerId
from shared.platform import logs
from shared.platform.errors import Blocked, MirrorError, Unavailable
from shared.platform.settings import RestartPolicy, settings
from shared.records import store
from shared.records.rows import RestartIntent
from shared.source import parameter_list
from shared.source import server as flexible_server
from shared.source.connection import running_since
from shared.source.facts import Absence
from shared.source.refusals import OPERATION_LOST, is_refused, not_found
from shared.steps import announce

log = logs.logger(__name__)


async def pending(id: ServerId) -> tuple[str, ...]:
    """The parameters of mirroring that wait for a restart."""
    return server_parameters.pending_restart(await parameter_list.parameters(id))


async def decide(id: ServerId, policy: RestartPolicy, waiting: tuple[str, ...], now: datetime) -> Verdict:
    """Whether the server is restarted now, or what is waited for. Raises `Blocked` when the restart for the same intent
    was refused before, or not decided in time."""
    facts, row = await asyncio.gather(flexible_server.observe(id), store.read_server(id))
    if isinstance(facts, Absence):
        raise not_found(f"Azure Resource Manager does not find server {id.name!r}.")
    verdict = deciding.judge(facts, policy, waiting, now.replace(tzinfo=UTC), settings())
    if refused := deciding.refused_before(row, verdict):
        raise Blocked(refused.message, code=refused.code, remedy=refused.remedy)
    log.info("%s.", verdict.message)
    return verdict


async def begin(id: ServerId) -> str:
    """Ask for the restart of the server. Returns the continuation token; empty: there is nothing to restart for.

    Raises `Unavailable` while an earlier request, whose answer was lost, may still be under way.
    """
    row, seen = await asyncio.gather(store.read_server(id), _seen(id))
    intent, now = row.restart if row else None, datetime.now(UTC)
    move = once.next_move(intent, seen, now)
    log.info("%s of the restart: %s.", type(move).__name__, move.why)
    match move:
        case once.Done():
            await _note_ended(id)
            return ""
        case once.Wait(why):
            raise _under_way(id, why)
    mine = RestartIntent(at=now, started_at=seen.started_at, by=uuid4().hex)
    if not await store.note_restart(id, intent, mine):
        raise _under_way(id, "another process of the app asked for it at the same time")
    try:
        return await flexible_server.begin(id, Restart())
    except MirrorError as error:
        if is_refused(error):
            await store.note_restart(id, mine, intent)
        raise


async def poll(id: ServerId, token: str) -> Progress:
    """Ask once for the state of the restart. Raises `Blocked` when it failed."""
    try:
        progress = await flexible_server.poll(id, Restart(), token)
    except Blocked:
        await _note_ended(id)
        raise
    if progress.done:
        await _note_ended(id)
    elif progress.again and progress.again.code != OPERATION_LOST:
        await _note_failed(id)
    return progress


async def _seen(id: ServerId) -> Seen:
    waiting, glance = await asyncio.gather(pending(id), flexible_server.glance(id))
    try:
        started_at = await running_since(glance.host) if glance.state == "Ready" else None
    except MirrorError as error:
        log.info("PostgreSQL does not say since when it has been running: %s", error.message)
        started_at = None
    return Seen(pending=waiting, state=glance.state, started_at=started_at)


async def _note_ended(id: ServerId) -> None:
    """Note that the app knows how the last restart ended."""
    row = await store.read_server(id)
    if row and row.restart and not row.restart.ended:
        await store.note_restart(id, row.restart, msgspec.structs.replace(row.restart, ended=True))


async def _note_failed(id: ServerId) -> None:
    """Note that Azure said that the restart failed."""
    row = await store.read_server(id)
    if row and row.restart and not row.restart.ended:
        await store.note_restart(id, row.restart, msgspec.structs.replace(row.restart, failed=True))


def _under_way(id: ServerId, why: str) -> Unavailable:
    return Unavailable(
        f"A restart of server {id.name!r} may be under way: {why}.",
        code="RestartUnderWay",
        remedy="Look at the server in the Azure portal. The next event or the hourly resync looks again.",
        retry_after=once.BETWEEN,
    )


async def record_waiting(id: ServerId, verdict: Verdict) -> None:
    """Note in the server's row what is waited for."""
    reason = deciding.waiting_reason(id, verdict)
    await announce.tell(await store.update_server(id, phase="Waiting", reasons=(reason,)))


async def record_preparing(id: ServerId) -> None:
    """Note in the server's row that nothing is waited for any more."""
    await store.update_server(id, phase="Preparing", reasons=())


async def record_refusal(id: ServerId, fingerprint: str, code: str) -> None:
    """Note that there is no restart for this intent, and the code of the reason, so that it is not asked for again."""
    await store.update_server(id, restart_refused=deciding.refusal(fingerprint, code))


async def is_still_waiting(id: ServerId, fingerprint: str, asked: Asked) -> bool:
    """Whether the wait goes on: the intent is that of its beginning, and parameters still wait for a restart."""
    facts, row, mirrors = await asyncio.gather(
        flexible_server.observe(id), store.read_server(id), store.list_mirrors_of(id)
    )
    why = deciding.why_superseded(
        facts, row, mirrors, asked, fingerprint, is_rotation_due(row, login_of(settings()).role), settings()
    )
    if not why and not await pending(id):
        why = "no parameter waits for a restart any more"
    if why:
        log.info("The wait for the restart ends, since %s.", why)
    return not why
