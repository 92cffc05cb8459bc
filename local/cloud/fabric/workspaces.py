"""Capacities, workspaces and who has which role on them."""

from __future__ import annotations

import uuid
from typing import Any, Literal

import msgspec

from local.cloud.fabric.protocol import BASE, Behaviour, decode, invalid, page
from local.cloud.web import Answer, Call, Operation, Refusal
from local.topology import WORKSPACE_IDENTITY, Topology

Role = Literal["Viewer", "Contributor", "Member", "Admin"]
RANK = {"Viewer": 1, "Contributor": 2, "Member": 3, "Admin": 4}
State = Literal["Active", "Inactive"]
REGION = "West Europe"
"""Where the capacity is: the location of the stack's servers, as Fabric calls it."""


class Principal(msgspec.Struct, frozen=True):
    """Whom a role is given to, as a request names it."""

    id: uuid.UUID
    type: Literal["User", "ServicePrincipal", "Group", "ServicePrincipalProfile", "EntireTenant"]


class NewAssignment(msgspec.Struct, frozen=True):
    principal: Principal
    role: Role


class ChangedAssignment(msgspec.Struct, frozen=True):
    role: Role


class NewWorkspace(msgspec.Struct, frozen=True, rename="camel"):
    display_name: str
    description: str = ""
    capacity_id: uuid.UUID | None = None


class ToCapacity(msgspec.Struct, frozen=True, rename="camel"):
    capacity_id: uuid.UUID


