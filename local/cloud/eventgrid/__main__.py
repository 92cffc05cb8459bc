"""Event Grid's stand-in: publishing, and the control of subscriptions.

Control, besides what every part has:

    PUT, DELETE  /.control/subscriptions/{name}   create (with the handshake) or delete; GET lists them
    GET, DELETE  /.control/deliveries             every attempt: id, subscription, attempt, status (0: none), time
    GET, DELETE  /.control/dead-letters           the events that were given up, with the reason
    GET, PUT     /.control/delivery               duplicate, reorder, delay; `under_way` counts what is not delivered
    GET, DELETE  /.control/events?topic=          the events received by a topic (`system`: the system topic)
"""

from __future__ import annotations

import contextlib
import ssl
from collections import defaultdict, deque
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import msgspec
from aiohttp import web as http

from local import topology
from local.cloud import tokens, web
from local.cloud.eventgrid import schemas
from local.cloud.eventgrid.delivery import (
    ANSWER_SECONDS,
    KEPT,
    SYSTEM_TOPIC,
    Delivery,
    HandshakeFailed,
    Manner,
    Subscription,
)
from local.cloud.web import Answer, Call, Operation, Refusal, Service
from local.topology import Topology


class Topics:
    """The routes for events that come in."""

    def __init__(self, stack: Topology, delivery: Delivery):
        self.stack, self.delivery = stack, delivery
        self.received: defaultdict[str, deque[schemas.Event]] = defaultdict(lambda: deque(maxlen=KEPT))

    async def publish_system(self, call: Call) -> Answer:
        """Events of the subscription's resources. Only the platform itself raises them."""
        if call.claims["oid"] != self.stack.principals["azure"].object_id:
            raise Refusal(403, "Forbidden", "Only Azure publishes to a system topic.")
        topic = f"/subscriptions/{self.stack.subscription}"
        return self._take(SYSTEM_TOPIC, schemas.event_grid_events(call.body, topic))

    async def publish(self, call: Call) -> Answer:
        """Events of a custom topic. The content type says the schema."""
        topic, _, domain = (urlsplit(call.url).hostname or "").partition(".")
        if not domain.endswith("eventgrid.azure.net"):
            raise Refusal(404, "ResourceNotFound", f"No topic has the host name {urlsplit(call.url).hostname}.")
        if _header(call, "content-type").startswith("application/cloudevents"):
            return self._take(topic, schemas.cloud_events(call.body))
        resource = (
            f"/subscriptions/{self.stack.subscription}/resourceGroups/{self.stack.resource_group}"
            f"/providers/Microsoft.EventGrid/topics/{topic}"
        )
        return self._take(topic, schemas.event_grid_events(call.body, resource))

    def _take(self, topic: str, events: list[schemas.Event]) -> Answer:
        self.received[topic].extend(events)
        self.delivery.accept(topic, events)
        return Answer()


class Control:
    """What the stack's own tools may ask of Event Grid."""

    def __init__(self, topics: Topics):
        self.topics, self.delivery = topics, topics.delivery

    def attach(self, service: Service) -> None:
        service.controls |= {
            ("GET", "subscriptions"): self.list_subscriptions,
            ("PUT", "subscriptions"): self.subscribe,
            ("DELETE", "subscriptions"): self.unsubscribe,
            ("GET", "deliveries"): self.list_attempts,
            ("DELETE", "deliveries"): self.forget_attempts,
            ("GET", "dead-letters"): self.list_dead_letters,
            ("DELETE", "dead-letters"): self.forget_dead_letters,
            ("GET", "delivery"): self.show_manner,
            ("PUT", "delivery"): self.set_manner,
            ("GET", "events"): self.list_events,
            ("DELETE", "events"): self.forget_events,
        }

    async def subscribe(self, request: http.Request) -> http.Response:
        name = _last(request)
        try:
            subscription = msgspec.json.decode(await request.read(), type=Subscription)
            await self.delivery.subscribe(name, subscription)
        except (msgspec.DecodeError, HandshakeFailed) as error:
            return http.json_response({"error": f"subscription {name!r} was not created: {error}"}, status=400)
        return http.json_response(_described(name, subscription), status=201)

    async def unsubscribe(self, request: http.Request) -> http.Response:
        if self.delivery.subscriptions.pop(_last(request), None) is None:
            return http.json_response({"error": f"there is no subscription {_last(request)!r}"}, status=404)
        return http.json_response({})

    async def list_subscriptions(self, _: http.Request) -> http.Response:
        return http.json_response([_described(*item) for item in self.delivery.subscriptions.items()])

    async def list_attempts(self, _: http.Request) -> http.Response:
        return http.json_response(list(self.delivery.attempts))

    async def forget_attempts(self, _: http.Request) -> http.Response:
        self.delivery.attempts.clear()
        return http.json_response([])

    async def list_dead_letters(self, _: http.Request) -> http.Response:
        return http.json_response(list(self.delivery.dead_letters))

    async def forget_dead_letters(self, _: http.Request) -> http.Response:
        self.delivery.dead_letters.clear()
        return http.json_response([])

    async def show_manner(self, _: http.Request) -> http.Response:
        manner = msgspec.to_builtins(self.delivery.manner)
        return http.json_response(manner | {"under_way": len(self.delivery.under_way)})

    async def set_manner(self, request: http.Request) -> http.Response:
        try:
            self.delivery.manner = msgspec.json.decode(await request.read(), type=Manner)
        except msgspec.DecodeError as error:
            return http.json_response({"error": f"not a manner of delivery: {error}"}, status=400)
        return await self.show_manner(request)

    async def list_events(self, request: http.Request) -> http.Response:
        topic = request.query.get("topic")
        received = {name: list(events) for name, events in self.topics.received.items()}
        return http.json_response(received if topic is None else received.get(topic, []))

    async def forget_events(self, _: http.Request) -> http.Response:
        self.topics.received.clear()
        return http.json_response([])


def _last(request: http.Request) -> str:
    return request.path.rpartition("/")[2]


def _described(name: str, subscription: Subscription) -> dict[str, Any]:
    """As Azure shows it: the endpoint without its query, which may hold a key."""
    shown: dict[str, Any] = msgspec.to_builtins(subscription)
    return {"name": name} | shown | {"endpoint": subscription.endpoint.partition("?")[0]}


def _header(call: Call, name: str) -> str:
    return next((value for key, value in call.headers.items() if key.lower() == name), "")


def _error(refusal: Refusal) -> dict[str, Any]:
    detail = {"code": refusal.more.get("detail", refusal.code), "message": refusal.message}
    return {"error": {"code": refusal.code, "message": refusal.message, "details": [detail]}}


async def main() -> None:
    """Serve until asked to stop. Deliveries that are under way then are lost, as is everything else in memory."""
    stack = topology.load()
    connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=str(stack.authority)))
    client = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS))
    topics = Topics(stack, Delivery(client))
    operations = [
        Operation("POST", "/system-topic/events", "SystemTopic_Publish", topics.publish_system),
        Operation("POST", "/api/events", "Events_Publish", topics.publish),
    ]
    service = Service("eventgrid", stack, operations, (tokens.EVENT_GRID,), _error)
    Control(topics).attach(service)

    @contextlib.asynccontextmanager
    async def background() -> AsyncIterator[None]:
        async with client:
            yield
            for task in list(topics.delivery.under_way):
                task.cancel()

    await web.serve(service, background)


if __name__ == "__main__":
    web.run(main())
