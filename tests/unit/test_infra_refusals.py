"""What Azure Resource Manager would refuse, asked of the snapshots and of the compiled templates.

The names follow "Naming rules and restrictions for Azure resources"; what else is asked has its source with it.
"""

from __future__ import annotations

import itertools
import re

import pytest

from infra import templates as tool
from tests import templates
from tests.source import ROOT

ALNUM = "[A-Za-z0-9]"
# Type → how its name has to be. The name of a child is the part behind the last slash.
RULES = {
    "Microsoft.Resources/resourceGroups": r"[\w.()-]{0,89}[\w()-]",
    "Microsoft.ManagedIdentity/userAssignedIdentities": rf"{ALNUM}[\w-]{{2,127}}",
    "Microsoft.OperationalInsights/workspaces": rf"{ALNUM}[A-Za-z0-9-]{{2,61}}{ALNUM}",
    "Microsoft.Insights/components": r"[^%&\\?/]{0,259}[^%&\\?/ .]",
    "Microsoft.Insights/actionGroups": r"[^:<>+/&%\\?]{0,259}[^:<>+/&%\\? .]",
    "Microsoft.Insights/scheduledQueryRules": r"[^*<>%{}&:\\?/#]{0,259}[^*<>%{}&:\\?/# .]",
    "Microsoft.Insights/metricAlerts": r"[^*#&+:<>?@%{}\\/]{0,259}[^*#&+:<>?@%{}\\/ .]",
    "Microsoft.Storage/storageAccounts": r"[a-z0-9]{3,24}",
    "Microsoft.KeyVault/vaults": rf"(?!.*--)[A-Za-z][A-Za-z0-9-]{{1,22}}{ALNUM}",
    "Microsoft.EventGrid/topics": r"[A-Za-z0-9-]{3,50}",
    "Microsoft.EventGrid/systemTopics": r"[A-Za-z0-9-]{3,50}",
    "Microsoft.EventGrid/systemTopics/eventSubscriptions": r"[A-Za-z0-9-]{3,64}",
    "Microsoft.DurableTask/schedulers": r"[A-Za-z0-9-]{3,64}",
    "Microsoft.Network/virtualNetworks": rf"{ALNUM}[\w.-]{{0,62}}\w",
    "Microsoft.Network/privateEndpoints": rf"{ALNUM}[\w.-]{{0,62}}\w",
    "Microsoft.Web/serverfarms": r"[A-Za-z0-9-]{1,60}",
    "Microsoft.Web/sites": rf"{ALNUM}[A-Za-z0-9-]{{0,58}}{ALNUM}",
}
# Types whose names are unique in all of Azure, since they are host names.
HOSTS = (
    "Microsoft.Storage/storageAccounts",
    "Microsoft.KeyVault/vaults",
    "Microsoft.Web/sites",
    "Microsoft.EventGrid/topics",
)
# Environments that somebody may have side by side.
DIFFERENT = ("defaults", "second_environment", "one_name_elsewhere", "odd_name", "letter_case")
# "Flex Consumption plan deprecations", and those that Azure refused with 51021: pull request 345 of
# Azure/terraform-azurerm-avm-res-web-site, issue 21032 of microsoft/azure-pipelines-tasks.
REFUSED_BY_FLEX = {
    "alwaysOn", "ftpsState", "functionAppScaleLimit", "functionsRuntimeScaleMonitoringEnabled", "javaVersion",
    "linuxFxVersion", "minimumElasticInstanceCount", "netFrameworkVersion", "nodeVersion", "powerShellVersion",
    "preWarmedInstanceCount", "pythonVersion", "use32BitWorkerProcess", "vnetRouteAllEnabled", "windowsFxVersion",
}  # fmt: skip


@pytest.mark.parametrize("name", templates.NAMES)
def test_azure_takes_the_names(name: str) -> None:
    for one in templates.resources(name):
        rule, last = RULES.get(one["type"]), one["name"].rpartition("/")[2]
        if rule and not one["name"].startswith("["):
            assert re.fullmatch(rule, last), f"{one['type']} {last!r}"


def test_every_name_that_a_deployment_chooses_has_a_rule() -> None:
    """But for children with names of one word, and for names that are made of ids."""
    kinds = {one["type"] for name in templates.NAMES for one in templates.resources(name)}
    plain = {
        "Microsoft.Authorization/roleAssignments", "Microsoft.Authorization/roleDefinitions",
        "Microsoft.Insights/workbooks", "Microsoft.Insights/diagnosticSettings", "Microsoft.Network/privateDnsZones",
    }  # fmt: skip
    assert {kind for kind in kinds - set(RULES) if kind.count("/") == 1} == plain


def groups(name: str) -> set[str]:
    """The ids of the resource groups that a snapshot makes; Azure compares them without regard to letter case."""
    return {one["id"].lower() for one in templates.resources(name, "Microsoft.Resources/resourceGroups")}


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(DIFFERENT, 2)))
def test_two_environments_share_nothing_that_has_to_be_unique(one: str, other: str) -> None:
    assert groups(one).isdisjoint(groups(other))
    for kind in HOSTS:
        names = [{found["name"].lower() for found in templates.resources(name, kind)} for name in (one, other)]
        assert names[0].isdisjoint(names[1]), kind
    ids = [{found["id"].lower() for found in templates.resources(name)} for name in (one, other)]
    assert ids[0].isdisjoint(ids[1])


