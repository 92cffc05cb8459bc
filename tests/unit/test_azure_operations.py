"""What the app makes of the answers of Azure Resource Manager to a change of a server, and to its operation."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from functions.flow import Refused
from functions.messages import OperationOutcome
from functions.orchestrations import OPERATION_PAUSES, Run, _operate
from shared.desired.changes import Progress, Restart, SetParameter
from shared.platform.errors import Blocked, MirrorError, NotAllowed, Unavailable
from shared.platform.reasons import Reason
from shared.source import server
from shared.source.refusals import is_refused
from tests.unit.facts import SERVER
from tests.unit.wire import HTML, JSON, Says, Wired, wired

__all__ = ["wired"]

CHANGE = SetParameter("wal_level", "logical")
DOING = "Setting parameter 'wal_level' to 'logical' on server 'pg-shop'"
OPERATION = "https://management.azure.com/subscriptions/s/operations/o-1"
ACCEPTED = Says(202, headers={**JSON, "Azure-AsyncOperation": OPERATION, "Location": f"{OPERATION}/result"})


def refusal(status: int, code: str, message: str = "Why.") -> Says:
    return Says(status, msgspec.json.encode({"error": {"code": code, "message": message}}))


@pytest.mark.parametrize(
    ("status", "code", "kind", "as_code", "remedy"),
    [
        (403, "RequestDisallowedByPolicy", Blocked, "RequestDisallowedByPolicy", "Azure Policy assignment"),
        (403, "AuthorizationFailed", NotAllowed, "NotAllowed", "the role 'Flexible server mirroring'"),
        (403, "LinkedAuthorizationFailed", NotAllowed, "NotAllowed", "the role"),
        (403, "RequestDisallowedByAzure", Blocked, "RequestDisallowedByAzure", "Correct what the service names"),
        (409, "ScopeLocked", Blocked, "ScopeLocked", "Remove the lock"),
        (409, "ReadOnlyDisabledSubscription", Blocked, "ReadOnlyDisabledSubscription", "Enable the subscription"),
        (409, "ServerIsNotReady", Unavailable, "Unavailable", "tries again by itself"),
        (400, "ServerIsNotReady", Unavailable, "Unavailable", "tries again by itself"),
        (409, "ServerIsBusy", Unavailable, "Unavailable", "tries again by itself"),
        (409, "Conflict", Unavailable, "Unavailable", "tries again by itself"),
        (409, "AnotherOperationInProgress", Unavailable, "Unavailable", "tries again by itself"),
        (409, "ConflictingServerName", Blocked, "ConflictingServerName", "Correct what the service names"),
        (429, "TooManyRequests", Unavailable, "Unavailable", "tries again by itself"),
        (404, "ResourceNotFound", Unavailable, "ServerNotFound", "Check that the server exists"),
        (400, "InvalidParameterValue", Blocked, "InvalidParameterValue", "Correct what the service names"),
    ],
)
async def test_a_refusal_has_its_true_reason_and_remedy(
    wired: Wired, status: int, code: str, kind: type[MirrorError], as_code: str, remedy: str
) -> None:
    wired(refusal(status, code))
    with pytest.raises(kind) as refused:
        await server.begin(SERVER, CHANGE)
    assert type(refused.value) is kind
    assert refused.value.code == as_code
    assert refused.value.message.startswith(DOING)
    assert f"Why. ({code})" in refused.value.message
    assert remedy in refused.value.remedy
    assert kind is NotAllowed or "role 'Flex" not in refused.value.remedy
    assert is_refused(refused.value) is (status != 429)


@pytest.mark.parametrize(
    "answer",
    [Says(202), Says(202, b"<html>"), Says(200, b"null"), Says(202, b'{"na', ACCEPTED.headers), Says(200, b"[]")],
)
async def test_an_answer_that_names_no_operation_is_none(wired: Wired, answer: Says) -> None:
    wire = wired(answer)
    for change in (CHANGE, Restart()):
        with pytest.raises(
            Unavailable, match=r"can't read, HTTP 20. with \d+ bytes names no operation|, which it does not document"
        ):
            await server.begin(SERVER, change)
    assert len(wire.sent) == 2, "a change may be under way, so it is not sent again here"


async def polled(wired: Wired, *answers: Says) -> Progress:
    wired(ACCEPTED, *answers)
    return await server.poll(SERVER, CHANGE, await server.begin(SERVER, CHANGE))


def state(status: str, code: str = "", message: str = "Why.") -> Says:
    error = {"error": {"code": code, "message": message}} if code else {}
    return Says(200, msgspec.json.encode({"status": status, **error}))


async def test_an_operation_goes_on_and_ends(wired: Wired) -> None:
    assert not (await polled(wired, state("InProgress"))).done
    assert not (await polled(wired, state("Pondering"))).done
    done = await polled(wired, state("Succeeded"))
    assert (done.done, done.again) == (True, None)


@pytest.mark.parametrize(
    "code",
    [
        "InternalServerError", "ServerBusy", "ServerIsBusy", "ServerIsNotReady", "OperationTimedOut", "Conflict",
        "ServiceUnavailable", "TooManyRequests", "OperationPreempted", "RetryableError", "GatewayTimeout",
    ],
)  # fmt: skip
async def test_an_operation_that_failed_for_what_passes_is_begun_again(wired: Wired, code: str) -> None:
    progress = await polled(wired, state("Failed", code))
    assert not progress.done
    assert progress.again
    assert (progress.again.code, progress.again.message) == (code, f"{DOING} failed: Why. ({code})")
    assert progress.again.remedy


async def test_an_operation_that_failed_for_good_says_why(wired: Wired) -> None:
    with pytest.raises(Blocked, match=r"failed: Why\. \(ParameterNotValid\)") as failed:
        await polled(wired, state("Failed", "ParameterNotValid"))
    assert (failed.value.code, bool(failed.value.remedy)) == ("ParameterNotValid", True)
    with pytest.raises(Blocked) as failed:
        await polled(wired, state("Failed", "RequestDisallowedByPolicy"))
    assert "Azure Policy assignment" in failed.value.remedy


@pytest.mark.parametrize("status", ["Failed", "Canceled"])
async def test_an_operation_that_ended_without_a_reason_says_so(wired: Wired, status: str) -> None:
    again = (await polled(wired, state(status))).again
    assert again
    assert again.message == f"{DOING} failed: the operation is {status}, and Azure gives no reason"
    assert (again.code, bool(again.remedy)) == ("OperationFailed", True)


@pytest.mark.parametrize(
    "answer",
    [
        Says(200, b'{"status": "Fai'), Says(200, b"null"), Says(200), Says(200, b"<html>", HTML), Says(200, b"{}"),
        Says(200, b'{"status": null}'), refusal(503, "ServiceUnavailable"), Says(502, b"<html>", HTML),
    ],
)  # fmt: skip
async def test_a_garbled_state_of_an_operation_is_asked_for_again(wired: Wired, answer: Says) -> None:
    """It neither ended the operation nor says how it ended."""
    with pytest.raises(Unavailable, match=f"^{DOING}") as unavailable:
        await polled(wired, answer)
    assert unavailable.value.code == "Unavailable"
    assert "OK" not in unavailable.value.message


async def test_an_operation_that_azure_no_longer_knows_is_begun_again(wired: Wired) -> None:
    again = (await polled(wired, refusal(404, "OperationIdNotFound"))).again
    assert again
    assert again.code == "OperationLost"
    assert "no longer knows the operation" in again.message


@pytest.mark.parametrize("body", [b"{}", b'{"id": "x", "properties": null}'])
async def test_a_server_without_properties_is_no_old_server(wired: Wired, body: bytes) -> None:
    wired(Says(200, body))
    for look in (server.observe, server.glance):
        with pytest.raises(Unavailable, match="with no properties"):
            await look(SERVER)


class Context:
    """What of an orchestration's context `_operate` uses. Its time passes in timers."""

    instance_id = "run"

    def __init__(self) -> None:
        self.current_utc_datetime = datetime(2026, 3, 1, tzinfo=UTC)
        self.waits: list[timedelta] = []
        self.begun = 0

    def set_custom_status(self, _: object) -> None:
        return

    def call_activity(self, name: str, **_: Any) -> str:
        self.begun += 1
        return name

    def call_sub_orchestrator(self, name: str, **_: Any) -> str:
        return name

    def create_timer(self, wait: timedelta) -> str:
        self.waits.append(wait)
        self.current_utc_datetime += wait
        return "timer"


