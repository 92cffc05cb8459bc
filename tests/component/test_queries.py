"""The check of the Kusto queries: Kusto's own language service, as `make lint` runs it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.source import ROOT

pytestmark = pytest.mark.skipif(
    not (ROOT / "node_modules/@kusto").exists(), reason="the language service is not installed: make setup"
)


def checked(*paths: Path) -> subprocess.CompletedProcess[str]:
    command = ["node", "infra/check_queries.cjs", *map(str, paths)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_the_queries_are_what_azure_takes() -> None:
    done = checked(*ROOT.glob("infra/queries/*.kql"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


MISTAKES = {
    "requests\n| where not(success)": ("2:13", "A value of type bool expected."),
    "requests\n| where success": ("2:9", "must have the type bool"),
    "requests | summarize last = max(timestamp) by name": ("1:22", "The name 'last' needs to be bracketed"),
    "requests | project nam": ("1:20", "The name 'nam' does not refer to any known column"),
    "request | count": ("1:1", "The name 'request' does not refer to any known table"),
    "traces | where message startswith 5": ("1:24", "not defined for the operand types"),
    "traces |": ("1:9", ""),
}
"""Wrong queries, each with the place of the mistake and what is said about it."""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What is said of each wrong query: of all at once, as the language service takes seconds to start."""
    folder = tmp_path_factory.mktemp("queries")
    paths = {query: folder / f"{number}.kql" for number, query in enumerate(MISTAKES)}
    for query, path in paths.items():
        path.write_text(query)
    done = checked(*paths.values())
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    return {query: "\n".join(line for line in lines if line.startswith(f"{path}:")) for query, path in paths.items()}


@pytest.mark.parametrize("query", MISTAKES)
def test_a_mistake_is_found_with_its_place(query: str, told: dict[str, str]) -> None:
    place, problem = MISTAKES[query]
    assert f".kql:{place}: " in told[query]
    assert problem in told[query]
