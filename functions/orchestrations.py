"""The runs: what happens to a server, step by step. Deterministic: no I/O, clock or environment."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

import azure.durable_functions as df
import msgspec
from durabletask import task

from functions import activities, corridor, messages
from functions.corridor import Activity, Context, Event, Flow
from functions.flow import Refused, Superseded, call, is_outdated, reason_of
from functions.mailbox import FINISHED, LOOK, mailbox
from functions.messages import (
    LookAgain,
    MirrorDatabase,
    OfDatabase,
    OfServer,
    OperationUntil,
    RestartDecision,
    RunEnded,
    Target,
)
from functions.suborchestrations import STEP_DONE, mirror_database, record_problem, wait_for_operation
from shared.decisions import outcome as outcomes
from shared.decisions import progress
from shared.decisions.answers import Asked, Decision, Forget, Miss, Prepare, Refuse, Release, Verdict
from shared.decisions.outcome import Outcome
from shared.desired.changes import (
    AddAdministrator,
    Change,
    EnableEntraAuthentication,
    EnableSystemIdentity,
    GiveBackParameter,
    Restart,
    SetParameter,
)
from shared.desired.server_id import ServerId
from shared.platform.reasons import Reason

blueprint = df.Blueprint()

RESTART_DECISION = Event("restart-decision", RestartDecision)
LOOK_AGAIN = Event("look-again", LookAgain)
MOST_LOOKS = 500
"""While one run waits. Each is some six rows in the run's history, which is read whole whenever the run goes on."""
ASKED_PATIENCE = timedelta(minutes=10)
"""For what is done besides the mirroring and its end: other steps wait behind it."""

OPERATION_PAUSES = (timedelta(seconds=10), timedelta(minutes=1))
"""The pauses before a change is begun again whose operation failed for a reason that passes."""


class Run:
    """One run for a server, and what its status shows."""

    def __init__(self, ctx: Context, server: ServerId):
        self.ctx = ctx
        self.server = server
        self.of_server = OfServer(server=server)
        self.status = progress.at_server("observe", (), "Looking at the server")

    def call[Q: msgspec.Struct, A](self, activity: Activity[Q, A], request: Q) -> Flow[A]:
        """The value that an activity answers. Raises `Refused`."""
        return call(self.ctx, activity, request)

    def show(self, status: progress.Status) -> None:
        """Let the run's custom status be this."""
        self.status = progress.fitting(status)
        self.ctx.set_custom_status(msgspec.to_builtins(self.status))

    def at(self, step: str, databases: Iterable[str], message: str) -> None:
        """Show that this step of the server is being done."""
        self.show(progress.at_server(step, tuple(databases), message))


@corridor.orchestration(blueprint)
def reconcile_server(ctx: Context, target: OfServer) -> Flow[Outcome]:
    """One run: look at the server, decide, do what is missing, record, and say that it is over."""
    run = Run(ctx, target.server)
    box = mailbox(target.server)
    try:
        outcome = yield from _reconcile(run)
    except (Refused, Superseded, task.TaskFailedError) as error:
        if isinstance(error, Superseded) or is_outdated(error):
            outcome = Outcome("Superseded")
            ctx.signal_entity(box, LOOK)
        else:
            outcome = outcomes.blocked(reason_of(error))
    try:
        if outcome.is_recorded:
            ended = messages.RecordOutcome(server=target.server, outcome=outcome)
            yield from run.call(activities.record_outcome, ended)
        run.show(progress.ended(run.status, outcome))
    finally:
        ctx.signal_entity(box, FINISHED, input=msgspec.to_builtins(RunEnded(ctx.instance_id)))
    return outcome


