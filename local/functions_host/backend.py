"""Durable Task's in-memory backend as this host runs it: on loopback only, and called directly by the host itself.

On Azure the Durable extension lives in the host's process, and only the app speaks gRPC to it. It is the same here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent import futures
from typing import Any, NoReturn

import durabletask.internal.orchestrator_service_pb2 as pb
import durabletask.internal.orchestrator_service_pb2_grpc as stubs
import grpc  # type: ignore[import-untyped]
from durabletask.testing.in_memory_backend import InMemoryOrchestrationBackend, OrchestrationInstance
from google.protobuf import timestamp_pb2  # type: ignore[import-untyped]

from local.functions_host.engine import Refused

GRPC_WORKERS = 64
LONGEST_HISTORY = 1_000_000


class Direct:
    """What the backend's methods need of a gRPC context, for calls within the process."""

    def is_active(self) -> bool:
        return True

    def time_remaining(self) -> None:
        return None

    def abort(self, code: grpc.StatusCode, details: str) -> NoReturn:
        raise Refused(code, details)


class Backend(InMemoryOrchestrationBackend):
    """The library's backend, which is meant for unit tests, with what a host needs besides."""

    def __init__(self) -> None:
        super().__init__(max_history_size=LONGEST_HISTORY)

    def start(self) -> str:
        """Listen on a free port of 127.0.0.1, and return the address. The library itself would bind every interface."""
        options = [("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)]
        server = grpc.server(futures.ThreadPoolExecutor(GRPC_WORKERS), options=options)
        stubs.add_TaskHubSidecarServiceServicer_to_server(self, server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        self._server = server
        return f"127.0.0.1:{port}"

    @property
    def stopped(self) -> bool:
        return self._shutdown_event.is_set()

    def ask(self, method: str, message: Any) -> Any:
        """Call `method` of the backend's service without gRPC. Raises `Refused`."""
        return getattr(self, method)(message, Direct())

    def CompleteOrchestratorTask(self, request: pb.OrchestratorResponse, context: Any) -> pb.CompleteTaskResponse:
        """As in the library. Then the backend reads its queue at once; the library would wait for its tick of 0.1 s."""
        with self._lock:
            answer = super().CompleteOrchestratorTask(request, context)
            instance = self._instances.get(request.instanceId)
            _stamp(instance.history if instance else [])
        self._work_available.set()
        return answer

    def RaiseEvent(self, request: pb.RaiseEventRequest, context: Any) -> pb.RaiseEventResponse:  # noqa: N802
        """As in the library; and refused where the orchestration has ended, as by the Durable extension."""
        self._refuse_ended(request.instanceId, context)
        return super().RaiseEvent(request, context)

    def TerminateInstance(self, request: pb.TerminateRequest, context: Any) -> pb.TerminateResponse:  # noqa: N802
        """Likewise."""
        self._refuse_ended(request.instanceId, context)
        return super().TerminateInstance(request, context)

    def _refuse_ended(self, instance_id: str, context: Any) -> None:
        with self._lock:
            instance = self._instances.get(instance_id)
            has_ended = instance is not None and self._is_terminal_status(instance.status)
        if has_ended:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, f"The orchestration '{instance_id}' has ended.")

    def _enqueue_orchestration(self, instance_id: str) -> None:
        _stamp(self._instances[instance_id].pending_events)
        super()._enqueue_orchestration(instance_id)

    def _wait_for_state(
        self, instance_id: str, predicate: Callable[[OrchestrationInstance], bool], timeout: float | None
    ) -> OrchestrationInstance | None:
        # The library takes "no limit" for 30 s, so that the parent of a longer sub-orchestration would never hear of
        # its end; and a gRPC call without a deadline comes with a number that no lock can wait for.
        return super()._wait_for_state(
            instance_id, predicate, min(timeout or threading.TIMEOUT_MAX, threading.TIMEOUT_MAX)
        )


def _stamp(events: list[pb.HistoryEvent]) -> None:
    """Give the newest events the time that they happened at: the library leaves most of them without."""
    now = timestamp_pb2.Timestamp()
    now.GetCurrentTime()
    for event in reversed(events):
        if event.timestamp.seconds:
            return
        event.timestamp.CopyFrom(now)
