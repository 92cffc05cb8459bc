"""A stack of its own for the lives of servers: with two Fabric workspaces that the app may use, and mirrored databases
that are there at once.

The in-memory backend forgets all runs when its host ends, so that a wait which outlives a redeploy can't be shown here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest

from local.scenario import Operator, acting_as
from local.stack import PARTS, Stack
from tests.conftest import StackFactory
from tests.e2e.lifecycle.story import OTHER_WORKSPACE, WORKSPACE, Story

SETTINGS = {
    "ALLOWED_WORKSPACES": f"{WORKSPACE},{OTHER_WORKSPACE}",
    "DEFAULT_WORKSPACE": WORKSPACE,
    "POLL_SECONDS": "0.3",
}


def prepared_stack(stack_factory: StackFactory, settings: Mapping[str, str] | None = None) -> Stack:
    """A stack of this kind, with some more app settings."""
    stack = stack_factory(*PARTS, settings={**SETTINGS, **(settings or {})})
    stack.control("fabric", "PUT", "behaviour", {"initializingSeconds": 0})
    for name, workspace in (("Sales", WORKSPACE), ("Archive", OTHER_WORKSPACE)):
        stack.control("fabric", "PUT", f"workspaces/{workspace}", {"displayName": name})
    return stack


@pytest.fixture(scope="package")
def operator(stack_factory: StackFactory) -> Iterator[Operator]:
    stack = prepared_stack(stack_factory)
    with acting_as(stack, "operator"):
        person = Operator(stack)
        yield person
        person.close()


@pytest.fixture(scope="module")
def at_once(request: pytest.FixtureRequest, operator: Operator) -> Iterator[Callable[[Story], None]]:
    """`at_once(story)`: how a story ended. The chosen stories of a module are all told at the same time, each with a
    server of its own: most of their time is waiting."""
    stories: list[Story] = [
        item.callspec.params["story"]
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.module is request.module and "at_once" in item.fixturenames
    ]
    with ThreadPoolExecutor(len(stories)) as pool:
        running = {story: pool.submit(story, operator) for story in stories}
        yield lambda story: running[story].result()
