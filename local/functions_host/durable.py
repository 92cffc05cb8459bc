"""Carries work items from the Durable backend to orchestrators, activities and entities, and their answers back.

A work item is always answered: a function that raises, or that the app does not have, becomes a failure of the item.
"""

from __future__ import annotations

import asyncio
import base64
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import durabletask.internal.orchestrator_service_pb2 as pb
from durabletask.entities import EntityInstanceId
from durabletask.internal.helpers import convert_to_entity_batch_request

from local.functions_host.backend import Backend
from local.functions_host.messages import TypedData
from local.functions_host.worker import App, Function, InvocationFailed

REASON = "(null)"  # what the Durable extension gives
NAME_FIELDS = {"orchestrationTrigger": "orchestration", "activityTrigger": "activity", "entityTrigger": "entityName"}
Perform = Callable[[Any], Awaitable[Any]]
Fail = Callable[[Any, pb.TaskFailureDetails], Any]


class Dispatcher:
    """Runs the work items of `backend` through `app`, at most `concurrent_activities` activities at a time."""

    def __init__(self, app: App, backend: Backend, concurrent_activities: int):
        self.app, self.backend = app, backend
        self.slots = asyncio.Semaphore(concurrent_activities)
        self.running: set[asyncio.Task[None]] = set()
        self.orchestrators = functions_by_kind(app, "orchestrationTrigger")
        self.activities = functions_by_kind(app, "activityTrigger")
        self.entities = functions_by_kind(app, "entityTrigger")
        self.kinds: dict[str, tuple[Perform, Fail, str]] = {
            "orchestratorRequest": (self._orchestrate, _orchestration_failed, "CompleteOrchestratorTask"),
            "activityRequest": (self._act, _activity_failed, "CompleteActivityTask"),
            "entityRequestV2": (self._operate, _entity_failed, "CompleteEntityTask"),
        }

    def start(self) -> None:
        """Take work from now on, until the backend stops."""
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._pump, args=(loop,), name="work-items", daemon=True).start()

    def _pump(self, loop: asyncio.AbstractEventLoop) -> None:
        while not self.backend.stopped:
            for item in self.backend.ask("GetWorkItems", pb.GetWorkItemsRequest()):
                if not self.backend.stopped:
                    loop.call_soon_threadsafe(self._take, item)

    def _take(self, item: pb.WorkItem) -> None:
        task = asyncio.get_running_loop().create_task(self._run(item))
        self.running.add(task)
        task.add_done_callback(self.running.discard)

    async def _run(self, item: pb.WorkItem) -> None:
        kind = item.WhichOneof("request")
        perform, failed, complete = self.kinds[kind]
        work = getattr(item, kind)
        try:
            response = await perform(work)
        except Exception as error:  # noqa: BLE001 - whatever happens, the item is answered
            response = failed(work, _failure(error))
        response.completionToken = item.completionToken
        self.backend.ask(complete, response)

    async def _orchestrate(self, work: pb.OrchestratorRequest) -> pb.OrchestratorResponse:
        events = (*work.newEvents, *work.pastEvents)
        name = next(event.executionStarted.name for event in events if event.HasField("executionStarted"))
        function = _function(self.orchestrators, name, "an orchestrator")
        return pb.OrchestratorResponse.FromString(await self._through_worker(function, work))

    async def _act(self, work: pb.ActivityRequest) -> pb.ActivityResponse:
        function = _function(self.activities, work.name, "an activity")
        async with self.slots:
            returned = await self.app.invoke(function, TypedData(string=work.input.value or "null"), REASON)
        response = _activity_response(work)
        if returned is not None:
            response.result.value = returned.json
        return response

    async def _operate(self, work: pb.EntityRequest) -> pb.EntityBatchResult:
        batch, infos = convert_to_entity_batch_request(work)
        if not work.HasField("entityState"):
            batch.ClearField("entityState")
        function = _function(self.entities, EntityInstanceId.parse(work.instanceId).entity.lower(), "an entity")
        result = pb.EntityBatchResult.FromString(await self._through_worker(function, batch))
        result.operationInfos.extend(infos)
        return result

    async def _through_worker(self, function: Function, work: Any) -> bytes:
        """Orchestrators and entities take and return messages of Durable Task's, serialized, in base64."""
        value = TypedData(string=base64.b64encode(work.SerializeToString()).decode())
        returned = await self.app.invoke(function, value, REASON)
        if returned is None:
            raise RuntimeError(f"The function '{function.name}' returned nothing to the Durable extension.")
        return base64.b64decode(returned.string)


def _orchestration_failed(work: pb.OrchestratorRequest, failure: pb.TaskFailureDetails) -> pb.OrchestratorResponse:
    response = pb.OrchestratorResponse(instanceId=work.instanceId)
    response.actions.add().completeOrchestration.CopyFrom(
        pb.CompleteOrchestrationAction(orchestrationStatus=pb.ORCHESTRATION_STATUS_FAILED, failureDetails=failure)
    )
    return response


def _activity_failed(work: pb.ActivityRequest, failure: pb.TaskFailureDetails) -> pb.ActivityResponse:
    response = _activity_response(work)
    response.failureDetails.CopyFrom(failure)
    return response


def _activity_response(work: pb.ActivityRequest) -> pb.ActivityResponse:
    return pb.ActivityResponse(instanceId=work.orchestrationInstance.instanceId, taskId=work.taskId)


def _entity_failed(work: pb.EntityRequest, failure: pb.TaskFailureDetails) -> pb.EntityBatchResult:
    """Each operation failed, and the state is as it was."""
    _, infos = convert_to_entity_batch_request(work)
    failed = pb.OperationResult(failure=pb.OperationResultFailure(failureDetails=failure))
    result = pb.EntityBatchResult(results=[failed] * len(infos), operationInfos=infos)
    if work.HasField("entityState"):
        result.entityState.CopyFrom(work.entityState)
    return result


def functions_by_kind(app: App, kind: str) -> dict[str, Function]:
    """The functions with a trigger of this kind, by the name that orchestrations know them by: an entity's is in lower
    case."""
    field = NAME_FIELDS[kind]
    by_name = {function.trigger.get(field) or function.name: function for function in app.triggered_by(kind)}
    return {name.lower(): function for name, function in by_name.items()} if kind == "entityTrigger" else by_name


def _function(functions: dict[str, Function], name: str, kind: str) -> Function:
    if name not in functions:
        names = ", ".join(f"'{names}'" for names in functions) or "none"
        raise LookupError(f"The function '{name}' doesn't exist or is not {kind} function. Known ones: {names}.")
    return functions[name]


def _failure(error: Exception) -> pb.TaskFailureDetails:
    """Never without a message: the backend takes an activity's failure without one for a success."""
    if isinstance(error, InvocationFailed):
        details = pb.TaskFailureDetails(errorType=error.error_type, errorMessage=error.message)
        details.stackTrace.value = error.stack_trace
        return details
    return pb.TaskFailureDetails(errorType=type(error).__name__, errorMessage=str(error) or type(error).__name__)
