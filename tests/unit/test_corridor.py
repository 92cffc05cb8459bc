"""What travels between orchestrations and activities: typed at both ends, plain JSON in between."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from typing import Any

import azure.durable_functions as df
import msgspec
import pytest

from functions import activities, messages, orchestrations, suborchestrations, sweeps
from functions.corridor import Activity, Context, Event, Flow, Later, Orchestration, Problem, Value, activity
from shared.decisions.run import Asked, Forget, Nothing, Refuse, Release
from shared.desired.changes import SetParameter
from shared.platform import errors
from shared.platform.reasons import Reason
from tests.source import ROOT
from tests.unit.facts import SERVER


class Ask(msgspec.Struct, frozen=True):
    """A request."""

    number: int


class Told(msgspec.Struct, frozen=True):
    """An answer."""

    half: float


async def halve(request: Ask) -> Told:
    if request.number == 0:
        raise errors.Blocked("Nothing to halve.", code="Nothing", remedy="Send more.")
    if request.number < 0:
        raise errors.Unavailable("Not now.", code="Busy", retry_after=3, patience=60)
    return Told(request.number / 2)


HALVE = Activity(halve)


async def served(number: object) -> Any:
    return HALVE.answer(json.loads(json.dumps(await HALVE.serve({"run": "r", "request": {"number": number}}))))


async def test_an_activity_answers_with_its_type() -> None:
    assert await served(7) == Value(Told(3.5))


async def test_what_a_person_has_to_do_is_a_problem_and_what_may_pass_is_later() -> None:
    assert await served(0) == Problem(Reason("Nothing", "Nothing to halve.", "Send more."))
    assert await served(-1) == Later(Reason("Busy", "Not now.", errors.Unavailable.usual_remedy), 3, 60)


@pytest.mark.parametrize(
    ("payload", "path"),
    [
        ({"run": "r", "request": {"number": "7"}}, "$.request.number"),
        ({"run": 1, "request": {"number": 7}}, "$.run"),
        ({"run": "r", "request": {}}, "number"),
        ({"run": "r"}, "request"),
        ([], "object"),
    ],
)
async def test_a_malformed_message_fails_with_the_name_of_the_field(payload: object, path: str) -> None:
    with pytest.raises(msgspec.ValidationError) as why:
        await HALVE.serve(payload)
    assert path in str(why.value)


def test_a_malformed_answer_fails_with_the_name_of_the_field() -> None:
    with pytest.raises(msgspec.ValidationError, match=r"\$\.value\.half"):
        HALVE.answer({"type": "value", "value": {"half": "much"}})
    with pytest.raises(msgspec.ValidationError, match=r"\$\.type"):
        HALVE.answer({"type": "perhaps"})


def test_a_malformed_event_fails_with_the_name_of_the_field() -> None:
    class Arrived:
        def get_result(self) -> object:
            return {"restart": "yes"}

    with pytest.raises(msgspec.ValidationError, match=r"\$\.restart"):
        Event("restart-decision", messages.RestartDecision).read(Arrived())  # type: ignore[arg-type]


def double(ctx: Context, request: Ask) -> Flow[Told]:
    yield ctx.create_timer(request.number)  # type: ignore[arg-type]
    return Told(2.0 * request.number)


class Timers:
    def create_timer(self, seconds: int) -> int:
        return seconds


def test_an_orchestration_is_typed_inside_and_plain_outside() -> None:
    doubled = Orchestration(double)
    steps = doubled.serve(Timers(), {"number": 4})  # type: ignore[arg-type]
    assert next(steps) == 4  # type: ignore[comparison-overlap]
    with pytest.raises(StopIteration) as end:
        next(steps)
    assert end.value.value == {"half": 8.0}
    assert doubled.answer(end.value.value) == Told(8.0)
    with pytest.raises(msgspec.ValidationError, match=r"\$\.number"):
        next(doubled.serve(Timers(), {"number": None}))  # type: ignore[arg-type]


def test_decisions_come_back_as_they_were_whatever_they_say() -> None:
    read = activities.decide_server.answer
    refused = Refuse(reasons=(Reason("X", "x"),), asked=Asked(databases=("shop",), rotation=3))
    for decision in (refused, *map(_empty, (Release, Forget, Nothing))):
        written = json.loads(json.dumps(msgspec.to_builtins(Value(decision))))
        assert read(written) == Value(decision)


def _empty(kind: Any) -> Any:
    return msgspec.convert(
        {"why": "", "leaving": [], "fingerprint": "", "type": _tag(kind), "reasons": [], "asked": {}}, kind
    )


def _tag(kind: Any) -> str:
    return str(kind.__struct_config__.tag)


def test_a_change_keeps_its_kind() -> None:
    operation = messages.Operation(server=SERVER, change=SetParameter("wal_level", "logical"))
    written = json.loads(json.dumps(msgspec.to_builtins(operation)))
    assert msgspec.convert(written, messages.Operation) == operation


def test_the_worker_sees_one_parameter_and_the_functions_own_name() -> None:
    blueprint = df.Blueprint()
    activity(blueprint)(halve)
    registered = blueprint._function_builders[-1]._function
    assert registered.get_function_name() == "halve"
    assert list(inspect.signature(registered.get_user_function()).parameters) == ["payload"]


@pytest.mark.parametrize("module", [activities, orchestrations, suborchestrations, sweeps])
def test_no_message_holds_what_only_the_python_of_today_understands(module: Any) -> None:
    """A history outlives a deployment: each request can be described as JSON, and has no field of any type."""
    handles = [value for value in vars(module).values() if isinstance(value, Activity | Orchestration)]
    assert handles
    for handle in handles:
        request = handle._message if isinstance(handle, Activity) else handle._request
        for kind in (request, handle._answer):
            assert json.loads(json.dumps(msgspec.json.schema(kind))), handle.name


def test_no_thread_is_the_first_to_decode_a_type() -> None:
    """Two that are the first at the same time end the process: msgspec collects what a type is without a lock."""
    command = [sys.executable, "-m", "tests.unit.decode_in_threads"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
