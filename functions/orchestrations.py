"""The runs, and the health sweep. Deterministic: no I/O, clock or environment."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import azure.durable_functions as df
import msgspec
from durabletask import task

from functions.flow import CRASHED, Flow, Reason, Refused, Superseded, call, reason
from functions.mailbox import mailbox
from shared.decisions import progress

blueprint = df.Blueprint()

DECISION_EVENT = "restart-decision"
LOOK_AGAIN_EVENT = "look-again"
STEP_EVENT = "step-done"
ASKED_PATIENCE = timedelta(minutes=10)
"""For what was asked beside the mirroring: other steps wait behind it, and it is tried again."""

_STEP_OF = {
    "EnableSystemIdentity": ("identity", "Enabling the server's system-assigned identity"),
    "EnableEntraAuthentication": ("administrator", "Enabling Microsoft Entra authentication"),
    "AddAdministrator": ("administrator", "Making this app a Microsoft Entra administrator of the server"),
    "SetParameter": ("parameters", "Setting the server parameter {name} to {value}"),
    "Restart": ("restart", "Restarting the server"),
}


@blueprint.orchestration_trigger(context_name="ctx")
def reconcile_server(ctx: task.OrchestrationContext, wanted: dict[str, Any]) -> Flow[dict[str, Any]]:
    """One run: look at the server, decide, do what is missing, record, and say that it is over."""
    server = wanted["server"]
    try:
        outcome = yield from _reconcile(ctx, server)
    except (Refused, task.TaskFailedError) as error:
        outcome = {"phase": "Blocked", "reasons": [reason(error)]}
    except Superseded:
        outcome = {"phase": "Superseded", "reasons": []}
        ctx.signal_entity(mailbox(server), "look")
    try:
        if outcome["phase"] not in ("Unconcerned", "Superseded"):
            yield from call(ctx, "record_outcome", {"server": server, **outcome})
        ctx.set_custom_status(msgspec.to_builtins(_ended(outcome)))
    finally:
        ctx.signal_entity(mailbox(server), "finished", input=ctx.instance_id)
    return outcome


def _reconcile(ctx: task.OrchestrationContext, server: str) -> Flow[dict[str, Any]]:
    _show(ctx, progress.at_server("observe", (), "Looking at the server"))
    decision = yield from _decide(ctx, server)
    if decision["action"] == "prepare" and decision["access"]:
        yield from _change(ctx, server, decision, decision["access"])
        decision = yield from _decide(ctx, server)
    failed = yield from _do_what_was_asked(ctx, server, decision)
    match decision["action"]:
        case "prepare":
            try:
                return (yield from _prepare(ctx, server, decision, failed))
            except Refused as refused:
                return {"phase": "Blocked", "reasons": [refused.reason, *failed]}
        case "release":
            return (yield from _release(ctx, server, decision))
        case "forget":
            yield from call(ctx, "forget_server", {"server": server})
            return {"phase": "Deleted", "reasons": []}
        case "blocked":
            return {"phase": "Blocked", "reasons": [*decision["reasons"], *failed]}
    return {"phase": "Unconcerned", "reasons": []}


def _decide(ctx: task.OrchestrationContext, server: str) -> Flow[dict[str, Any]]:
    """What to do. Asked twice by a run that first lets itself in: only then it sees the databases, and nothing that
    matters to anybody is changed before that."""
    decision: dict[str, Any] = yield from call(ctx, "decide_server", {"server": server, "run": ctx.instance_id})
    return decision


def _do_what_was_asked(ctx: task.OrchestrationContext, server: str, decision: dict[str, Any]) -> Flow[list[Reason]]:
    """A leaked password, or a mirror that lost its slot, waits for no readiness and no restart decision. What fails of
    it stops nothing else, which may be what mends it; the reasons."""
    asked: list[tuple[str, str, dict[str, Any]]] = []
    if decision["rotate"]:
        known = {name: decision[name] for name in ("host", "rotation", "databases")}
        asked.append(("rotate_password", "Giving the role that Fabric logs in as a new password", known))
    asked += [
        ("restart_mirror", f"Restarting the mirror of database {database!r}", {"database": database})
        for database in decision["restarts"]
    ]
    failed: list[Reason] = []
    for activity, message, payload in asked:
        _show(ctx, progress.at_server("observe", (), message))
        try:
            yield from call(ctx, activity, {"server": server, **payload}, ASKED_PATIENCE)
        except (Refused, task.TaskFailedError) as error:
            found = reason(error)
            failed.append({**found, "message": f"{message} failed. {found['message']}"})
    return failed


def _prepare(
    ctx: task.OrchestrationContext, server: str, decision: dict[str, Any], failed: list[Reason]
) -> Flow[dict[str, Any]]:
    databases = decision["databases"]
    yield from _change(ctx, server, decision, decision["parameters"])
    pending = yield from call(ctx, "find_pending_restart", {"server": server})
    if pending:
        yield from _restart(ctx, server, decision, pending)
    _show(ctx, progress.at_server("role", databases, "Making sure of the role that Fabric logs in as"))
    of_role = {name: decision[name] for name in ("host", "workspace", "rotation")}
    yield from call(ctx, "ensure_role", {"server": server, **of_role})
    _show(ctx, progress.at_server("workspace", databases, "Admitting the server's identity to the workspace"))
    yield from call(ctx, "ensure_workspace_access", {"server": server, "workspace": decision["workspace"]})
    reasons: list[Reason] = []
    for database in decision["leaving"]:
        _show(ctx, progress.at_server("workspace", databases, f"Releasing database {database!r}"))
        reasons += yield from _release_database(ctx, server, database)
    mirrors = yield from _mirror_all(ctx, server, decision)
    reasons += [found for mirror in mirrors for found in mirror["reasons"]]
    if failed and not reasons:
        reasons += yield from _do_what_was_asked(ctx, server, decision)
    return {"phase": "Blocked" if reasons else "Mirrored", "reasons": reasons}


def _change(
    ctx: task.OrchestrationContext, server: str, decision: dict[str, Any], changes: list[dict[str, Any]]
) -> Flow[None]:
    """Make changes to the server, one after the other: it takes only one at a time."""
    for change in changes:
        step, message = _STEP_OF[change["type"]]
        _show(ctx, progress.at_server(step, decision["databases"], message.format(**change)))
        yield from _operate(ctx, server, change, timedelta(minutes=decision["operation_limit_minutes"]))


def _operate(ctx: task.OrchestrationContext, server: str, change: dict[str, Any], limit: timedelta) -> Flow[None]:
    """Make one change to the server: start it, waiting while the server is busy, and wait until it is done."""
    end = ctx.current_utc_datetime + limit
    token = yield from call(ctx, "start_operation", {"server": server, "change": change}, limit)
    problem = yield ctx.call_sub_orchestrator(
        "wait_for_operation", input={"server": server, "change": change, "token": token, "until": end.isoformat()}
    )
    if problem:
        raise Refused(problem)


@blueprint.orchestration_trigger(context_name="ctx")
def wait_for_operation(ctx: task.OrchestrationContext, operation: dict[str, Any]) -> Flow[Reason | None]:
    """Poll a management operation with durable timers until it is done. The outcome is None, or why it failed."""
    pause = 1.0
    while True:
        try:
            seen = yield from call(ctx, "poll_operation", operation)
        except Refused as refused:
            return refused.reason
        if seen["done"]:
            return None
        wait = timedelta(seconds=max(pause, seen["retry_after"]))
        if ctx.current_utc_datetime + wait > datetime.fromisoformat(operation["until"]):
            return {
                "code": "OperationTooSlow",
                "message": f"The operation {operation['change']['type']} had not ended by {operation['until']}.",
                "remedy": "Look at the server in the Azure portal; the next event or the resync goes on from there.",
            }
        yield ctx.create_timer(wait)
        pause = min(2 * pause, 30)


def _restart(ctx: task.OrchestrationContext, server: str, decision: dict[str, Any], pending: list[str]) -> Flow[None]:
    """Restart the server once, when its policy allows it. Raises `Refused` or `Superseded` when it doesn't."""
    verdict = yield from call(ctx, "decide_restart", {
        "server": server, "policy": decision["restart"], "pending": pending,
        "now": ctx.current_utc_datetime.isoformat(),
    })  # fmt: skip
    if verdict["wait_until"]:
        yield from _await_restart(ctx, server, decision, verdict)
        yield from call(ctx, "record_preparing", {"server": server})
        if not (yield from call(ctx, "find_pending_restart", {"server": server})):
            return
    yield from _change(ctx, server, decision, [{"type": "Restart"}])