def _reconcile(run: Run) -> Flow[Outcome]:
    run.show(run.status)
    decision = yield from _decide(run)
    if isinstance(decision, Prepare) and decision.access:
        yield from _change(run, decision, decision.access)
        decision = yield from _decide(run)
    match decision:
        case Prepare():
            failed = yield from _do_what_was_asked(run, decision.asked)
            try:
                return (yield from _prepare(run, decision, failed))
            except Refused as refused:
                return outcomes.blocked(refused.reason, *failed)
        case Refuse():
            failed = yield from _do_what_was_asked(run, decision.asked)
            strong = yield from _leave_strong_owners(run, decision.leave)
            return outcomes.blocked(*decision.reasons, *failed, *strong)
        case Release():
            return (yield from _release(run, decision))
        case Forget():
            yield from run.call(activities.forget_server, run.of_server)
            return Outcome("Deleted")
        case Miss(reason=reason):
            return Outcome("Missing", (reason,))
    return Outcome("Unconcerned")


def _decide(run: Run) -> Flow[Decision]:
    """What to do. A run that first gives the app access decides twice, since only then the app sees the databases. The
    run changes nothing else before that."""
    return run.call(activities.decide_server, messages.OfRun(server=run.server, run=run.ctx.instance_id))


def _do_what_was_asked(run: Run, asked: Asked) -> Flow[tuple[Reason, ...]]:
    """Change the password and restart the mirrors that somebody asked for. A leaked password, or a mirror that lost its
    slot, waits for no readiness and for no restart decision. A failure does not end the run: a later step may mend its
    cause. The answer is the reasons of the failures."""
    failed: list[Reason] = []
    if asked.rotate:
        failed += yield from _try(
            run,
            "Giving the role that Fabric logs in as a new password",
            activities.rotate_password,
            messages.RotatePassword(
                server=run.server, host=asked.host, rotation=asked.rotation, databases=asked.databases
            ),
        )
    for database in asked.restarts:
        failed += yield from _try(
            run,
            f"Restarting the mirror of database {database!r}",
            activities.restart_mirror,
            OfDatabase(server=run.server, database=database),
        )
    return tuple(failed)


def _leave_strong_owners(run: Run, databases: Iterable[str]) -> Flow[tuple[Reason, ...]]:
    """End the fabric role's memberships in owners that have become strong, also where the server can't be prepared. The
    answer is the reasons of the failures."""
    failed: list[Reason] = []
    for database in databases:
        failed += yield from _try(
            run,
            f"Ending the fabric role's membership in an owner of database {database!r}",
            activities.leave_strong_owners,
            OfDatabase(server=run.server, database=database),
        )
    return tuple(failed)


def _try[Q: msgspec.Struct](run: Run, doing: str, activity: Activity[Q, None], request: Q) -> Flow[list[Reason]]:
    run.at("observe", (), doing)
    try:
        yield from call(run.ctx, activity, request, ASKED_PATIENCE)
    except (Refused, task.TaskFailedError) as error:
        reason = reason_of(error)
        return [msgspec.structs.replace(reason, message=f"{doing} failed. {reason.message}")]
    return []


def _prepare(run: Run, decision: Prepare, failed: tuple[Reason, ...]) -> Flow[Outcome]:
    databases, server = decision.asked.databases, run.server
    yield from _change(run, decision, decision.parameters)
    pending = yield from run.call(activities.find_pending_restart, run.of_server)
    if pending:
        yield from _restart(run, decision, pending)
    run.at("role", databases, "Making sure of the role that Fabric logs in as")
    role = messages.EnsureRole(
        server=server, host=decision.asked.host, workspace=decision.workspace, rotation=decision.asked.rotation
    )
    yield from run.call(activities.ensure_role, role)
    run.at("workspace", databases, "Admitting the server's identity to the workspace")
    access = messages.WorkspaceAccess(server=server, workspace=decision.workspace)
    yield from run.call(activities.ensure_workspace_access, access)
    reasons: list[Reason] = []
    for database in decision.leaving:
        run.at("workspace", databases, f"Releasing database {database!r}")
        reasons += yield from _release_database(run, database)
    reasons += yield from _mirror_all(run, decision)
    if failed and not reasons:
        reasons += yield from _do_what_was_asked(run, decision.asked)
    return outcomes.of_preparation(tuple(reasons))


