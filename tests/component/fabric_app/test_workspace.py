"""Workspaces: what the app finds out about them, and the role it gives."""

import uuid
from collections.abc import Callable

import pytest

from local.topology import Topology
from shared.fabric import workspace as workspaces
from shared.fabric.facts import BELOW_MEMBER, RAISE_REMEDY, SERVER_ROLE, WorkspaceFacts
from shared.platform import errors
from shared.platform.settings import settings
from tests.component.fabric.callers import Caller, Control


async def test_facts_of_the_workspace(stack: Topology) -> None:
    facts = await workspaces.observe(stack.workspace)
    assert facts is not None
    assert (facts.id, facts.capacity_id, facts.capacity_state) == (stack.workspace, stack.capacity, "Active")
    assert (facts.app_role, facts.through_group, bool(facts.name)) == ("Member", False, True)


async def test_paused_capacity(stack: Topology, control: Control) -> None:
    control("PUT", f"capacities/{stack.capacity}", {"state": "Inactive"})
    facts = await workspaces.observe(stack.workspace)
    assert facts is not None
    assert facts.capacity_state == "Inactive"


async def test_a_capacity_that_only_others_see(stack: Topology, control: Control) -> None:
    others = {"state": "Active", "contributors": [stack.principals["operator"].object_id]}
    seen_by_both = [*others["contributors"], settings().identity.object_id]
    control("PUT", f"capacities/{stack.capacity}", others)
    facts = await workspaces.observe(stack.workspace)
    control("PUT", f"capacities/{stack.capacity}", others | {"contributors": seen_by_both})
    assert facts is not None
    assert (facts.capacity_id, facts.capacity_state) == (stack.capacity, "Unknown")


async def test_unknown_workspace() -> None:
    assert await workspaces.observe(str(uuid.uuid4())) is None


async def test_workspace_without_capacity_and_without_a_role(operator: Caller) -> None:
    made = operator.call("POST", "/workspaces", {"displayName": f"ws-{uuid.uuid4()}"}).json()["id"]
    assert await workspaces.observe(made) == WorkspaceFacts(id=made)


async def test_a_viewer_is_recognised(operator: Caller, stack: Topology) -> None:
    made = operator.call("POST", "/workspaces", {"displayName": f"ws-{uuid.uuid4()}"}).json()["id"]
    principal = {"id": settings().identity.object_id, "type": "ServicePrincipal"}
    operator.call("POST", f"/workspaces/{made}/roleAssignments", {"principal": principal, "role": "Viewer"})
    facts = await workspaces.observe(made)
    assert facts is not None
    assert (facts.app_role, facts.capacity_id, facts.capacity_state) == (BELOW_MEMBER, "", "")


async def test_a_role_is_given_once(workspace: str, calls: Callable[..., list[str]]) -> None:
    principal = str(uuid.uuid4())
    await workspaces.ensure_member(workspace, principal)
    await workspaces.ensure_member(workspace, principal.upper())
    assert calls(writes=True).count("Workspaces_AddWorkspaceRoleAssignment") == 2  # the fixture's and this one


async def test_a_role_that_somebody_gave_meanwhile_is_fine(
    workspace: str, control: Control, calls: Callable[..., list[str]]
) -> None:
    fault = {"operation": "Workspaces_AddWorkspaceRoleAssignment", "status": 409}
    control("POST", "faults", fault | {"code": "PrincipalAlreadyHasWorkspaceRolePermissions"})
    await workspaces.ensure_member(workspace, str(uuid.uuid4()))
    assert calls(writes=True).count("Workspaces_AddWorkspaceRoleAssignment") == 2  # the fixture's and this one


async def test_a_principal_that_fabric_does_not_know_yet_is_waited_for(workspace: str, control: Control) -> None:
    fault = {"operation": "Workspaces_AddWorkspaceRoleAssignment", "status": 404, "code": "PrincipalNotFound"}
    control("POST", "faults", fault)
    principal = str(uuid.uuid4())
    with pytest.raises(errors.Unavailable, match=f"does not know the service principal {principal} yet") as waiting:
        await workspaces.ensure_member(workspace, principal)
    assert waiting.value.retry_after == workspaces.PRINCIPAL_SECONDS


async def test_a_lower_role_is_raised_by_whoever_may(
    workspace: str, operator: Caller, calls: Callable[..., list[str]]
) -> None:
    principal = {"id": str(uuid.uuid4()), "type": "ServicePrincipal"}
    roles = f"/workspaces/{workspace}/roleAssignments"
    operator.call("POST", roles, {"principal": principal, "role": "Viewer"})
    with pytest.raises(errors.NotAllowed, match="needs Admin") as refused:
        await workspaces.ensure_member(workspace, principal["id"])
    assert (refused.value.code, refused.value.remedy) == ("InsufficientPrivileges", RAISE_REMEDY)
    operator.call("PATCH", f"{roles}/{settings().identity.object_id}", {"role": "Admin"})
    before = len(calls(writes=True))
    await workspaces.ensure_member(workspace, principal["id"])
    await workspaces.ensure_member(workspace, principal["id"])
    assert calls(writes=True)[before:] == ["Workspaces_UpdateWorkspaceRoleAssignment"]
    assert operator.call("GET", f"{roles}/{principal['id']}").json()["role"] == SERVER_ROLE
