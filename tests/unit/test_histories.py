"""Today's orchestrators replay the histories that were recorded on the real Durable extension (`make histories`).

An upgrade replays runs that are under way. An orchestrator that decides otherwise than its history says fails there.
Until there is a release a change may renew them; then those of the last release stay.
"""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.replay import actions

ROOT = Path(__file__).resolve().parent.parent.parent
FILES = sorted((ROOT / "tests" / "histories").glob("*.json"))
ENVIRONMENTS = (
    {"PYTHONHASHSEED": "1", "TZ": "Pacific/Kiritimati"},
    {"PYTHONHASHSEED": "2", "TZ": "America/Los_Angeles", "POLL_SECONDS": "7", "RESTART_DECISION_HOURS": "1"},
)
"""Each is a process of its own: an orchestrator that reads its surroundings answers otherwise in the other."""


@pytest.fixture(scope="module", params=ENVIRONMENTS, ids=lambda given: f"seed {given['PYTHONHASHSEED']}")
def replayed(request: pytest.FixtureRequest) -> dict[str, list[str]]:
    """The actions of today's orchestrators, by file."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.replay", *map(str, FILES)],
        cwd=ROOT, env={"PATH": os.environ["PATH"], **request.param}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_orchestrator_goes_on_as_its_history_says(file: Path, replayed: dict[str, list[str]]) -> None:
    assert replayed[str(file)] == actions(json.loads(file.read_bytes())["answer"])


def test_there_are_histories_of_each_orchestration_and_of_waiting_runs() -> None:
    from tests.replay import orchestrators

    recorded = {file.stem.partition("-")[0] for file in FILES}
    assert recorded == set(orchestrators())
    assert any("waits" in file.stem for file in FILES)


def test_no_history_ends_with_a_failure() -> None:
    for file in FILES:
        for action in actions(json.loads(file.read_bytes())["answer"]):
            assert "ORCHESTRATION_STATUS_FAILED" not in action, file.stem


def test_no_history_holds_a_password() -> None:
    for file in FILES:
        recorded = json.loads(file.read_bytes())
        for message in (recorded["message"], recorded["answer"]):
            assert not re.search(rb'"(password|secret)": *"', base64.b64decode(message)), file.stem