def _change(run: Run, decision: Prepare, changes: Iterable[Change]) -> Flow[None]:
    """Make changes to the server, one after the other: it takes only one at a time."""
    for change in changes:
        step, message = _step_of(change)
        run.at(step, decision.asked.databases, message)
        yield from _operate(run, change, timedelta(minutes=decision.limits.operation_minutes))


def _step_of(change: Change) -> tuple[str, str]:
    """The step of `progress.SERVER_STEPS` that a change belongs to, and what is being done."""
    match change:
        case EnableSystemIdentity():
            return "identity", "Enabling the server's system-assigned identity"
        case EnableEntraAuthentication():
            return "administrator", "Enabling Microsoft Entra authentication"
        case AddAdministrator():
            return "administrator", "Making this app a Microsoft Entra administrator of the server"
        case SetParameter(name, value) | GiveBackParameter(name, value):
            return "parameters", f"Setting the server parameter {name} to {value}"
        case Restart():
            return "restart", "Restarting the server"


def _operate(run: Run, change: Change, limit: timedelta) -> Flow[None]:
    """Make one change to the server: start it, waiting while the server is busy, and wait until it is done.

    An operation that fails for a reason that passes is begun again after each of `OPERATION_PAUSES`.
    """
    ctx, until = run.ctx, run.ctx.current_utc_datetime + limit
    operation = messages.Operation(server=run.server, change=change)
    for pause in (*OPERATION_PAUSES, None):
        token = yield from call(ctx, activities.start_operation, operation, until - ctx.current_utc_datetime)
        if not token:
            return
        started = OperationUntil(server=run.server, change=change, token=token, until=until)
        outcome = wait_for_operation.answer((yield wait_for_operation.begin(ctx, started)))
        if outcome.problem:
            raise Refused(outcome.problem)
        if not outcome.again:
            return
        if pause is None or ctx.current_utc_datetime + pause > until:
            raise Refused(outcome.again)
        yield ctx.create_timer(pause)


def _restart(run: Run, decision: Prepare, pending: tuple[str, ...]) -> Flow[None]:
    """Restart the server once, when its policy allows it. Raises `Refused` or `Superseded` when it doesn't."""
    asked = messages.DecideRestart(
        server=run.server, policy=decision.restart, pending=pending, now=run.ctx.current_utc_datetime
    )
    verdict = yield from run.call(activities.decide_restart, asked)
    if verdict.wait_until:
        yield from _await_restart(run, decision, verdict, verdict.wait_until)
        yield from run.call(activities.record_preparing, run.of_server)
        if not (yield from run.call(activities.find_pending_restart, run.of_server)):
            return
    yield from _change(run, decision, [Restart()])


def _await_restart(run: Run, decision: Prepare, verdict: Verdict, until: datetime) -> Flow[None]:
    """Wait for the decision, the window or the time limit; look again whenever something may have changed.

    The first look is at once: a request that came before the status showed the wait has raised no event. After
    `MOST_LOOKS` the next run goes on waiting, so that no history grows without bound.
    """
    ctx = run.ctx
    run.at("restart", decision.asked.databases, verdict.message)
    run.show(progress.waiting(run.status, verdict))
    yield from run.call(activities.record_waiting, messages.RecordWaiting(server=run.server, verdict=verdict))
    timer = ctx.create_timer(until.replace(tzinfo=None))
    decided = RESTART_DECISION.expect(ctx)
    waiting = messages.StillWaiting(server=run.server, fingerprint=decision.fingerprint, asked=decision.asked)
    for _ in range(MOST_LOOKS):
        nudged = LOOK_AGAIN.expect(ctx)
        if not (yield from run.call(activities.is_still_waiting, waiting)):
            timer.cancel()
            raise Superseded
        first = yield task.when_any([timer, decided, nudged])
        if first is timer:
            return (yield from _give_up(run, decision, verdict.too_late))
        if first is decided:
            timer.cancel()
            refused = None if RESTART_DECISION.read(decided).restart else verdict.refused
            return (yield from _give_up(run, decision, refused))
    timer.cancel()
    raise Superseded


