"""The Bicep templates: what a compiler would find, as far as the syntax tells it, and rules of our own."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from tree_sitter import Node

from tests import bicep

INFRA = Path(__file__).resolve().parents[2] / "infra"
TEMPLATES = sorted(INFRA.rglob("*.bicep"))
NAMES = [str(path.relative_to(INFRA)) for path in TEMPLATES]
# The resource has never had another version than previews.
PREVIEWS = {"Microsoft.Insights/diagnosticSettings@2021-05-01-preview"}


def declared(root: Node, kind: str) -> dict[str, Node]:
    """The declarations `param x …`, `output x …` and so on, by name."""
    found = {}
    for node in bicep.descendants(root, f"{kind}_declaration"):
        name = next(child for child in node.children if child.type in ("identifier", "compatible_identifier"))
        found[bicep.text(name)] = node
    return found


def modules(root: Node) -> dict[str, tuple[str, Node]]:
    """The modules that a template uses: by symbol, their path and declaration."""
    found = {}
    for node in bicep.descendants(root, "module_declaration"):
        name = next(child for child in node.children if child.type == "identifier")
        path = next(child for child in node.children if child.type == "string")
        found[bicep.text(name)] = (bicep.literal(path), node)
    return found


def given(module: Node) -> list[str]:
    """The parameters that a module is given."""
    for node in bicep.descendants(module, "object_property"):
        if bicep.text(node.children[0]) == "params":
            return bicep.property_names(node.children[-1])
    return []


def properties(root: Node, name: str) -> list[str]:
    """The values of every property of this name, as they are written."""
    return [
        bicep.text(node.children[-1])
        for node in bicep.descendants(root, "object_property")
        if bicep.literal(node.children[0]) == name
    ]


def resource_types() -> list[str]:
    return re.findall(r"'(Microsoft\.\w+/[\w/]+@[\w-]+)'", "\n".join(path.read_text() for path in TEMPLATES))


@pytest.mark.parametrize("path", TEMPLATES, ids=NAMES)
def test_a_template_has_no_syntax_error(path: Path) -> None:
    assert bicep.mistakes(bicep.parse(path)) == []


def test_a_syntax_error_would_be_found(tmp_path: Path) -> None:
    broken = tmp_path / "broken.bicep"
    broken.write_text("resource x 'Microsoft.Storage/storageAccounts@2024-01-01' = {\n  name: 'x'\n  sku { }\n}\n")
    assert bicep.mistakes(bicep.parse(broken)) != []


@pytest.mark.parametrize("path", TEMPLATES, ids=NAMES)
def test_a_module_gets_the_parameters_it_declares(path: Path) -> None:
    root = bicep.parse(path)
    for symbol, (target, node) in modules(root).items():
        wanted = declared(bicep.parse(path.parent / target), "parameter")
        required = {name for name, one in wanted.items() if " = " not in bicep.text(one)}
        assert set(given(node)) <= set(wanted), f"{symbol} does not know some parameters"
        assert required <= set(given(node)), f"{symbol} lacks some parameters"
        used = set(re.findall(rf"\b{symbol}(?:\[\w+\])?!?\.outputs\.(\w+)", bicep.text(root)))
        assert used <= set(declared(bicep.parse(path.parent / target), "output")), f"{symbol} lacks some outputs"


@pytest.mark.parametrize("path", TEMPLATES, ids=NAMES)
def test_everything_that_is_declared_is_used(path: Path) -> None:
    root = bicep.parse(path)
    words = re.findall(r"\w+", re.sub(r"^\s*//.*$", "", bicep.text(root), flags=re.MULTILINE))
    names = [*declared(root, "parameter"), *declared(root, "variable")]
    assert [name for name in names if words.count(name) < 2] == []


@pytest.mark.parametrize("path", TEMPLATES, ids=NAMES)
def test_the_files_that_a_template_names_are_there(path: Path) -> None:
    text = path.read_text()
    named = re.findall(r"load(?:Text|Json)Content\('([^']+)'\)|import .* from '([^']+)'", text)
    named += [("", target) for target, _ in modules(bicep.parse(path)).values()]
    assert [target for pair in named for target in pair if target and not (path.parent / target).is_file()] == []


def test_every_module_query_and_list_is_used() -> None:
    named = set(re.findall(r"([\w.]+)'", "\n".join(path.read_text() for path in TEMPLATES)))
    files = [*INFRA.glob("modules/*.bicep"), *INFRA.glob("queries/*.kql"), *INFRA.glob("*.json")]
    assert {path.name for path in files} - named == {"main.parameters.json"}  # azd's own


def test_a_resource_type_has_one_api_version_and_no_preview() -> None:
    versions: dict[str, set[str]] = {}
    for found in resource_types():
        kind, _, version = found.partition("@")
        versions.setdefault(kind, set()).add(version)
    assert {kind: found for kind, found in versions.items() if len(found) > 1} == {}
    assert {found for found in resource_types() if "preview" in found} == PREVIEWS


def test_azd_gives_every_parameter_of_the_main_template() -> None:
    parameters = json.loads((INFRA / "main.parameters.json").read_text())["parameters"]
    assert set(parameters) == set(declared(bicep.parse(INFRA / "main.bicep"), "parameter"))


def test_the_hook_gives_every_parameter_of_the_event_subscriptions() -> None:
    script = (INFRA / "subscribe.sh").read_text()
    given_there = set(re.findall(r'(\w+)="\$[A-Z_]+"', script))
    assert set(declared(bicep.parse(INFRA / "events.bicep"), "parameter")) <= given_there
    outputs = set(declared(bicep.parse(INFRA / "main.bicep"), "output"))
    wanted = set(re.findall(r'="\$([A-Z_]+)"', script))
    assert wanted - {"AZURE_SUBSCRIPTION_ID"} <= outputs  # azd itself tells the subscription


def test_every_parameter_of_the_main_template_is_described() -> None:
    main = (INFRA / "main.bicep").read_text()
    for name in declared(bicep.parse(INFRA / "main.bicep"), "parameter"):
        before = main.partition(f"\nparam {name} ")[0].rpartition("\n\n")[2]
        assert "@description(" in before, name


def test_keys_and_passwords_open_nothing_but_the_dead_letters() -> None:
    values = {path.name: properties(bicep.parse(path), "allowSharedKeyAccess") for path in TEMPLATES}
    assert {name: found for name, found in values.items() if found} == {
        "storage.bicep": ["false"], "dead_letters.bicep": ["true"],
    }  # fmt: skip
    app, topic = bicep.parse(INFRA / "modules/app.bicep"), bicep.parse(INFRA / "modules/notices.bicep")
    assert properties(app, "allow") == ["false", "false"]
    assert properties(topic, "disableLocalAuth") == ["true"]
    assert "listKeys" not in "".join(path.read_text() for path in TEMPLATES)


def test_the_vault_keeps_what_is_deleted_and_is_opened_by_roles() -> None:
    vault = bicep.parse(INFRA / "modules/vault.bicep")
    for name in ("enableRbacAuthorization", "enableSoftDelete", "enablePurgeProtection"):
        assert properties(vault, name) == ["true"], name


def test_roles_are_assigned_on_single_resources_but_for_the_custom_one() -> None:
    for path in TEMPLATES:
        for block in re.findall(r"roleAssignments@.*?\n}", path.read_text(), re.DOTALL):
            if path.name == "watch.bicep":
                assert "scope:" not in block
            else:
                assert re.search(r"^\s+scope: \w+$", block, re.MULTILINE), path.name
