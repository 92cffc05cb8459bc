"""Event Grid's stand-in: publishing with the real client and by hand, and delivery to a webhook of the test."""

import asyncio
import json
import secrets
import ssl
import urllib.error
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from azure.core.credentials import AccessTokenInfo
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError
from azure.core.messaging import CloudEvent
from azure.eventgrid import EventGridEvent
from azure.eventgrid.aio import EventGridPublisherClient
from azure.identity.aio import ManagedIdentityCredential

from local.cloud import tokens
from local.stack import Stack

SERVER = "/subscriptions/s/resourcegroups/RG/providers/Microsoft.DBforPostgreSQL/flexibleServers/pg-1"


@pytest.fixture(scope="module")
def stack(stack_factory: Callable[..., Stack]) -> Stack:
    return stack_factory("front_door", "identity", "eventgrid")


@pytest.fixture
async def publisher(stack: Stack, become: Callable[[Stack, str], None]) -> AsyncIterator[EventGridPublisherClient]:
    become(stack, "id-fabric-mirror")
    trust = str(stack.topology.authority)
    async with (
        ManagedIdentityCredential() as credential,
        EventGridPublisherClient(
            stack.topology.topic_endpoint("notices"), credential, connection_verify=trust, retry_total=0
        ) as client,
    ):
        yield client


