"""Where notices go: to the log, and as CloudEvents 1.0 to an Event Grid topic.

Source of the form: "CloudEvents v1.0 schema with Azure Event Grid".
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from azure.core.exceptions import AzureError
from azure.core.messaging import CloudEvent

from shared.desired import server_id
from shared.platform import logs
from shared.platform.batches import by_size
from shared.platform.clients import publisher
from shared.platform.settings import settings
from shared.records.notices import Notice

SOURCE = "/fabric-mirror"
REQUEST_BYTES = 2**20
"""A topic takes at most 1 MB in a request (source: "Event Grid quotas and limits")."""
AROUND_EVENT = 8192
"""Bytes that an event takes in addition to its data. In fact it is less."""
LONGEST_SENDING = 30.0
"""Seconds that a topic has to take notices, with all attempts and the pauses that it asks for."""

log = logs.logger(__name__)


async def publish(notices: Sequence[Notice]) -> bool:
    """Log notices, and send them to the topic if there is one. False: the topic did not take them; publish them again
    later."""
    for notice in notices:
        with logs.about(server=server_id.parse(notice.data.server).key):
            log.info("%s %s: %s", notice.data.type(), notice.subject, msgspec.json.encode(notice.data).decode())
    if not notices or not settings().services.notice_topic:
        return True
    try:
        async with asyncio.timeout(LONGEST_SENDING):
            for events in batches(notices):
                await publisher().send(events)
            return True
    except AzureError as error:
        why = error.message
    except TimeoutError:
        why = f"It did not within {LONGEST_SENDING:g} s."
    log.error("The notice topic did not take %d notices; they are told again: %s", len(notices), why)
    return False


def batches(notices: Sequence[Notice]) -> Iterator[list[CloudEvent[Any]]]:
    """The notices as events, in as many requests as a topic takes them in."""
    return by_size(map(event_of, notices), lambda event: AROUND_EVENT + len(json.dumps(event.data)), REQUEST_BYTES)


def event_of(notice: Notice) -> CloudEvent[Any]:
    """The notice as a CloudEvent."""
    return CloudEvent(
        source=SOURCE,
        type=notice.data.type(),
        subject=notice.subject,
        id=notice.id,
        time=notice.at,
        datacontenttype="application/json",
        data=msgspec.json.decode(msgspec.json.encode(notice.data)),  # the SDK writes tuples as text
    )
