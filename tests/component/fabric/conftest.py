"""A stack of the front door and the Fabric stand-in, and the callers that speak to it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from local.stack import Stack
from local.topology import Topology
from tests.component.fabric.callers import Caller, Control
from tests.real_parts import used_stack

PLENTY = {"calls": 1_000_000, "seconds": 60}


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Topology]:
    parts = ["front_door", "fabric"]
    with Stack(tmp_path_factory.mktemp("fabric"), parts) as running:
        used_stack(parts)
        yield running.topology


@pytest.fixture(autouse=True)
def control(stack: Topology, monkeypatch: pytest.MonkeyPatch) -> Control:
    """This process reaches the stack; the stand-in behaves, and does not count calls."""
    for name, value in stack.environment("operator").items():
        monkeypatch.setenv(name, value)
    control = Control(stack)
    control("DELETE", "faults")
    control("PUT", "quota", PLENTY)
    control("PUT", "behaviour", {"initializingSeconds": 0.1, "operationSeconds": 0.1})
    control("PUT", f"capacities/{stack.capacity}", {"state": "Active"})
    return control


@pytest.fixture(scope="session")
def app(stack: Topology) -> Caller:
    """The app's identity: Member of the workspace."""
    return Caller(stack, "id-fabric-mirror")


@pytest.fixture(scope="session")
def operator(stack: Topology) -> Caller:
    """A person: Admin of the workspace."""
    return Caller(stack, "operator")


@pytest.fixture(scope="session")
def stranger(stack: Topology) -> Caller:
    """Somebody without any role."""
    return Caller(stack, "azure")
