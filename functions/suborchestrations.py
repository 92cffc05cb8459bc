"""What a run has others do: wait for an operation of Azure, and mirror one database. Deterministic, as the runs are."""

from __future__ import annotations

from datetime import timedelta

import azure.durable_functions as df
import msgspec
from durabletask import task

from functions import activities, corridor, messages
from functions.corridor import Context, Event, Flow
from functions.flow import Refused, call, reason_of
from functions.messages import DatabaseOutcome, MirrorDatabase, OperationOutcome, OperationUntil, StepDone, Target
from shared.desired.server_id import ServerId
from shared.platform.reasons import Reason
from shared.platform.settings import Limits

blueprint = df.Blueprint()

STEP_DONE = Event("step-done", StepDone)


@corridor.orchestration(blueprint)
def wait_for_operation(ctx: Context, operation: OperationUntil) -> Flow[OperationOutcome]:
    """Poll a management operation with durable timers until it is over."""
    started = messages.StartedOperation(server=operation.server, change=operation.change, token=operation.token)
    pause = 1.0
    while True:
        try:
            answer = yield from call(ctx, activities.poll_operation, started)
        except Refused as refused:
            return OperationOutcome(refused.reason)
        if answer.again:
            return OperationOutcome(None, answer.again)
        if answer.done:
            return OperationOutcome(None)
        wait = timedelta(seconds=max(pause, answer.retry_after))
        if ctx.current_utc_datetime + wait > operation.until:
            return OperationOutcome(
                Reason(
                    "OperationTooSlow",
                    f"The operation {type(operation.change).__name__} had not ended by {operation.until.isoformat()}.",
                    "Look at the server in the Azure portal; the next event or the resync goes on from there.",
                )
            )
        yield ctx.create_timer(wait)
        pause = min(2 * pause, 30)


@corridor.orchestration(blueprint)
def mirror_database(ctx: Context, request: MirrorDatabase) -> Flow[DatabaseOutcome]:
    """Mirror one database of a prepared server. Its outcome says why not, so that it does not stop the others."""
    target = request.target

    def tell(done: int) -> None:
        STEP_DONE.send(ctx, request.run, StepDone(target.database, done))

    try:
        yield from call(ctx, activities.prepare_database, target)
        tell(1)
        is_new = yield from call(ctx, activities.ensure_connection, target)
        tell(2)
        mirror = messages.EnsureMirror(**msgspec.structs.asdict(target), adopt=not is_new)
        yield from call(ctx, activities.ensure_mirror, mirror)
        tell(3)
        yield from _until_running(ctx, target, request.limits)
        yield from call(ctx, activities.give_back_surplus, target)
        tell(4)
    except (Refused, task.TaskFailedError) as error:
        return DatabaseOutcome((yield from record_problem(ctx, target.server, target.database, error)))
    return DatabaseOutcome(())


def _until_running(ctx: Context, target: Target, limits: Limits) -> Flow[None]:
    """Start the mirror when it does not run, and look at it until it does."""
    end = ctx.current_utc_datetime + timedelta(minutes=limits.mirror_start_minutes)
    started = False
    while True:
        look = messages.AdvanceMirror(server=target.server, database=target.database, started=started)
        answer = yield from call(ctx, activities.advance_mirror, look)
        started = answer.started
        if answer.running:
            return
        if ctx.current_utc_datetime >= end:
            raise Refused(
                Reason(
                    "MirrorTooSlow",
                    f"The mirrored database is {answer.status} and was not Running by {end.isoformat()}.",
                    "Look at it in the Fabric portal; the next event or the hourly resync goes on from there.",
                )
            )
        yield ctx.create_timer(timedelta(seconds=limits.poll_seconds))


def record_problem(ctx: Context, server: ServerId, database: str, error: Exception) -> Flow[tuple[Reason, ...]]:
    """Note in the row of a database why it is stuck. The answer is the reasons."""
    reason = reason_of(error)
    reasons = (msgspec.structs.replace(reason, message=f"Database {database}: {reason.message}"),)
    problem = messages.RecordProblem(server=server, database=database, reasons=reasons)
    yield from call(ctx, activities.record_mirror_problem, problem)
    return reasons