class NamedWorkspace(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """What the control may say of a workspace whose id the caller chooses."""

    display_name: str


class CapacityState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the control may set of a capacity. `contributors`: object ids of those who see it; absent: as they are."""

    state: State
    contributors: frozenset[str] | None = None


class Capacity(msgspec.Struct):
    id: str
    name: str
    region: str
    contributors: frozenset[str]
    state: State = "Active"

    @property
    def body(self) -> dict[str, Any]:
        return {
            "id": self.id, "displayName": self.name, "sku": "F4", "region": self.region, "state": self.state,
        }  # fmt: skip


class Workspace(msgspec.Struct):
    """`roles`: role and principal type by object id."""

    id: str
    name: str
    description: str
    capacity: str | None
    roles: dict[str, tuple[Role, str]]


def principal_type(topology: Topology, object_id: str) -> str:
    """The operator is a person; everybody else who gets tokens here is a program."""
    return "User" if object_id == topology.principals["operator"].object_id else "ServicePrincipal"


def may(role: str | None, minimum: Role) -> bool:
    return role is not None and RANK[role] >= RANK[minimum]


class Workspaces:
    """The topology's workspace, on the topology's capacity, and those that callers create.

    At the start the app's identity is Member and the operator is Admin.
    """

    def __init__(self, topology: Topology, behaviour: Behaviour):
        self.topology, self.behaviour = topology, behaviour
        self.capacities: dict[str, Capacity] = {}
        self._add_capacity(topology.capacity, "F4 Capacity")
        self.workspaces: dict[str, Workspace] = {}
        self._add(topology.workspace, WORKSPACE_IDENTITY, topology.capacity)

    def _add(self, id: str, name: str, capacity: str) -> None:
        app, operator = self.topology.principals["id-fabric-mirror"], self.topology.principals["operator"]
        roles: dict[str, tuple[Role, str]] = {
            app.object_id: ("Member", "ServicePrincipal"), operator.object_id: ("Admin", "User"),
        }  # fmt: skip
        self.workspaces[id] = Workspace(id, name, "", capacity, roles)

    def _add_capacity(self, id: str, name: str) -> None:
        """A capacity that the app and the operator may see, and to which they may assign workspaces."""
        both = frozenset(self.topology.principals[name].object_id for name in ("id-fabric-mirror", "operator"))
        self.capacities[id] = Capacity(id, name, REGION, both)

    def add(self, id: str, new: NamedWorkspace) -> str:
        """Make a workspace like the first one, with this id, on a capacity of its own; the capacity's id."""
        capacity = str(uuid.uuid4())
        self._add_capacity(capacity, f"Capacity of {new.display_name}")
        self._add(id, new.display_name, capacity)
        return capacity

    @property
    def operations(self) -> list[Operation]:
        one, roles = "/v1/workspaces/{workspace}", "/v1/workspaces/{workspace}/roleAssignments"
        return [
            Operation("GET", "/v1/capacities", "Capacities_ListCapacities", self._list_capacities),
            Operation("GET", "/v1/capacities/{capacity}", "Capacities_GetCapacity", self._get_capacity),
            Operation("GET", "/v1/workspaces", "Workspaces_ListWorkspaces", self._list),
            Operation("POST", "/v1/workspaces", "Workspaces_CreateWorkspace", self._create),
            Operation("GET", one, "Workspaces_GetWorkspace", self._get),
            Operation("POST", f"{one}/assignToCapacity", "Workspaces_AssignToCapacity", self._assign_capacity),
            Operation("GET", roles, "Workspaces_ListWorkspaceRoleAssignments", self._list_roles),
            Operation("POST", roles, "Workspaces_AddWorkspaceRoleAssignment", self._add_role),
            Operation("GET", f"{roles}/{{who}}", "Workspaces_GetWorkspaceRoleAssignment", self._get_role),
            Operation("PATCH", f"{roles}/{{who}}", "Workspaces_UpdateWorkspaceRoleAssignment", self._update_role),
            Operation("DELETE", f"{roles}/{{who}}", "Workspaces_DeleteWorkspaceRoleAssignment", self._delete_role),
        ]

    def require(self, call: Call, minimum: Role) -> Workspace:
        """The workspace that the call is about, if its caller has at least the role `minimum` there."""
        id = call.parameters["workspace"]
        workspace = self.workspaces.get(id.lower())
        if workspace is None:
            raise Refusal(404, "WorkspaceNotFound", f"The workspace {id} was not found.")
        role = self.role(workspace.id, call.claims["oid"])
        if not may(role, minimum):
            has = f"has the role {role}" if role else "has no role"
            raise Refusal(
                403, "InsufficientPrivileges",
                f"The caller does not have sufficient permissions to perform this operation: it {has} on the"
                f" workspace, and needs {minimum} or higher.",
            )  # fmt: skip
        return workspace

    def require_active(self, workspace: str) -> None:
        """Refuse work in a workspace without a running capacity."""
        capacity = self.capacities.get(self.workspaces[workspace].capacity or "")
        if capacity is None:
            raise Refusal(403, "WorkspaceNotAssignedToCapacity", "The workspace is not assigned to a Fabric capacity.")
        if capacity.state != "Active":
            message = f"Unable to complete the action because the capacity {capacity.id} is currently paused."
            raise Refusal(403, "CapacityNotActive", message)

    def role(self, workspace: str, object_id: str) -> Role | None:
        return self.workspaces[workspace].roles.get(object_id, (None, ""))[0]

    def set_capacity(self, id: str, change: CapacityState) -> dict[str, Any]:
        """Pause or resume a capacity, or let others see it."""
        capacity = self.capacities[id]
        capacity.state = change.state
        if change.contributors is not None:
            capacity.contributors = change.contributors
        return capacity.body

    def on_capacity(self, capacity: str) -> list[str]:
        """The ids of the workspaces that are assigned to it."""
        return [workspace.id for workspace in self.workspaces.values() if workspace.capacity == capacity]

    async def _list_capacities(self, call: Call) -> Answer:
        visible = [c.body for c in self.capacities.values() if call.claims["oid"] in c.contributors]
        return page(call, visible, self.behaviour.page_size)

    async def _get_capacity(self, call: Call) -> Answer:
        capacity = self._capacity(call.parameters["capacity"])
        if call.claims["oid"] not in capacity.contributors:
            raise Refusal(403, "InsufficientPrivileges", "The caller is no contributor of the capacity.")
        return Answer(body=capacity.body)

    def _capacity(self, id: str) -> Capacity:
        if id.lower() not in self.capacities:
            raise Refusal(404, "CapacityNotFound", f"The capacity {id} was not found.")
        return self.capacities[id.lower()]

    async def _list(self, call: Call) -> Answer:
        mine = [w for w in self.workspaces.values() if call.claims["oid"] in w.roles]
        return page(call, [self._body(w) for w in mine], self.behaviour.page_size)

    async def _create(self, call: Call) -> Answer:
        new = decode(call.body, NewWorkspace)
        if any(w.name.lower() == new.display_name.lower() for w in self.workspaces.values()):
            message = f"The workspace name {new.display_name!r} is already in use."
            raise Refusal(409, "WorkspaceNameAlreadyExists", message)
        capacity = self._capacity(str(new.capacity_id)).id if new.capacity_id else None
        caller = call.claims["oid"]
        roles: dict[str, tuple[Role, str]] = {caller: ("Admin", principal_type(self.topology, caller))}
        workspace = Workspace(str(uuid.uuid4()), new.display_name, new.description, capacity, roles)
        self.workspaces[workspace.id] = workspace
        return Answer(201, self._body(workspace), {"Location": f"{BASE}/workspaces/{workspace.id}"})

    async def _get(self, call: Call) -> Answer:
        workspace = self.require(call, "Viewer")
        body = self._body(workspace)
        if workspace.capacity:
            body["capacityAssignmentProgress"] = "Completed"
        if identity := self.topology.workspace_identity(workspace.id):
            body["workspaceIdentity"] = {
                "applicationId": identity.client_id, "servicePrincipalId": identity.object_id,
            }  # fmt: skip
        return Answer(body=body)

    def _body(self, workspace: Workspace) -> dict[str, Any]:
        body = {
            "id": workspace.id, "displayName": workspace.name, "description": workspace.description,
            "type": "Workspace",
        }  # fmt: skip
        if workspace.capacity:
            body |= {"capacityId": workspace.capacity, "capacityRegion": self.capacities[workspace.capacity].region}
        return body

    async def _assign_capacity(self, call: Call) -> Answer:
        workspace = self.require(call, "Admin")
        workspace.capacity = self._capacity(str(decode(call.body, ToCapacity).capacity_id)).id
        return Answer(202)

    async def _list_roles(self, call: Call) -> Answer:
        workspace = self.require(call, "Member")
        return page(call, [self._role_body(workspace, who) for who in workspace.roles], self.behaviour.page_size)

    async def _add_role(self, call: Call) -> Answer:
        workspace, new = self.require(call, "Member"), decode(call.body, NewAssignment)
        who = str(new.principal.id)
        if who in workspace.roles:
            raise Refusal(
                409, "PrincipalAlreadyHasWorkspaceRolePermissions",
                f"The principal {who} already has a role assigned in the workspace.",
            )  # fmt: skip
        if not may(self.role(workspace.id, call.claims["oid"]), new.role):
            raise Refusal(403, "InsufficientPrivileges", f"The caller may not give the role {new.role}.")
        workspace.roles[who] = (new.role, new.principal.type)
        location = f"{BASE}/workspaces/{workspace.id}/roleAssignments/{who}"
        return Answer(201, self._role_body(workspace, who), {"Location": location})

    async def _get_role(self, call: Call) -> Answer:
        workspace = self.require(call, "Member")
        return Answer(body=self._role_body(workspace, self._who(call, workspace)))

    async def _update_role(self, call: Call) -> Answer:
        workspace, change = self.require(call, "Admin"), decode(call.body, ChangedAssignment)
        who = self._who(call, workspace)
        if change.role != "Admin":
            self._keep_an_admin(workspace, who)
        workspace.roles[who] = (change.role, workspace.roles[who][1])
        return Answer(body=self._role_body(workspace, who))

    async def _delete_role(self, call: Call) -> Answer:
        workspace = self.require(call, "Admin")
        who = self._who(call, workspace)
        self._keep_an_admin(workspace, who)
        del workspace.roles[who]
        return Answer()

    def _who(self, call: Call, workspace: Workspace) -> str:
        who = call.parameters["who"].lower()
        if who not in workspace.roles:
            raise Refusal(404, "EntityNotFound", f"There is no role assignment {who} on the workspace.")
        return who

    def _keep_an_admin(self, workspace: Workspace, leaving: str) -> None:
        if not any(role == "Admin" for who, (role, _) in workspace.roles.items() if who != leaving):
            raise invalid("The role assignment of the last admin can't be changed or deleted.")

    def _role_body(self, workspace: Workspace, who: str) -> dict[str, Any]:
        role, kind = workspace.roles[who]
        return {"id": who, "principal": {"id": who, "type": kind}, "role": role}
