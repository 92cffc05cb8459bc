"""The documents say what the app, its templates and its commands really are."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from shared.decisions.health import SEVERITY
from shared.desired.intent import RESTART_POLICIES
from shared.platform.settings import variables
from shared.source import tables
from tests import source, templates
from tests.source import ROOT

OPERATIONS = (ROOT / "docs/operations.md").read_text()
SECURITY = (ROOT / "docs/security.md").read_text()
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/*.md"))]
NAMES = [str(path.relative_to(ROOT)) for path in DOCUMENTS]
HERE = "tests/unit/test_documents.py"
# Every command that a document shows → where it is run, as a file and words in it.
RUN = {
    "make bench": (".github/workflows/ci.yml", "make bench"),
    "make check-rights": ("tests/component/test_check_rights.py", "infra.check_rights"),
    "make clean": ("tests/component/test_make.py", '"clean"'),
    "make demo": ("tests/e2e/test_demo.py", "demo.main("),
    "make distclean": ("tests/component/test_make.py", '"distclean"'),
    "make doctor": ("tests/component/test_doctor.py", "local.doctor"),
    "make lint": (".ci/run", "make lint"),
    "make lock": (".github/workflows/ci.yml", "make lock"),
    "make package": ("tests/component/test_package.py", "package.build("),
    "make screenshot": ("Makefile", "screenshot:"),
    "make histories": ("Makefile", "histories:"),
    "make setup": (".ci/run", "make setup"),
    "make snapshots": ("tests/component/test_templates.py", 'run("snapshots")'),
    "make start": ("tests/e2e/test_start_and_stop.py", '"start"'),
    "make stop": ("tests/e2e/test_start_and_stop.py", '"stop"'),
    "make test": (".ci/run", "make test"),
    "make test-all": (".github/workflows/ci.yml", "make test-all"),
    "make test-unit": ("tests/unit/test_repository.py", '"test-unit"'),
    # The hooks' commands, by which the documents' own are written.
    "az eventgrid system-topic delete": (
        "tests/unit/test_infra_scripts.py",
        '"eventgrid", "system-topic", "event-subscription", "delete"',
    ),
    "az monitor metrics alert delete": ("tests/unit/test_infra_scripts.py", '"monitor", "metrics", "alert", "delete"'),
    "azd hooks run postdeploy": ("tests/unit/test_infra_scripts.py", '"subscribe.sh"'),
    # These need Azure: the workflow that deploys runs them.
    "az login": (".github/workflows/deploy.yml", "azure/login@"),
    "azd auth login": (".github/workflows/deploy.yml", "azd auth login"),
    "azd down": ("tests/unit/test_infra_scripts.py", '"unsubscribe.sh"'),
    "azd up": (".github/workflows/deploy.yml", "azd up"),
    "azd provision": (".github/workflows/deploy.yml", "azd up"),
    "azd deploy": (".github/workflows/deploy.yml", "azd up"),
    "azd env": (".github/workflows/deploy.yml", "AZURE_ENV_NAME"),
}
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
    assert set(told) == {prefix, *(f"{prefix}-{option}" for option in ("databases", "workspace", "restart"))}
    assert set(quoted(told[f"{prefix}-restart"][1])) == set(RESTART_POLICIES)


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
    code = "".join((ROOT / f"shared/{name}.py").read_text() for name in ("source/server", "desired/changes"))
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
            lines = [line.strip().removeprefix("$ ") for line in re.sub(r"\\\n\s*", " ", block).splitlines()]
            found += [line for line in lines if COMMAND.match(line)]
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return found + [line for line in quoted(prose) if re.match(r"(?:make|azd|az) [a-z]", line)]


@pytest.mark.parametrize("path", DOCUMENTS, ids=NAMES)
def test_every_command_is_run_somewhere(path: Path) -> None:
    for command in commands(path.read_text()):
        if command.startswith("curl "):
            continue  # tests/e2e/test_documents.py runs these
        known = [one for one in RUN if command == one or command.startswith(f"{one} ")]
        assert known, f"{path.name} shows {command!r}: run it in a test, and add it to RUN in {HERE}"
        for one in known:
            file, words = RUN[one]
            assert words in (ROOT / file).read_text(), f"{one} is said to be run in {file}"


def test_make_targets_of_the_documents_are_there() -> None:
    named = {word for path in DOCUMENTS for word in re.findall(r"`make ([a-z-]+)", path.read_text())}
    assert named <= source.make_targets()


def test_the_variables_that_azd_is_told_are_those_of_the_parameters() -> None:
    parameters = (ROOT / "infra/main.parameters.json").read_text()
    for path in DOCUMENTS:
        for name in re.findall(r"azd env set (\w+)", path.read_text()):
            assert f"${{{name}" in parameters, name
