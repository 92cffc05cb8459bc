"""Says what a deployed app still lacks: roles in Azure, its role in each Fabric workspace, Fabric's tenant settings.

    python -m infra.check_rights

Run it as a person who may read these (az login) after `azd up`. It reads the outputs of the deployment from the
environment, or asks azd for them. It changes nothing. Exit status 0: nothing is missing; 1: something is; 2: it could
not look.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import msgspec
from azure.core import PipelineClient
from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError
from azure.core.pipeline.policies import BearerTokenCredentialPolicy, RetryPolicy, UserAgentPolicy
from azure.core.rest import HttpRequest
from azure.identity import DefaultAzureCredential
from rich.console import Console

from infra.azd import outputs
from infra.rights import TENANT_SETTINGS, WORKSPACE_ROLES, Need, Role, groups, missing, needs, split, tenant_setting
from shared.platform.clouds import CLOUDS
from shared.platform.version import VERSION

AUTHORIZATION = "2022-04-01"
OUTPUTS = (
    "IDENTITY_NAME", "IDENTITY_OBJECT_ID", "ALLOWED_SUBSCRIPTIONS", "ALLOWED_WORKSPACES", "STORAGE_ID", "KEY_VAULT_ID",
    "NOTICE_TOPIC_ID",
)  # fmt: skip
type State = Literal["ok", "missing", "unknown"]
MARKS: dict[State, str] = {"ok": "[green]✓[/]", "missing": "[red]✗[/]", "unknown": "[yellow]?[/]"}


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at. `unknown`: whoever runs this may not see it."""

    state: State
    subject: str
    message: str = ""
    remedy: str = ""


class Rest:
    """GET requests to one service as the person who runs this."""

    def __init__(self, credential: DefaultAzureCredential, base: str, scope: str):
        self.base = base
        policies = [
            UserAgentPolicy(f"fabric-mirror/{VERSION}"),
            RetryPolicy(),
            BearerTokenCredentialPolicy(credential, scope),
        ]
        self.client: PipelineClient[Any, Any] = PipelineClient(base, policies=policies)

    def get(self, path: str, **query: str) -> Any:
        """The answer's JSON. Raises `HttpResponseError`."""
        url = path if path.startswith("https:") else f"{self.base}{path}"
        response = self.client.send_request(HttpRequest("GET", url, params=query))
        response.raise_for_status()
        return response.json()

    def list(self, path: str, **query: str) -> Iterator[dict[str, Any]]:
        """Every row of a list, page by page."""
        page = self.get(path, **query)
        yield from page["value"]
        while following := page.get("nextLink") or page.get("continuationUri"):
            page = self.get(following)
            yield from page["value"]


def azure(rest: Rest, environment: Mapping[str, str]) -> Iterator[Finding]:
    """The app's roles on the subscriptions and on its own resources."""
    by_definition: dict[str, list[Role]] = {}
    for need in needs(environment):
        subject = f"{need.role} on {need.scope}"
        try:
            roles = _roles(rest, need.scope, environment["IDENTITY_OBJECT_ID"], by_definition)
        except HttpResponseError as error:
            yield Finding("unknown", subject, f"You can't read the role assignments there: {_said(error)}")
            continue
        lacking = missing(need, roles)
        if lacking:
            yield Finding("missing", subject, f"Not allowed: {', '.join(lacking)}.", _assign(need, environment))
        else:
            yield Finding("ok", subject)


def fabric(rest: Rest, environment: Mapping[str, str]) -> Iterator[Finding]:
    """The app's role in each workspace, the workspace's capacity, and the tenant settings."""
    name, identity = environment["IDENTITY_NAME"], environment["IDENTITY_OBJECT_ID"]
    for workspace in split(environment["ALLOWED_WORKSPACES"]):
        subject = f"Role of {name} in workspace {workspace}"
        remedy = f"An Admin of the workspace: Manage access, Add people or groups, {name}, Member."
        try:
            workspace_facts = rest.get(f"/workspaces/{workspace}")
            roles = {
                one["principal"]["id"].lower(): (one["role"], one["principal"]["type"])
                for one in rest.list(f"/workspaces/{workspace}/roleAssignments")
            }
        except HttpResponseError as error:
            yield Finding("unknown", subject, f"You can't see the workspace or its roles: {_said(error)}", remedy)
            continue
        yield _workspace_role(subject, roles, identity, remedy)
        yield _capacity(rest, workspace_facts)
    yield from _tenant(rest, name)


