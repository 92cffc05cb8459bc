"""How every door asks for a look at a server: it signals the mailbox, and wakes a run that waits for a decision."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import azure.durable_functions as df
import msgspec
from durabletask.client import EntityQuery, OrchestrationStatus

from functions.mailbox import mailbox
from functions.orchestrations import DECISION_EVENT, LOOK_AGAIN_EVENT
from shared.decisions.progress import Status
from shared.desired import server_id
from shared.desired.server_id import ServerId

ALIVE = (
    OrchestrationStatus.PENDING,
    OrchestrationStatus.RUNNING,
    OrchestrationStatus.SUSPENDED,
    OrchestrationStatus.CONTINUED_AS_NEW,
)
"""A run in one of these has not ended."""
ENDED = (OrchestrationStatus.COMPLETED, OrchestrationStatus.FAILED, OrchestrationStatus.TERMINATED)
MAILBOXES = "@server_mailbox@"
TO_BE_CREATED = timedelta(minutes=5)
"""Between what a mailbox says and the beginning of the run there is some time."""


async def look(client: df.DurableFunctionsClient, server: ServerId) -> None:
    """Have the server looked at: now, or once more when the present run is over."""
    await client.signal_entity(mailbox(server.key), "look")
    run = await present_run(client, server)
    status = await custom_status(client, run) if run else {}
    if run and status.get("waiting_for"):
        await client.raise_orchestration_event(run, LOOK_AGAIN_EVENT)


async def decide_restart(client: df.DurableFunctionsClient, server: ServerId, restart: bool) -> bool:
    """Hand a restart decision to the run that waits for one. False: none does."""
    run = await present_run(client, server)
    status = await custom_status(client, run) if run else {}
    if not run or not status.get("waiting_for"):
        return False
    await client.raise_orchestration_event(run, DECISION_EVENT, data={"restart": restart})
    return True


async def present_run(client: df.DurableFunctionsClient, server: ServerId) -> str:
    """The instance id of the run that is on, or empty."""
    entity = await client.get_entity(mailbox(server.key))
    state = entity.get_typed_state(dict) if entity else None
    return str(state["running"]) if state else ""


async def custom_status(client: df.DurableFunctionsClient, run: str) -> dict[str, Any]:
    """How far a run is (`shared.decisions.progress.Status`), or empty."""
    state = await client.get_orchestration_state(run)
    return (state.get_custom_status() or {}) if state else {}


async def progress(client: df.DurableFunctionsClient, runs: Iterable[str]) -> dict[str, Status]:
    """How far those of the runs are that are on."""

    async def of(run: str) -> Status | None:
        state = await client.get_orchestration_state(run)
        if state is None or state.runtime_status not in ALIVE or not (told := state.get_custom_status()):
            return None
        return msgspec.convert(told, Status)

    wanted = list(dict.fromkeys(runs))
    found = zip(wanted, await asyncio.gather(*map(of, wanted)), strict=True)
    return {run: status for run, status in found if status}


async def dead_runs(client: df.DurableFunctionsClient) -> dict[ServerId, str]:
    """The runs that ended, or vanished, without telling their mailbox, by server: it would wait for them for ever."""
    found: dict[ServerId, str] = {}
    for entity in await client.get_all_entities(EntityQuery(instance_id_starts_with=MAILBOXES)):
        run = (entity.get_typed_state(dict) or {}).get("running", "")
        if not run or await is_alive(client, run):
            continue
        exists = await client.get_orchestration_state(run, fetch_payloads=False) is not None
        if exists or datetime.now(UTC) - entity.last_modified > TO_BE_CREATED:
            found[server_id.from_key(entity.id.key)] = run
    return found


async def is_alive(client: df.DurableFunctionsClient, run: str) -> bool:
    """Whether a run exists and has not ended."""
    state = await client.get_orchestration_state(run, fetch_payloads=False)
    return state is not None and state.runtime_status in ALIVE