def _give_up(run: Run, decision: Prepare, why: Reason | None) -> Flow[None]:
    """End the run without a restart, where there is a reason for that. Nobody is asked again about the same intent,
    unless somebody requests it again."""
    if why:
        refusal = messages.RecordRefusal(server=run.server, fingerprint=decision.fingerprint, code=why.code)
        yield from run.call(activities.record_refusal, refusal)
        raise Refused(why)


def _mirror_all(run: Run, decision: Prepare) -> Flow[tuple[Reason, ...]]:
    """Mirror the databases in parallel, and show how far each is. The answer is why some could not be."""
    ctx, databases = run.ctx, decision.asked.databases
    done = dict.fromkeys(databases, 0)
    runs = [
        mirror_database.begin(ctx, _mirror_input(run, decision, database), f"{ctx.instance_id}:{number}")
        for number, database in enumerate(databases)
    ]
    everything = task.when_all(runs)
    stepped = STEP_DONE.expect(ctx)
    run.show(progress.at_databases(done))
    while not everything.is_complete:
        first = yield task.when_any([everything, stepped])
        if first is stepped:
            step = STEP_DONE.read(stepped)
            done[step.database] = step.done
            stepped = STEP_DONE.expect(ctx)
            run.show(progress.at_databases(done))
    outcomes = [mirror_database.answer(result) for result in everything.get_result()]
    return tuple(reason for outcome in outcomes for reason in outcome.reasons)


def _mirror_input(run: Run, decision: Prepare, database: str) -> MirrorDatabase:
    target = Target(
        server=run.server,
        database=database,
        host=decision.asked.host,
        tables=decision.tables[database],
        workspace=decision.workspace,
        workspace_name=decision.workspace_name,
        gateway=decision.gateway,
        rotation=decision.asked.rotation,
        rights=decision.rights,
        consent=decision.consent,
    )
    return MirrorDatabase(run=run.ctx.instance_id, target=target, limits=decision.limits)


def _release(run: Run, decision: Release) -> Flow[Outcome]:
    """Undo what was done for this server, database by database. Server parameters that need a restart stay."""
    leaving = decision.leaving
    reasons: list[Reason] = []
    for done, database in enumerate(leaving):
        run.show(progress.releasing(done, len(leaving), f"Releasing database {database!r}"))
        reasons += yield from _release_database(run, database)
    left: tuple[Reason, ...] = ()
    if not reasons:
        yield from _give_back_parameters(run, decision)
        run.show(progress.releasing(len(leaving), len(leaving), "Dropping the role and its password"))
        left = yield from run.call(activities.release_server, run.of_server)
    return outcomes.of_release(tuple(reasons), left)


def _give_back_parameters(run: Run, decision: Release) -> Flow[None]:
    """Set parameters back. One that Azure refuses to set back is among those that the end of the release names."""
    for change in decision.parameters:
        run.show(progress.releasing(len(decision.leaving), len(decision.leaving), _step_of(change)[1]))
        try:
            yield from _operate(run, change, ASKED_PATIENCE)
        except (Refused, task.TaskFailedError):
            return


def _release_database(run: Run, database: str) -> Flow[tuple[Reason, ...]]:
    """Release one database. The answer is why not, so that it does not stop the others."""
    place = OfDatabase(server=run.server, database=database)
    try:
        yield from run.call(activities.release_mirror, place)
        yield from run.call(activities.release_database, place)
    except (Refused, task.TaskFailedError) as error:
        return (yield from record_problem(run.ctx, run.server, database, error))
    return ()
