"""The mailbox of a server: one run at a time, and no change lost."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from functions.entities import server_mailbox
from functions.messages import Box
from tests.unit.facts import SERVER

KEY = SERVER.key


class Entity:
    """What of an entity's context is used. `started` are the runs that it started."""

    def __init__(self) -> None:
        self.state: Any = None
        self.started: list[tuple[str, Any, str]] = []
        self.entity_id = type("Id", (), {"key": KEY})()

    def get_state(self, kind: Any, default: Any) -> Any:
        return default if self.state is None else self.state

    def set_state(self, state: Any) -> None:
        self.state = state

    def schedule_new_orchestration(self, name: str, *, input: Any, instance_id: str) -> None:
        self.started.append((name, input, instance_id))


@pytest.fixture
def entity() -> Entity:
    return Entity()


@pytest.fixture
def box(entity: Entity) -> server_mailbox:
    box = server_mailbox._function._func.entity_function()
    box._initialize_entity_context(entity)  # type: ignore[arg-type]
    return box


def runs(entity: Entity) -> list[str]:
    return [run for _, _, run in entity.started]


def state(entity: Entity) -> Box:
    return msgspec.convert(entity.state, Box)


def test_a_look_starts_a_run_for_the_server(box: server_mailbox, entity: Entity) -> None:
    box.look()
    wanted = {"server": msgspec.to_builtins(SERVER)}
    assert entity.started == [("reconcile_server", wanted, f"{KEY}:1")]
    assert state(entity) == Box(runs=1, running=f"{KEY}:1")


def test_looks_during_a_run_are_one_run_more(box: server_mailbox, entity: Entity) -> None:
    for _ in range(5):
        box.look()
    assert runs(entity) == [f"{KEY}:1"]
    box.finished({"run": f"{KEY}:1"})
    assert runs(entity) == [f"{KEY}:1", f"{KEY}:2"]
    box.finished({"run": f"{KEY}:2"})
    assert state(entity) == Box(runs=2)
    assert len(entity.started) == 2


def test_a_run_that_is_not_the_present_one_ends_nothing(box: server_mailbox, entity: Entity) -> None:
    box.look()
    box.look()
    box.finished({"run": f"{KEY}:0"})
    box.finished({"run": ""})
    assert state(entity) == Box(runs=1, running=f"{KEY}:1", again=True)


def test_an_end_that_comes_twice_starts_nothing_more(box: server_mailbox, entity: Entity) -> None:
    box.look()
    for _ in range(2):
        box.finished({"run": f"{KEY}:1"})
    assert state(entity) == Box(runs=1)
    box.look()
    assert runs(entity) == [f"{KEY}:1", f"{KEY}:2"]


def test_a_malformed_end_fails_with_the_name_of_the_field(box: server_mailbox) -> None:
    with pytest.raises(msgspec.ValidationError, match=r"\$\.run"):
        box.finished({"run": 1})
