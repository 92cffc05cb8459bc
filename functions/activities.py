"""The activities: each hands its request to a step of shared/, which is imported when it is first needed."""

from __future__ import annotations

import azure.durable_functions as df

from functions import corridor, messages
from shared.decisions.answers import Advance, Decision, Verdict
from shared.desired.changes import Progress
from shared.platform.reasons import Reason

blueprint = df.Blueprint()


@corridor.activity(blueprint)
async def decide_server(request: messages.OfRun) -> Decision:
    from shared.steps import decide

    return await decide.decide(request.server, request.run)


@corridor.activity(blueprint)
async def start_operation(request: messages.Operation) -> str:
    """The continuation token of the operation; empty: there is nothing to do any more."""
    from shared.steps import operation

    return await operation.begin(request.server, request.change)


@corridor.activity(blueprint)
async def poll_operation(request: messages.StartedOperation) -> Progress:
    from shared.steps import operation

    return await operation.poll(request.server, request.change, request.token)


@corridor.activity(blueprint)
async def find_pending_restart(request: messages.OfServer) -> tuple[str, ...]:
    from shared.steps import restart

    return await restart.pending(request.server)


@corridor.activity(blueprint)
async def decide_restart(request: messages.DecideRestart) -> Verdict:
    from shared.steps import restart

    return await restart.decide(request.server, request.policy, request.pending, request.now)


@corridor.activity(blueprint)
async def record_waiting(request: messages.RecordWaiting) -> None:
    from shared.steps import restart

    await restart.record_waiting(request.server, request.verdict)


@corridor.activity(blueprint)
async def record_refusal(request: messages.RecordRefusal) -> None:
    from shared.steps import restart

    await restart.record_refusal(request.server, request.fingerprint, request.code)


@corridor.activity(blueprint)
async def is_still_waiting(request: messages.StillWaiting) -> bool:
    from shared.steps import restart

    return await restart.is_still_waiting(request.server, request.fingerprint, request.asked)


@corridor.activity(blueprint)
async def record_preparing(request: messages.OfServer) -> None:
    from shared.steps import restart

    await restart.record_preparing(request.server)


@corridor.activity(blueprint)
async def rotate_password(request: messages.RotatePassword) -> None:
    from shared.steps import login

    await login.rotate(request.server, request.host, request.rotation, request.databases)


@corridor.activity(blueprint)
async def restart_mirror(request: messages.OfDatabase) -> None:
    from shared.steps import mirror

    await mirror.restart(request.server, request.database)


@corridor.activity(blueprint)
async def ensure_role(request: messages.EnsureRole) -> None:
    from shared.steps import login

    await login.ensure_role(request.server, request.host, request.workspace, request.rotation)


@corridor.activity(blueprint)
async def ensure_workspace_access(request: messages.WorkspaceAccess) -> None:
    from shared.steps import workspace

    await workspace.ensure_access(request.server, request.workspace)


@corridor.activity(blueprint)
async def prepare_database(request: messages.Target) -> None:
    from shared.steps import rights
    from shared.steps.holdings import Choice, Place

    place = Place(request.server, request.database, request.host)
    await rights.ensure(place, Choice(request.tables, request.rights, request.consent))


@corridor.activity(blueprint)
async def leave_strong_owners(request: messages.OfDatabase) -> None:
    from shared.steps import memberships

    await memberships.leave_strong_owners(request.server, request.database)


@corridor.activity(blueprint)
async def ensure_connection(request: messages.Target) -> bool:
    """Whether the connection is new."""
    from shared.steps import mirror

    place = request.server, request.database, request.host
    return await mirror.ensure_connection(*place, request.gateway, request.rotation)


@corridor.activity(blueprint)
async def ensure_mirror(request: messages.EnsureMirror) -> None:
    from shared.steps import mirror

    place = request.database, request.workspace, request.workspace_name
    await mirror.ensure_mirror(request.server, *place, request.tables, request.adopt)


@corridor.activity(blueprint)
async def advance_mirror(request: messages.AdvanceMirror) -> Advance:
    from shared.steps import mirror

    return await mirror.advance(request.server, request.database, request.started)


@corridor.activity(blueprint)
async def give_back_surplus(request: messages.Target) -> None:
    from shared.steps import undo
    from shared.steps.holdings import Place

    await undo.give_back_surplus(Place(request.server, request.database, request.host), request.tables)


@corridor.activity(blueprint)
async def record_mirror_problem(request: messages.RecordProblem) -> None:
    from shared.steps import record

    await record.mirror_problem(request.server, request.database, request.reasons)


@corridor.activity(blueprint)
async def record_outcome(request: messages.RecordOutcome) -> None:
    from shared.steps import record

    await record.outcome(request.server, request.outcome)


@corridor.activity(blueprint)
async def release_mirror(request: messages.OfDatabase) -> None:
    from shared.steps import release

    await release.release_mirror(request.server, request.database)


@corridor.activity(blueprint)
async def release_database(request: messages.OfDatabase) -> None:
    from shared.steps import release

    await release.release_database(request.server, request.database)


@corridor.activity(blueprint)
async def release_server(request: messages.OfServer) -> tuple[Reason, ...]:
    """What stays as it is."""
    from shared.steps import release

    return await release.release_server(request.server)


@corridor.activity(blueprint)
async def forget_server(request: messages.OfServer) -> None:
    from shared.steps import release

    await release.leave_deleted_server(request.server)
