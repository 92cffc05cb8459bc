"""azd's hooks, with an `az` and an `azd` that note how they are called and answer as Azure would."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.source import ROOT

A1, A2 = "00000000-0000-0000-0000-0000000000a1", "00000000-0000-0000-0000-0000000000a2"
GROUP = f"/subscriptions/{A1}/resourceGroups/rg-prod/providers"
OUTPUTS = {
    "AZURE_ENV_NAME": "prod",
    "AZURE_SUBSCRIPTION_ID": A1,
    "AZURE_LOCATION": "westeurope",
    "ALLOWED_SUBSCRIPTIONS": A1,
    "APP_ID": f"{GROUP}/Microsoft.Web/sites/func-prod",
    "DEAD_LETTERS_ID": f"{GROUP}/Microsoft.Storage/storageAccounts/stdl",
    "INSIGHTS_ID": f"{GROUP}/Microsoft.Insights/components/appi-prod",
    "ACTION_GROUP_ID": f"{GROUP}/Microsoft.Insights/actionGroups/ag-prod",
    "DEPLOYED_NAME": "prod",
    "DEPLOYED_TAGS": '{"azd-env-name": "prod", "owner": "data platform"}',
}
# The commands and options that the hooks may use, as azure-cli 2.91.0 says them itself (`az … --help`).
GLOBAL = {"--only-show-errors", "--output", "--query", "--subscription"}
OPTIONS = {
    "account show": set(),
    "deployment sub create": {"--name", "--location", "--template-file", "--parameters"},
    "eventgrid system-topic event-subscription delete": {"--name", "--resource-group", "--system-topic-name", "--yes"},
    "eventgrid system-topic list": {"--resource-group"},
    "group create": {"--name", "--location"},
    "group exists": {"--name"},
    "keyvault list-deleted": {"--resource-type"},
    "monitor metrics alert delete": {"--name", "--resource-group"},
    "provider register": {"--namespace", "--wait"},
    "provider show": {"--namespace"},
}
FLAGS = {"--only-show-errors", "--yes", "--wait"}
OURS = "/resourceGroups/rg-fabric-mirror-topic/providers/Microsoft.EventGrid/systemTopics/evgst-fabric-mirror"
CENTRAL = f"/subscriptions/{A1}/resourceGroups/rg-central/providers/Microsoft.EventGrid/systemTopics/evgst-central"


class Azure:
    """What the commands answer: the first words of a command → its output; `fails`: how often they fail first."""

    def __init__(self, folder: Path):
        self.folder, self.answers, self.fails = folder, {"provider show": "Registered", "group exists": "false"}, {}

    def run(self, script: str, **changes: str) -> subprocess.CompletedProcess[str]:
        cases = "".join(
            f"  '{words}'*) {self._failing(words)}printf '%s\\n' {shlex.quote(self.answers.get(words, ''))} ;;\n"
            for words in {**self.answers, **self.fails}
        )
        for name in ("az", "azd"):
            (self.folder / name).write_text(
                f'#!/bin/sh\nprintf "%s\\n" {name} "$@" "--" >> "{self.folder}/calls"\ncase "$*" in\n{cases}esac\n'
            )
            (self.folder / name).chmod(0o755)
        return subprocess.run(
            [ROOT / "infra" / script], capture_output=True, text=True, timeout=20, check=False,
            env={"PATH": f"{self.folder}:{os.environ['PATH']}", "RETRY_SECONDS": "0", **OUTPUTS, **changes},
        )  # fmt: skip

    def _failing(self, words: str) -> str:
        counted = shlex.quote(str(self.folder / words.replace(" ", "-")))
        return (
            f"echo >> {counted}; if [ $(wc -l < {counted}) -le {self.fails.get(words, 0)} ]; "
            "then echo 'Azure says no.' >&2; exit 1; fi; "
        )

    def calls(self, *words: str) -> list[list[str]]:
        """The calls that begin with these words, without the program's name."""
        path = self.folder / "calls"
        if not path.exists():
            return []
        found = [call.split("\n")[1:] for call in path.read_text().removesuffix("\n--\n").split("\n--\n")]
        return [call for call in found if call[: len(words)] == list(words)]


