"""A Fabric workspace: its capacity, its identity, and the roles in it."""

from __future__ import annotations

import msgspec

from shared.fabric.client import pages, read, write
from shared.fabric.facts import BELOW_MEMBER, IDENTITY_REMEDY, RAISE_REMEDY, RANKS, SERVER_ROLE, WorkspaceFacts
from shared.platform.errors import Blocked, Conflict, NotAllowed, NotFound, Unavailable
from shared.platform.settings import settings

NO_ROLE = frozenset({"InsufficientPrivileges", "InsufficientWorkspaceRole"})
UNCLEAR_SECONDS = 5.0
"""Pause before the app asks again for what Fabric lists and does not find."""
PRINCIPAL_SECONDS = 15.0
"""Pause before the app tries again to give a role to a principal that Fabric does not know yet."""


class _Identity(msgspec.Struct, frozen=True, rename="camel"):
    service_principal_id: str


class _Workspace(msgspec.Struct, frozen=True, rename="camel"):
    id: str
    display_name: str = ""
    capacity_id: str | None = None
    workspace_identity: _Identity | None = None


class _Capacity(msgspec.Struct, frozen=True):
    id: str
    state: str


class _Principal(msgspec.Struct, frozen=True):
    id: str


class _Assignment(msgspec.Struct, frozen=True):
    id: str
    principal: _Principal
    role: str


async def observe(workspace: str, server: str = "") -> WorkspaceFacts | None:
    """The facts of a workspace (a GUID), or None when there is no such workspace.

    `server` is the object id of the identity of the server that will be mirrored there; empty when it has none.
    """
    try:
        row = await read(_Workspace, f"/workspaces/{workspace}")
    except NotFound:
        await confirm_gone(workspace)
        return None
    except NotAllowed as error:
        if error.code not in NO_ROLE:
            raise
        return WorkspaceFacts(id=workspace)
    capacity = row.capacity_id or ""
    roles = await _roles(workspace)
    own = roles.get(settings().identity.object_id) if roles is not None else BELOW_MEMBER
    return WorkspaceFacts(
        id=row.id,
        name=row.display_name,
        capacity_id=capacity,
        capacity_state=await _capacity_state(capacity) if capacity else "",
        app_role=own or "Member",
        through_group=own is None,
        server_role=(roles or {}).get(server, ""),
        identity=_identity(row),
    )


async def confirm_gone(workspace: str) -> None:
    """After an answer that there is no such workspace, raise `Unavailable` if Fabric lists it all the same."""
    if workspace in {row.id.lower() async for row in pages(_Workspace, "/workspaces")}:
        raise Unavailable(
            f"Fabric does not find workspace {workspace}, which it lists.",
            code="MirrorNotReady",
            retry_after=UNCLEAR_SECONDS,
        )


async def identity(workspace: str) -> str:
    """The object id of the workspace's own identity. Raises `Blocked` where it has none."""
    row = await read(_Workspace, f"/workspaces/{workspace}")
    if not (object_id := _identity(row)):
        raise Blocked(
            f"Workspace {row.display_name!r} has no workspace identity.",
            code="WorkspaceIdentity",
            remedy=IDENTITY_REMEDY,
        )
    return object_id


async def ensure_member(workspace: str, principal: str) -> None:
    """Give a service principal (object id) at least the role `SERVER_ROLE` on the workspace.

    Raises `Unavailable` while Fabric does not know the principal: it takes a while until Fabric learns of a new
    identity. Raises `NotAllowed` where the principal has a lower role, which only an Admin may raise.
    """
    assignment = (await _assignments(workspace)).get(principal.lower())
    if assignment and RANKS.get(assignment.role, 0) >= RANKS[SERVER_ROLE]:
        return
    roles = f"/workspaces/{workspace}/roleAssignments"
    try:
        if assignment:
            await _raise_role(f"{roles}/{assignment.id}")
        else:
            body = {"principal": {"id": principal, "type": "ServicePrincipal"}, "role": SERVER_ROLE}
            await write(msgspec.Raw, "POST", roles, body, repeatable=True)
    except Conflict:  # somebody gave the principal a role in the meantime
        return
    except NotFound as error:
        raise Unavailable(
            f"Fabric does not know the service principal {principal} yet: {error.message}",
            code="PrincipalNotKnown",
            retry_after=PRINCIPAL_SECONDS,
        ) from error


async def _raise_role(assignment: str) -> None:
    try:
        await write(msgspec.Raw, "PATCH", assignment, {"role": SERVER_ROLE}, repeatable=True)
    except NotAllowed as error:
        raise NotAllowed(error.message, code=error.code, remedy=RAISE_REMEDY) from error


def _identity(workspace: _Workspace) -> str:
    return workspace.workspace_identity.service_principal_id.lower() if workspace.workspace_identity else ""


async def _capacity_state(capacity: str) -> str:
    async for row in pages(_Capacity, "/capacities"):
        if row.id.lower() == capacity.lower():
            return row.state
    return "Unknown"


async def _roles(workspace: str) -> dict[str, str] | None:
    """The role of each principal, by object id; None where the app may not see the roles."""
    try:
        return {principal: assignment.role for principal, assignment in (await _assignments(workspace)).items()}
    except NotAllowed as error:
        if error.code not in NO_ROLE:
            raise
        return None


async def _assignments(workspace: str) -> dict[str, _Assignment]:
    """The role assignments, by the object id of the principal in lower case."""
    path = f"/workspaces/{workspace}/roleAssignments"
    return {assignment.principal.id.lower(): assignment async for assignment in pages(_Assignment, path)}
