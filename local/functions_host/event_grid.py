"""The webhook of the Event Grid extension: both handshakes, both schemas, and 500 to make Event Grid try again.

Behaviour as in `HttpRequestProcessor` of Microsoft.Azure.WebJobs.Extensions.EventGrid.
"""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from local.functions_host.keys import Keys
from local.functions_host.messages import TypedData
from local.functions_host.worker import App, Function, InvocationFailed

PATH = "/runtime/webhooks/eventgrid"
ORIGIN = "eventgrid.azure.net"


class EventGridWebhook:
    """Delivers events to the app's Event Grid triggers, the one that `functionName` in the query names."""

    def __init__(self, app: App, keys: Keys):
        self.app, self.keys = app, keys

    async def handle(self, request: web.Request) -> web.Response:
        refusal = self.keys.refusal(request, "eventgrid_extension")
        if refusal:
            return refusal
        name = request.query.get("functionName", "")
        function = next((f for f in self.app.triggered_by("eventGridTrigger") if f.name == name), None)
        if function is None:
            return web.Response(status=404, text=f"cannot find function: '{name}'")
        if request.method == "OPTIONS":
            return _cloud_events_handshake(request)
        if request.method not in ("POST", "PUT"):
            return web.Response(status=400)
        return await self._receive(request, function)

    async def _receive(self, request: web.Request, function: Function) -> web.Response:
        kind = request.headers.get("aeg-event-type", "")
        if kind.lower() == "unsubscribe":
            return web.Response(status=202)
        try:
            content = json.loads(await request.read())
            events = content if isinstance(content, list) else [content]
            if not all(isinstance(event, dict) for event in events):
                raise ValueError("expected a JSON object or an array of objects")
            if kind.lower() == "subscriptionvalidation":
                return web.json_response({"validationResponse": _validation_code(events)})
        except ValueError:
            return web.Response(status=500)  # Event Grid then tries again, even where the body can never be read
        if kind.lower() != "notification":
            expected = "SubscriptionValidation, Notification or Unsubscribe"
            return web.Response(status=400, text=f"The header aeg-event-type is '{kind}', expected {expected}.")
        failures = [f for f in await asyncio.gather(*(self._deliver(function, e) for e in events)) if f]
        return web.Response(status=500, text=failures[0]) if failures else web.Response(status=202)

    async def _deliver(self, function: Function, event: dict[str, Any]) -> str | None:
        """Why the event was not processed, or None when it was."""
        reason = f"EventGrid trigger fired at {datetime.now(UTC).isoformat()}"
        try:
            await self.app.invoke(function, TypedData(json=json.dumps(event)), reason)
        except InvocationFailed as failure:
            return f"Exception while executing function: Functions.{function.name}: {failure.error_type}"
        return None


def _validation_code(events: list[dict[str, Any]]) -> str:
    data = events[0].get("data") if events else None
    if isinstance(data, str):  # a CloudEvent carries it encoded once more
        data = json.loads(data)
    code = data.get("validationCode") if isinstance(data, dict) else None
    if not isinstance(code, str):
        raise ValueError("a subscription validation has its code in data.validationCode")
    return code


def _cloud_events_handshake(request: web.Request) -> web.Response:
    """The abuse protection of the CloudEvents web hook specification, as far as the extension keeps it."""
    origin = request.headers.get("WebHook-Request-Origin") or ORIGIN
    return web.Response(headers={"WebHook-Allowed-Origin": origin})