def _await_restart(
    ctx: task.OrchestrationContext,
    server: str,
    decision: dict[str, Any],
    verdict: dict[str, Any],
) -> Flow[None]:
    """Wait for the decision, the window or the time limit; look again whenever something may have changed.

    Whoever comes while the status does not yet say what is waited for raises no event: so the first look is at once.
    """
    status = progress.at_server("restart", decision["databases"], verdict["message"])
    _show(ctx, progress.waiting(status, verdict["waiting_for"], verdict["since"], verdict["wait_until"]))
    yield from call(ctx, "record_waiting", {"server": server, "verdict": verdict})
    timer = ctx.create_timer(datetime.fromisoformat(verdict["wait_until"]).replace(tzinfo=None))
    decided = ctx.wait_for_external_event(DECISION_EVENT)
    known = {name: decision[name] for name in ("fingerprint", "rotation", "restarts", "databases")}
    wish = {"server": server, **known}
    while True:
        nudged = ctx.wait_for_external_event(LOOK_AGAIN_EVENT)
        if not (yield from call(ctx, "is_still_waiting", wish)):
            timer.cancel()
            raise Superseded
        first = yield task.when_any([timer, decided, nudged])
        if first is timer and verdict["restart_then"]:
            return
        if first is timer:
            yield from _give_up(ctx, wish, verdict["too_late"])
        if first is decided:
            timer.cancel()
            if decided.get_result()["restart"]:
                return
            yield from _give_up(ctx, wish, verdict["refused"])


