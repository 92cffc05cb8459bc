"""The HTTP API of the Durable extension: where the links of a check-status response point to.

Paths, statuses and bodies are those of "HTTP API reference" in the Durable Functions documentation.
"""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, unquote

import durabletask.internal.orchestrator_service_pb2 as pb
import grpc  # type: ignore[import-untyped]
from aiohttp import web
from azure.durable_functions.internal.compat.history_projection import project_history
from durabletask.entities import EntityInstanceId
from durabletask.history import _from_protobuf as history_event
from google.protobuf import wrappers_pb2  # type: ignore[import-untyped]

from local.functions_host.engine import Engine, Refused, find
from local.functions_host.keys import Keys

PATH = "/runtime/webhooks/durabletask"
PAGE = 100
STATUSES = {
    "Running": pb.ORCHESTRATION_STATUS_RUNNING,
    "Completed": pb.ORCHESTRATION_STATUS_COMPLETED,
    "ContinuedAsNew": pb.ORCHESTRATION_STATUS_CONTINUED_AS_NEW,
    "Failed": pb.ORCHESTRATION_STATUS_FAILED,
    "Canceled": pb.ORCHESTRATION_STATUS_CANCELED,
    "Terminated": pb.ORCHESTRATION_STATUS_TERMINATED,
    "Pending": pb.ORCHESTRATION_STATUS_PENDING,
    "Suspended": pb.ORCHESTRATION_STATUS_SUSPENDED,
}
NAMES = {number: name for name, number in STATUSES.items()}
ENDED = ("Completed", "Failed", "Canceled", "Terminated")
OPERATIONS: dict[str, tuple[str, Any, str]] = {  # the backend's method, its message, and the field for the reason
    "terminate": ("TerminateInstance", pb.TerminateRequest, "output"),
    "suspend": ("SuspendInstance", pb.SuspendRequest, "reason"),
    "resume": ("ResumeInstance", pb.ResumeRequest, "reason"),
    "rewind": ("RewindInstance", pb.RewindInstanceRequest, "reason"),
    "restart": ("RestartInstance", pb.RestartInstanceRequest, ""),
}