class Webhook:
    """A subscriber. It answers deliveries with `statuses`, one after another, then with 200."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], Any]] = []
        self.statuses: list[int] = []
        self.handshake = True
        self.address = ""

    async def handle(self, request: web.Request) -> web.Response:
        if request.method == "OPTIONS":
            allowed = {"WebHook-Allowed-Origin": request.headers["WebHook-Request-Origin"]} if self.handshake else {}
            return web.Response(headers=allowed)
        body = await request.json()
        if request.headers.get("aeg-event-type") == "SubscriptionValidation":
            code = body[0]["data"]["validationCode"] if self.handshake else "wrong"
            return web.json_response({"validationResponse": code})
        self.got.append(({k.lower(): v for k, v in request.headers.items()}, body))
        return web.Response(status=self.statuses.pop(0) if self.statuses else 200)

    async def expect(self, count: int) -> list[Any]:
        """The bodies, once there are `count`; a moment later there must not be more."""
        async with asyncio.timeout(10):
            while len(self.got) < count:
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.1)
        assert len(self.got) == count
        return [body for _, body in self.got]


@pytest.fixture
async def webhook(stack: Stack) -> AsyncIterator[Webhook]:
    """A webhook; whatever subscribed to it, and every order for delivery, is forgotten afterwards."""
    hook, app = Webhook(), web.Application()
    app.router.add_route("*", "/hook", hook.handle)
    async with TestServer(app) as server:
        hook.address = str(server.make_url("/hook?code=secret"))
        yield hook
    for subscription in await control(stack, "GET", "subscriptions"):
        await control(stack, "DELETE", f"subscriptions/{subscription['name']}")
    await control(stack, "PUT", "delivery", {})
    await control(stack, "DELETE", "dead-letters")
    await control(stack, "DELETE", "deliveries")


async def control(stack: Stack, method: str, name: str, body: object = None) -> Any:
    return await asyncio.to_thread(stack.control, "eventgrid", method, name, body)


async def subscribe(stack: Stack, webhook: Webhook, **wanted: Any) -> str:
    name = f"s-{secrets.token_hex(4)}"
    form = {"endpoint": webhook.address, "schema": "EventGridSchema", "source": "system"} | wanted
    await control(stack, "PUT", f"subscriptions/{name}", form)
    return name


async def raise_events(stack: Stack, *events: dict[str, Any], principal: str = "azure") -> tuple[int, Any]:
    token, _ = tokens.mint(stack.topology, stack.topology.principals[principal], tokens.EVENT_GRID)
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            f"{stack.topology.address('eventgrid')}/system-topic/events",
            json=list(events), headers={"Authorization": f"Bearer {token}"}, ssl=_trust(stack),
        ) as answer,
    ):  # fmt: skip
        return answer.status, json.loads(await answer.read() or "null")


def resource_event(**more: Any) -> dict[str, Any]:
    operation = more.pop("operation", "Microsoft.DBforPostgreSQL/flexibleServers/write")
    return {
        "id": str(uuid.uuid4()),
        "subject": SERVER,
        "eventType": "Microsoft.Resources.ResourceWriteSuccess",
        "eventTime": "2026-03-01T12:00:00.1234567Z",
        "data": {"operationName": operation, "resourceUri": SERVER},
        "dataVersion": "2",
    } | more


def _trust(stack: Stack) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(stack.topology.authority))


async def test_a_system_event_arrives_as_azure_sends_it(stack: Stack, webhook: Webhook) -> None:
    name, event = await subscribe(stack, webhook), resource_event()
    assert await raise_events(stack, event) == (200, None)
    [[got]] = await webhook.expect(1)
    assert got == event | {"topic": f"/subscriptions/{stack.topology.subscription}", "metadataVersion": "1"}
    headers = webhook.got[0][0]
    assert headers["aeg-event-type"] == "Notification"
    assert headers["aeg-subscription-name"] == name.upper()
    assert headers["aeg-delivery-count"] == "0"


async def test_the_same_event_as_a_cloud_event(stack: Stack, webhook: Webhook) -> None:
    await subscribe(stack, webhook, schema="CloudEventSchemaV1_0")
    event = resource_event()
    await raise_events(stack, event)
    [got] = await webhook.expect(1)
    assert got == {
        "specversion": "1.0",
        "id": event["id"],
        "source": f"/subscriptions/{stack.topology.subscription}",
        "type": event["eventType"],
        "subject": SERVER,
        "time": event["eventTime"],
        "data": event["data"],
    }
    assert webhook.got[0][0]["content-type"].startswith("application/cloudevents+json")


async def test_filters_let_through_what_was_asked_for(stack: Stack, webhook: Webhook) -> None:
    await subscribe(
        stack, webhook,
        subjectBeginsWith="/SUBSCRIPTIONS/s/",
        includedEventTypes=["Microsoft.Resources.ResourceWriteSuccess"],
        operationNames=["microsoft.dbforpostgresql/flexibleservers/WRITE", "Microsoft.Resources/tags/write"],
    )  # fmt: skip
    wanted = [resource_event(), resource_event(operation="Microsoft.Resources/tags/write")]
    await raise_events(
        stack,
        resource_event(operation="Microsoft.Storage/storageAccounts/write"),
        resource_event(eventType="Microsoft.Resources.ResourceDeleteSuccess"),
        resource_event(subject="/subscriptions/other/x"),
        resource_event(data=None),
        *wanted,
    )
    got = await webhook.expect(2)
    assert {event["id"] for [event] in got} == {event["id"] for event in wanted}


async def test_delivery_is_tried_again_until_the_webhook_takes_it(stack: Stack, webhook: Webhook) -> None:
    name = await subscribe(stack, webhook)
    webhook.statuses = [500, 503]
    event = resource_event()
    await raise_events(stack, event)
    await webhook.expect(3)
    attempts = [a for a in await control(stack, "GET", "deliveries") if a["subscription"] == name]
    assert [(a["id"], a["attempt"], a["status"]) for a in attempts] == [
        (event["id"], 1, 500), (event["id"], 2, 503), (event["id"], 3, 200),
    ]  # fmt: skip
    assert attempts[1]["time"] - attempts[0]["time"] >= 0.2
    assert attempts[2]["time"] - attempts[1]["time"] >= 0.5
    assert [headers["aeg-delivery-count"] for headers, _ in webhook.got] == ["0", "1", "2"]


@pytest.mark.parametrize(("statuses", "attempts"), [([400], 1), ([403], 1), ([500, 500], 2)])
async def test_an_event_that_is_given_up_is_kept_with_the_reason(
    stack: Stack, webhook: Webhook, statuses: list[int], attempts: int
) -> None:
    await subscribe(stack, webhook, maxDeliveryAttempts=2)
    webhook.statuses = list(statuses)
    event = resource_event()
    await raise_events(stack, event)
    await webhook.expect(attempts)
    [dead] = await control(stack, "GET", "dead-letters")
    assert (dead["event"]["id"], dead["attempt"], dead["status"]) == (event["id"], attempts, statuses[-1])
    assert str(statuses[-1]) in dead["reason"]


async def test_a_webhook_that_is_down_gets_its_events_later(stack: Stack, webhook: Webhook) -> None:
    app, port = web.Application(), None
    hook = Webhook()
    app.router.add_route("*", "/hook", hook.handle)
    server = TestServer(app)
    await server.start_server()
    hook.address, port = str(server.make_url("/hook")), server.port
    name = await subscribe(stack, hook)
    await server.close()
    await raise_events(stack, resource_event())
    attempts: list[Any] = []
    async with asyncio.timeout(10):
        while not attempts:
            attempts = [a for a in await control(stack, "GET", "deliveries") if a["subscription"] == name]
    assert {attempt["status"] for attempt in attempts} == {0}
    again = web.Application()
    again.router.add_route("*", "/hook", hook.handle)
    async with TestServer(again, port=port):
        await hook.expect(1)


async def test_delivery_can_be_told_to_duplicate(stack: Stack, webhook: Webhook) -> None:
    await subscribe(stack, webhook)
    await control(stack, "PUT", "delivery", {"duplicate": 2})
    await raise_events(stack, resource_event())
    got = await webhook.expect(3)
    assert got[0] == got[1] == got[2]


async def test_delivery_can_be_told_to_reorder_and_delay(stack: Stack, webhook: Webhook) -> None:
    await subscribe(stack, webhook)
    await control(stack, "PUT", "delivery", {"reorder": True, "delay": 0.6})
    sent = [resource_event() for _ in range(4)]
    await raise_events(stack, *sent)
    assert (await control(stack, "GET", "delivery"))["under_way"] == 4
    arrived = [event["id"] for [event] in await webhook.expect(4)]
    assert sorted(arrived) == sorted(event["id"] for event in sent)
    assert arrived != [event["id"] for event in sent]
    assert (await control(stack, "GET", "delivery"))["under_way"] == 0


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        ({"schema": "EventGridSchema"}, "answered the validation event with 200, where 200 with the code"),
        ({"schema": "CloudEventSchemaV1_0"}, "WebHook-Allowed-Origin ''"),
        ({"endpoint": "http://127.0.0.1:9/hook?code=secret"}, "http://127.0.0.1:9/hook did not answer"),
        ({"endpoint": "nowhere"}, "'nowhere' is not an address"),
        ({"source": "notices"}, "delivered in CloudEventSchemaV1_0 only"),
        ({"schema": "Other"}, "Invalid enum value 'Other'"),
        ({"filters": []}, "unknown field `filters`"),
    ],
)
async def test_a_subscription_needs_a_handshake(
    stack: Stack, webhook: Webhook, wanted: dict[str, Any], why: str
) -> None:
    webhook.handshake = False
    with pytest.raises(urllib.error.HTTPError) as refused:
        await subscribe(stack, webhook, **wanted)
    reason = json.loads(refused.value.read())["error"]
    assert refused.value.code == 400
    assert why in reason
    assert "secret" not in reason
    assert await control(stack, "GET", "subscriptions") == []


async def test_subscriptions_are_shown_without_their_keys(stack: Stack, webhook: Webhook) -> None:
    name = await subscribe(stack, webhook)
    [shown] = await control(stack, "GET", "subscriptions")
    assert shown["name"] == name
    assert shown["endpoint"] == webhook.address.partition("?")[0]


async def test_the_client_publishes_cloud_events_to_a_topic(
    stack: Stack, webhook: Webhook, publisher: EventGridPublisherClient
) -> None:
    await subscribe(stack, webhook, source="notices", schema="CloudEventSchemaV1_0")
    await subscribe(stack, webhook, source="others", schema="CloudEventSchemaV1_0")
    sent = CloudEvent(source="/pg-1", type="FabricMirror.ServerPrepared", subject="shop", data={"restarts": 1})
    await publisher.send([sent])
    [got] = await webhook.expect(1)
    assert (got["id"], got["type"], got["data"]) == (sent.id, "FabricMirror.ServerPrepared", {"restarts": 1})
    assert sent.id in [event["id"] for event in await control(stack, "GET", "events?topic=notices")]
    assert await control(stack, "GET", "events?topic=none") == []


async def test_the_client_publishes_in_the_event_grid_schema_too(
    stack: Stack, webhook: Webhook, publisher: EventGridPublisherClient
) -> None:
    await subscribe(stack, webhook, source="notices", schema="CloudEventSchemaV1_0")
    await publisher.send(EventGridEvent("shop", "FabricMirror.HealthChanged", {"level": "Healthy"}, "1.0"))
    [got] = await webhook.expect(1)
    assert (got["subject"], got["type"], got["data"]) == ("shop", "FabricMirror.HealthChanged", {"level": "Healthy"})
    assert got["source"].endswith("/providers/Microsoft.EventGrid/topics/notices")


@pytest.mark.parametrize(
    ("content_type", "body", "why"),
    [
        ("application/json", b'{"id": "1"}', "'EventGridEvent' schema. The JSON received does not conform"),
        ("application/json", b'[{"id": "1", "subject": "s", "eventType": "t"}]', "missing required field `eventTime`"),
        ("application/json", b'[{"specversion": "1.0"}]', "unknown field `specversion`"),
        ("application/cloudevents-batch+json", b'[{"id": "1"}]', "'CloudEventV10' schema"),
        ("application/cloudevents+json", b'{"specversion": "2.0"}', "$[0].specversion"),
        ("application/json", b"[", "not JSON"),
    ],
)
async def test_malformed_events_are_refused(stack: Stack, content_type: str, body: bytes, why: str) -> None:
    token, _ = tokens.mint(stack.topology, stack.topology.principals["operator"], tokens.EVENT_GRID)
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            stack.topology.topic_endpoint("notices"),
            data=body, proxy=stack.topology.address("front_door"), ssl=_trust(stack),
            headers={"Authorization": f"Bearer {token}", "Content-Type": content_type},
        ) as answer,
    ):  # fmt: skip
        refusal = await answer.json()
    assert answer.status == 400
    assert why in refusal["error"]["message"]
    assert refusal["error"]["details"][0]["message"] == refusal["error"]["message"]


async def test_only_azure_raises_system_events(stack: Stack, webhook: Webhook) -> None:
    await subscribe(stack, webhook)
    status, refusal = await raise_events(stack, resource_event(), principal="operator")
    assert (status, refusal["error"]["code"]) == (403, "Forbidden")
    await webhook.expect(0)


async def test_the_publisher_is_told_of_faults_and_wrong_audiences(
    stack: Stack, publisher: EventGridPublisherClient
) -> None:
    event = CloudEvent(source="/pg-1", type="t")
    await control(stack, "POST", "faults", {"operation": "Events_Publish", "status": 503, "message": "on order"})
    with pytest.raises(HttpResponseError, match="on order"):
        await publisher.send(event)
    trust, topic = str(stack.topology.authority), stack.topology.topic_endpoint("notices")

    class Wrong(ManagedIdentityCredential):
        async def get_token_info(self, *_: str, **__: object) -> AccessTokenInfo:
            return await super().get_token_info("https://management.azure.com/.default")

    async with Wrong() as credential, EventGridPublisherClient(topic, credential, connection_verify=trust) as client:
        with pytest.raises(ClientAuthenticationError):
            await client.send(event)


async def test_no_event_is_written_to_the_log(stack: Stack, webhook: Webhook) -> None:
    await subscribe(stack, webhook)
    await raise_events(stack, resource_event(data={"operationName": "x", "note": "only-in-the-body"}))
    await webhook.expect(1)
    log = stack.topology.log("eventgrid").read_text()
    assert "SystemTopic_Publish" in log
    assert "only-in-the-body" not in log
    assert "code=secret" not in log