def test_a_custom_role_has_a_name_that_is_unique_in_the_tenant() -> None:
    """Two environments of one name, in two subscriptions ("Azure custom roles": names are unique for a tenant)."""
    names = [
        templates.only(name, "Microsoft.Authorization/roleDefinitions")["properties"]["roleName"] for name in DIFFERENT
    ]
    assert len(set(names)) == len(names)


def test_a_role_that_somebody_made_before_is_used_and_none_is_made() -> None:
    assert templates.resources("two_subscriptions", "Microsoft.Authorization/roleDefinitions") == []
    assigned = [
        one["properties"]["roleDefinitionId"]
        for one in templates.resources("two_subscriptions", "Microsoft.Authorization/roleAssignments")
        if "extensionResourceId(" not in one["id"]
    ]
    assert len(assigned) == 2
    assert all(one.endswith("00000000-0000-0000-0000-00000000c001") for one in assigned)


def test_deployments_to_a_subscription_are_named_by_environment_and_region() -> None:
    """The location of such a deployment can't be changed, and two environments would write one deployment."""
    for name in tool.DEPLOYED:
        for template in templates.templates(name):
            scoped = template["$schema"].endswith("subscriptionDeploymentTemplate.json#")
            for one in template["resources"].values():
                to_a_subscription = scoped and "resourceGroup" not in one
                if one["type"] == "Microsoft.Resources/deployments" and to_a_subscription:
                    assert "variables('token')" in one["name"], one["name"]


def test_flex_consumption_is_given_nothing_that_newer_regions_refuse() -> None:
    for name in templates.ENVIRONMENTS:
        site = templates.only(name, "Microsoft.Web/sites")["properties"]
        assert set(site["siteConfig"]) & REFUSED_BY_FLEX == set()
        policies = templates.resources(name, "Microsoft.Web/sites/basicPublishingCredentialsPolicies")
        assert [one["name"].rpartition("/")[2] for one in policies] == ["scm"]  # there is no FTP


def test_the_children_of_a_site_are_written_one_after_another() -> None:
    """Two writes to one site at once are a conflict."""
    [found] = [one["resources"] for one in templates.templates("main") if "plan" in one["resources"]]
    children = [symbol for symbol, one in found.items() if one["type"].startswith("Microsoft.Web/sites/")]

    def before(symbol: str) -> set[str]:
        direct = found[symbol].get("dependsOn", [])
        return {*direct, *(earlier for one in direct for earlier in before(one))}

    assert len(children) > 2
    for one, other in itertools.combinations(children, 2):
        assert one in before(other) or other in before(one), f"{one} and {other} at once"


def test_a_vault_of_which_the_name_is_held_is_recovered() -> None:
    """A deleted vault with purge protection keeps its name for 90 days."""
    assert templates.only("everything", "Microsoft.KeyVault/vaults")["properties"]["createMode"] == "recover"
    assert templates.only("defaults", "Microsoft.KeyVault/vaults")["properties"]["createMode"] == "default"


def test_a_system_topic_belongs_to_no_environment() -> None:
    """A subscription has one at most, and azd takes the groups of main.bicep down with their environment."""
    for name in templates.ENVIRONMENTS:
        assert templates.resources(name, "Microsoft.EventGrid/systemTopics") == []
    topic = templates.only("subscribed", "Microsoft.EventGrid/systemTopics")
    assert "azd-env-name" not in topic.get("tags", {})
    assert topic["properties"]["source"] == "/" + "/".join(topic["id"].split("/")[1:3])
    subscribed = templates.resources("subscribed", "Microsoft.EventGrid/systemTopics/eventSubscriptions")
    assert len(subscribed) == 2  # the topic that was there is used, and not written
    alerts = templates.resources("subscribed", "Microsoft.Insights/metricAlerts")
    for one in alerts:  # in the subscription of what it looks at
        assert one["properties"]["scopes"][0].split("/")[2] == one["id"].split("/")[2]


def test_no_alert_is_made_before_the_code_is_there() -> None:
    for name in templates.ENVIRONMENTS:
        assert templates.resources(name, "Microsoft.Insights/scheduledQueryRules") == []
    rules = templates.resources("subscribed", "Microsoft.Insights/scheduledQueryRules")
    assert len(rules) > 3
    [sweep] = [one for one in rules if one["name"].startswith("sweep-failing")]
    [condition] = sweep["properties"]["criteria"]["allOf"]
    assert "let deployed = datetime(2026-01-01T00:00:00Z);" in condition["query"]  # as its parameters say


def test_easy_auth_lets_in_whom_the_parameters_name() -> None:
    [auth] = [
        one for one in templates.resources("everything", "Microsoft.Web/sites/config") if one["name"].endswith("V2")
    ]
    policy = auth["properties"]["identityProviders"]["azureActiveDirectory"]["validation"]["defaultAuthorizationPolicy"]
    assert policy == {
        "allowedApplications": [f"00000000-0000-0000-0000-0000000000{one}" for one in ("c2", "c3")],
        "allowedPrincipals": {"identities": ["00000000-0000-0000-0000-0000000000d1"]},
    }
    assert auth["properties"]["platform"] == {"enabled": True}


def test_every_refusal_names_the_variable_that_somebody_sets() -> None:
    """What can't be is refused by main.bicep itself, by the names that azd's users know."""
    read = set(re.findall(r"\$\{(\w+)", (ROOT / "infra/main.parameters.json").read_text()))
    refusal = templates.compiled("main")["variables"]["refusal"]
    named = set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b", refusal))
    assert named
    assert named <= read
    assert "fail(variables('refusal'))" in templates.compiled("main")["variables"]["accepted"]
