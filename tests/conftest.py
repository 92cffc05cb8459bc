"""The local stack for tests.

`stack_factory("identity", "keyvault")` gives a running `local.stack.Stack` of those parts for the whole session.
Whoever asks for the same parts with the same settings gets the same stack, so leave it as you found it (forget
the faults you ordered); `fresh=True` starts one of your own.

`stack_factory(…, engine="extension")` runs the orchestrations on the real Durable extension, for tests that depend on
`durable_extension`: without the program they are skipped, which says so. `pytest --engine extension` does it for all
tests that name no engine.

`become(stack, "operator")` gives the test's own process the environment of a principal. The SDKs' asynchronous
transport reads its trust when it is imported, so hand clients `connection_verify=str(stack.topology.authority)`.

`run_as(stack, "operator", script)` runs Python code in a new process that has this environment from its start, as
an unchanged tool would, and returns what it printed.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from xdist.scheduler import LoadScopeScheduling

from local import engine
from local.stack import ROOT, Stack, clean
from local.topology import ENGINES, EXTENSION, IN_MEMORY
from tests import real_parts

hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")  # a busy machine makes no test fail: speed is measured by bench/

type StackFactory = Callable[..., Stack]

TOGETHER = {
    "tests/e2e/lifecycle/test_patience.py": "a stack of its own",
    "tests/e2e/engine/": "the stack with the Durable extension",
    "tests/e2e/lifecycle/": "the lives of servers, told at once",
    "tests/e2e/test_documents.py": "the prepared server",
    "tests/e2e/test_main_job.py": "the prepared server",
    "tests/e2e/test_refusals.py": "the prepared server",
    "tests/e2e/test_secrets.py": "the prepared server",
}
"""Tests that share something costly, and so a worker of pytest-xdist."""
LONGEST_FIRST = (
    "tests/e2e/engine/",
    "tests/e2e/lifecycle/",
    "tests/e2e/",
    "tests/browser/",
    "tests/component/",
    "tests/unit/",
)


class Together(LoadScopeScheduling):
    """Gives a worker all tests of a group, or else of a file."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return next((group for start, group in TOGETHER.items() if file.startswith(start)), file)


NEVER = "0 0 0 1 1 *"
"""Tests fire the resync themselves: at a full hour it would come between."""
NO_EXTENSION = (
    f"the Durable extension is not here: {engine.PROGRAM_VARIABLE} names no program, and there is no {engine.PROGRAM} "
    "on the PATH (local/durable_host/README.md)"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--engine", choices=ENGINES, default=IN_MEMORY, help="runs the orchestrations of the stacks")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--engine") == EXTENSION and engine.program() is None:
        raise pytest.UsageError(NO_EXTENSION)
    config.option.loadscopereorder = False  # it would begin with what has the most tests


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that no worker is left alone with it in the end."""
    items.sort(key=lambda item: next((n for n, at in enumerate(LONGEST_FIRST) if item.nodeid.startswith(at)), 0))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Together:
    return Together(config, log)


@pytest.fixture(scope="session")
def durable_extension() -> str:
    """The engine's name, where its program is."""
    if engine.program() is None:
        pytest.skip(NO_EXTENSION)
    return EXTENSION


@pytest.fixture(scope="session")
def stack_factory(request: pytest.FixtureRequest) -> Iterator[StackFactory]:
    """`stack_factory(*parts, settings=None, fresh=False, engine=None)`: a running stack; all are taken down with the
    session."""
    running: dict[object, Stack] = {}

    with contextlib.ExitStack() as undo:

        def get(
            *parts: str, settings: dict[str, str] | None = None, fresh: bool = False, engine: str | None = None
        ) -> Stack:
            chosen = engine or request.config.getoption("--engine")
            settings = {"RESYNC_SCHEDULE": NEVER, **(settings or {})}
            key = object() if fresh else (frozenset(parts), frozenset(settings.items()), chosen)
            if key not in running:
                folder = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="stack-")))
                folder.chmod(0o755)  # PostgreSQL runs as another user when the tests run as root
                running[key] = Stack(folder, parts, settings, chosen).__enter__()
                real_parts.used_stack(running[key].parts)
            return running[key]

        yield get
        with ThreadPoolExecutor(max(1, len(running))) as leaving:  # each waits for its parts
            list(leaving.map(lambda stack: stack.__exit__(), running.values()))


@pytest.fixture
def become(monkeypatch: pytest.MonkeyPatch) -> Callable[[Stack, str], None]:
    """`become(stack, principal)`: from here on this process is `principal` in that stack."""

    def change(stack: Stack, principal: str) -> None:
        for name in set(os.environ) - set(clean(os.environ)):
            monkeypatch.delenv(name)
        for name, value in stack.topology.environment(principal).items():
            monkeypatch.setenv(name, value)

    return change


@pytest.fixture(scope="session")
def run_as() -> Callable[..., str]:
    """`run_as(stack, principal, script, **variables)`: what the script printed; it fails where the script does."""

    def run(stack: Stack, principal: str, script: str, **variables: str) -> str:
        environment = clean(os.environ) | stack.topology.environment(principal) | variables
        done = subprocess.run(
            [sys.executable, "-c", script],
            env=environment, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
