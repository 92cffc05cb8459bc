"""The curl commands that the documents show, run as they stand there, and what they show as the answer."""

from __future__ import annotations

import json
import re
import shlex
import string
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from local.scenario import Operator
from tests.e2e.conftest import Prepared
from tests.source import ROOT

DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/*.md"))]


def examples() -> list[tuple[str, str]]:
    """Each `$ curl …` of the documents, on one line, with the answer that is shown under it."""
    found = []
    for path in DOCUMENTS:
        for block in re.findall(r"^```(?:console|sh|bash)?\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL):
            for part in re.split(r"^(?:\$ )(?=curl )", block, flags=re.MULTILINE)[1:]:
                command, _, answer = re.sub(r"\\\n\s*", "", part).partition("\n")
                found.append((command, answer))
    return found


@pytest.fixture(scope="module")
def variables(operator: Operator, prepared: Prepared) -> Iterator[dict[str, str]]:
    """What the examples may use. The server that they name is made, so that they can be run as they are; what they
    began is over before any other test looks at the stack."""
    server = operator.create_server("pg-shop", 18, "shop")
    operator.install(server, "shop")
    operator.sweep()
    topology = operator.topology
    yield {
        "APP": topology.address("host"),
        "KEY": topology.host_keys["default"],
        "SUBSCRIPTION": topology.subscription,
    }
    operator.tag(server, fabric_mirror="disabled")
    operator.quiet(server)


@pytest.mark.parametrize(("command", "shown"), examples(), ids=lambda text: text[:60] if "curl" in text else "")
def test_an_example_answers_as_it_is_shown(variables: dict[str, str], command: str, shown: str) -> None:
    words = [string.Template(word).substitute(variables) for word in shlex.split(command)]
    done = subprocess.run(
        [*words, "--silent", "--show-error", "--write-out", "\n%{http_code}"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    body, _, status = done.stdout.rpartition("\n")
    expected = json.loads(shown)
    assert int(status) == expected["status"] if "code" in expected else int(status) < 300, body
    agree(expected, json.loads(body))


def agree(shown: Any, answered: Any) -> None:
    """Both have the same members, down to the first row of each list; what is null on one side agrees with anything."""
    if isinstance(shown, dict) and isinstance(answered, dict):
        assert set(shown) == set(answered)
        for name, value in shown.items():
            agree(value, answered[name])
    elif isinstance(shown, list) and isinstance(answered, list):
        for one, other in zip(shown[:1], answered[:1], strict=False):
            agree(one, other)


def test_every_curl_command_is_an_example_with_its_answer() -> None:
    shown = [line for path in DOCUMENTS for line in path.read_text().splitlines() if re.match(r"\s*(\$ )?curl ", line)]
    assert len(shown) == len(examples()) > 0
