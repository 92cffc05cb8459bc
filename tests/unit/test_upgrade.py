"""What becomes of a run that an earlier version of the app began.

Histories from the real Durable extension are replayed with orchestrators that were changed, or go on otherwise.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import durabletask.internal.orchestrator_service_pb2 as pb
import pytest

from functions import activities, flow, orchestrations
from functions.corridor import Flow
from functions.orchestrations import Run
from tests import replay

HISTORIES = Path(__file__).resolve().parent.parent / "histories"
OUTDATED = "durabletask.task.NonDeterminismError"


def recorded(name: str) -> pb.OrchestratorRequest:
    message = json.loads((HISTORIES / f"reconcile_server-{name}.json").read_bytes())["message"]
    return pb.OrchestratorRequest.FromString(base64.b64decode(message))


def actions(request: pb.OrchestratorRequest) -> list[Any]:
    """What the run does then."""
    message = base64.b64encode(request.SerializeToString()).decode()
    answer = replay.replay("reconcile_server", message)
    return list(pb.OrchestratorResponse.FromString(base64.b64decode(answer)).actions)


def signals(actions: list[Any]) -> list[str]:
    """The names of the signals to the mailbox, in order."""
    sent = [
        action.sendEntityMessage.entityOperationSignaled for action in actions if action.HasField("sendEntityMessage")
    ]
    return [signal.operation for signal in sent]


def phase(actions: list[Any]) -> str:
    """The phase that the run ends with."""
    [end] = [action.completeOrchestration for action in actions if action.HasField("completeOrchestration")]
    assert end.orchestrationStatus == pb.ORCHESTRATION_STATUS_COMPLETED
    return str(json.loads(end.result.value)["phase"])


def asking_first(run: Run) -> Flow[Any]:
    """Another first step than that of the recorded run."""
    return run.call(activities.find_pending_restart, run.of_server)


def test_a_run_whose_steps_were_changed_fails_without_a_word_to_its_mailbox(monkeypatch: pytest.MonkeyPatch) -> None:
    """So the sweep's timer, the resync and each look have to find it."""
    monkeypatch.setattr(orchestrations, "_decide", asking_first)
    [only] = actions(recorded("waits-for-approval"))
    assert only.completeOrchestration.orchestrationStatus == pb.ORCHESTRATION_STATUS_FAILED
    assert only.completeOrchestration.failureDetails.errorType == OUTDATED


@pytest.mark.parametrize(
    ("error", "ends_as"), [(OUTDATED, "Superseded"), ("ValueError", None)], ids=["outdated", "any other failure"]
)
def test_a_run_of_whose_parts_the_steps_were_changed_has_its_server_looked_at_again(
    error: str, ends_as: str | None
) -> None:
    request = recorded("prepared")
    events = [*request.pastEvents]
    at = next(n for n, event in enumerate(events) if event.HasField("subOrchestrationInstanceCompleted"))
    failed = pb.HistoryEvent(
        eventId=-1,
        timestamp=events[at].timestamp,
        subOrchestrationInstanceFailed=pb.SubOrchestrationInstanceFailedEvent(
            taskScheduledId=events[at].subOrchestrationInstanceCompleted.taskScheduledId,
            failureDetails=pb.TaskFailureDetails(errorType=error, errorMessage="on order"),
        ),
    )
    del request.pastEvents[at - 1 :], request.newEvents[:]
    request.newEvents.extend([events[at - 1], failed])
    done = actions(request)
    if ends_as:
        assert (phase(done), signals(done)) == (ends_as, ["look", "finished"])
    else:
        assert [action.scheduleTask.name for action in done if action.HasField("scheduleTask")] == ["record_outcome"]


@pytest.mark.parametrize("most", [1, 2])
def test_a_wait_goes_on_in_another_run_after_many_looks(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr(orchestrations, "MOST_LOOKS", most)
    request = recorded("waits-for-approval")
    begun = request.newEvents[0]
    [scheduled] = actions(request)[-1:]
    assert scheduled.scheduleTask.name == "is_still_waiting"
    answered = pb.HistoryEvent(
        eventId=-1,
        timestamp=begun.timestamp,
        taskCompleted=pb.TaskCompletedEvent(taskScheduledId=scheduled.id),
    )
    answered.taskCompleted.result.value = json.dumps({"type": "value", "value": True})
    nudged = pb.HistoryEvent(eventId=-1, timestamp=begun.timestamp, eventRaised=pb.EventRaisedEvent(name="look-again"))
    nudged.eventRaised.input.value = "{}"
    request.newEvents.extend([answered, nudged])
    done = actions(request)
    if most == 1:
        assert (phase(done), signals(done)) == ("Superseded", ["look", "finished"])
    else:
        assert signals(done) == []


def test_only_a_history_that_is_not_replayed_is_outdated() -> None:
    assert not flow.is_outdated(flow.Superseded())
    assert not flow.is_outdated(ValueError(OUTDATED))
