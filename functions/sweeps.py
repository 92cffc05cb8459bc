"""The health sweep: its orchestration, and the activities that it consists of. Deterministic: no I/O, clock or
environment in the orchestration."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import azure.durable_functions as df
import msgspec
from durabletask import task

from functions import corridor
from functions.corridor import Context, Flow, Later, Value
from functions.flow import Refused, call
from shared.decisions.answers import Probed, Timetable
from shared.records.columns import Watched

blueprint = df.Blueprint()

SECOND_PATIENCE = timedelta(seconds=20)
"""Time in which a chunk that could not be looked at for a passing reason is tried again, after all others."""


class SweepHealth(msgspec.Struct, frozen=True):
    """Input of `sweep_health`: there is nothing to choose."""


class PlanSweep(msgspec.Struct, frozen=True):
    """Make the timetable."""


class ProbeMirrors(msgspec.Struct, frozen=True):
    """Look at these mirrors, for the sweep that has begun then (UTC)."""

    begun: datetime
    mirrors: tuple[Watched, ...]


class ConcludeSweep(msgspec.Struct, frozen=True):
    """The sweep that has begun then (UTC) is over: its calls to Fabric, and the chunks that could not be looked at."""

    begun: datetime
    calls: int
    failed: int


@corridor.activity(blueprint)
async def plan_sweep(_: PlanSweep) -> Timetable:
    from shared.steps import sweep

    return await sweep.plan()


@corridor.activity(blueprint)
async def probe_mirrors(request: ProbeMirrors) -> Probed:
    from shared.steps import sweep

    return await sweep.probe(request.mirrors, _utc(request.begun))


@corridor.activity(blueprint)
async def conclude_sweep(request: ConcludeSweep) -> dict[str, int]:
    """How many mirrors have which level."""
    from shared.steps import sweep

    return await sweep.conclude(_utc(request.begun), request.calls, request.failed)


@corridor.orchestration(blueprint)
def sweep_health(ctx: Context, _: SweepHealth) -> Flow[dict[str, int]]:
    """Look at the mirrors, each chunk at its time. The answer counts them by level.

    A chunk that takes long, because a server does not answer, holds up no other chunk. A chunk that failed for a reason
    that passes, such as a storage account that does not answer for a moment, gets a second look after all others.
    """
    begun = ctx.current_utc_datetime
    timetable = yield from call(ctx, plan_sweep, PlanSweep())
    start = ctx.current_utc_datetime
    probes: list[task.Task[object]] = []
    for chunk in timetable.chunks:
        due = start + timedelta(seconds=chunk.after)
        if due > ctx.current_utc_datetime:
            yield ctx.create_timer(due)
        probes.append(probe_mirrors.begin(ctx, ProbeMirrors(begun, chunk.mirrors)))
    calls, failed = 0, 0
    again: list[ProbeMirrors] = []
    for chunk, probe in zip(timetable.chunks, probes, strict=True):
        try:
            answer = probe_mirrors.answer((yield probe))
        except task.TaskFailedError:
            failed += 1
            continue
        match answer:
            case Value(probed):
                calls += probed.calls
            case Later():
                again.append(ProbeMirrors(begun, chunk.mirrors))
            case _:
                failed += 1
    for request in again:
        try:
            calls += (yield from call(ctx, probe_mirrors, request, SECOND_PATIENCE)).calls
        except (Refused, task.TaskFailedError):
            failed += 1
    return (yield from call(ctx, conclude_sweep, ConcludeSweep(begun, calls, failed)))


def _utc(moment: datetime) -> datetime:
    """A time of the Durable SDK, which does not say that it is UTC."""
    return moment.replace(tzinfo=UTC)
