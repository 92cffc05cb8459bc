"""The Bicep templates: that the snapshots are theirs, and rules of our own."""

from __future__ import annotations

import json
import re

import pytest

from infra import templates as tool
from tests import templates
from tests.source import ROOT

INFRA = ROOT / "infra"
# The resource has never had another version than previews.
PREVIEWS = {"Microsoft.Insights/diagnosticSettings@2021-05-01-preview"}
BUILT_IN = re.compile(r"'([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})'\)*\]?$")


def test_the_snapshots_are_those_of_the_templates() -> None:
    written = tool.manifest([*tool.sources(), *tool.results()])
    assert tool.MANIFEST.read_text() == written, "make snapshots, with Bicep " + tool.VERSION


def test_every_list_of_parameters_has_a_snapshot_of_its_own() -> None:
    asked = {path.stem for path in tool.SNAPSHOTS.glob("*.bicepparam")}
    assert asked == set(templates.NAMES)
    assert set(tool.ELSEWHERE) <= asked
    chosen = re.findall(r"^param (\w+)", (tool.SNAPSHOTS / "everything.bicepparam").read_text(), re.MULTILINE)
    assert set(templates.parameters("main")) - set(chosen) == {"nameOverride", "customRoleId"}  # others have these


@pytest.mark.parametrize("name", templates.NAMES)
def test_a_deployment_evaluates_and_makes_nothing_twice(name: str) -> None:
    assert templates.snapshot(name)["diagnostics"] == []
    ids = [one["id"].lower() for one in templates.resources(name)]
    assert [one for one in ids if ids.count(one) > 1] == []


def test_every_module_query_and_list_is_used() -> None:
    text = "\n".join(path.read_text() for path in INFRA.rglob("*.bicep"))
    named = set(re.findall(r"([\w.]+)'", text))
    files = [*INFRA.glob("modules/*.bicep"), *INFRA.glob("queries/*.kql"), *INFRA.glob("*.json")]
    assert {path.name for path in files} - named == {"main.parameters.json"}  # azd's own


def test_a_resource_type_has_one_api_version_and_no_preview() -> None:
    used = {
        f"{one['type']}@{one['apiVersion']}"
        for name in tool.DEPLOYED
        for template in templates.templates(name)
        for one in template["resources"].values()
        if one["type"] != "Microsoft.Resources/deployments"  # the compiler's own choice
    }
    kinds = [one.partition("@")[0] for one in used]
    assert [kind for kind in kinds if kinds.count(kind) > 1] == []
    assert {one for one in used if "preview" in one} == PREVIEWS


def test_azd_gives_every_parameter_of_the_main_template() -> None:
    given = json.loads((INFRA / "main.parameters.json").read_text())["parameters"]
    assert set(given) == set(templates.parameters("main"))


def test_no_output_of_a_deployment_replaces_what_somebody_chose() -> None:
    """azd keeps outputs under their names among the variables that main.parameters.json reads."""
    read = set(re.findall(r"\$\{(\w+)", (INFRA / "main.parameters.json").read_text()))
    assert read & set(templates.compiled("main")["outputs"]) == {"AZURE_LOCATION"}  # which is the one it was given


def test_the_hook_gives_every_parameter_of_the_event_subscriptions() -> None:
    script = (INFRA / "subscribe.sh").read_text()
    wanted = set(templates.parameters("events")) - {"deployedAt"}
    assert set(re.findall(r'\b(\w+)="\$\w+"', script)) == wanted
    needed = set(" ".join(re.findall(r"^need ([^\n]*(?:\\\n[^\n]*)?)", script, re.MULTILINE)).replace("\\", "").split())
    azds_own = {"AZURE_SUBSCRIPTION_ID", "AZURE_ENV_NAME"}
    assert needed - azds_own <= set(templates.compiled("main")["outputs"])


@pytest.mark.parametrize("name", tool.DEPLOYED)
def test_every_parameter_is_described(name: str) -> None:
    described = {key for key, one in templates.parameters(name).items() if one.get("metadata", {}).get("description")}
    assert described == set(templates.parameters(name))


