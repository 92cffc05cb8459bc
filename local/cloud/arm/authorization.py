"""Role definitions and role assignments, as far as somebody asks who may do what. The stack itself enforces none of it.

Source: "Role Assignments" and "Role Definitions" of the Authorization REST reference, API version 2022-04-01. Built-in
roles are not there: put what you assign. `assignedTo()` counts direct assignments alone: there are no groups here.
"""

from __future__ import annotations

import re
from typing import Any

from local.cloud.arm.estate import properties
from local.cloud.web import Answer, Call, Operation, Refusal

PROVIDER = "/providers/Microsoft.Authorization"
SUBSCRIPTION = "/subscriptions/{subscription}"
RESOURCE = SUBSCRIPTION + "/resourceGroups/{group}/providers/{namespace}/{type}/{resource}"
_PRINCIPAL = re.compile(r"(?:assignedTo\(|principalId eq )'([^']+)'")


class Authorization:
    """The documents that callers have put, by resource id in lower case."""

    def __init__(self) -> None:
        self.definitions: dict[str, dict[str, Any]] = {}
        self.assignments: dict[str, dict[str, Any]] = {}

    @property
    def operations(self) -> list[Operation]:
        assignments, definitions = f"{PROVIDER}/roleAssignments", f"{PROVIDER}/roleDefinitions"
        per_scope = [
            operation
            for scope in (SUBSCRIPTION, RESOURCE)
            for operation in (
                Operation("GET", scope + assignments, "RoleAssignments_ListForScope", self.list_assignments),
                Operation("PUT", f"{scope}{assignments}/{{name}}", "RoleAssignments_Create", self.put_assignment),
                Operation("DELETE", f"{scope}{assignments}/{{name}}", "RoleAssignments_Delete", self.delete_assignment),
            )
        ]
        definition = f"{SUBSCRIPTION}{definitions}/{{name}}"
        return [
            *per_scope,
            Operation("GET", definition, "RoleDefinitions_Get", self.get_definition),
            Operation("PUT", definition, "RoleDefinitions_CreateOrUpdate", self.put_definition),
        ]

    async def list_assignments(self, call: Call) -> Answer:
        """List the assignments at the scope and above it; `$filter` may name a principal."""
        scope = call.path.partition(PROVIDER + "/roleAssignments")[0].lower()
        principal = _PRINCIPAL.search(call.query.get("$filter", ""))
        assignments = [
            assignment
            for assignment in self.assignments.values()
            if f"{scope}/".startswith(f"{assignment['properties']['scope'].lower()}/")
            and (principal is None or assignment["properties"]["principalId"].lower() == principal[1].lower())
        ]
        return Answer(body={"value": assignments})

    async def put_assignment(self, call: Call) -> Answer:
        body = properties(call)
        if body.get("roleDefinitionId", "").lower() not in self.definitions:
            raise Refusal(404, "RoleDefinitionDoesNotExist", f"There is no role {body.get('roleDefinitionId')!r}.")
        scope = call.path.partition(PROVIDER)[0]
        assignment = {"id": call.path, "name": call.parameters["name"], "properties": {**body, "scope": scope}}
        self.assignments[call.path.lower()] = assignment
        return Answer(201, assignment)

    async def delete_assignment(self, call: Call) -> Answer:
        assignment = self.assignments.pop(call.path.lower(), None)
        return Answer(200, assignment) if assignment else Answer(204)

    async def get_definition(self, call: Call) -> Answer:
        definition = self.definitions.get(call.path.lower())
        if definition is None:
            raise Refusal(404, "RoleDefinitionDoesNotExist", f"There is no role {call.path!r}.")
        return Answer(body=definition)

    async def put_definition(self, call: Call) -> Answer:
        definition = {"id": call.path, "name": call.parameters["name"], "properties": properties(call)}
        self.definitions[call.path.lower()] = definition
        return Answer(201, definition)
