"""A stack of its own whose orchestrations run on the real Durable extension, for what the in-memory engine can't show.

Without the program these tests are skipped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from local.scenario import Operator, acting_as
from local.stack import PARTS
from tests.conftest import StackFactory
from tests.e2e.lifecycle.conftest import prepared_stack

SETTINGS = {"FABRIC_CALLS_PER_MINUTE": "10000"}


@pytest.fixture(scope="package")
def operator(stack_factory: StackFactory, durable_extension: str) -> Iterator[Operator]:
    stack = prepared_stack(stack_factory, SETTINGS, durable_extension)
    assert set(PARTS) < set(stack.parts)
    with acting_as(stack, "operator"):
        person = Operator(stack)
        yield person
        person.close()


def pytest_itemcollected(item: pytest.Item) -> None:
    item.add_marker(pytest.mark.timeout(900))


@pytest.fixture
def pause() -> Callable[[float], None]:
    """`pause(seconds)`: let time pass while something is out of order. Nothing else says that it lasted long enough."""
    return time.sleep
