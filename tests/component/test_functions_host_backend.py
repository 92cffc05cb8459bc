"""The Durable backend as the local host runs it, without the host around it."""

from __future__ import annotations

from collections.abc import Iterator

import durabletask.internal.orchestrator_service_pb2 as pb
import durabletask.internal.orchestrator_service_pb2_grpc as stubs
import grpc
import pytest

from local.functions_host.backend import Backend
from local.functions_host.engine import Refused


@pytest.fixture
def backend() -> Iterator[Backend]:
    running = Backend()
    yield running
    running.stop(grace=0)


def test_wait_without_a_deadline_waits(backend: Backend) -> None:
    with grpc.insecure_channel(backend.start()) as channel:
        hub = stubs.TaskHubSidecarServiceStub(channel)
        hub.StartInstance(pb.CreateInstanceRequest(instanceId="one", name="flow"), timeout=5)
        waiting = hub.WaitForInstanceCompletion.future(pb.GetInstanceRequest(instanceId="one"))
        with pytest.raises(grpc.FutureTimeoutError):
            waiting.result(timeout=0.3)
        _complete(backend, pb.ORCHESTRATION_STATUS_COMPLETED)
        assert waiting.result(timeout=5).orchestrationState.orchestrationStatus == pb.ORCHESTRATION_STATUS_COMPLETED


def test_every_event_of_the_history_has_its_time(backend: Backend) -> None:
    backend.ask("StartInstance", pb.CreateInstanceRequest(instanceId="one", name="flow"))
    _complete(backend, pb.ORCHESTRATION_STATUS_COMPLETED)
    chunks = backend.ask("StreamInstanceHistory", pb.StreamInstanceHistoryRequest(instanceId="one"))
    events = [event for chunk in chunks for event in chunk.events]
    assert events[-1].HasField("executionCompleted")
    assert all(event.timestamp.seconds for event in events)


def test_direct_call_is_refused_with_the_reason(backend: Backend) -> None:
    with pytest.raises(Refused, match="'nobody' not found") as refused:
        backend.ask("RaiseEvent", pb.RaiseEventRequest(instanceId="nobody", name="x"))
    assert refused.value.code == grpc.StatusCode.NOT_FOUND


def test_who_has_ended_hears_nothing_more(backend: Backend) -> None:
    backend.ask("StartInstance", pb.CreateInstanceRequest(instanceId="one", name="flow"))
    _complete(backend, pb.ORCHESTRATION_STATUS_COMPLETED)
    for method, message in (
        ("RaiseEvent", pb.RaiseEventRequest(instanceId="one", name="x")),
        ("TerminateInstance", pb.TerminateRequest(instanceId="one")),
    ):
        with pytest.raises(Refused, match="has ended") as refused:
            backend.ask(method, message)
        assert refused.value.code == grpc.StatusCode.FAILED_PRECONDITION


def _complete(backend: Backend, status: pb.OrchestrationStatus) -> None:
    """What a worker would do with the only work item there is."""
    item = next(backend.ask("GetWorkItems", pb.GetWorkItemsRequest()))
    response = pb.OrchestratorResponse(instanceId="one", completionToken=item.completionToken)
    response.actions.add().completeOrchestration.orchestrationStatus = status
    backend.ask("CompleteOrchestratorTask", response)
