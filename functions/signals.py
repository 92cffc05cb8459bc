"""How every door asks for a look at a server: it signals the mailbox, and wakes a run that waits for a decision."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import azure.durable_functions as df
import grpc.aio
import msgspec
from durabletask.client import EntityQuery, OrchestrationState, OrchestrationStatus
from durabletask.entities import EntityMetadata

from functions.mailbox import FINISHED, LOOK, mailbox
from functions.messages import Box, LookAgain, RestartDecision, RunEnded
from functions.orchestrations import LOOK_AGAIN, RESTART_DECISION
from shared.decisions.progress import Status
from shared.desired import server_id
from shared.desired.server_id import ServerId
from shared.platform import logs

log = logs.logger(__name__)

ALIVE = (
    OrchestrationStatus.PENDING,
    OrchestrationStatus.RUNNING,
    OrchestrationStatus.SUSPENDED,
    OrchestrationStatus.CONTINUED_AS_NEW,
)
"""A run in one of these has not ended."""
ENDED = (OrchestrationStatus.COMPLETED, OrchestrationStatus.FAILED, OrchestrationStatus.TERMINATED)
NOBODY_HEARS = (grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.NOT_FOUND)
MAILBOXES = "@server_mailbox@"
TO_BE_CREATED = timedelta(minutes=5)
"""Time that may pass from the moment when a mailbox names a run until the run exists."""
TO_BEGIN = timedelta(minutes=30)
"""A run begins within seconds, and in minutes where much is waiting. One that is Pending for longer never begins: open
faults of the Durable extension leave such instances (#1380, #2060)."""


async def look(client: df.DurableFunctionsClient, server: ServerId) -> None:
    """Have the server looked at: now, or once more when the present run is over. A run that died is over."""
    await client.signal_entity(mailbox(server), LOOK)
    run = await present_run(client, server)
    state = await client.get_orchestration_state(run) if run else None
    if state and not lives(state, datetime.now(UTC)):
        await free(client, server, run)
    elif _waits(_status(state)):
        await _raise(client, run, LOOK_AGAIN.name, LookAgain())


async def revive(client: df.DurableFunctionsClient) -> None:
    """Have each server looked at whose run died: somebody ended it, it never began, or it failed. A run fails, for
    example, if an earlier version of this app began it, and this version does not replay its history."""
    for server, run in (await dead_runs(client)).items():
        with logs.about(server=server.key, run=run):
            log.warning("This run died, or never began; its server is looked at again.")
        await client.signal_entity(mailbox(server), LOOK)
        await free(client, server, run)


async def decide_restart(client: df.DurableFunctionsClient, server: ServerId, decision: RestartDecision) -> bool:
    """Hand a restart decision to the run that waits for one. False: no run does."""
    run = await present_run(client, server)
    if not run or not await is_waiting(client, run):
        return False
    return await _raise(client, run, RESTART_DECISION.name, decision)


async def end(client: df.DurableFunctionsClient, run: str) -> None:
    """Terminate a run. One that has just ended by itself is left as it is."""
    with _unless_ended():
        await client.terminate_orchestration(run)


async def free(client: df.DurableFunctionsClient, server: ServerId, run: str) -> None:
    """Tell the mailbox that a run, which did not say so itself, is over."""
    await client.signal_entity(mailbox(server), FINISHED, input=msgspec.to_builtins(RunEnded(run)))


async def present_run(client: df.DurableFunctionsClient, server: ServerId) -> str:
    """The instance id of the run that is under way, or empty."""
    return _box(await client.get_entity(mailbox(server))).running


async def is_waiting(client: df.DurableFunctionsClient, run: str) -> bool:
    """Whether a run waits for a decision or a time."""
    return _waits(await custom_status(client, run))


async def custom_status(client: df.DurableFunctionsClient, run: str) -> Status | None:
    """How far a run is; None: it has not said so yet."""
    return _status(await client.get_orchestration_state(run))


async def progress(client: df.DurableFunctionsClient, runs: Iterable[str]) -> dict[str, Status]:
    """How far those of the runs are that have not ended."""

    async def of(run: str) -> Status | None:
        state = await client.get_orchestration_state(run)
        return _status(state) if state and state.runtime_status in ALIVE else None

    names = list(dict.fromkeys(runs))
    statuses = zip(names, await asyncio.gather(*map(of, names)), strict=True)
    return {run: status for run, status in statuses if status}


async def dead_runs(client: df.DurableFunctionsClient) -> dict[ServerId, str]:
    """The runs that ended, or vanished, without telling their mailbox, which still waits for them. By server."""
    dead: dict[ServerId, str] = {}
    for entity in await client.get_all_entities(EntityQuery(instance_id_starts_with=MAILBOXES)):
        run = _box(entity).running
        if not run or await is_alive(client, run):
            continue
        exists = await client.get_orchestration_state(run, fetch_payloads=False) is not None
        if exists or datetime.now(UTC) - entity.last_modified > TO_BE_CREATED:
            dead[server_id.from_key(entity.id.key)] = run
    return dead


async def is_alive(client: df.DurableFunctionsClient, run: str) -> bool:
    """Whether a run exists, and is at work or will be."""
    state = await client.get_orchestration_state(run, fetch_payloads=False)
    return state is not None and lives(state, datetime.now(UTC))


def lives(state: OrchestrationState, now: datetime) -> bool:
    """Whether an orchestration is at work or will be. Its status alone may lie: Pending may last without end."""
    if state.runtime_status == OrchestrationStatus.PENDING:
        return age(state, now) <= TO_BEGIN
    return state.runtime_status in ALIVE


def age(state: OrchestrationState, now: datetime) -> timedelta:
    """The time since an orchestration was asked for."""
    return now - state.created_at.replace(tzinfo=UTC)


async def _raise(client: df.DurableFunctionsClient, run: str, event: str, data: msgspec.Struct) -> bool:
    """Raise an event to a run. False: the run has just ended, so that nobody hears it."""
    with _unless_ended():
        await client.raise_orchestration_event(run, event, data=msgspec.to_builtins(data))
        return True
    return False


@contextmanager
def _unless_ended() -> Iterator[None]:
    """The Durable extension refuses to tell anything to a run that has ended, or that is no more."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        if error.code() not in NOBODY_HEARS:
            raise


def _status(state: OrchestrationState | None) -> Status | None:
    shown = state.get_custom_status() if state else None
    return msgspec.convert(shown, Status) if shown else None


def _waits(status: Status | None) -> bool:
    return status is not None and bool(status.waiting_for)


def _box(entity: EntityMetadata | None) -> Box:
    return msgspec.convert((entity.get_typed_state(dict) if entity else None) or {}, Box)