def _give_up(ctx: task.OrchestrationContext, wish: dict[str, Any], why: Reason) -> Flow[None]:
    """End the run without a restart. Nobody is asked again about the same wish, unless it is uttered again."""
    yield from call(ctx, "record_refusal", {**wish, "code": why["code"]})
    raise Refused(why)


def _mirror_all(ctx: task.OrchestrationContext, server: str, decision: dict[str, Any]) -> Flow[list[dict[str, Any]]]:
    """Mirror the databases in parallel, and show how far each is."""
    databases = decision["databases"]
    done = dict.fromkeys(databases, 0)
    runs: list[task.Task[Any]] = [
        ctx.call_sub_orchestrator(
            "mirror_database",
            input=_mirror_input(ctx, server, decision, database),
            instance_id=f"{ctx.instance_id}:{number}",
        )
        for number, database in enumerate(databases)
    ]
    everything = task.when_all(runs)
    stepped = ctx.wait_for_external_event(STEP_EVENT)
    _show(ctx, progress.at_databases(done))
    while not everything.is_complete:
        first = yield task.when_any([everything, stepped])
        if first is stepped:
            told = stepped.get_result()
            done[told["database"]] = told["done"]
            stepped = ctx.wait_for_external_event(STEP_EVENT)
            _show(ctx, progress.at_databases(done))
    return everything.get_result()


def _mirror_input(
    ctx: task.OrchestrationContext, server: str, decision: dict[str, Any], database: str
) -> dict[str, Any]:
    kept = (
        "host", "workspace", "workspace_name", "gateway", "rotation", "mirror_start_limit_minutes", "poll_seconds",
    )  # fmt: skip
    return {
        "run": ctx.instance_id,
        "server": server,
        "database": database,
        "tables": decision["tables"][database],
        **{name: decision[name] for name in kept},
    }


@blueprint.orchestration_trigger(context_name="ctx")
def mirror_database(ctx: task.OrchestrationContext, wanted: dict[str, Any]) -> Flow[dict[str, Any]]:
    """Mirror one database of a prepared server. Its outcome says why not, so that it does not stop the others."""
    kept = ("server", "host", "database", "tables", "workspace", "workspace_name", "gateway", "rotation")
    one = {name: wanted[name] for name in kept}
    reasons: list[Reason] = []
    try:
        yield from call(ctx, "prepare_database", one)
        _tell(ctx, wanted, 1)
        is_new = yield from call(ctx, "ensure_connection", one)
        _tell(ctx, wanted, 2)
        yield from call(ctx, "ensure_mirror", {**one, "adopt": not is_new})
        _tell(ctx, wanted, 3)
        yield from _until_running(ctx, one, wanted)
        yield from call(ctx, "give_back_surplus", one)
        _tell(ctx, wanted, 4)
    except (Refused, task.TaskFailedError) as error:
        reasons = yield from _record_problem(ctx, one, error)
    return {"database": wanted["database"], "reasons": reasons}


