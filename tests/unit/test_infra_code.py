"""What the infrastructure says about the app, compared with the app: settings, events, rights, queries, commands."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from infra import check_rights
from local.stack import SERVER_CHANGED, make_topology
from shared.decisions.health import SEVERITY
from shared.desired import events, server_id
from shared.platform import logs
from shared.platform.reasons import Reason
from shared.platform.settings import settings, variables
from shared.records import notices, topic
from tests import source, templates
from tests.unit.facts import ENVIRONMENT

INFRA = source.ROOT / "infra"
GROUP = "/subscriptions/00000000-0000-0000-0000-0000000000a1/resourcegroups/rg-shop"
SERVER = f"{GROUP}/providers/Microsoft.DBforPostgreSQL/flexibleServers/pg-shop"
FILTER = json.loads((INFRA / "event_filter.json").read_text())


def options() -> set[str]:
    """The settings that a deployment may choose."""
    return set(templates.compiled("main")["variables"]["optionNames"])


def computed() -> set[str]:
    """The settings that the template gives the app, whatever is chosen; the host's own begin otherwise."""
    hosts = ("AzureWebJobs", "AzureFunctionsJobHost", "APPLICATIONINSIGHTS_", "DURABLE_TASK_")
    return {name for name in templates.app_settings() if not name.startswith(hosts)}


def test_the_app_settings_are_those_that_the_app_reads() -> None:
    read = {field.encode_name for field in variables()} | source.schedules()
    deployed = options() | computed()
    assert deployed - read == set(), "deployed, and read by nothing: remove from infra/settings.bicep"
    assert read - deployed == set(), "read by the app, and not deployable: add to infra/settings.bicep"


def test_every_setting_without_a_default_is_deployed() -> None:
    required = {field.encode_name for field in variables() if field.required}
    assert required <= computed()
    assert source.schedules() == computed() & options()


def test_no_option_replaces_what_the_template_computes() -> None:
    assert options() & computed() == source.schedules()


def test_the_local_stack_gives_the_app_settings_that_azure_gives_too(tmp_path: Path) -> None:
    ports = {"azurite": 1, "front_door": 2, "identity": 3, "host": 4}
    given = set(make_topology(tmp_path, ports).app_settings())
    local = set(make_topology(tmp_path, ports).environment("operator"))
    assert given - local <= options() | computed()


@contextlib.contextmanager
def settings_of_the_app() -> Iterator[None]:
    """The environment of an app without a topic."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        settings.cache_clear()
        yield
    settings.cache_clear()


def passes(event: dict[str, Any]) -> bool:
    """Event Grid's own rules: the type is listed, and every advanced filter holds; letter case does not matter."""

    def value(key: str) -> str:
        found: Any = event
        for part in key.split("."):
            found = found.get(part, {})
        return str(found).lower()

    def holds(advanced: dict[str, Any]) -> bool:
        wanted = [one.lower() for one in advanced["values"]]
        found = value(advanced["key"])
        return found in wanted if advanced["operatorType"] == "StringIn" else any(one in found for one in wanted)

    return event["eventType"] in FILTER["includedEventTypes"] and all(map(holds, FILTER["advancedFilters"]))


def event(operation: str, resource: str = SERVER, kind: str = events.EVENT_TYPES[0]) -> dict[str, Any]:
    return {"eventType": kind, "subject": resource, "data": {"operationName": operation, "resourceUri": resource}}


def is_read(found: dict[str, Any]) -> bool:
    seen = events.read(found["eventType"], found["subject"], found["data"], "somebody")
    return not isinstance(seen, events.Ignored)


@pytest.mark.parametrize("operation", events.OPERATIONS)
def test_what_the_app_acts_on_passes_the_filter(operation: str) -> None:
    for kind in events.EVENT_TYPES:
        for resource in (SERVER, SERVER.upper(), f"{SERVER}/providers/Microsoft.Resources/tags/default"):
            found = event(operation, resource, kind)
            assert is_read(found), found
            assert passes(found), found


@pytest.mark.parametrize(
    "found",
    [
        event("Microsoft.DBforPostgreSQL/flexibleServers/configurations/write", f"{SERVER}/configurations/wal_level"),
        event("Microsoft.DBforPostgreSQL/flexibleServers/stop/action"),
        event("Microsoft.Resources/tags/write", f"{GROUP}/providers/Microsoft.Storage/storageAccounts/stshop"),
        event(
            "Microsoft.Compute/virtualMachines/write", f"{GROUP}/providers/Microsoft.Compute/virtualMachines/vm-shop"
        ),
        event(events.OPERATIONS[0], kind="Microsoft.Resources.ResourceWriteFailure"),
    ],
    ids=lambda found: found["data"]["operationName"].rpartition(".")[2],
)
def test_what_concerns_nobody_does_not_reach_the_app(found: dict[str, Any]) -> None:
    assert not passes(found)
    assert not is_read(found)


def test_the_filter_names_what_the_code_names_and_the_local_stack_subscribes_to() -> None:
    operations = next(one["values"] for one in FILTER["advancedFilters"] if one["operatorType"] == "StringIn")
    assert operations == list(events.OPERATIONS) == SERVER_CHANGED["operationNames"]
    assert FILTER["includedEventTypes"] == list(events.EVENT_TYPES) == SERVER_CHANGED["includedEventTypes"]
    assert max(len(one["values"]) for one in FILTER["advancedFilters"]) <= 25  # Event Grid's limit


def test_the_event_subscription_leads_to_a_function_that_is_there() -> None:
    template = (INFRA / "modules/event_subscription.bicep").read_text()
    [function] = re.findall(r"/functions/(\w+)'", template)
    assert function in source.functions()


