"""The checks of Fabric: the workspace is named, allowed, there, on an active capacity, and open to the app and to the
server; PostgreSQL can be connected to, and what Fabric logs in with is there."""

from __future__ import annotations

from collections.abc import Iterator

from shared.desired.intent import MirrorIntent
from shared.fabric.connection import CLIENT_REMEDY
from shared.fabric.workspace import IDENTITY_REMEDY, RANKS, SERVER_ROLE
from shared.platform.settings import Settings
from shared.readiness.report import TUTORIAL, WORKSPACE_IDENTITY, Check, Facts, fixed, gateway_of, judged

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
    yield judge(
        "CapacityActive",
        found.capacity_state == "Active",
        found.capacity_state,
        "Active",
        f"The capacity of workspace {found.name!r} is {found.capacity_state or 'not assigned'}, not Active.",
        "Resume the capacity, or assign the workspace to one that is active.",
    )
    yield judge(
        "AppWorkspaceRole",
        found.app_role in SUFFICIENT_ROLES,
        found.app_role or "none",
        "Member or Admin",
        f"The app's identity has {'the role ' + found.app_role if found.app_role else 'no role'} in workspace "
        f"{found.name!r}; it needs Member or Admin to create mirrored databases and to admit the server's identity.",
        f"Give {settings.identity_name!r} the role Member in the workspace.",
    )
    yield fixed(
        "ServerWorkspaceRole",
        workspace,
        RANKS.get(found.server_role, 0) >= RANKS[SERVER_ROLE],
        found.server_role or "none",
        SERVER_ROLE,
        f"The server's own identity will be given the role {SERVER_ROLE} in workspace {found.name!r}, so that it may "
        "write there.",
    )

    if settings.fabric_credentials == "WorkspaceIdentity":
        yield judge(
            "WorkspaceIdentity",
            bool(found.identity),
            found.identity or "none",
            "a workspace identity",
            f"Workspace {found.name!r} has no workspace identity, as which Fabric is to log in to the server.",
            IDENTITY_REMEDY,
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
