"""A run that may not prepare its server: what it does all the same."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from functions.corridor import Value
from functions.orchestrations import reconcile_server
from shared.decisions.answers import Asked, Refuse
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
                task = steps.send(msgspec.to_builtins(Value(self.answers.get(task))))
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
