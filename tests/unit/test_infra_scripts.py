"""The hook that makes the event subscriptions, with an `az` that notes how it is called."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.source import ROOT

OUTPUTS = {
    "AZURE_SUBSCRIPTION_ID": "00000000-0000-0000-0000-0000000000a1",
    "AZURE_LOCATION": "westeurope",
    "APP_ID": "/subscriptions/s/resourceGroups/rg-prod/providers/Microsoft.Web/sites/func-prod",
    "DEAD_LETTERS_ID": "/subscriptions/s/resourceGroups/rg-prod/providers/Microsoft.Storage/storageAccounts/stdl",
    "SYSTEM_TOPICS": '["/subscriptions/s/resourceGroups/rg/providers/Microsoft.EventGrid/systemTopics/evgst-prod"]',
}


class Hook:
    """`infra/subscribe.sh` with an az that fails the first `failures` times."""

    def __init__(self, folder: Path):
        self.folder, self.calls = folder, folder / "calls"

    def run(self, failures: int, **changes: str) -> subprocess.CompletedProcess[str]:
        (self.folder / "az").write_text(
            f'#!/bin/sh\nprintf "%s\\n" "$PWD" "$@" "--" >> "{self.calls}"\n'
            f'[ "$(grep -c "^--$" "{self.calls}")" -gt {failures} ] && exit 0\n'
            'echo "The function was not found." >&2\nexit 1\n'
        )
        (self.folder / "az").chmod(0o755)
        return subprocess.run(
            [ROOT / "infra/subscribe.sh"], capture_output=True, text=True, timeout=20, check=False,
            env={"PATH": f"{self.folder}:{os.environ['PATH']}", "RETRY_SECONDS": "0", **OUTPUTS, **changes},
        )  # fmt: skip

    def called(self) -> list[list[str]]:
        return [call.split("\n") for call in self.calls.read_text().removesuffix("\n--\n").split("\n--\n")]


@pytest.fixture
def hook(tmp_path: Path) -> Hook:
    return Hook(tmp_path)


def test_the_outputs_of_the_deployment_reach_the_template(hook: Hook) -> None:
    done = hook.run(0)
    assert (done.returncode, done.stdout) == (0, "Events of the watched subscriptions now reach the app.\n")
    [[folder, *words]] = hook.called()
    assert words[:3] == ["deployment", "sub", "create"]
    template = Path(folder) / words[words.index("--template-file") + 1]
    assert template == ROOT / "infra/events.bicep"
    assert words[words.index("--subscription") + 1] == OUTPUTS["AZURE_SUBSCRIPTION_ID"]
    assert words[words.index("--parameters") + 1 :] == [
        f"appId={OUTPUTS['APP_ID']}",
        f"deadLettersId={OUTPUTS['DEAD_LETTERS_ID']}",
        f"systemTopics={OUTPUTS['SYSTEM_TOPICS']}",
    ]


def test_a_function_that_is_not_found_yet_is_waited_for(hook: Hook) -> None:
    assert hook.run(3).returncode == 0
    assert len(hook.called()) == 4


def test_it_gives_up_and_says_what_goes_on_all_the_same(hook: Hook) -> None:
    done = hook.run(99)
    assert done.returncode == 1
    assert len(hook.called()) == 5
    assert "The function was not found." in done.stderr
    assert "Servers are still found by the hourly resync." in done.stderr


@pytest.mark.parametrize("name", OUTPUTS)
def test_what_is_not_set_is_named(hook: Hook, name: str) -> None:
    done = hook.run(0, **{name: ""})
    assert done.returncode == 1
    assert done.stderr.startswith(f"{name} is not set: run this through azd")
    assert not hook.calls.exists()