AGAIN = OperationOutcome(None, Reason("InternalServerError", "m", "r"))
DONE = OperationOutcome(None)


def operate(context: Context, outcomes: list[OperationOutcome], limit: timedelta = timedelta(hours=1)) -> None:
    left = iter(outcomes)
    steps: Generator[Any, Any] = _operate(Run(context, SERVER), Restart(), limit)  # type: ignore[arg-type]
    answer: object = None
    with suppress(StopIteration):
        while task := steps.send(answer):
            match task:
                case "start_operation":
                    answer = {"type": "value", "value": "token"}
                case "wait_for_operation":
                    answer = msgspec.to_builtins(next(left))
                case _:
                    answer = None


def test_a_change_whose_operation_passes_is_begun_once() -> None:
    context = Context()
    operate(context, [DONE])
    assert (context.begun, context.waits) == (1, [])


def test_a_change_whose_operation_fails_for_what_passes_is_begun_again_and_again() -> None:
    context = Context()
    operate(context, [AGAIN, AGAIN, DONE])
    assert (context.begun, context.waits) == (3, list(OPERATION_PAUSES))


def test_a_change_is_not_begun_without_end() -> None:
    context = Context()
    with pytest.raises(Refused) as refused:
        operate(context, [AGAIN] * 9)
    assert (refused.value.reason, context.begun) == (AGAIN.again, 3)
    context = Context()
    with pytest.raises(Refused):
        operate(context, [AGAIN] * 9, timedelta(seconds=30))
    assert context.begun == 2


def test_what_a_person_has_to_do_is_not_tried_again() -> None:
    context, problem = Context(), Reason("ScopeLocked", "m", "r")
    with pytest.raises(Refused) as refused:
        operate(context, [OperationOutcome(problem)])
    assert (refused.value.reason, context.begun) == (problem, 1)
