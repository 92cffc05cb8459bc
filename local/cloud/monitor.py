"""The ingestion endpoint of Application Insights: takes what OpenTelemetry exporters send, and shows it.

Control: GET, DELETE /.control/telemetry: what was received, `{name, data}` in the form of Application Insights.
"""

from __future__ import annotations

import uuid
from collections import deque
from typing import Any

from aiohttp import web as http

from local import topology
from local.cloud import tokens, web
from local.cloud.web import Answer, Call, Operation, Refusal, Service
from local.topology import Topology

KEPT = 10_000
MEMBERS = ("name", "time", "iKey", "data")


class Monitor:
    def __init__(self, stack: Topology):
        self.stack = stack
        self.received: deque[dict[str, Any]] = deque(maxlen=KEPT)

    async def track(self, call: Call) -> Answer:
        """A batch of envelopes, each of which says for which resource it is."""
        batch = call.body if isinstance(call.body, list) else []
        if not batch or not all(isinstance(one, dict) and set(MEMBERS) <= one.keys() for one in batch):
            raise Refusal(400, "InvalidRequest", f"A list of envelopes with {', '.join(MEMBERS)} is expected.")
        if strange := {one["iKey"] for one in batch} - {self.stack.instrumentation_key}:
            raise Refusal(400, "InvalidInstrumentationKey", f"There is no resource with the key {min(strange)}.")
        self.received += [{"name": one["name"], "data": one["data"]["baseData"]} for one in batch]
        return Answer(body={"itemsReceived": len(batch), "itemsAccepted": len(batch), "errors": []})

    async def show(self, _: http.Request) -> http.Response:
        return http.json_response(list(self.received))

    async def forget(self, _: http.Request) -> http.Response:
        self.received.clear()
        return http.json_response([])


def _error(refusal: Refusal) -> dict[str, Any]:
    errors = [{"index": 0, "statusCode": refusal.status, "message": f"{refusal.code}: {refusal.message}"}]
    return {"itemsReceived": 0, "itemsAccepted": 0, "errors": errors, "operationId": str(uuid.uuid4())}


async def main() -> None:
    stack = topology.load()
    monitor = Monitor(stack)
    operations = [Operation("POST", "/v2.1/track", "Telemetry_Track", monitor.track)]
    service = Service("monitor", stack, operations, (tokens.MONITOR,), _error)
    service.controls |= {("GET", "telemetry"): monitor.show, ("DELETE", "telemetry"): monitor.forget}
    await web.serve(service)


if __name__ == "__main__":
    web.run(main())
