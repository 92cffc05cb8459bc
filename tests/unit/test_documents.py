"""The documents say what the app, its templates and its commands really are."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from shared.decisions.health import SEVERITY
from shared.desired.intent import _TAG_OPTIONS, RESTART_POLICIES, RIGHTS
from shared.platform.settings import variables
from shared.source import service, tables
from tests import source, templates
from tests.source import ROOT

OPERATIONS = (ROOT / "docs/operations.md").read_text()
SECURITY = (ROOT / "docs/security.md").read_text()
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/*.md"))]
NAMES = [str(path.relative_to(ROOT)) for path in DOCUMENTS]
HERE = "tests/unit/test_documents.py"
# Every command that a document shows → the test that runs it, as a file and words of its code.
RUN_BY_TEST = {
    "make check-rights": ("tests/component/test_check_rights.py", "infra.check_rights"),
    "make clean": ("tests/component/test_make.py", '"clean"'),
    "make demo": ("tests/e2e/test_demo.py", "demo.main("),
    "make distclean": ("tests/component/test_make.py", '"distclean"'),
    "make package": ("tests/component/test_package.py", "package.build("),
    "make release-all": ("tests/e2e/test_entra_credentials.py", '"infra.release_all"'),
    "make snapshots": ("tests/component/test_templates.py", 'run("snapshots")'),
    "make start": ("tests/e2e/test_start_and_stop.py", '"start"'),
    "make stop": ("tests/e2e/test_start_and_stop.py", '"stop"'),
    "make test-unit": ("tests/unit/test_repository.py", '"test-unit"'),
    # The hooks' commands, by which the documents' own are written.
    "az eventgrid system-topic delete": (
        "tests/unit/test_infra_scripts.py",
        '"eventgrid", "system-topic", "event-subscription", "delete"',
    ),
    "az monitor metrics alert delete": ("tests/unit/test_infra_scripts.py", '"monitor", "metrics", "alert", "delete"'),
    "azd hooks run postdeploy": ("tests/unit/test_infra_scripts.py", '"subscribe.sh"'),
    "azd down": ("tests/unit/test_infra_scripts.py", '"unsubscribe.sh"'),
}
RUN_BY_CI = frozenset({
    "make bench", "make doctor", "make lint", "make lock", "make setup", "make test", "make test-all",
    "azd auth login", "azd up",
})  # fmt: skip
"""Commands that `.ci/run` or a workflow runs."""
RUN_BY_HAND = frozenset({"make histories", "make screenshot"})
"""Targets that write files of the repository: people run them, and look at what they wrote."""
ONLY_IN_AZURE = frozenset({"az functionapp keys", "az login", "azd deploy", "azd env", "azd provision"})
"""Commands that need somebody's subscription: nothing here runs them."""
RUN = frozenset(RUN_BY_TEST) | RUN_BY_CI | RUN_BY_HAND | ONLY_IN_AZURE
COMMAND = re.compile(r"(?:make|azd|az|curl|python3?|pip|npm|npx|git|psql|func|\./\S+|infra/\S+\.sh)\b")