@pytest.fixture
def azure(tmp_path: Path) -> Iterator[Azure]:
    made = Azure(tmp_path)
    yield made
    for call in made.calls():
        if call[:2] != ["env", "set"]:  # which is azd's
            assert mistakes(call) == [], call


def mistakes(call: list[str]) -> list[str]:
    """What the parser of the Azure CLI would not take."""
    command = next((name for name in OPTIONS if call[: name.count(" ") + 1] == name.split()), None)
    if command is None:
        return [" ".join(call)]
    waiting = call[command.count(" ") + 1 :]
    while waiting:
        name = waiting.pop(0)
        if name not in OPTIONS[command] | GLOBAL:
            return [name]
        if name == "--parameters":
            return [one for one in waiting if "=" not in one]
        if name not in FLAGS:
            waiting.pop(0)
    return []


def option(call: list[str], name: str) -> str:
    return call[call.index(name) + 1]


def parameters(call: list[str]) -> dict[str, str]:
    return dict(one.split("=", 1) for one in call[call.index("--parameters") + 1 :])


def test_the_outputs_of_the_deployment_reach_the_template(azure: Azure) -> None:
    done = azure.run("subscribe.sh")
    assert (done.returncode, done.stdout) == (0, "Events of the watched subscriptions now reach the app.\n")
    [deployed] = azure.calls("deployment", "sub", "create")
    assert option(deployed, "--subscription") == A1
    assert option(deployed, "--template-file") == "events.bicep"
    assert parameters(deployed) == {
        "name": "prod",
        "location": "westeurope",
        "tags": OUTPUTS["DEPLOYED_TAGS"],
        "appId": OUTPUTS["APP_ID"],
        "deadLettersId": OUTPUTS["DEAD_LETTERS_ID"],
        "insightsId": OUTPUTS["INSIGHTS_ID"],
        "actionGroupId": OUTPUTS["ACTION_GROUP_ID"],
        "systemTopics": f"/subscriptions/{A1}{OURS}",
        "newTopics": f"/subscriptions/{A1}{OURS}",
    }


def test_the_deployment_is_another_one_in_each_environment_and_region(azure: Azure) -> None:
    """Azure refuses to move a subscription's deployment to another region."""
    for changes in ({}, {"AZURE_ENV_NAME": "test"}, {"AZURE_LOCATION": "northeurope"}):
        azure.run("subscribe.sh", **changes)
    names = [option(call, "--name") for call in azure.calls("deployment", "sub", "create")]
    assert len(set(names)) == len(names) == 3


def test_a_topic_that_is_there_is_used_and_no_group_is_made(azure: Azure) -> None:
    """A subscription has at most one; Azure writes its type in either letter case."""
    other = "microsoft.storage.storageaccounts\t/subscriptions/x/other"
    azure.answers["eventgrid system-topic list"] = f"{other}\nmicrosoft.resources.subscriptions\t{CENTRAL}"
    assert azure.run("subscribe.sh").returncode == 0
    [deployed] = azure.calls("deployment", "sub", "create")
    assert (parameters(deployed)["systemTopics"], parameters(deployed)["newTopics"]) == (CENTRAL, "")
    assert azure.calls("group", "create") == []


def test_each_watched_subscription_has_its_topic_in_a_group_of_its_own(azure: Azure) -> None:
    assert azure.run("subscribe.sh", ALLOWED_SUBSCRIPTIONS=f"{A1},{A2}").returncode == 0
    made = [(option(call, "--name"), option(call, "--subscription")) for call in azure.calls("group", "create")]
    assert made == [("rg-fabric-mirror-topic", A1), ("rg-fabric-mirror-topic", A2)]
    [deployed] = azure.calls("deployment", "sub", "create")
    topics = [f"/subscriptions/{id}{OURS}" for id in (A1, A2)]
    assert parameters(deployed)["systemTopics"].split(",") == parameters(deployed)["newTopics"].split(",") == topics


def test_a_group_that_is_there_is_left_where_it_is(azure: Azure) -> None:
    """Azure refuses to make it again in another region."""
    azure.answers["group exists"] = "true"
    assert azure.run("subscribe.sh").returncode == 0
    assert azure.calls("group", "create") == []


