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

HOST_JSON = "AzureFunctionsJobHost__extensions__durableTask__storageProvider__"
VISIBLE_AGAIN_SECONDS = 8
SETTINGS = {f"{HOST_JSON}maxQueuePollingInterval": "00:00:00.5", f"{HOST_JSON}partitionCount": "2"}
"""Other than in host.json: nobody waits long for a queue that was empty, and two hosts have enough partitions."""


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
def hastened(operator: Operator) -> Iterator[None]:
    """What a dead host had in hand is there again after some seconds: the extension takes no less than a minute."""
    operator.stack.control("storage", "POST", "faults", {"kind": "hasten", "seconds": VISIBLE_AGAIN_SECONDS})
    yield
    operator.stack.control("storage", "DELETE", "faults")


@pytest.fixture
def pause() -> Callable[[float], None]:
    """`pause(seconds)`: let time pass while something is out of order. Nothing else says that it lasted long enough."""
    return time.sleep