@pytest.mark.parametrize("name", templates.ENVIRONMENTS)
def test_keys_and_passwords_open_nothing_but_the_dead_letters(name: str) -> None:
    accounts = templates.resources(name, "Microsoft.Storage/storageAccounts")
    opened = [one["name"] for one in accounts if one["properties"]["allowSharedKeyAccess"]]
    assert opened == [one["name"] for one in accounts if one["name"].startswith("stdl")]
    policies = templates.resources(name, "Microsoft.Web/sites/basicPublishingCredentialsPolicies")
    assert [one["properties"]["allow"] for one in policies] == [False]
    for kind in ("EventGrid/topics", "OperationalInsights/workspaces", "Insights/components"):
        properties = templates.only(name, f"Microsoft.{kind}")["properties"]
        assert properties.get("disableLocalAuth", properties.get("DisableLocalAuth")) or properties["features"]
    assert "listKeys" not in json.dumps(templates.snapshot(name))


@pytest.mark.parametrize("name", templates.ENVIRONMENTS)
def test_the_vault_keeps_what_is_deleted_and_is_opened_by_roles(name: str) -> None:
    vault = templates.only(name, "Microsoft.KeyVault/vaults")["properties"]
    for switch in ("enableRbacAuthorization", "enableSoftDelete", "enablePurgeProtection"):
        assert vault[switch] is True, switch


@pytest.mark.parametrize("name", templates.ENVIRONMENTS)
def test_roles_are_assigned_on_single_resources_but_for_the_custom_one(name: str) -> None:
    for one in templates.resources(name, "Microsoft.Authorization/roleAssignments"):
        built_in = "extensionResourceId(" in one["id"]
        assert built_in or "subscriptionResourceId('" in one["id"]
        assert one["properties"]["principalType"] == "ServicePrincipal"


def test_a_private_environment_keeps_its_data_off_the_internet() -> None:
    for name in ("private", "everything"):
        account = next(
            one
            for one in templates.resources(name, "Microsoft.Storage/storageAccounts")
            if not one["name"].startswith("stdl")
        )
        vault = templates.only(name, "Microsoft.KeyVault/vaults")
        for one in (account, vault):
            assert one["properties"]["publicNetworkAccess"] == "Disabled"
            assert one["properties"]["networkAcls"] == {"defaultAction": "Deny", "bypass": "None"}
        targets = {
            (link["properties"]["privateLinkServiceId"], *link["properties"]["groupIds"])
            for endpoint in templates.resources(name, "Microsoft.Network/privateEndpoints")
            for link in endpoint["properties"]["privateLinkServiceConnections"]
        }
        parts = {(account["id"], part) for part in ("blob", "queue", "table")}
        assert targets == parts | {(vault["id"], "vault")}


def test_what_is_chosen_reaches_the_app() -> None:
    settings = templates.app_settings("everything")
    assert settings["RESTART_POLICY"] == "window"
    assert settings["MIRROR_NAME"] == "{server}={database}"
    assert settings["HEALTH_SCHEDULE"] == "0 0,30 * * * *"
    assert settings["RESYNC_SCHEDULE"] == templates.app_settings()["RESYNC_SCHEDULE"]
    assert settings["ALLOWED_SUBSCRIPTIONS"].count(",") == settings["ALLOWED_WORKSPACES"].count(",") == 1
    [group] = templates.resources("everything", "Microsoft.Resources/resourceGroups")
    assert group["tags"] == {
        "costCenter": "42", "owner": "data platform", "azd-env-name": "a_long-name.of_24(chars)",
    }  # fmt: skip


def test_every_resource_that_can_bear_tags_bears_them() -> None:
    untagged = {
        one["type"] for one in templates.resources("everything") if one["type"].count("/") == 1 and "tags" not in one
    }
    assert {kind.partition("/")[0] for kind in untagged} == {"Microsoft.Authorization", "Microsoft.Insights"}
    assert "Microsoft.Insights/diagnosticSettings" in untagged