def main() -> int:
    """Look at everything, and tell."""
    environment, console = outputs(OUTPUTS), Console(highlight=False)
    cloud, credential = CLOUDS[environment.get("AZURE_CLOUD") or "AzureCloud"], DefaultAzureCredential()
    findings = []
    try:
        for look, base, scope in (
            (azure, cloud.management, cloud.management_scope),
            (fabric, cloud.fabric, cloud.fabric_scope),
        ):
            for finding in look(Rest(credential, base, scope), environment):
                _tell(console, finding)
                findings.append(finding.state)
    except ClientAuthenticationError as error:
        console.print(f"You are not signed in: {error.message.splitlines()[0]} Run az login.", soft_wrap=True)
        return 2
    except AzureError as error:
        console.print(f"It could not look: {error.message}", soft_wrap=True)
        return 2
    counts = {state: findings.count(state) for state in MARKS}
    console.print("{missing} missing, {unknown} not visible to you, {ok} as needed.".format(**counts))
    return 1 if "missing" in findings else 0


def _roles(rest: Rest, scope: str, principal: str, by_definition: dict[str, list[Role]]) -> dict[str, list[Role]]:
    """The roles that the principal has at the scope, by a group or a scope above it too.

    `by_definition`: the roles that were read before.
    """
    assignments = rest.list(
        f"{scope}/providers/Microsoft.Authorization/roleAssignments",
        **{"api-version": AUTHORIZATION, "$filter": f"atScope() and assignedTo('{principal}')"},
    )
    roles = {}
    for assignment in assignments:
        definition = assignment["properties"]["roleDefinitionId"]
        name = definition.rpartition("/")[2].lower()
        if name not in by_definition:
            permissions = rest.get(definition, **{"api-version": AUTHORIZATION})["properties"]["permissions"]
            by_definition[name] = msgspec.convert(permissions, list[Role])
        roles[name] = by_definition[name]
    return roles


def _workspace_role(subject: str, roles: Mapping[str, tuple[str, str]], identity: str, remedy: str) -> Finding:
    role, _ = roles.get(identity.lower(), ("none", ""))
    if role in WORKSPACE_ROLES:
        return Finding("ok", subject)
    message = f"It is {role}; {' or '.join(WORKSPACE_ROLES)} is needed."
    if any(role in WORKSPACE_ROLES and kind == "Group" for role, kind in roles.values()):
        return Finding("unknown", subject, f"{message} A group has it; the identity may be a member.")
    return Finding("missing", subject, message, remedy)


def _capacity(rest: Rest, workspace: Mapping[str, Any]) -> Finding:
    subject = f"Capacity of workspace {workspace.get('displayName') or workspace['id']}"
    capacities = {one["id"].lower(): one["state"] for one in rest.list("/capacities")}
    assigned = str(workspace.get("capacityId") or "").lower()
    if not assigned:
        return Finding(
            "missing", subject, "It is assigned to none.", "Assign the workspace to a capacity that is active."
        )
    state = capacities.get(assigned, "")
    if state == "Active":
        return Finding("ok", subject)
    if not state:
        return Finding("unknown", subject, "You can't see the capacity.")
    return Finding("missing", subject, f"It is {state}.", "Resume the capacity; then start its mirrors again.")


def _tenant(rest: Rest, name: str) -> Iterator[Finding]:
    try:
        settings = list(rest.list("/admin/tenantsettings"))
    except HttpResponseError as error:
        for titles in TENANT_SETTINGS:
            why = f"Only a Fabric administrator can read it ({_said(error)})."
            yield Finding(
                "unknown", f"Tenant setting: {titles[0]}", why, "Ask one whether it is enabled for the app's identity."
            )
        return
    for titles in TENANT_SETTINGS:
        subject = f"Tenant setting: {titles[0]}"
        if wrong := tenant_setting(settings, titles):
            remedy = f"A Fabric administrator: Admin portal, Tenant settings, Developer settings; on for {name}."
            yield Finding("missing", subject, f"But {wrong}.", remedy)
        elif limited := groups(settings, titles):
            why = f"It is enabled for {', '.join(limited)}; {name} has to be in one of them."
            yield Finding("unknown", subject, why)
        else:
            yield Finding("ok", subject)


def _assign(need: Need, environment: Mapping[str, str]) -> str:
    role = need.role if need.data_actions or need.role_id else "the custom role of infra/role.json"
    return f"Run azd provision again, or assign {role} to {environment['IDENTITY_NAME']} there."


def _said(error: HttpResponseError) -> str:
    """The service's own code: Azure's and Fabric's errors have different forms."""
    try:
        response: Any = error.response
        body = response.json() if response else {}
    except ValueError:
        body = {}
    document = body if isinstance(body, dict) else {}
    return str(document.get("errorCode") or (document.get("error") or {}).get("code") or error.status_code)


def _tell(console: Console, finding: Finding) -> None:
    console.print(f"{MARKS[finding.state]} {finding.subject}", soft_wrap=True)
    for line in (finding.message, finding.remedy):
        if line:
            console.print(f"    {line}", soft_wrap=True, markup=False)


if __name__ == "__main__":
    sys.exit(main())