def _until_running(ctx: task.OrchestrationContext, one: dict[str, Any], wanted: dict[str, Any]) -> Flow[None]:
    """Start the mirror when it does not run, and look at it until it does."""
    end = ctx.current_utc_datetime + timedelta(minutes=wanted["mirror_start_limit_minutes"])
    started = False
    while True:
        seen = yield from call(ctx, "advance_mirror", {**one, "started": started})
        started = seen["started"]
        if seen["running"]:
            return
        if ctx.current_utc_datetime >= end:
            raise Refused({
                "code": "MirrorTooSlow",
                "message": f"The mirrored database is {seen['status']} and was not Running by {end.isoformat()}.",
                "remedy": "Look at it in the Fabric portal; the next event or the hourly resync goes on from there.",
            })  # fmt: skip
        yield ctx.create_timer(timedelta(seconds=wanted["poll_seconds"]))


def _release(ctx: task.OrchestrationContext, server: str, decision: dict[str, Any]) -> Flow[dict[str, Any]]:
    """Undo what was done for this server, database by database; server parameters stay, since they need a restart."""
    leaving = decision["leaving"]
    reasons: list[Reason] = []
    for done, database in enumerate(leaving):
        _show(ctx, progress.releasing(done, len(leaving), f"Releasing database {database!r}"))
        reasons += yield from _release_database(ctx, server, database)
    if reasons:
        return {"phase": "Blocked", "reasons": reasons}
    _show(ctx, progress.releasing(len(leaving), len(leaving), "Dropping the role and its password"))
    left = yield from call(ctx, "release_server", {"server": server})
    return {"phase": "Released", "reasons": left}


def _release_database(ctx: task.OrchestrationContext, server: str, database: str) -> Flow[list[Reason]]:
    """Release one database; why not, so that it does not stop the others."""
    one = {"server": server, "database": database}
    try:
        yield from call(ctx, "release_mirror", one)
        yield from call(ctx, "release_database", one)
    except (Refused, task.TaskFailedError) as error:
        return (yield from _record_problem(ctx, one, error))
    return []


def _record_problem(ctx: task.OrchestrationContext, one: dict[str, Any], error: Exception) -> Flow[list[Reason]]:
    """Note in the row of a database why it is stuck; the reasons."""
    found = reason(error)
    reasons = [{**found, "message": f"Database {one['database']}: {found['message']}"}]
    yield from call(ctx, "record_mirror_problem", {**one, "reasons": reasons})
    return reasons


def _tell(ctx: task.OrchestrationContext, wanted: dict[str, Any], done: int) -> None:
    ctx.send_event(wanted["run"], STEP_EVENT, data={"database": wanted["database"], "done": done})


def _show(ctx: task.OrchestrationContext, status: progress.Status) -> None:
    ctx.set_custom_status(msgspec.to_builtins(status))


def _ended(outcome: dict[str, Any]) -> progress.Status:
    reasons = outcome["reasons"]
    messages = {
        "Mirrored": "Every database is mirrored.",
        "Released": "The server is released.",
        "Deleted": "The server was deleted.",
        "Unconcerned": "Nobody wants this server mirrored.",
        "Superseded": "Something else is wanted by now; the next run does that.",
    }
    return progress.ended(outcome["phase"], reasons[0]["message"] if reasons else messages[outcome["phase"]], 0)


@blueprint.orchestration_trigger(context_name="ctx")
def sweep_health(ctx: task.OrchestrationContext, _: Any) -> Flow[dict[str, int]]:
    """Look at the mirrors, each chunk at its time. The outcome counts them by level.

    A chunk that takes longer, for a server that does not answer, holds up no other.
    """
    begun = ctx.current_utc_datetime
    timetable = yield from call(ctx, "plan_sweep", {})
    start = ctx.current_utc_datetime
    probes: list[task.Task[Any]] = []
    for chunk in timetable["chunks"]:
        due = start + timedelta(seconds=chunk["after"])
        if due > ctx.current_utc_datetime:
            yield ctx.create_timer(due)
        one = {"run": ctx.instance_id, "begun": begun.isoformat(), "mirrors": chunk["mirrors"]}
        probes.append(ctx.call_activity("probe_mirrors", input=one, retry_policy=CRASHED))
    calls, failed = 0, 0
    for probe in probes:
        try:
            calls += (yield probe)["value"]["calls"]
        except (task.TaskFailedError, KeyError):
            failed += 1
    ended = {"begun": begun.isoformat(), "calls": calls, "failed": failed}
    levels: dict[str, int] = yield from call(ctx, "conclude_sweep", ended)
    return levels
