"""Carries work items from the Durable backend to the app's orchestrators, activities and entities, and the answers back.

A work item is always answered: a function that raises, or that the app does not have, becomes a failure of the item.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import durabletask.internal.orchestrator_service_pb2 as pb
from durabletask.entities import EntityInstanceId
from durabletask.internal.helpers import convert_to_entity_batch_request

from local.functions_host.backend import Backend
from local.functions_host.messages import TypedData
from local.functions_host.worker import App, Function, InvocationFailed

log = logging.getLogger("Host.Triggers.DurableTask")

REASON = "(null)"  # what the Durable extension gives


class Dispatcher:
    """Runs the work items of `backend` through `app`, at most `activities` activities at a time."""

    def __init__(self, app: App, backend: Backend, activities: int):
        self.app, self.backend = app, backend
        self.slots = asyncio.Semaphore(activities)
        self.running: set[asyncio.Task[None]] = set()
        self.orchestrators = _named(app, "orchestrationTrigger", "orchestration")
        self.activities = _named(app, "activityTrigger", "activity")
        self.entities = {name.lower(): f for name, f in _named(app, "entityTrigger", "entityName").items()}

    def start(self) -> None:
        """Take work from now on, until the backend stops."""
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._pump, args=(loop,), name="work-items", daemon=True).start()

    def _pump(self, loop: asyncio.AbstractEventLoop) -> None:
        while not self.backend.stopped:
            for item in self.backend.ask("GetWorkItems", pb.GetWorkItemsRequest()):
                loop.call_soon_threadsafe(self._take, item)

    def _take(self, item: pb.WorkItem) -> None:
        task = asyncio.get_running_loop().create_task(self._run(item))
        self.running.add(task)
        task.add_done_callback(self.running.discard)

    async def _run(self, item: pb.WorkItem) -> None:
        run: dict[str, Callable[[pb.WorkItem], Awaitable[None]]] = {
            "orchestratorRequest": self._run_orchestrator,
            "activityRequest": self._run_activity,
            "entityRequestV2": self._run_entity,
        }
        kind = item.WhichOneof("request")
        try:
            await run[kind](item)
        except Exception:
            log.exception("A work item of kind %s was lost", kind)

    async def _run_orchestrator(self, item: pb.WorkItem) -> None:
        work = item.orchestratorRequest
        response = pb.OrchestratorResponse(instanceId=work.instanceId)
        try:
            name = next(
                e.executionStarted.name for e in (*work.newEvents, *work.pastEvents) if e.HasField("executionStarted")
            )
            await self._through_worker(_known(self.orchestrators, name, "orchestrator"), work, response)
        except Exception as error:
            response = pb.OrchestratorResponse(instanceId=work.instanceId)
            response.actions.add().completeOrchestration.CopyFrom(
                pb.CompleteOrchestrationAction(
                    orchestrationStatus=pb.ORCHESTRATION_STATUS_FAILED, failureDetails=_failure(error)
                )
            )
        response.completionToken = item.completionToken
        self.backend.ask("CompleteOrchestratorTask", response)

    async def _run_activity(self, item: pb.WorkItem) -> None:
        work = item.activityRequest
        response = pb.ActivityResponse(
            instanceId=work.orchestrationInstance.instanceId, taskId=work.taskId, completionToken=item.completionToken
        )
        try:
            function = _known(self.activities, work.name, "activity")
            async with self.slots:
                value = TypedData(json=work.input.value if work.HasField("input") else "null")
                returned = await self.app.invoke(function, value, REASON)
            if returned is not None:
                response.result.value = returned.json
        except Exception as error:
            response.failureDetails.CopyFrom(_failure(error))
        self.backend.ask("CompleteActivityTask", response)

    async def _run_entity(self, item: pb.WorkItem) -> None:
        work = item.entityRequestV2
        batch, infos = convert_to_entity_batch_request(work)
        if not work.HasField("entityState"):
            batch.ClearField("entityState")
        result = pb.EntityBatchResult()
        try:
            name = EntityInstanceId.parse(work.instanceId).entity.lower()
            await self._through_worker(_known(self.entities, name, "entity"), batch, result)
        except Exception as error:
            failed = pb.OperationResult(failure=pb.OperationResultFailure(failureDetails=_failure(error)))
            result = pb.EntityBatchResult(results=[failed] * len(infos))
            if work.HasField("entityState"):
                result.entityState.CopyFrom(work.entityState)
        result.completionToken = item.completionToken
        del result.operationInfos[:]
        result.operationInfos.extend(infos)
        self.backend.ask("CompleteEntityTask", result)

    async def _through_worker(self, function: Function, request: Any, response: Any) -> None:
        """Orchestrators and entities take and return a message of Durable Task's, serialized, in base64."""
        value = TypedData(string=base64.b64encode(request.SerializeToString()).decode())
        returned = await self.app.invoke(function, value, REASON)
        if returned is None:
            raise RuntimeError(f"The function '{function.name}' returned nothing to the Durable extension.")
        response.ParseFromString(base64.b64decode(returned.string))


def _named(app: App, kind: str, property_name: str) -> dict[str, Function]:
    """The functions of a kind, by the name that orchestrations know them by."""
    return {function.trigger.get(property_name) or function.name: function for function in app.triggered_by(kind)}


def _known(functions: dict[str, Function], name: str, kind: str) -> Function:
    if name not in functions:
        known = ", ".join(f"'{known}'" for known in functions) or "none"
        raise LookupError(
            f"The function '{name}' doesn't exist, is disabled, or is not an {kind} function. Known {kind} functions: {known}."
        )
    return functions[name]


def _failure(error: Exception) -> pb.TaskFailureDetails:
    """Never without a message: the backend takes an activity's failure without one for a success."""
    if isinstance(error, InvocationFailed):
        details = pb.TaskFailureDetails(errorType=error.error_type, errorMessage=error.message)
        details.stackTrace.value = error.stack_trace
        return details
    return pb.TaskFailureDetails(errorType=type(error).__name__, errorMessage=str(error) or type(error).__name__)