def test_event_grid_is_registered_where_it_is_not(azure: Azure) -> None:
    azure.answers["provider show"] = "NotRegistered"
    assert azure.run("subscribe.sh").returncode == 0
    [registered] = azure.calls("provider", "register")
    assert (option(registered, "--namespace"), option(registered, "--subscription")) == ("Microsoft.EventGrid", A1)


def test_a_function_that_is_not_found_yet_is_waited_for(azure: Azure) -> None:
    azure.fails["deployment sub create"] = 3
    assert azure.run("subscribe.sh").returncode == 0
    assert len(azure.calls("deployment", "sub", "create")) == 4


def test_it_gives_up_and_says_what_goes_on_all_the_same(azure: Azure) -> None:
    azure.fails["deployment sub create"] = 99
    done = azure.run("subscribe.sh")
    assert done.returncode == 1
    assert len(azure.calls("deployment", "sub", "create")) == 5
    assert "Azure says no." in done.stderr
    assert "Servers are still found by the hourly resync." in done.stderr


@pytest.mark.parametrize("script", ["prepare.sh", "subscribe.sh", "unsubscribe.sh"])
def test_who_is_not_signed_in_learns_it_before_anything_is_tried(script: str, azure: Azure) -> None:
    azure.fails["account show"] = 1
    done = azure.run(script)
    assert done.returncode == 1
    assert (
        done.stderr == "You are not signed in to the Azure CLI: run az login (azd auth login does not count for it).\n"
    )
    assert [call[:2] for call in azure.calls()] == [["account", "show"]]


@pytest.mark.parametrize("name", OUTPUTS)
def test_what_is_not_set_is_named(azure: Azure, name: str) -> None:
    done = azure.run("subscribe.sh", **{name: ""})
    assert done.returncode == 1
    assert done.stderr.startswith(f"{name} is not set: run this through azd")
    assert azure.calls() == []


def test_a_deleted_vault_of_the_environment_is_recovered(azure: Azure) -> None:
    azure.answers["keyvault list-deleted"] = "kv-x"
    done = azure.run("prepare.sh")
    assert done.returncode == 0
    assert "kv-x" in done.stdout
    assert azure.calls("env") == [["env", "set", "RECOVER_VAULT", "true"]]
    [asked] = azure.calls("keyvault", "list-deleted")
    assert option(asked, "--query") == (
        "[?properties.tags.\"azd-env-name\"=='prod' && properties.location=='westeurope'].name"
    )


def test_a_vault_that_was_recovered_once_is_not_recovered_again(azure: Azure) -> None:
    assert azure.run("prepare.sh").returncode == 0
    assert azure.calls("env") == [["env", "set", "RECOVER_VAULT", "false"]]


def test_a_new_environment_has_no_vault_to_recover(azure: Azure) -> None:
    assert azure.run("prepare.sh", AZURE_SUBSCRIPTION_ID="").returncode == 0
    assert azure.calls("env") == azure.calls("keyvault") == []


def test_the_end_of_an_environment_leaves_the_topic_to_the_others(azure: Azure) -> None:
    azure.answers["eventgrid system-topic list"] = f"Microsoft.Resources.Subscriptions\t{CENTRAL}"
    assert azure.run("unsubscribe.sh").returncode == 0
    [subscription] = azure.calls("eventgrid", "system-topic", "event-subscription", "delete")
    assert [option(subscription, name) for name in ("--name", "--system-topic-name", "--resource-group")] == [
        "func-prod", "evgst-central", "rg-central",
    ]  # fmt: skip
    [alert] = azure.calls("monitor", "metrics", "alert", "delete")
    assert (option(alert, "--name"), option(alert, "--resource-group")) == ("dead-letters-func-prod", "rg-central")
    assert azure.calls("eventgrid", "system-topic", "delete") == azure.calls("group") == []


def test_the_end_of_an_environment_in_which_nothing_was_deployed(azure: Azure) -> None:
    assert azure.run("unsubscribe.sh", APP_ID="").returncode == 0
    assert azure.calls() == []
