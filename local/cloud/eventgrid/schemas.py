"""The two forms of an event: what each must carry, and how Event Grid turns the one into the other."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import msgspec

from local.cloud.web import Refusal

type Event = dict[str, Any]


class EventGridEvent(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """https://learn.microsoft.com/azure/event-grid/event-schema"""

    id: str
    subject: str
    event_type: str
    event_time: datetime
    data: Any = None
    data_version: str = ""
    topic: str = ""
    metadata_version: str = "1"


class CloudEvent(msgspec.Struct):
    """https://learn.microsoft.com/azure/event-grid/cloud-event-schema (extension attributes are allowed)"""

    specversion: Literal["1.0"]
    id: str
    source: str
    type: str
    subject: str = ""
    time: datetime | None = None
    dataschema: str = ""
    datacontenttype: str = ""


def event_grid_events(body: Any, topic: str) -> list[Event]:
    """The events of a request in the Event Grid schema, stamped with `topic` where they name none."""
    _check(body, list[EventGridEvent], "EventGridEvent")
    stamped = {"topic": topic, "dataVersion": "", "metadataVersion": "1"}
    return [stamped | {key: value for key, value in event.items() if value != ""} for event in body]


def cloud_events(body: Any) -> list[Event]:
    """The events of a request in the CloudEvents schema: a batch, or one."""
    batch = body if isinstance(body, list) else [body]
    _check(batch, list[CloudEvent], "CloudEventV10")
    return batch


def to_cloud_event(event: Event) -> Event:
    """An event in the CloudEvents schema. The topic becomes the source."""
    if "specversion" in event:
        return event
    return {
        "specversion": "1.0",
        "id": event["id"],
        "source": event["topic"],
        "type": event["eventType"],
        "subject": event["subject"],
        "time": event["eventTime"],
        "data": event.get("data"),
    }


def kind(event: Event) -> str:
    """The event type, in either schema."""
    return str(event["type"] if "specversion" in event else event["eventType"])


def _check(body: Any, form: Any, name: str) -> None:
    try:
        msgspec.convert(body, form)
    except msgspec.ValidationError as error:
        message = (
            f"This resource is configured to receive event in '{name}' schema. "
            f"The JSON received does not conform to the expected schema: {error}."
        )
        raise Refusal(400, "BadRequest", message, detail="InputJsonInvalid") from None
