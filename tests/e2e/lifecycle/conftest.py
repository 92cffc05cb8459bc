"""A stack of its own for the lives of servers: with several Fabric workspaces that the app may use, a large quota, and
mirrored databases that are there at once.

The in-memory engine forgets all runs when its host ends: `tests/e2e/engine` shows what outlives that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest

from local.scenario import Operator, acting_as
from local.stack import PARTS, Stack
from local.topology import EXTENSION, IN_MEMORY
from tests.conftest import StackFactory
from tests.e2e.lifecycle.story import CONNECTION_GROUP, WORKSPACE, WORKSPACES, Story

QUOTA = 10_000
"""Calls to Fabric a minute: twenty-five servers at the same time are more than what is usual."""
SETTINGS = {
    "CONNECTION_GROUP": CONNECTION_GROUP,
    "ALLOWED_WORKSPACES": ",".join(WORKSPACES),
    "DEFAULT_WORKSPACE": WORKSPACE,
    "FABRIC_CALLS_PER_MINUTE": str(QUOTA),
    "POLL_SECONDS": "0.3",
}
AT_ONCE = 14
"""Stories, of which some wait for their turn with a server that they share; more would wait for the processor."""
ALL_SECONDS = {IN_MEMORY: 480, EXTENSION: 1_500}
"""For all of them, on a slow machine, by engine. Each wait within a story has a limit of its own."""


def pytest_itemcollected(item: pytest.Item) -> None:
    if "at_once" in getattr(item, "fixturenames", ()):
        item.add_marker(pytest.mark.timeout(ALL_SECONDS[item.config.getoption("--engine")]))


def prepared_stack(
    stack_factory: StackFactory, settings: Mapping[str, str] | None = None, engine: str | None = None
) -> Stack:
    """A stack of this kind, with some more app settings, and with an engine of its own choice."""
    stack = stack_factory(*PARTS, settings={**SETTINGS, **(settings or {})}, engine=engine)
    stack.control("fabric", "PUT", "behaviour", {"initializingSeconds": 0})
    stack.control("fabric", "PUT", "quota", {"calls": QUOTA, "seconds": 60})
    for number, workspace in enumerate(WORKSPACES):
        stack.control("fabric", "PUT", f"workspaces/{workspace}", {"displayName": f"Workspace {number}"})
    return stack


@pytest.fixture(scope="package")
def operator(stack_factory: StackFactory) -> Iterator[Operator]:
    stack = prepared_stack(stack_factory)
    with acting_as(stack, "operator"):
        person = Operator(stack)
        yield person
        person.close()


@pytest.fixture(scope="package")
def at_once(request: pytest.FixtureRequest, operator: Operator) -> Callable[[Story], None]:
    """`at_once(story)`: how a story ended. All stories that were chosen are told at the same time, each with a server
    of its own, since most of their time is waiting. They are over before any test goes on."""
    return told(request, "at_once", operator)


def told(request: pytest.FixtureRequest, fixture: str, operator: Operator) -> Callable[[Story], None]:
    """Tell the stories of all tests that use `fixture`."""
    stories: list[Story] = [
        item.callspec.params["story"]
        for item in request.session.items
        if isinstance(item, pytest.Function) and fixture in item.fixturenames
    ]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        running = {story: pool.submit(story, operator) for story in stories}
    return lambda story: running[story].result()
