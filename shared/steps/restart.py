"""The restart of a server: whether one is needed, whether it may be now, and what is noted while it is waited for."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

from shared.decisions import parameters as server_parameters
from shared.decisions.restart import APPROVAL, Verdict, judge
from shared.desired.intent import RestartPolicy
from shared.desired.server_id import ServerId
from shared.platform.errors import Blocked, InvalidInput, NotFound
from shared.platform.reasons import Reason
from shared.platform.settings import settings
from shared.records import announcing as announce
from shared.records import store
from shared.source import server as flexible_server
from shared.steps import decide as deciding
from shared.steps.login import is_rotation_due
from shared.steps.mirror import is_restart_due


async def pending(id: ServerId) -> tuple[str, ...]:
    """The parameters of mirroring that wait for a restart."""
    return server_parameters.pending_restart(await flexible_server.parameters(id))


async def decide(id: ServerId, policy: RestartPolicy, waiting: list[str], now: datetime) -> Verdict:
    """Whether the server is restarted now, or what is waited for. Raises `Blocked` when the same wish was refused
    before, or nobody decided about it in time."""
    facts, row = await flexible_server.observe(id), await store.read_server(id)
    if facts is None:
        raise NotFound(f"Server {id.name!r} was deleted.")
    verdict = judge(facts, policy, tuple(waiting), now.replace(tzinfo=UTC), settings())
    for why in (verdict.refused, verdict.too_late):
        if why and row and row.restart_refused == _refusal(row.fingerprint, why.code):
            raise Blocked(why.message, code=why.code, remedy=why.remedy)
    return verdict


async def record_waiting(id: ServerId, verdict: dict[str, Any]) -> None:
    """Note in the server's row what is waited for."""
    if verdict["waiting_for"] == APPROVAL:
        door = f"/api/servers/{id.subscription}/{id.resource_group}/{id.name}/mirroring/restart-decision"
        remedy = f"Decide with POST {door} before {verdict['wait_until']}."
        waiting = Reason(announce.APPROVAL_REQUIRED, verdict["message"], remedy)
    else:
        waiting = Reason("WaitingForWindow", verdict["message"])
    await announce.tell(await store.update_server(id, phase="Waiting", reasons=(waiting,)))


async def record_preparing(id: ServerId) -> None:
    """Note in the server's row that nothing is waited for any more."""
    await store.update_server(id, phase="Preparing", reasons=())


async def record_refusal(id: ServerId, fingerprint: str, code: str) -> None:
    """Note that there is no restart for this wish, and the code of the reason, so that it is not asked for again."""
    await store.update_server(id, restart_refused=_refusal(fingerprint, code))


async def is_still_waiting(
    id: ServerId, fingerprint: str, rotation: int, restarts: Collection[str], databases: Collection[str]
) -> bool:
    """Whether the same is wanted as when the wait began, and the parameters still wait for a restart.

    Whoever asks for a new password, or for a restart of the mirror of one of the `databases`, does not wait with them,
    unless the run has tried that already: this `rotation`, the `restarts` of these databases.
    """
    facts, row = await flexible_server.observe(id), await store.read_server(id)
    if facts is None or (row and is_rotation_due(row) and row.rotation > rotation):
        return False
    due = {mirror.database for mirror in await store.list_mirrors_of(id) if is_restart_due(mirror)}
    if due & set(databases) - set(restarts):
        return False
    try:
        intent = deciding.wanted(facts, row)
    except InvalidInput:
        return False
    return intent.wanted and intent.fingerprint == fingerprint and bool(await pending(id))


def _refusal(fingerprint: str, code: str) -> str:
    return f"{fingerprint} {code}"
