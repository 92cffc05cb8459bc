"""Event subscriptions: the handshake with a webhook, which events it wants, and delivery at least once, with retries.

The rules are Azure's (https://learn.microsoft.com/azure/event-grid/delivery-and-retry), its pauses are not: a
developer's time is shorter than a day, so a first retry comes after 0.2 s instead of 10.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections import deque
from itertools import count
from typing import Any, Literal
from urllib.parse import urlsplit

import aiohttp
import msgspec

from local.cloud.eventgrid import schemas
from local.cloud.eventgrid.schemas import Event

log = logging.getLogger("local.eventgrid")

RETRY_SECONDS = (0.2, 0.5, 1, 2, 5, 10)
ANSWER_SECONDS = 30
REORDER_SECONDS = 0.5
DELIVERED = range(200, 205)
NEVER_RETRIED = (400, 401, 403, 413)
ORIGIN = "eventgrid.azure.net"
SYSTEM_TOPIC = "system"
KEPT = 10_000


class Subscription(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """What a webhook wants. `source`: `system`, or the name of a custom topic. Filters ignore letter case."""

    endpoint: str
    schema: Literal["EventGridSchema", "CloudEventSchemaV1_0"]
    source: str
    subject_begins_with: str = ""
    included_event_types: tuple[str, ...] = ()
    operation_names: tuple[str, ...] = ()
    max_delivery_attempts: int = 30

    def wants(self, source: str, event: Event) -> bool:
        """Whether an event that arrived at `source` passes the filters."""
        data = event.get("data")
        operation = data.get("operationName", "") if isinstance(data, dict) else ""
        return (
            source == self.source
            and str(event.get("subject", "")).lower().startswith(self.subject_begins_with.lower())
            and _among(schemas.kind(event), self.included_event_types)
            and _among(operation, self.operation_names)
        )


class Manner(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How events are delivered, to try a subscriber: `duplicate` more copies of each, every second one overtaken
    by the next (`reorder`), all of them after `delay` seconds."""

    duplicate: int = 0
    reorder: bool = False
    delay: float = 0


class HandshakeFailed(Exception):
    """The webhook did not show that it expects events; the message says how."""


class Delivery:
    """Carries events to the webhooks that subscribed. Everything is in memory."""

    def __init__(self, client: aiohttp.ClientSession):
        self.client = client
        self.subscriptions: dict[str, Subscription] = {}
        self.manner = Manner()
        self.attempts: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self.dead_letters: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self.under_way: set[asyncio.Task[None]] = set()
        self._turn = count()

    async def subscribe(self, name: str, subscription: Subscription) -> None:
        """Create or replace a subscription, after the handshake. Raises `HandshakeFailed`."""
        if not urlsplit(subscription.endpoint).netloc:
            raise HandshakeFailed(f"endpoint {subscription.endpoint!r} is not an address")
        if subscription.source != SYSTEM_TOPIC and subscription.schema != "CloudEventSchemaV1_0":
            raise HandshakeFailed("events of a custom topic are delivered in CloudEventSchemaV1_0 only")
        try:
            await (self._offer if subscription.schema == "CloudEventSchemaV1_0" else self._validate)(name, subscription)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise HandshakeFailed(f"{_shown(subscription)} did not answer: {error or type(error).__name__}") from None
        self.subscriptions[name] = subscription

    def accept(self, source: str, events: list[Event]) -> None:
        """Take events that were published; delivery goes on in the background."""
        for event in events:
            for name, subscription in self.subscriptions.items():
                if subscription.wants(source, event):
                    for _ in range(1 + self.manner.duplicate):
                        task = asyncio.create_task(self._deliver(name, event, self._pause()))
                        self.under_way.add(task)
                        task.add_done_callback(self.under_way.discard)

    def _pause(self) -> float:
        held_back = self.manner.reorder and next(self._turn) % 2 == 0
        return self.manner.delay + (REORDER_SECONDS if held_back else 0)

    async def _deliver(self, name: str, event: Event, pause: float) -> None:
        for attempt in count(1):
            await asyncio.sleep(pause)
            subscription = self.subscriptions.get(name)
            if subscription is None:
                return
            status, outcome = await self._attempt(name, subscription, event, attempt)
            record = {"id": event["id"], "subscription": name, "attempt": attempt, "status": status}
            self.attempts.append(record | {"time": time.time()})
            log.info("%s → %s, attempt %s: %s", event["id"], name, attempt, outcome)
            if status in DELIVERED:
                return
            if status in NEVER_RETRIED or attempt >= subscription.max_delivery_attempts:
                self.dead_letters.append(record | {"reason": outcome, "event": event})
                return
            pause = RETRY_SECONDS[min(attempt, len(RETRY_SECONDS)) - 1]

    async def _attempt(self, name: str, to: Subscription, event: Event, attempt: int) -> tuple[int, str]:
        """The status that the webhook answered, 0 for no answer, and the same in words."""
        headers = {"aeg-event-type": "Notification", "aeg-subscription-name": name.upper()}
        headers["aeg-delivery-count"] = str(attempt - 1)
        body: Any = [event]
        if to.schema == "CloudEventSchemaV1_0":
            headers["content-type"] = "application/cloudevents+json; charset=utf-8"
            body = schemas.to_cloud_event(event)
        try:
            async with self.client.post(to.endpoint, json=body, headers=headers) as answer:
                return answer.status, f"{answer.status} {answer.reason}"
        except (aiohttp.ClientError, TimeoutError) as error:
            return 0, f"no answer: {type(error).__name__}"

    async def _validate(self, name: str, subscription: Subscription) -> None:
        """The Event Grid schema's handshake: an event with a code that the webhook has to send back."""
        code = str(uuid.uuid4())
        event = {
            "id": str(uuid.uuid4()),
            "topic": subscription.source,
            "subject": "",
            "data": {"validationCode": code},
            "eventType": "Microsoft.EventGrid.SubscriptionValidationEvent",
            "eventTime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "dataVersion": "2",
            "metadataVersion": "1",
        }
        headers = {"aeg-event-type": "SubscriptionValidation", "aeg-subscription-name": name.upper()}
        async with self.client.post(subscription.endpoint, json=[event], headers=headers) as answer:
            try:
                returned = msgspec.json.decode(await answer.read())
            except msgspec.DecodeError:
                returned = None
            if answer.status != 200 or not isinstance(returned, dict) or returned.get("validationResponse") != code:
                raise HandshakeFailed(
                    f"{_shown(subscription)} answered the validation event with {answer.status}, "
                    "where 200 with the code as `validationResponse` was expected"
                )

    async def _offer(self, name: str, subscription: Subscription) -> None:
        """CloudEvents' handshake: the webhook names who may send to it."""
        headers = {"WebHook-Request-Origin": ORIGIN, "aeg-subscription-name": name.upper()}
        async with self.client.options(subscription.endpoint, headers=headers) as answer:
            allowed = answer.headers.get("WebHook-Allowed-Origin", "")
            if answer.status != 200 or allowed not in (ORIGIN, "*"):
                raise HandshakeFailed(
                    f"{_shown(subscription)} answered OPTIONS with {answer.status} and WebHook-Allowed-Origin "
                    f"{allowed!r}, where 200 and {ORIGIN!r} or '*' was expected"
                )


def _among(value: str, values: tuple[str, ...]) -> bool:
    return not values or value.lower() in {one.lower() for one in values}


def _shown(subscription: Subscription) -> str:
    """The endpoint without its query, which may hold a key."""
    return subscription.endpoint.partition("?")[0]
