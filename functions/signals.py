"""How every door asks for a look at a server: it signals the mailbox, and wakes a run that waits for a decision."""

from __future__ import annotations

from typing import Any

import azure.durable_functions as df
from durabletask.client import OrchestrationStatus

from functions.orchestrations import DECISION_EVENT, LOOK_AGAIN_EVENT, mailbox
from shared.platform.server_id import ServerId


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
    """How far a run is (`shared.progress.Status`), or empty."""
    state = await client.get_orchestration_state(run)
    return (state.get_custom_status() or {}) if state else {}


async def is_alive(client: df.DurableFunctionsClient, run: str) -> bool:
    """Whether a run exists and has not ended."""
    state = await client.get_orchestration_state(run, fetch_payloads=False)
    return state is not None and state.runtime_status in (
        OrchestrationStatus.PENDING,
        OrchestrationStatus.RUNNING,
        OrchestrationStatus.SUSPENDED,
        OrchestrationStatus.CONTINUED_AS_NEW,
    )
