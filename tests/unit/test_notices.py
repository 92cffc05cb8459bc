"""docs/notices.md describes the notices as they are."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any, get_args

import jsonschema
import msgspec
import pytest

from shared.platform.reasons import Reason
from shared.records import notices, topic
from shared.records.notices import HealthChanged, Notice
from tests.source import ROOT

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
