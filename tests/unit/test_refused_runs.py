"""What a run does in spite of a refusal."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from functions.corridor import Problem, Value
from functions.orchestrations import reconcile_server
from shared.decisions.answers import Asked, Refuse, Release
from shared.desired.changes import GiveBackParameter
from shared.platform.reasons import Reason
from tests.unit.facts import SERVER

WHY = Reason("OwnershipWouldHarm", "m", "r")


class Context:
    """What of a Durable orchestration's context is used. `answers` are those of activities, by name."""

    instance_id = "run"
    current_utc_datetime = datetime(2026, 3, 1, tzinfo=UTC)

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.asked: list[tuple[str, Any]] = []

    def call_activity(self, name: str, *, input: dict[str, Any], retry_policy: object) -> str:
        self.asked.append((name, input["request"].get("database", "")))
        return name

    def set_custom_status(self, status: Any) -> None: ...

    def signal_entity(self, *signal: Any, **data: Any) -> None: ...

    def run(self) -> dict[str, Any]:
        steps = reconcile_server.serve(self, {"server": msgspec.to_builtins(SERVER)})  # type: ignore[arg-type]
        task = next(steps)
        while True:
            try:
                answer = self.answers.get(task)
                task = steps.send(msgspec.to_builtins(answer if isinstance(answer, Problem) else Value(answer)))
            except StopIteration as end:
                return end.value


def refused(**changes: Any) -> Any:
    return msgspec.to_builtins(Refuse(reasons=(WHY,), asked=Asked(), **changes))


def test_the_role_leaves_owners_that_have_become_strong() -> None:
    context = Context(decide_server=refused(leave=("crm", "shop")))
    ended = context.run()
    assert context.asked[1:3] == [("leave_strong_owners", "crm"), ("leave_strong_owners", "shop")]
    assert (ended["phase"], [reason["code"] for reason in ended["reasons"]]) == ("Blocked", [WHY.code])


def test_a_run_without_such_an_owner_changes_nothing() -> None:
    context = Context(decide_server=refused())
    context.run()
    assert [name for name, _ in context.asked] == ["decide_server", "record_outcome"]


def release(*names: str) -> Any:
    parameters = tuple(GiveBackParameter(name, "") for name in names)
    decision = Release(why="w", fingerprint="f", leaving=("shop",), parameters=parameters)
    return msgspec.to_builtins(decision)


def test_parameters_are_given_back_between_the_databases_and_the_role() -> None:
    context = Context(decide_server=release("a", "b"), start_operation="", release_server=[])
    assert context.run()["phase"] == "Released"
    assert [name for name, _ in context.asked[1:]] == [
        "release_mirror", "release_database", "start_operation", "start_operation", "release_server", "record_outcome",
    ]  # fmt: skip


def test_a_parameter_that_azure_does_not_let_go_of_stops_no_release() -> None:
    left = msgspec.to_builtins((Reason("ParametersLeft", "m", "r"),))
    context = Context(decide_server=release("a", "b"), start_operation=Problem(WHY), release_server=left)
    ended = context.run()
    assert (ended["phase"], [reason["code"] for reason in ended["reasons"]]) == ("Released", ["ParametersLeft"])
    assert "release_server" in [name for name, _ in context.asked]


def test_no_parameter_is_given_back_while_a_database_is_not_released() -> None:
    context = Context(decide_server=release("a"), release_database=Problem(WHY))
    assert context.run()["phase"] == "Blocked"
    assert not {"start_operation", "release_server"} & {name for name, _ in context.asked}
