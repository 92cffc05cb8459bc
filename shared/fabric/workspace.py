"""A Fabric workspace: whether it can take mirrors, and who may do what in it."""

from __future__ import annotations

import msgspec

from shared.fabric.client import pages, read, write
from shared.fabric.facts import BELOW_MEMBER, IDENTITY_REMEDY, RAISE_REMEDY, RANKS, SERVER_ROLE, WorkspaceFacts
from shared.platform.errors import Blocked, Conflict, NotAllowed, NotFound, Unavailable
from shared.platform.settings import settings

NO_ROLE = frozenset({"InsufficientPrivileges", "InsufficientWorkspaceRole"})
PRINCIPAL_SECONDS = 15.0
"""Pause before a principal is looked for again that Microsoft Entra ID has not told Fabric of yet."""


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
    """The facts of a workspace (a GUID); None when there is no such workspace. `server`: object id of the identity of
    the server that is to be mirrored there, empty when it has none."""
    try:
        found = await read(_Workspace, f"/workspaces/{workspace}")
    except NotFound:
        return None
    except NotAllowed as error:
        if error.code not in NO_ROLE:
            raise
        return WorkspaceFacts(id=workspace)
    capacity = found.capacity_id or ""
    roles = await _roles(workspace)
    own = roles.get(settings().identity_object_id) if roles is not None else BELOW_MEMBER
    return WorkspaceFacts(
        id=found.id,
        name=found.display_name,
        capacity_id=capacity,
        capacity_state=await _capacity_state(capacity) if capacity else "",
        app_role=own or "Member",
        through_group=own is None,
        server_role=(roles or {}).get(server, ""),
        identity=_identity(found),
    )


async def identity(workspace: str) -> str:
    """The object id of the workspace's own identity. Raises `Blocked` where it has none."""
    found = await read(_Workspace, f"/workspaces/{workspace}")
    if not (object_id := _identity(found)):
        raise Blocked(
            f"Workspace {found.display_name!r} has no workspace identity.",
            code="WorkspaceIdentity",
            remedy=IDENTITY_REMEDY,
        )
    return object_id


async def ensure_member(workspace: str, principal: str, role: str = SERVER_ROLE) -> bool:
    """Give a service principal (object id) at least `role` on the workspace. Returns whether anything was changed.

    Raises `Unavailable` while Fabric doesn't know the principal: a new identity takes a while to arrive there; and
    `NotAllowed` for one with a lower role, which only an Admin may raise.
    """
    found = (await _assignments(workspace)).get(principal.lower())
    if found and RANKS.get(found.role, 0) >= RANKS[role]:
        return False
    roles = f"/workspaces/{workspace}/roleAssignments"
    try:
        if found:
            await _raise(f"{roles}/{found.id}", role)
        else:
            body = {"principal": {"id": principal, "type": "ServicePrincipal"}, "role": role}
            await write(msgspec.Raw, "POST", roles, body, repeatable=True)
    except Conflict:
        return False
    except NotFound as error:
        raise Unavailable(
            f"Fabric does not know the service principal {principal} yet: {error.message}",
            code="PrincipalNotKnown",
            retry_after=PRINCIPAL_SECONDS,
        ) from error
    return True


async def _raise(assignment: str, role: str) -> None:
    try:
        await write(msgspec.Raw, "PATCH", assignment, {"role": role}, repeatable=True)
    except NotAllowed as error:
        raise NotAllowed(error.message, code=error.code, remedy=RAISE_REMEDY) from error


def _identity(workspace: _Workspace) -> str:
    return workspace.workspace_identity.service_principal_id.lower() if workspace.workspace_identity else ""


async def _capacity_state(capacity: str) -> str:
    async for found in pages(_Capacity, "/capacities"):
        if found.id.lower() == capacity.lower():
            return found.state
    return "Unknown"


async def _roles(workspace: str) -> dict[str, str] | None:
    """Who has which role, by object id; None where the app may not see that."""
    try:
        return {who: assignment.role for who, assignment in (await _assignments(workspace)).items()}
    except NotAllowed as error:
        if error.code not in NO_ROLE:
            raise
        return None


async def _assignments(workspace: str) -> dict[str, _Assignment]:
    """The role assignments by the object id of whom they are for, in lower case."""
    path = f"/workspaces/{workspace}/roleAssignments"
    return {assignment.principal.id.lower(): assignment async for assignment in pages(_Assignment, path)}
