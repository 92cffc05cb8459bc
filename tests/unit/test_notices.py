"""docs/notices.md describes the notices as they are."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import UTC, datetime
from typing import Any, get_args

import jsonschema
import msgspec
import pytest
from azure.core.exceptions import AzureError
from azure.core.messaging import CloudEvent

from shared.platform.reasons import Reason
from shared.records import notices, topic
from shared.records.notices import HealthChanged, Notice
from tests.source import ROOT
from tests.unit.facts import SERVER, settings

DOCUMENT = (ROOT / "docs/notices.md").read_text()
EXAMPLE, SCHEMA = (
    json.loads(block) for block in re.findall(r"^```json\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)
)
KINDS = get_args(notices.Data.__value__)


def schema() -> dict[str, Any]:
    """The schema of the data of every notice, by type."""
    _, components = msgspec.json.schema_components(KINDS, ref_template="#/$defs/{name}")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$defs": dict(sorted(components.items())),
    }


def test_the_schema_is_that_of_the_code() -> None:
    assert schema() == SCHEMA, json.dumps(schema(), indent=2)


def test_every_type_is_described() -> None:
    told = set(re.findall(r"^\| `(FabricMirror\.\w+)` \|", DOCUMENT, re.MULTILINE))
    assert told == {kind.type() for kind in KINDS}


def test_the_example_is_a_notice() -> None:
    name = EXAMPLE["type"].removeprefix("FabricMirror.")
    jsonschema.validate(EXAMPLE["data"], {**SCHEMA, "$ref": f"#/$defs/{name}"})
    assert set(EXAMPLE["data"]) == set(HealthChanged.__struct_fields__)


def changed(**changes: Any) -> Notice:
    data: dict[str, Any] = {
        "server": "s", "database": "d", "workspace": "w", "mirror": "m", "level": "Degraded", "previous": "Healthy",
        "since": datetime(2026, 3, 1, tzinfo=UTC), "reasons": (Reason("LatencyHigh", "slow"),),
    }  # fmt: skip
    fields: dict[str, Any] = {"subject": "s/databases/d", "change": "Healthy Degraded", "at": datetime.now(UTC)}
    return Notice(**{**fields, **changes}, data=HealthChanged(**data))


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({}, True),
        ({"at": datetime(2027, 1, 1, tzinfo=UTC)}, True),
        ({"subject": "s/databases/e"}, False),
        ({"change": "Degraded Healthy"}, False),
    ],
)
def test_the_id_is_that_of_what_is_told(changes: dict[str, Any], same: bool) -> None:
    assert (changed(**changes).id == changed().id) is same


def test_an_event_has_the_attributes_of_the_example_and_the_data_as_json() -> None:
    notice = changed(at=datetime(2026, 3, 1, tzinfo=UTC))
    event = topic.event_of(notice)
    assert (event.source, event.type) == (EXAMPLE["source"], EXAMPLE["type"])
    assert (event.subject, event.id, event.time) == (notice.subject, notice.id, notice.at)
    assert event.datacontenttype == EXAMPLE.get("datacontenttype", "application/json")
    assert event.data == json.loads(msgspec.json.encode(notice.data))
    assert set(event.data) == set(EXAMPLE["data"])


def test_an_id_is_the_same_in_every_version_of_the_app() -> None:
    """Receivers know by it what they have had: a notice that is sent again after an upgrade is no other one."""
    assert changed().id == "9090b01a-2706-55be-a670-dea8e27d9861"


class Topic:
    """In the place of Event Grid: takes events, or answers as it is told to."""

    def __init__(self, error: Exception | None = None, seconds: float = 0):
        self.error, self.seconds = error, seconds
        self.ids: list[str] = []

    async def send(self, events: list[CloudEvent[Any]]) -> None:
        await asyncio.sleep(self.seconds)
        if self.error:
            raise self.error
        self.ids += [event.id for event in events]


def publish(
    monkeypatch: pytest.MonkeyPatch, receiver: Topic, *sent: Notice, address: str = "https://t.example"
) -> bool:
    monkeypatch.setattr(topic, "publisher", lambda: receiver)
    monkeypatch.setattr(topic, "settings", lambda: settings(NOTICE_TOPIC_ENDPOINT=address))
    monkeypatch.setattr(topic, "LONGEST_SENDING", 0.05)
    return asyncio.run(topic.publish(sent))


def about_a_server(database: str) -> Notice:
    data = msgspec.structs.replace(changed().data, server=str(SERVER))
    return msgspec.structs.replace(changed(subject=f"{SERVER}/databases/{database}"), data=data)


def test_notices_are_sent_to_the_topic_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    notices, receiver = [about_a_server("crm"), about_a_server("shop")], Topic()
    assert publish(monkeypatch, receiver, *notices, address="")
    assert publish(monkeypatch, receiver)
    assert receiver.ids == []
    assert publish(monkeypatch, receiver, *notices)
    assert receiver.ids == [notice.id for notice in notices]


def test_the_topic_is_not_asked_to_take_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert publish(monkeypatch, Topic(AzureError("Nothing was sent.")))


@pytest.mark.parametrize("receiver", [Topic(AzureError("Too busy.")), Topic(seconds=5)], ids=["refuses", "hangs"])
def test_notices_that_the_topic_did_not_take_are_to_be_sent_again(
    monkeypatch: pytest.MonkeyPatch, receiver: Topic
) -> None:
    assert not publish(monkeypatch, receiver, about_a_server("shop"))
