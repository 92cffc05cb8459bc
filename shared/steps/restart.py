"""The restart of a server: whether one is needed, whether it may be now, and what is noted while it is waited for."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from shared.decisions import parameters as server_parameters
from shared.decisions import restart as deciding
from shared.decisions.login import is_rotation_due, login_of
from shared.decisions.restart import Verdict
from shared.decisions.run import Asked
from shared.desired.server_id import ServerId
from shared.platform import logs
from shared.platform.errors import Blocked
from shared.platform.settings import RestartPolicy, settings
from shared.records import store
from shared.source import server as flexible_server
from shared.source.facts import Absence
from shared.steps import announce

log = logs.logger(__name__)


async def pending(id: ServerId) -> tuple[str, ...]:
    """The parameters of mirroring that wait for a restart."""
    return server_parameters.pending_restart(await flexible_server.parameters(id))


async def decide(id: ServerId, policy: RestartPolicy, waiting: tuple[str, ...], now: datetime) -> Verdict:
    """Whether the server is restarted now, or what is waited for. Raises `Blocked` when the restart for the same intent
    was refused before, or not decided in time."""
    facts, row = await asyncio.gather(flexible_server.observe(id), store.read_server(id))
    if isinstance(facts, Absence):
        raise flexible_server.not_found(id)
    verdict = deciding.judge(facts, policy, waiting, now.replace(tzinfo=UTC), settings())
    if refused := deciding.refused_before(row, verdict):
        raise Blocked(refused.message, code=refused.code, remedy=refused.remedy)
    log.info("%s.", verdict.message)
    return verdict


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
    """Whether the same is wanted as when the wait began, and the parameters still wait for a restart."""
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
