"""The checks of Fabric: the workspace is named, allowed, there, on an active capacity, and open to the app and to the
server; PostgreSQL can be connected to, and what Fabric logs in with is there."""

from __future__ import annotations

from collections.abc import Iterator

from shared.decisions.readiness.report import TUTORIAL, WORKSPACE_IDENTITY, Check, Facts, fixed, gateway_of, judged
from shared.desired.intent import MirrorIntent
from shared.fabric.connection import CLIENT_REMEDY
from shared.fabric.workspace import IDENTITY_REMEDY, RAISE_REMEDY, RANKS, SERVER_ROLE, WorkspaceFacts
from shared.platform.settings import Settings

SUFFICIENT_ROLES = frozenset({"Admin", "Member"})
"""Workspace roles with which the app may create mirrored databases and give the server's identity a role."""


def workspace_checks(intent: MirrorIntent, facts: Facts, settings: Settings) -> Iterator[Check]:
    workspace = intent.workspace

    def judge(id: str, good: bool, found: object, wanted: str, message: str, remedy: str) -> Check:
        return judged(id, workspace or "-", good, found, wanted, message, remedy, TUTORIAL)

    yield judge(
        "WorkspaceNamed",
        bool(workspace),
        workspace or "none",
        "a workspace",
        "No Fabric workspace is named, and there is no default.",
        f"Write the workspace's GUID into the tag {settings.tag_prefix}-workspace, or set DEFAULT_WORKSPACE.",
    )
    if not workspace:
        return
    yield judge(
        "WorkspaceAllowed",
        workspace in settings.allowed_workspaces,
        workspace,
        "on ALLOWED_WORKSPACES",
        f"Workspace {workspace} is not allowed.",
        "Choose an allowed workspace, or have it added to ALLOWED_WORKSPACES.",
    )
    if workspace not in settings.allowed_workspaces:
        return
    if facts.workspace_problem:
        problem = facts.workspace_problem
        yield judge("WorkspaceReadable", False, problem.code, "readable", problem.message, problem.remedy)
        return
    found = facts.workspace
    yield judge(
        "WorkspaceExists",
        found is not None,
        found.name if found else "not found",
        "there",
        f"Workspace {workspace} does not exist, or the app has no role in it.",
        "Create it, or give the app's identity the role Member in it.",
    )
    if found is None:
        return
    called = repr(found.name or found.id)
    yield judge(
        "AppWorkspaceRole",
        found.app_role in SUFFICIENT_ROLES,
        found.app_role or "none",
        "Member or Admin",
        f"The app's identity has {'the role ' + found.app_role if found.app_role else 'no role'} in workspace "
        f"{called}; it needs Member or Admin to create mirrored databases and to admit the server's identity.",
        f"Give {settings.identity_name!r} the role Member in the workspace.",
    )
    if not found.app_role:
        return
    yield _capacity(found, called, settings)
    yield _server_role(found, called)
    if settings.fabric_credentials == "WorkspaceIdentity":
        yield judge(
            "WorkspaceIdentity",
            bool(found.identity),
            found.identity or "none",
            "a workspace identity",
            f"Workspace {found.name!r} has no workspace identity, as which Fabric is to log in to the server.",
            IDENTITY_REMEDY,
        )


def _capacity(found: WorkspaceFacts, called: str, settings: Settings) -> Check:
    state = found.capacity_state
    if state == "Unknown":
        return Check(
            id="CapacityActive",
            subject=found.id,
            status="warn",
            found=state,
            wanted="Active",
            message=f"The app can't see whether the capacity of workspace {called} is active.",
            remedy=f"Make {settings.identity_name!r} a contributor of the capacity {found.capacity_id}. Until then, a "
            "paused one is noticed only when Fabric refuses to make or to start the mirror.",
            reference=TUTORIAL,
        )
    message = f"The capacity of workspace {called} is {state}, not Active."
    if not state:
        message = f"Workspace {called} is not assigned to a Fabric capacity."
    remedy = "Resume the capacity, or assign the workspace to one that is active."
    return judged("CapacityActive", found.id, state == "Active", state or "none", "Active", message, remedy, TUTORIAL)


def _server_role(found: WorkspaceFacts, called: str) -> Check:
    """A Member may give a role to who has none; only an Admin may raise one, as the app may be through a group."""
    role = found.server_role
    suffices = RANKS.get(role, 0) >= RANKS[SERVER_ROLE]
    if role and not suffices and found.app_role != "Admin" and not found.through_group:
        message = f"The server's own identity has the role {role} in workspace {called}, and needs {SERVER_ROLE}."
        remedy = f"{RAISE_REMEDY} The app is only a Member and can't raise it."
        return judged("ServerWorkspaceRole", found.id, False, role, SERVER_ROLE, message, remedy, TUTORIAL)
    return fixed(
        "ServerWorkspaceRole",
        found.id,
        suffices,
        role or "none",
        SERVER_ROLE,
        f"The server's own identity will be given the role {SERVER_ROLE} in workspace {called}, so that it may write "
        "there.",
    )


def connection_checks(intent: MirrorIntent, facts: Facts, settings: Settings) -> Iterator[Check]:
    problem = facts.connections_problem
    yield judged(
        "PostgreSqlConnections",
        "Fabric",
        problem is None,
        facts.connections,
        "offered",
        problem.message if problem else "",
        problem.remedy if problem else "",
        TUTORIAL,
    )
    if settings.fabric_credentials == "ServicePrincipal":
        yield judged(
            "PrincipalSecret",
            settings.fabric_principal_secret,
            facts.principal_secret,
            "kept" if facts.principal_secret else "missing",
            "kept in Key Vault",
            f"Key Vault has no secret {settings.fabric_principal_secret!r}, with which Fabric is to log in.",
            CLIENT_REMEDY,
            TUTORIAL,
        )
    if settings.fabric_credentials == "WorkspaceIdentity":
        gateway = gateway_of(intent, facts.server)
        yield judged(
            "WorkspaceIdentityByGateway",
            "Fabric",
            not gateway,
            gateway or "no gateway",
            "no gateway",
            "A workspace identity can't log in by way of a gateway, and Fabric does not reach the server without one.",
            "Allow public access by Azure services, or set FABRIC_CREDENTIALS to ServicePrincipal or Basic.",
            WORKSPACE_IDENTITY,
        )
