"""The clock's doors: record the health of the mirrors, look at what no event named, delete old history."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import azure.durable_functions as df
import azure.functions as func
import msgspec

from functions import signals
from functions.sweeps import SweepHealth, sweep_health
from shared.platform import logs
from shared.platform.settings import settings

blueprint = df.Blueprint()
log = logs.logger(__name__)

SWEEPS = ("sweep_health", "sweep_health:2", "sweep_health:3")
"""Instance ids of sweeps. The first one is the rule. The next ones are for when a sweep neither ends nor can be ended,
as an open fault of the Durable extension has it: an id that is stuck must not end the watching."""
TIMES_AS_LONG = 12
"""How many times SWEEP_MINUTES a sweep may take: with the defaults, about an hour in all. After that, it is taken for
one that does not end by itself any more."""


@blueprint.timer_trigger(schedule="%HEALTH_SCHEDULE%", arg_name="timer")
@blueprint.durable_client_input(client_name="client")
async def record_mirror_health(timer: func.TimerRequest, client: df.DurableFunctionsClient) -> None:
    """Start a sweep, and have the servers looked at whose runs died since the last one."""
    await _start_sweep(client)
    await signals.revive(client)


async def _start_sweep(client: df.DurableFunctionsClient) -> None:
    """Start a sweep, unless the last sweep is at work. A sweep that does not end by itself is terminated, and does not
    keep the next sweep from starting."""
    free = await _free_id(client)
    if not free:
        from shared.steps import measurements

        measurements.count_skipped()
        return
    await client.purge_orchestration(free)
    await client.schedule_new_orchestration(
        sweep_health.name, input=msgspec.to_builtins(SweepHealth()), instance_id=free
    )


async def _free_id(client: df.DurableFunctionsClient) -> str:
    """The first id of a sweep that is free; empty while a sweep is at work."""
    now, free = datetime.now(UTC), ""
    longest = TIMES_AS_LONG * timedelta(minutes=settings().health.sweep_minutes)
    for id in SWEEPS:
        state = await client.get_orchestration_state(id, fetch_payloads=False)
        if state is None or state.runtime_status not in signals.ALIVE:
            free = free or id
            continue
        age = signals.age(state, now)
        if signals.lives(state, now) and age <= longest:
            log.warning("The last health sweep is still running; this one is left out.")
            return ""
        log.error("The last health sweep has been running for %s; it is ended for the next one.", age)
        await signals.end(client, id)
    if not free:
        log.error("No health sweep can be started: none of %s ends.", ", ".join(SWEEPS))
    return free


@blueprint.timer_trigger(schedule="%RESYNC_SCHEDULE%", arg_name="timer")
@blueprint.durable_client_input(client_name="client")
async def resync_servers(timer: func.TimerRequest, client: df.DurableFunctionsClient) -> None:
    """Have a look at every server whose run died, or that is not as it should be."""
    from shared.steps import resync

    await signals.revive(client)
    for server in await resync.candidates():
        await signals.look(client, server)


@blueprint.timer_trigger(schedule="%PRUNE_SCHEDULE%", arg_name="timer")
@blueprint.durable_client_input(client_name="client")
async def prune_history(timer: func.TimerRequest, client: df.DurableFunctionsClient) -> None:
    """Forget observations, runs that have ended, and deleted servers, that are older than HISTORY_DAYS."""
    from shared.steps import presence, sweep

    await sweep.prune()
    await presence.prune()
    oldest = datetime.now(UTC) - timedelta(days=settings().health.history_days)
    await client.purge_orchestrations_by(created_time_to=oldest, runtime_status=list(signals.ENDED))
