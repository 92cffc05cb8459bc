"""Every resource type, API version and property of the templates, against the record of what Azure documents.

The templates are followed from the two that are deployed into their modules, with the values that these are given, so
that a literal is compared where it ends up. A value that only the deployment knows is compared by its kind.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests import bicep
from tests.bicep_types import Checker

INFRA = Path(__file__).resolve().parents[2] / "infra"
RECORD = json.loads(Path(__file__).with_name("resource_types.json").read_text())
DEPLOYED = ("main.bicep", "events.bicep")
# Where only the deployment knows which of the allowed values it is, or what is in an object or array.
UNKNOWN: list[str] = []


@pytest.fixture(scope="module")
def checker() -> Checker:
    made = Checker(RECORD)
    for name in DEPLOYED:
        made.follow(INFRA / name)
    return made


def problems(folder: Path, text: str, **files: str) -> list[str]:
    """What is wrong with a template, beside which these modules lie."""
    for name, content in {"x": text, **files}.items():
        (folder / f"{name}.bicep").write_text(content)
        assert bicep.mistakes(bicep.parse(folder / f"{name}.bicep")) == []
    made = Checker(RECORD)
    made.follow(folder / "x.bicep")
    return list(made.problems)


def test_the_templates_hold_to_the_record(checker: Checker) -> None:
    assert list(checker.problems) == []


def test_what_the_templates_say_can_be_followed(checker: Checker) -> None:
    assert list(checker.unknown) == UNKNOWN


def test_nothing_is_recorded_that_no_template_uses(checker: Checker) -> None:
    assert checker.unused() == []


def test_every_resource_in_a_template_was_reached(checker: Checker) -> None:
    written = {
        found.partition("@")[0].rpartition("/")[2]
        for path in INFRA.rglob("*.bicep")
        for node in bicep.descendants(bicep.parse(path), "resource_declaration")
        for found in [bicep.literal(node.named_children[1])]
    }
    assert written == {re.sub(r"\[.*\]", "", kind).partition("@")[0].rpartition("/")[2] for kind in checker.used}


@pytest.mark.parametrize("kind", RECORD["types"])
def test_a_type_is_recorded_from_the_page_of_its_version(kind: str) -> None:
    name, _, version = kind.partition("@")
    provider = name.partition("/")[0].lower()
    source = RECORD["types"][kind]["source"]
    assert re.fullmatch(rf"Azure/bicep-types-az generated/\w+/{provider}/{version}/types\.md", source)


@pytest.mark.parametrize("path", sorted(INFRA.rglob("*.bicep")), ids=lambda path: path.name)
def test_decorators_are_known_where_they_stand(path: Path) -> None:
    for node in bicep.descendants(bicep.parse(path), "decorators"):
        declared = node.next_named_sibling
        assert declared is not None
        for call in bicep.descendants(node, "call_expression"):
            name = bicep.text(call.children[0])
            assert declared.type.removesuffix("_declaration") in RECORD["decorators"].get(name, []), f"@{name}"
            alias = declared.type == "parameter_declaration" and declared.named_children[1].named_children[0]
            assert not alias or alias.type != "identifier" or name == "description", f"@{name} is for the type itself"


VAULT = """
param location string
resource vault 'Microsoft.KeyVault/vaults@2023-07-01' = {
  name: 'kv-shop'
  location: location
  properties: {
    tenantId: tenant().tenantId
    sku: { family: 'A', name: 'standard' }
    enableSoftDelete: true
  }
}
"""
ACCOUNT = """
resource account 'Microsoft.Storage/storageAccounts@2024-01-01' = {
  name: 'stshop'
  location: 'westeurope'
  kind: 'StorageV2'
  sku: { name: 'Standard_LRS' }
}
"""


def test_a_right_template_has_no_problem(tmp_path: Path) -> None:
    assert problems(tmp_path, VAULT + ACCOUNT) == []


@pytest.mark.parametrize(
    ("was", "becomes", "problem"),
    [
        ("enableSoftDelete", "softDelete", "vaults@2023-07-01 has no property properties.softDelete"),
        ("'standard'", "'Standard'", "properties.sku.name is 'Standard', and has to be one of 'premium', 'standard'"),
        ("family: 'A', ", "", "properties.sku.family is required"),
        ("  location: location\n", "", "location is required"),
        ("enableSoftDelete: true", "enableSoftDelete: 'yes'", "properties.enableSoftDelete is bool, and given 'yes'"),
        ("enableSoftDelete: true", "softDeleteRetentionInDays: 6", "is 6, and has to be of a range from 7 to 90"),
        ("'kv-shop'", "'kv_shop'", "name is 'kv_shop', and has to be like ^[a-zA-Z0-9-]{3,24}$"),
        ("  name: 'kv-shop'\n", "", "name is required"),
        ("'A'", "null", "properties.sku.family is required, and null"),
        ("'A'", "location == 'x' ? 'A' : 'B'", "properties.sku.family is 'B', and has to be one of 'A'"),
        ("2023-07-01", "2031-07-01", "Microsoft.KeyVault/vaults@2031-07-01 is not recorded"),
        ("tenant()", "tenants()", "there is no function tenants()"),
        ("tenant()", "tenant('a')", "tenant() takes 0 to 0 arguments, and is given 1"),
        ("tenant().tenantId", "tenant().id2", "there is no property id2 to read"),
        ("tenant().tenantId", "tenantId", "tenantId is not declared"),
        ("'standard'", "vault.properties.skuName", "vaults@2023-07-01 has no property properties.skuName to read"),
        ("'kv-shop'", "vault.properties.vaultUri", "vault.properties is not known before the deployment"),
        ("\nparam", "\ntargetScope = 'subscription'\nparam", "belongs to resourceGroup, and the template to a sub"),
        ("param location string", "param location string\nvar location = 'x'", "location: is declared twice"),
        ("param location string", "param location string\nvar tenant = 'x'", "tenant: is declared, and hides the"),
        ("'kv-shop'\n", "'kv-shop'\n  scope: vault\n", "can't stand on the scope that it is given"),
    ],
)  # fmt: skip
def test_a_mistake_is_found(was: str, becomes: str, problem: str, tmp_path: Path) -> None:
    assert was in VAULT
    found = problems(tmp_path, VAULT.replace(was, becomes))
    assert [one for one in found if problem in one], found


@pytest.mark.parametrize(
    ("kind", "body", "problem"),
    [
        ("Storage/storageAccounts/blobServices@2024-01-01", "{ name: 'default' }", "needs a parent of the type"),
        ("EventGrid/topics@2025-02-15", "{ name: 'x', properties: { endpoint: 'x' } }", "endpoint is read-only"),
        ("Network/privateDnsZones@2024-06-01", "[for n in ['a', 'b']: { name: 'z' }]", "the same name in every turn"),
        ("Insights/scheduledQueryRules@2023-12-01", "[for n in [5]: { name: n, properties: { severity: n } }]",
         "properties.severity is 5, and has to be of a range from 0 to 4"),
        ("Web/serverfarms@2024-04-01", "{ name: 'p', sku: union(more.sku, { tier: 'x' }) }", "no property sku.names"),
        ("Storage/storageAccounts@2024-01-01", "if (account.properties.primaryEndpoints == 'x') { name: 'x' }",
         "account.properties is not known before the deployment"),
    ],
)  # fmt: skip
def test_a_mistake_of_a_resource_is_found(kind: str, body: str, problem: str, tmp_path: Path) -> None:
    more = f"var more = {{ sku: {{ names: 'x' }} }}\nresource x 'Microsoft.{kind}' = {body}\n"
    found = problems(tmp_path, ACCOUNT + more)
    assert [one for one in found if problem in one], found


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ("module m 'm.bicep' = { name: 'm', params: { tier: 'Free' } }", "m.bicep: account: sku.name is 'Free'"),
        ("module m 'm.bicep' = { name: 'm', params: { tier: 7 } }", "m.bicep: tier: is string, and given 7"),
        ("output count int = account.id", "x.bicep: count: is int, and given string"),
        ("output url string = account.properties.primaryEndpoints.tables", "x.bicep: url: Microsoft.Storage"),
    ],
)
def test_a_mistake_across_templates_is_found(more: str, problem: str, tmp_path: Path) -> None:
    module = "param tier string\n" + ACCOUNT.replace("'Standard_LRS'", "tier")
    found = problems(tmp_path, f"{ACCOUNT}{more}\n", m=module)
    assert [one for one in found if problem in one], found


def test_a_value_that_only_the_deployment_knows_is_told(tmp_path: Path) -> None:
    path = tmp_path / "x.bicep"
    path.write_text("param tier string\n" + ACCOUNT.replace("'Standard_LRS'", "tier"))
    made = Checker(RECORD)
    made.follow(path)
    assert list(made.unknown) == ["x.bicep: account: sku.name"]


def test_what_is_recorded_and_not_used_is_told() -> None:
    kind = "Microsoft.Network/privateDnsZones@2024-06-01"
    zones = RECORD["types"][kind]
    more = {"etag": "string", "properties.internalId": "string required"}
    types = {**RECORD["types"], kind: {**zones, "properties": zones["properties"] | more}, "A.B/c@2020-01-01": zones}
    made = Checker({"types": types, "functions": RECORD["functions"] | {"padLeft": {}}})
    for name in DEPLOYED:
        made.follow(INFRA / name)
    assert made.unused() == ["A.B/c@2020-01-01", f"{kind} etag", f"{kind} properties.internalId", "padLeft()"]