class Management:
    """Orchestrations and entities over HTTP, for whoever holds the extension's system key."""

    def __init__(self, engine: Engine, keys: Keys):
        self.engine, self.keys = engine, keys

    async def handle(self, request: web.Request) -> web.Response:
        refusal = self.keys.refusal(request, "durabletask_extension")
        if refusal:
            return refusal
        path = request.raw_path.partition("?")[0].removeprefix(PATH).strip("/")
        try:
            return await self._route(request, [unquote(part) for part in path.split("/")])
        except web.HTTPBadRequest as bad:
            return web.json_response({"Message": bad.text}, status=400)
        except Refused as refused:
            away = refused.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
            return web.json_response({"Message": refused.details}, status=503 if away else 400)

    async def _route(self, request: web.Request, parts: list[str]) -> web.Response:
        match request.method, parts:
            case "POST", ["orchestrators", name, *ids] if len(ids) <= 1:
                return await self._start(request, name, *ids)
            case "GET", ["instances"]:
                return await self._list_instances(request)
            case "DELETE", ["instances"]:
                return await self._purge_by_filter(request)
            case "GET", ["instances", instance]:
                return await self._status(request, instance)
            case "DELETE", ["instances", instance]:
                return await self._purge(instance)
            case "POST", ["instances", instance, "raiseEvent", name]:
                return await self._raise_event(request, instance, name)
            case "POST", ["instances", instance, operation] if operation in OPERATIONS:
                return await self._operate(request, instance, operation)
            case "GET", ["entities", name, key]:
                return await self._entity(name, key)
            case "GET", ["entities", *names] if len(names) <= 1:
                return await self._list_entities(request, *names)
        return web.Response(status=404)

    async def _start(self, request: web.Request, name: str, instance: str = "") -> web.Response:
        instance = instance or uuid.uuid4().hex
        state = await find(self.engine, instance)
        if state and NAMES[state.orchestrationStatus] not in ENDED:
            status = NAMES[state.orchestrationStatus]
            message = f"An Orchestration instance with the status {status} already exists."
            return web.json_response({"Message": message}, status=409)
        new = pb.CreateInstanceRequest(instanceId=instance, name=name)
        _text(new, "input", await request.text())
        await self.engine.ask("StartInstance", new)
        return _accepted(request, instance)

    async def _status(self, request: web.Request, instance: str) -> web.Response:
        state = await find(self.engine, instance)
        if state is None:
            return web.Response(status=404)
        body = _status_body(state, _flag(request, "showInput", default=True))
        if _flag(request, "showHistory"):
            body["historyEvents"] = await self._history(request, instance)
        if body["runtimeStatus"] not in ENDED:
            return web.json_response(body, status=202, headers={"Location": str(request.url), "Retry-After": "5"})
        failed = body["runtimeStatus"] == "Failed" and _flag(request, "returnInternalServerErrorOnFailure")
        return web.json_response(body, status=500 if failed else 200)

    async def _history(self, request: web.Request, instance: str) -> list[dict[str, Any]]:
        return project_history(
            [history_event(event) for event in await self.engine.history(instance)],
            show_input=_flag(request, "showInput", default=True),
            show_history_output=_flag(request, "showHistoryOutput"),
        )

    async def _list_instances(self, request: web.Request) -> web.Response:
        query = pb.InstanceQuery(
            maxInstanceCount=_number(request, "top", PAGE), fetchInputsAndOutputs=True, **_filter(request)
        )
        _text(query, "instanceIdPrefix", request.query.get("instanceIdPrefix"))
        _text(query, "continuationToken", request.headers.get("x-ms-continuation-token"))
        answer = await self.engine.ask("QueryInstances", pb.QueryInstancesRequest(query=query))
        show_input = _flag(request, "showInput", default=True)
        return _page([_status_body(state, show_input) for state in answer.orchestrationState], answer.continuationToken)

    async def _purge(self, instance: str) -> web.Response:
        if await find(self.engine, instance) is None:
            return web.Response(status=404)
        purged = await self.engine.ask("PurgeInstances", pb.PurgeInstancesRequest(instanceId=instance))
        return web.json_response({"instancesDeleted": purged.deletedInstanceCount})

    async def _purge_by_filter(self, request: web.Request) -> web.Response:
        if "createdTimeFrom" not in request.query:
            raise web.HTTPBadRequest(text="Please provide value for 'createdTimeFrom' parameter.")
        criteria = pb.PurgeInstanceFilter(**_filter(request))
        purged = await self.engine.ask("PurgeInstances", pb.PurgeInstancesRequest(purgeInstanceFilter=criteria))
        if not purged.deletedInstanceCount:
            return web.Response(status=404)
        return web.json_response({"instancesDeleted": purged.deletedInstanceCount})

    async def _raise_event(self, request: web.Request, instance: str, name: str) -> web.Response:
        refusal = await self._refuse_ended(instance)
        if refusal:
            return refusal
        if request.content_type != "application/json":
            raise web.HTTPBadRequest(text="Only application/json request content is supported")
        data = await request.text()
        try:
            json.loads(data or "null")
        except ValueError as error:
            raise web.HTTPBadRequest(text=f"Invalid JSON content: {error}") from None
        event = pb.RaiseEventRequest(instanceId=instance, name=name)
        _text(event, "input", data)
        await self.engine.ask("RaiseEvent", event)
        return web.Response(status=202)

    async def _operate(self, request: web.Request, instance: str, operation: str) -> web.Response:
        refusal = await self._refuse_ended(instance) if operation in ("terminate", "suspend", "resume") else None
        if refusal:
            return refusal
        state = await find(self.engine, instance)
        if state is None:
            return web.Response(status=400 if operation == "restart" else 404)
        if operation == "rewind" and (status := NAMES[state.orchestrationStatus]) != "Failed":
            text = (
                f'This orchestration has status {status}, but only orchestrations in the "Failed" state can be rewound.'
            )
            return web.json_response(text, status=412)
        method, kind, field = OPERATIONS[operation]
        message, reason = kind(instanceId=instance), request.query.get("reason", "")
        if operation == "restart":
            message.restartWithNewInstanceId = _flag(request, "restartWithNewInstanceId", default=True)
        elif field:
            _text(message, field, json.dumps(reason) if field == "output" else reason)
        answer = await self.engine.ask(method, message)
        return _accepted(request, answer.instanceId) if operation == "restart" else web.Response(status=202)

    async def _refuse_ended(self, instance: str) -> web.Response | None:
        state = await find(self.engine, instance)
        if state is None:
            return web.Response(status=404)
        return web.Response(status=410) if NAMES[state.orchestrationStatus] in ENDED else None

    async def _entity(self, name: str, key: str) -> web.Response:
        entity = str(EntityInstanceId(name, key))
        answer = await self.engine.ask("GetEntity", pb.GetEntityRequest(instanceId=entity, includeState=True))
        if not answer.exists or not answer.entity.HasField("serializedState"):
            return web.Response(status=404)
        return web.json_response(_json(answer.entity.serializedState))

    async def _list_entities(self, request: web.Request, name: str = "") -> web.Response:
        query = pb.EntityQuery(includeState=_flag(request, "fetchState"), includeTransient=True)
        query.pageSize.value = _number(request, "top", PAGE)
        _text(query, "instanceIdStartsWith", f"@{name.lower()}@" if name else None)
        _text(query, "continuationToken", request.headers.get("x-ms-continuation-token"))
        answer = await self.engine.ask("QueryEntities", pb.QueryEntitiesRequest(query=query))
        return _page([_entity_body(entity) for entity in answer.entities], answer.continuationToken)