def test_queries_name_functions_that_are_there() -> None:
    for path in INFRA.glob("queries/*.kql"):
        named = {
            name
            for part in re.findall(r"\bname (?:==|!?in) (\(.*?\)|\"\w+\")", path.read_text())
            for name in re.findall(r'"(\w+)"', part)
        }
        assert named <= source.functions(), path.name


def test_queries_name_notices_and_codes_that_the_app_gives() -> None:
    types = {f"FabricMirror.{kind.__name__}" for kind in get_args(notices.Data.__value__)}
    codes = source.codes()
    for path in INFRA.glob("queries/*.kql"):
        text = path.read_text()
        assert set(re.findall(r'"(FabricMirror\.\w+)"', text)) <= types, path.name
        asked = [code for part in re.findall(r"has_any \((.*?)\)", text) for code in re.findall(r'"(\w+)"', part)]
        assert set(asked) <= set(codes), path.name
    assert set(re.findall(r'told\.level == "(\w+)"', (INFRA / "queries/mirror_unhealthy.kql").read_text())) <= set(
        SEVERITY
    )


def test_queries_look_for_lines_that_the_app_logs() -> None:
    code = "".join(path.read_text() for part in ("functions", "shared") for path in (source.ROOT / part).rglob("*.py"))
    for path in INFRA.glob("queries/*.kql"):
        lines = re.findall(r'message (?:contains|startswith) "([^"]+)"', path.read_text())
        assert [line for line in lines if not line.startswith("FabricMirror.") and line not in code] == [], path.name


def test_the_sweep_is_seen_to_run_by_its_end_alone() -> None:
    """Its timer succeeds too where it leaves a sweep out."""
    query = (INFRA / "queries/sweep_failing.kql").read_text()
    assert re.findall(r'name == "(\w+)" and success == true', query) == ["conclude_sweep"]


def test_queries_read_a_notice_as_the_app_logs_it(caplog: pytest.LogCaptureFixture) -> None:
    """The message begins with the type, and has the JSON of the data before the server and the run that it is about."""
    told = notices.PreparationBlocked(server=SERVER, run="r", reasons=(Reason("ServerTier", "{Burstable}", "Scale."),))
    notice = notices.Notice(subject=SERVER, change="c", at=datetime(2026, 1, 1, tzinfo=UTC), data=told)
    with caplog.at_level(logging.INFO), settings_of_the_app(), logs.about(run="r"):
        asyncio.run(topic.publish([notice]))
    [record] = caplog.records
    message = record.getMessage()
    assert message.startswith("FabricMirror.PreparationBlocked")
    place = server_id.parse(SERVER).key
    assert message.endswith(f" [run=r server={place}]")
    assert (record.__dict__["server"], record.__dict__["run"]) == (place, "r")
    for name in ("notices", "preparation_blocked", "mirror_unhealthy", "wal_retained"):
        query = (INFRA / f"queries/{name}.kql").read_text()
        [pattern] = re.findall(r'parse_json\(extract\(@"(.*)", 1, message\)\)', query)
        found = re.search(pattern, message)
        assert found, name
        assert json.loads(found[1])["reasons"][0] == {
            "code": "ServerTier",
            "message": "{Burstable}",
            "remedy": "Scale.",
        }


def test_the_commands_of_azd_and_of_the_workflows_are_there() -> None:
    azure = yaml.safe_load((source.ROOT / "azure.yaml").read_text())
    scripts = [source.ROOT / hook["run"] for hook in azure["hooks"].values()]
    assert [script for script in scripts if not script.stat().st_mode & 0o100] == []
    assert (source.ROOT / azure["infra"]["path"] / "main.bicep").is_file()
    for path in (source.ROOT / ".github/workflows").glob("*.yml"):
        jobs = yaml.safe_load(path.read_text())["jobs"]
        runs = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
        asked = {target for run in runs for target in re.findall(r"\bmake ([a-z-]+)", run)}
        assert asked, path.name
        assert asked <= source.make_targets(), path.name


DEPLOY = yaml.safe_load((source.ROOT / ".github/workflows/deploy.yml").read_text())


def test_a_deployment_from_github_hands_on_every_choice() -> None:
    """What is not handed on has its default: a private environment would be opened."""
    read = dict(re.findall(r"\$\{(\w+)=?([^}]*)\}", (INFRA / "main.parameters.json").read_text()))
    given = DEPLOY["env"] | DEPLOY["jobs"]["deploy"]["env"]
    signing_in = {"AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_SUBSCRIPTION_ID"}
    assert set(read) - {"RECOVER_VAULT"} == set(given) - signing_in  # the hook sets that one
    for name, default in read.items():
        if name not in ("RECOVER_VAULT", "AZURE_ENV_NAME"):
            fallback = f" || '{default}'" if default else ""
            assert given[name] == f"${{{{ vars.{name}{fallback} }}}}"


def test_the_rights_are_checked_in_a_job_of_their_own_with_the_outputs_that_it_reads() -> None:
    assert [job for job, one in DEPLOY["jobs"].items() if "make check-rights" in str(one)] == ["rights"]
    told = str(DEPLOY["jobs"]["deploy"])
    assert [name for name in check_rights.OUTPUTS if name not in told] == []


@pytest.mark.parametrize("path", sorted((source.ROOT / ".github/workflows").glob("*.yml")), ids=lambda path: path.name)
def test_actions_are_pinned_to_a_commit(path: Path) -> None:
    """A tag can be moved to other code."""
    used = re.findall(r"uses: (\S+)(.*)", path.read_text())
    assert used
    for action, rest in used:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action), action
        assert re.match(r" # v\d", rest), action
