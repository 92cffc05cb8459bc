"""The checks of the Fabric workspace: it is named, allowed, there, on an active capacity, and open to the app and to
the server.

Where a check fails and the next ones could only repeat it, they are left out: nobody needs to read about the roles in a
workspace that does not exist.
"""

from __future__ import annotations

from collections.abc import Iterator

from shared.decisions import allowed
from shared.decisions.login import WorkspaceLogin, login_of
from shared.decisions.readiness.facts import Facts
from shared.decisions.readiness.report import TUTORIAL, Check, pass_or_fail, pass_or_fix
from shared.desired.intent import MirrorIntent
from shared.fabric.facts import IDENTITY_REMEDY, RAISE_REMEDY, RANKS, SERVER_ROLE, WorkspaceFacts
from shared.platform.reasons import Reason
from shared.platform.settings import Settings

SUFFICIENT_ROLES = frozenset({"Admin", "Member"})
"""Workspace roles with which the app may create mirrored databases and give the server's identity a role."""


def workspace_checks(intent: MirrorIntent, facts: Facts, settings: Settings) -> Iterator[Check]:
    """All checks of this file."""
    yield workspace_named(intent, settings)
    if not intent.workspace:
        return
    yield workspace_allowed(intent, settings)
    if allowed.workspace_problem(intent.workspace, settings):
        return
    if facts.workspace_problem:
        yield workspace_readable(intent, facts.workspace_problem)
        return
    yield workspace_exists(intent, facts.workspace)
    if facts.workspace is None:
        return
    yield app_workspace_role(facts.workspace, settings)
    if not facts.workspace.app_role:
        return
    yield capacity_active(facts.workspace, settings)
    yield server_workspace_role(facts.workspace)
    if isinstance(login_of(settings), WorkspaceLogin):
        yield workspace_identity(facts.workspace)


def workspace_named(intent: MirrorIntent, settings: Settings) -> Check:
    """The tag, the request or the app's settings name a workspace."""
    return pass_or_fail(
        "WorkspaceNamed",
        intent.workspace or "-",
        bool(intent.workspace),
        found=intent.workspace or "none",
        wanted="a workspace",
        message="No Fabric workspace is named, and there is no default.",
        remedy=f"Write the workspace's GUID into the tag {settings.scope.tag_prefix}-workspace, or set "
        "DEFAULT_WORKSPACE.",
        reference=TUTORIAL,
    )


def workspace_allowed(intent: MirrorIntent, settings: Settings) -> Check:
    """Whoever may write tags may not thereby send data to any workspace."""
    problem = allowed.workspace_problem(intent.workspace, settings)
    return pass_or_fail(
        "WorkspaceAllowed",
        intent.workspace,
        problem is None,
        found=intent.workspace,
        wanted="on ALLOWED_WORKSPACES",
        message=problem.message if problem else "",
        remedy=problem.remedy if problem else "",
        reference=TUTORIAL,
    )


def workspace_readable(intent: MirrorIntent, problem: Reason) -> Check:
    """Fabric answered when the app asked for the workspace."""
    return Check(
        id="WorkspaceReadable",
        subject=intent.workspace,
        status="fail",
        found=problem.code,
        wanted="readable",
        message=problem.message,
        remedy=problem.remedy,
        reference=TUTORIAL,
    )


def workspace_exists(intent: MirrorIntent, workspace: WorkspaceFacts | None) -> Check:
    """The workspace exists. Fabric hides those in which the app has no role."""
    return pass_or_fail(
        "WorkspaceExists",
        intent.workspace,
        workspace is not None,
        found=workspace.name if workspace else "not found",
        wanted="there",
        message=f"Workspace {intent.workspace} does not exist, or the app has no role in it.",
        remedy="Create it, or give the app's identity the role Member in it.",
        reference=TUTORIAL,
    )


def app_workspace_role(workspace: WorkspaceFacts, settings: Settings) -> Check:
    """The app may create mirrored databases in the workspace."""
    role = f"the role {workspace.app_role}" if workspace.app_role else "no role"
    return pass_or_fail(
        "AppWorkspaceRole",
        workspace.id,
        workspace.app_role in SUFFICIENT_ROLES,
        found=workspace.app_role or "none",
        wanted="Member or Admin",
        message=f"The app's identity has {role} in workspace {_label(workspace)}; it needs Member or Admin to create "
        "mirrored databases and to admit the server's identity.",
        remedy=f"Give {settings.identity.name!r} the role Member in the workspace.",
        reference=TUTORIAL,
    )


def capacity_active(workspace: WorkspaceFacts, settings: Settings) -> Check:
    """Mirroring works only while the capacity of the workspace is active."""
    state = workspace.capacity_state
    if state == "Unknown":
        return Check(
            id="CapacityActive",
            subject=workspace.id,
            status="warn",
            found=state,
            wanted="Active",
            message=f"The app can't see whether the capacity of workspace {_label(workspace)} is active.",
            remedy=f"Make {settings.identity.name!r} a contributor of the capacity {workspace.capacity_id}. Until "
            "then, a paused one is noticed only when Fabric refuses to make or to start the mirror.",
            reference=TUTORIAL,
        )
    message = f"The capacity of workspace {_label(workspace)} is {state}, not Active."
    if not state:
        message = f"Workspace {_label(workspace)} is not assigned to a Fabric capacity."
    return pass_or_fail(
        "CapacityActive",
        workspace.id,
        state == "Active",
        found=state or "none",
        wanted="Active",
        message=message,
        remedy="Resume the capacity, or assign the workspace to one that is active.",
        reference=TUTORIAL,
    )


def server_workspace_role(workspace: WorkspaceFacts) -> Check:
    """The server's identity may write into the workspace's OneLake.

    A Member may give a role to an identity that has none; only an Admin may raise a role, as the app may be through a
    group.
    """
    role = workspace.server_role
    suffices = RANKS.get(role, 0) >= RANKS[SERVER_ROLE]
    if role and not suffices and workspace.app_role != "Admin" and not workspace.through_group:
        return Check(
            id="ServerWorkspaceRole",
            subject=workspace.id,
            status="fail",
            found=role,
            wanted=SERVER_ROLE,
            message=f"The server's own identity has the role {role} in workspace {_label(workspace)}, and needs "
            f"{SERVER_ROLE}.",
            remedy=f"{RAISE_REMEDY} The app is only a Member and can't raise it.",
            reference=TUTORIAL,
        )
    return pass_or_fix(
        "ServerWorkspaceRole",
        workspace.id,
        suffices,
        found=role or "none",
        wanted=SERVER_ROLE,
        message=f"The server's own identity will be given the role {SERVER_ROLE} in workspace {_label(workspace)}, so "
        "that it may write there.",
    )


def workspace_identity(workspace: WorkspaceFacts) -> Check:
    """Where Fabric logs in as the workspace, the workspace has an identity."""
    return pass_or_fail(
        "WorkspaceIdentity",
        workspace.id,
        bool(workspace.identity),
        found=workspace.identity or "none",
        wanted="a workspace identity",
        message=f"Workspace {workspace.name!r} has no workspace identity, as which Fabric is to log in to the server.",
        remedy=IDENTITY_REMEDY,
        reference=TUTORIAL,
    )


def _label(workspace: WorkspaceFacts) -> str:
    """The workspace as messages name it: Fabric does not tell the name to an app without a role."""
    return repr(workspace.name or workspace.id)
