"""The check of rights, run as an operator runs it, against the stand-ins for Azure Resource Manager and Fabric."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from azure.identity import ManagedIdentityCredential

from infra import rights
from infra.rights import Need, Role
from local.scenario import acting_as
from local.stack import ROOT, Stack, clean

PARTS = ("front_door", "identity", "eventgrid", "arm", "fabric")
ARM = "https://management.azure.com"
STORAGE = "Microsoft.Storage/storageAccounts"
# The built-in roles by their ids, as the built-in roles reference defines them.
BUILT_IN = {
    "b7e6dc6d-f1e8-4753-8033-0f276bb0955b": {
        "actions": [f"{STORAGE}/blobServices/containers/*", f"{STORAGE}/blobServices/generateUserDelegationKey/action"],
        "dataActions": [f"{STORAGE}/blobServices/containers/blobs/*"],
    },
    "974c5e8b-45b9-4653-ba55-5f855dd0fb88": {
        "actions": [f"{STORAGE}/queueServices/queues/{right}" for right in ("delete", "read", "write")],
        "dataActions": [
            f"{STORAGE}/queueServices/queues/messages/{right}"
            for right in ("delete", "read", "write", "process/action")
        ],
    },
    "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3": {
        "actions": [f"{STORAGE}/tableServices/tables/{right}" for right in ("delete", "read", "write")],
        "dataActions": [
            f"{STORAGE}/tableServices/tables/entities/{right}"
            for right in ("read", "write", "delete", "add/action", "update/action")
        ],
    },
    "b86a8fe4-44ce-4948-aee5-eccb2c155cd7": {"dataActions": ["Microsoft.KeyVault/vaults/secrets/*"]},
    "d5a91429-5739-47e2-a06b-3470a27159e7": {"dataActions": ["Microsoft.EventGrid/events/send/action"]},
}
CUSTOM = "11111111-1111-1111-1111-111111111111"


class Deployment:
    """A stack in which the app's identity has been given every role that the templates give it."""

    def __init__(self, stack: Stack):
        self.stack, self.topology = stack, stack.topology
        self.identity = self.topology.principals["id-fabric-mirror"]
        self.subscription = f"/subscriptions/{self.topology.subscription}"
        group = f"{self.subscription}/resourceGroups/{self.topology.resource_group}/providers"
        self.outputs = {
            "IDENTITY_NAME": self.identity.name,
            "IDENTITY_OBJECT_ID": self.identity.object_id,
            "ALLOWED_SUBSCRIPTIONS": self.topology.subscription,
            "ALLOWED_WORKSPACES": self.topology.workspace,
            "STORAGE_ID": f"{group}/Microsoft.Storage/storageAccounts/stmirrors",
            "KEY_VAULT_ID": f"{group}/Microsoft.KeyVault/vaults/kv-mirrors",
            "NOTICE_TOPIC_ID": f"{group}/Microsoft.EventGrid/topics/evgt-mirrors",
            "AZURE_CLOUD": "AzureCloud",
        }
        with acting_as(stack, "operator"):
            self.token = ManagedIdentityCredential().get_token(f"{ARM}/.default").token
        self.define(CUSTOM, {"actions": json.loads((ROOT / "infra/role.json").read_text())["actions"]})
        for role, permissions in BUILT_IN.items():
            self.define(role, permissions)
        self.assignments = {role: self.assign(role, self.outputs[where]) for role, where in self.assigned().items()}
        self.assignments[CUSTOM] = self.assign(CUSTOM, self.subscription)

    def assigned(self) -> dict[str, str]:
        """Which built-in role the templates assign on the resource that which output names."""
        outputs = {"storage.bicep": "STORAGE_ID", "vault.bicep": "KEY_VAULT_ID", "notices.bicep": "NOTICE_TOPIC_ID"}
        found = {}
        for name, output in outputs.items():
            text = (ROOT / "infra/modules" / name).read_text()
            found |= dict.fromkeys(re.findall(r"'([0-9a-f]{8}-[0-9a-f-]{27})'", text), output)
        return found

    def define(self, role: str, permissions: dict[str, Any]) -> None:
        path = f"{self.subscription}/providers/Microsoft.Authorization/roleDefinitions/{role}"
        self.call("PUT", path, {"properties": {"permissions": [permissions]}})

    def assign(self, role: str, scope: str) -> str:
        path = f"{scope}/providers/Microsoft.Authorization/roleAssignments/{role}"
        definition = f"{self.subscription}/providers/Microsoft.Authorization/roleDefinitions/{role}"
        self.call("PUT", path, {"properties": {"roleDefinitionId": definition, "principalId": self.identity.object_id}})
        return path

    def call(self, method: str, path: str, body: object = None) -> None:
        with acting_as(self.stack, "operator"):
            answer = requests.request(
                method, f"{ARM}{path}?api-version=2022-04-01", json=body, timeout=20,
                headers={"Authorization": f"Bearer {self.token}"},
            )  # fmt: skip
        answer.raise_for_status()

    def check(self, principal: str = "operator", **changes: str) -> subprocess.CompletedProcess[str]:
        environment = clean(os.environ) | self.topology.environment(principal) | self.outputs | changes
        return subprocess.run(
            [sys.executable, "-m", "infra.check_rights"],
            cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip


@pytest.fixture(scope="module")
def deployment(stack_factory: Callable[..., Stack]) -> Deployment:
    return Deployment(stack_factory(*PARTS, fresh=True))


@pytest.fixture(autouse=True)
def fabric_tells(deployment: Deployment) -> Iterator[None]:
    yield
    deployment.stack.control("fabric", "DELETE", "faults")
    deployment.stack.control("fabric", "PUT", f"capacities/{deployment.topology.capacity}", {"state": "Active"})


def test_what_the_templates_assign_is_all_that_is_needed(deployment: Deployment) -> None:
    done = deployment.check()
    assert (done.returncode, done.stderr) == (0, "")
    assert "✗" not in done.stdout, done.stdout
    assert (
        done.stdout.count("✓") == 8
    )  # the custom role, three of storage, vault, topic; the workspace and its capacity
    assert done.stdout.strip().splitlines()[-1] == "0 missing, 2 not visible to you, 8 as needed."


@pytest.mark.parametrize(
    ("role", "lacking"),
    [
        (CUSTOM, "Microsoft.DBforPostgreSQL/flexibleServers/restart/action"),
        ("b86a8fe4-44ce-4948-aee5-eccb2c155cd7", "Microsoft.KeyVault/vaults/secrets/setSecret/action"),
        (
            "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3",
            "Microsoft.Storage/storageAccounts/tableServices/tables/entities/write",
        ),
    ],
)
def test_a_role_that_was_taken_away_is_named_with_what_it_allowed(
    deployment: Deployment, role: str, lacking: str
) -> None:
    deployment.call("DELETE", deployment.assignments[role])
    try:
        done = deployment.check()
    finally:
        scope = deployment.assignments[role].partition("/providers/Microsoft.Authorization")[0]
        deployment.assign(role, scope)
    assert done.returncode == 1
    assert lacking in done.stdout
    assert "Run azd provision again, or assign " in done.stdout
    assert done.stdout.strip().splitlines()[-1].startswith("1 missing")


def test_a_workspace_without_the_app_and_a_paused_capacity_are_named(deployment: Deployment) -> None:
    topology = deployment.topology
    deployment.stack.control("fabric", "PUT", f"capacities/{topology.capacity}", {"state": "Inactive"})
    done = deployment.check(IDENTITY_OBJECT_ID="99999999-9999-9999-9999-999999999999")
    assert done.returncode == 1
    assert "It is none; Admin or Member is needed." in done.stdout
    assert "Manage access, Add people or groups, id-fabric-mirror, Member." in done.stdout
    assert "It is Inactive." in done.stdout
    assert "Resume the capacity" in done.stdout


def test_what_the_person_may_not_see_is_said_to_be_so(deployment: Deployment) -> None:
    fault = {"operation": "*", "times": 99, "status": 403, "code": "InsufficientPrivileges", "path": "/v1/workspaces"}
    deployment.stack.control("fabric", "POST", "faults", fault)
    done = deployment.check()
    assert done.returncode == 0
    assert "You can't see the workspace or its roles: InsufficientPrivileges" in done.stdout
    assert "3 not visible to you" in done.stdout


def test_without_a_deployment_it_says_what_is_not_set(deployment: Deployment, tmp_path: Path) -> None:
    done = deployment.check(STORAGE_ID="", KEY_VAULT_ID="", PATH=str(tmp_path))
    assert done.returncode == 2
    assert "Not set: STORAGE_ID, KEY_VAULT_ID. Run this in the folder of the azd environment" in done.stderr


def test_azd_is_asked_for_what_the_environment_lacks(deployment: Deployment, tmp_path: Path) -> None:
    values = "\n".join(f'{name}="{value}"' for name, value in deployment.outputs.items())
    azd = tmp_path / "azd"
    azd.write_text(f"#!/bin/sh\n[ \"$*\" = 'env get-values' ] && cat <<'E'\n{values}\nE\n")
    azd.chmod(0o755)
    empty = dict.fromkeys(deployment.outputs, "")
    done = deployment.check(PATH=f"{tmp_path}:{os.environ['PATH']}", **empty)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_output_that_is_read_is_an_output_of_the_deployment() -> None:
    main = (ROOT / "infra/main.bicep").read_text()
    wanted = set(re.findall(r'environment(?:\[|\.get\()"([A-Z_]+)"', (ROOT / "infra/rights.py").read_text()))
    wanted |= set(re.findall(r'environment\["([A-Z_]+)"\]', (ROOT / "infra/check_rights.py").read_text()))
    assert wanted <= set(re.findall(r"^output (\w+) ", main, re.MULTILINE))


@pytest.mark.parametrize(
    ("role", "lacking"),
    [
        (Role(actions=("*",)), ["a/b/send/action"]),
        (Role(actions=("*",), data_actions=("a/b/*",)), []),
        (Role(actions=("*",), not_actions=("A/*/write",), data_actions=("*",)), ["a/b/write"]),
        (
            Role(actions=("a/b/read", "a/b/write"), data_actions=("*",), not_data_actions=("a/b/send/action",)),
            ["a/b/send/action"],
        ),
        (Role(), ["a/b/read", "a/b/write", "a/b/send/action"]),
    ],
)
def test_rights_are_given_by_patterns_and_taken_by_others(role: Role, lacking: list[str]) -> None:
    need = Need("/s", "R", ("a/b/read", "a/b/write"), ("a/b/send/action",))
    assert rights.missing(need, {"r": [role]}) == lacking
    assert rights.missing(need, {"r": [role], "owner": [Role(("*",), (), ("*",))]}) == []


def test_a_role_whose_actions_nobody_documents_is_asked_for_itself() -> None:
    need = Need("/s", "Durable Task Data Contributor", role_id=rights.DURABLE_TASK_DATA_CONTRIBUTOR)
    assert rights.missing(need, {}) == ["Durable Task Data Contributor"]
    assert rights.missing(need, {rights.DURABLE_TASK_DATA_CONTRIBUTOR: []}) == []


def test_tenant_settings_are_found_by_either_name() -> None:
    titles = rights.TENANT_SETTINGS[0]
    on = {"title": titles[1].upper(), "enabled": True, "enabledSecurityGroups": [{"graphId": "1", "name": "Apps"}]}
    assert rights.tenant_setting([on], titles) == ""
    assert rights.groups([on], titles) == ["Apps"]
    assert rights.tenant_setting([{**on, "enabled": False}], titles) == "it is disabled"
    assert rights.tenant_setting([], titles) == "it is not among the tenant's settings"