def section(text: str, title: str) -> str:
    """What stands under a heading, down to the next one of its rank or a higher one."""
    found = re.search(rf"^(#+) {re.escape(title)}\n(.*?)(?=^#{{1,6}} |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"there is no section {title!r}"
    return found[2]


def rows(text: str) -> list[list[str]]:
    """The cells of every table row, but for heads and rules."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    bodies = [line for index, line in enumerate(lines) if not set(line) <= set("|- ")]
    heads = {lines[index - 1] for index, line in enumerate(lines) if set(line) <= set("|- ")}
    return [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in bodies if line not in heads]


def quoted(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def defaults() -> dict[str, str]:
    """Setting → its default as an operator would write it; required ones have none."""
    found = {}
    for field in variables():
        default: Any = "" if field.required else field.default
        found[field.encode_name] = str(default).lower() if isinstance(default, bool) else str(default)
    settings = templates.app_settings()
    return found | {name: settings[name] for name in source.schedules()}


def test_the_settings_table_has_every_setting_with_its_default() -> None:
    told = {}
    for name, default, meaning in rows(section(OPERATIONS, "Settings")):
        assert meaning
        told[name.strip("`")] = default.strip("`")
    expected = defaults()
    assert set(told) == set(expected), "docs/operations.md, Settings"
    for name, default in expected.items():
        words = {"": ("", "empty"), "None": ("Fabric's",)}.get(default, (default,))
        assert told[name] in words, f"{name}: the default is {default!r}, docs/operations.md says {told[name]!r}"


REASONS = (
    "The server", "Parameters and the restart", "Databases, role and tables", "Fabric",
    "Requests, tags and the app itself", "Health",
)  # fmt: skip


def documented_codes() -> dict[str, list[str]]:
    """Code → the cells that tell of it. The first table of Health is that of the levels."""
    found = {}
    for title in REASONS:
        for cells in rows(section(OPERATIONS, title)):
            for code in quoted(cells[0]):
                found[code] = cells
    return {code: cells for code, cells in found.items() if code not in SEVERITY}


def test_every_code_of_the_app_is_explained() -> None:
    missing = {code: files for code, files in source.codes().items() if code not in documented_codes()}
    assert missing == {}, "add a row to docs/operations.md, Reasons or Health: what it means and what to do"


def test_no_code_is_explained_that_the_app_does_not_have() -> None:
    assert set(documented_codes()) - set(source.codes()) == set()


def test_an_explanation_says_what_it_means_and_what_to_do() -> None:
    for code, cells in documented_codes().items():
        assert len(cells) in (3, 4), code
        assert all(len(cell) > 3 for cell in cells[1:]), code


def test_the_codes_of_the_service_are_explained() -> None:
    told = {code for cells in rows(section(OPERATIONS, "Codes of the service")) for code in quoted(cells[0])}
    assert told == set(service._REMEDIES)


def test_the_codes_of_tables_are_explained() -> None:
    known = set(tables._LEVEL_OF) | set(tables._MESSAGES)
    told = {code for cells in rows(section(OPERATIONS, "Tables")) for code in quoted(cells[0])}
    assert known <= told | set(quoted(section(OPERATIONS, "Tables")))
    assert told <= known


def test_the_levels_of_health_are_explained_and_each_finding_has_its_own() -> None:
    health = rows(section(OPERATIONS, "Health"))
    assert {cells[0].strip("`") for cells in health if len(cells) == 2} == set(SEVERITY)
    for code, level, *_ in (cells for cells in health if len(cells) == 4):
        assert set(re.split(r" or ", level)) <= set(SEVERITY), code


def test_the_tags_and_their_values_are_explained() -> None:
    told = {cells[0].strip("`"): cells for cells in rows(section(OPERATIONS, "Tags"))}
    prefix = defaults()["TAG_PREFIX"]
    assert set(told) == {prefix, *(f"{prefix}-{option}" for option in _TAG_OPTIONS)}
    assert set(quoted(told[f"{prefix}-restart"][1])) == set(RESTART_POLICIES)
    assert set(quoted(told[f"{prefix}-rights"][1])) == set(RIGHTS)


def test_every_alert_is_explained() -> None:
    queries = templates.resources("subscribed", "Microsoft.Insights/scheduledQueryRules")
    metrics = templates.resources("subscribed", "Microsoft.Insights/metricAlerts")
    rules = {one["name"].removesuffix("-prod") for one in queries}
    rules |= {one["name"].partition("-func-")[0] for one in metrics}
    assert {cells[0].strip("`") for cells in rows(section(OPERATIONS, "Alerts"))} == rules


def test_every_parameter_of_the_deployment_is_explained() -> None:
    parameters = json.loads((ROOT / "infra/main.parameters.json").read_text())["parameters"]
    told = {}
    for names, listed, _ in rows(section(OPERATIONS, "Deploy")):
        told |= {name: set(quoted(listed)) for name in quoted(names)}
    assert set(told) == set(parameters)
    for name, parameter in parameters.items():
        variables = set(re.findall(r"\$\{(\w+)", json.dumps(parameter))) - {"AZURE_SUBSCRIPTION_ID"}
        assert variables <= told[name], name


def test_what_host_json_sets_is_explained() -> None:
    host = json.loads((ROOT / "host.json").read_text())
    durable = host["extensions"]["durableTask"]
    explained = section(OPERATIONS, "host.json")
    minutes = int(host["functionTimeout"].split(":")[1])
    values = [minutes, *(durable[name] for name in durable if name.startswith("max"))]
    for name in (
        "functionTimeout",
        "extensionBundle",
        "samplingSettings",
        "logLevel",
        *durable,
        *durable["storageProvider"],
    ):
        if name not in ("storageProvider", "tracing"):
            assert re.search(rf"`(?:storageProvider\.)?{name}`", explained), name
    for value in values:
        assert re.search(rf"\| [^|]*{value}\b", explained), value
    assert f"`{durable['hubName']}`" in explained
    assert f"`{host['logging']['applicationInsights']['samplingSettings']['excludedTypes']}`" in explained


def test_the_rights_on_servers_are_those_of_the_custom_role() -> None:
    told = rows(section(SECURITY, "On flexible servers"))
    actions = json.loads((ROOT / "infra/role.json").read_text())["actions"]
    assert sorted(cells[0].strip("`") for cells in told) == sorted(actions)
    code = "".join(
        (ROOT / f"shared/{name}.py").read_text()
        for name in ("source/server", "source/parameter_list", "desired/changes")
    )
    for action, needs_it in told:
        named = re.findall(r"`(?:begin\()?(\w+)\)?`", needs_it)
        assert named, action
        assert [name for name in named if not re.search(rf"\b(?:def|class) {name}\b", code)] == [], action


@pytest.mark.parametrize("path", DOCUMENTS, ids=NAMES)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", path.read_text()):
        name, _, anchor = target.partition("#")
        linked = (path.parent / name) if name else path
        assert linked.exists(), f"{path.name} links to {target}"
        if anchor:
            titles = re.findall(r"^#+ (.+)$", linked.read_text(), re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
            assert anchor in anchors, f"{path.name} links to {target}"


def commands(text: str) -> list[str]:
    """The commands in fenced blocks (not those of other languages), and make targets and azd commands in the text."""
    found = []
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        if language in ("", "sh", "bash", "console"):
            lines = [
                re.sub(r"^(?:\$ |\w+=\$\()", "", line.strip()) for line in re.sub(r"\\\n\s*", " ", block).splitlines()
            ]
            found += [line for line in lines if COMMAND.match(line)]
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return found + [line for line in quoted(prose) if re.match(r"(?:make|azd|az) [a-z]", line)]


@pytest.mark.parametrize("path", DOCUMENTS, ids=NAMES)
def test_every_command_is_run_somewhere(path: Path) -> None:
    for command in commands(path.read_text()):
        if command.startswith("curl "):
            continue  # tests/e2e/test_documents.py runs these
        proofs = [proof for proof in RUN if command == proof or command.startswith(f"{proof} ")]
        assert proofs, f"{path.name} shows {command!r}: run it in a test, and add it to RUN_BY_TEST in {HERE}"


@pytest.mark.parametrize("command", sorted(RUN_BY_TEST))
def test_a_command_is_run_by_the_code_of_its_test(command: str) -> None:
    """In the code itself: a comment or a docstring proves nothing."""
    file, words = RUN_BY_TEST[command]
    assert words.replace("'", '"') in ast.unparse(_without_docstrings(ROOT / file)).replace("'", '"'), file


def _without_docstrings(path: Path) -> ast.Module:
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            node.body = [part for part in node.body if not _is_text(part)] or [ast.Pass()]
    return tree


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


@pytest.mark.parametrize("command", sorted(RUN_BY_CI))
def test_a_command_is_run_by_ci(command: str) -> None:
    words = command.split()
    assert any(line.split()[: len(words)] == words for line in ci_commands())


def ci_commands() -> list[str]:
    """The lines that `.ci/run` and the workflows run."""
    lines = [line for line in (ROOT / ".ci/run").read_text().splitlines() if not line.lstrip().startswith("#")]
    for path in sorted((ROOT / ".github/workflows").glob("*.yml")):
        for job in yaml.safe_load(path.read_text())["jobs"].values():
            lines += [line for step in job["steps"] for line in step.get("run", "").splitlines()]
    return [line.strip() for line in lines]


@pytest.mark.parametrize("target", sorted(name.removeprefix("make ") for name in RUN if name.startswith("make ")))
def test_a_target_runs_modules_that_are_there(target: str) -> None:
    """As `make` itself says what the target would run."""
    dry = ["make", "--dry-run", "--assume-old=requirements.in", "--no-print-directory", target]
    said = subprocess.run(dry, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    modules = re.findall(r"-m ([\w.]+)", said)
    assert modules or target in ("clean", "distclean", "setup", "stop"), said
    assert [module for module in modules if importlib.util.find_spec(module) is None] == []


def test_make_targets_of_the_documents_are_there() -> None:
    named = {word for path in DOCUMENTS for word in re.findall(r"`make ([a-z-]+)", path.read_text())}
    assert named <= source.make_targets()


def test_the_variables_that_azd_is_told_are_those_of_the_parameters() -> None:
    parameters = (ROOT / "infra/main.parameters.json").read_text()
    for path in DOCUMENTS:
        for name in re.findall(r"azd env set (\w+)", path.read_text()):
            assert f"${{{name}" in parameters, name