def _status_body(state: pb.OrchestrationState, show_input: bool) -> dict[str, Any]:
    failure = state.failureDetails
    output = f"{failure.errorType}: {failure.errorMessage}" if state.HasField("failureDetails") else _json(state.output)
    return {
        "name": state.name,
        "instanceId": state.instanceId,
        "runtimeStatus": NAMES[state.orchestrationStatus],
        "input": _json(state.input) if show_input else None,
        "customStatus": _json(state.customStatus),
        "output": output,
        "createdTime": _time(state.createdTimestamp),
        "lastUpdatedTime": _time(state.lastUpdatedTimestamp),
    }


def _entity_body(entity: pb.EntityMetadata) -> dict[str, Any]:
    parsed = EntityInstanceId.parse(entity.instanceId)
    body: dict[str, Any] = {
        "entityId": {"name": parsed.entity, "key": parsed.key},
        "lastOperationTime": _time(entity.lastModifiedTime),
    }
    if entity.HasField("serializedState"):
        body["state"] = _json(entity.serializedState)
    return body


def _accepted(request: web.Request, instance: str) -> web.Response:
    """The answer after a start, with the address of the status."""
    address = f"{request.url.origin()}{PATH}/instances/{quote(instance, safe='')}?{request.query_string}"
    headers = {"Location": address, "Retry-After": "10"}
    return web.json_response({"id": instance, "statusQueryGetUri": address}, status=202, headers=headers)


def _page(items: list[dict[str, Any]], token: wrappers_pb2.StringValue) -> web.Response:
    return web.json_response(items, headers={"x-ms-continuation-token": token.value} if token.value else {})


def _filter(request: web.Request) -> dict[str, Any]:
    """The filters that listing and purging have in common, as fields of their messages."""
    fields: dict[str, Any] = {
        name: datetime_value
        for name in ("createdTimeFrom", "createdTimeTo")
        if (datetime_value := _moment(request, name))
    }
    names = [name for value in request.query.getall("runtimeStatus", []) for name in value.split(",") if name]
    numbers = {name.lower(): number for name, number in STATUSES.items()}
    # A status that does not exist chooses nothing.
    return {**fields, "runtimeStatus": [numbers[name.lower()] for name in names if name.lower() in numbers]}


def _moment(request: web.Request, name: str) -> datetime | None:
    text = request.query.get(name)
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise web.HTTPBadRequest(text=f"{name} is '{text}', expected a time such as 2026-01-31T12:00:00Z") from None
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _number(request: web.Request, name: str, default: int) -> int:
    text = request.query.get(name, str(default))
    if not text.isdecimal() or int(text) < 1:
        raise web.HTTPBadRequest(text=f"{name} is '{text}', expected a whole number from 1 up")
    return int(text)


def _flag(request: web.Request, name: str, default: bool = False) -> bool:
    text = request.query.get(name, str(default)).lower()
    if text not in ("true", "false"):
        raise web.HTTPBadRequest(text=f"{name} is '{text}', expected true or false")
    return text == "true"


def _text(message: Any, field: str, value: str | None) -> None:
    if value:
        getattr(message, field).value = value


def _json(value: wrappers_pb2.StringValue) -> Any:
    """The payload, which Durable Task stores as JSON text. An empty one is null; text that is no JSON stays text."""
    try:
        return json.loads(value.value or "null")
    except ValueError:
        return value.value


def _time(moment: Any) -> str:
    return moment.ToDatetime().strftime("%Y-%m-%dT%H:%M:%SZ")
