"""That the check against Fabric's specification finds what departs from it, and accepts what it publishes itself."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests import fabric_specification as specification
from tests.fabric_specification import BASE, Exchange

pytestmark = specification.needed

ID = "4399ab2c-7551-4c0e-8aa7-18fc2f217626"
CREATE = {
    "connectivityType": "ShareableCloud",
    "displayName": "c",
    "connectionDetails": {
        "type": "T", "creationMethod": "M", "parameters": [{"dataType": "Text", "name": "server", "value": "s"}],
    },
    "credentialDetails": {"credentials": {"credentialType": "Basic", "username": "u", "password": "p"}},
}  # fmt: skip
CREATED = {"id": ID, "connectivityType": "ShareableCloud", "connectionDetails": {"type": "T", "path": "s;d"}}
GOOD = Exchange(
    method="POST",
    url=f"{BASE}/connections",
    body=json.dumps(CREATE).encode(),
    status=201,
    headers={},
    content=json.dumps(CREATED).encode(),
)
ERROR = {"errorCode": "E", "message": "m", "requestId": ID, "moreDetails": [], "isRetriable": False}


def changed(**members: Any) -> Exchange:
    encoded = {name: json.dumps(v).encode() if name in ("body", "content") else v for name, v in members.items()}
    return msgspec.structs.replace(GOOD, **encoded)


@pytest.mark.parametrize(
    ("exchange", "departure"),
    [
        (GOOD, None),
        (changed(body=CREATE | {"displayname": "c"}), r"request, \$: Unevaluated properties .*'displayname'"),
        (changed(body={**CREATE, "displayName": 7}), r"request, \$\.displayName: 7 is not of type 'string'"),
        (changed(body=CREATE | {"connectivityType": "Wire"}), "connectivityType: 'Wire' is not one of"),
        (
            changed(body=CREATE | {"credentialDetails": {"credentials": {"credentialType": "Basic"}}}),
            r"\$\.credentialDetails\.credentials: 'username' is a required property",
        ),
        (changed(body=CREATE | {"gatewayId": ID}), "Unevaluated properties .*'gatewayId'"),
        (changed(body=CREATE | {"connectivityType": "VirtualNetworkGateway", "gatewayId": "g"}), "'g' is not a 'uuid'"),
        (msgspec.structs.replace(GOOD, body=b""), "request has no body"),
        (changed(content=CREATED | {"path": "s;d"}), "answer 201, .*'path' was unexpected"),
        (changed(content={**CREATED, "id": "1"}), r"answer 201, \$\.id: '1' is not a 'uuid'"),
        (changed(status=200), "status 200 is not specified; 201, 429, default are"),
        (changed(status=400, content=ERROR), None),
        (changed(status=400, content={"error": {"code": "E"}}), "answer 400, .* is a required property"),
        (changed(status=429, content=ERROR), "answer 429 lacks the header Retry-After"),
        (changed(status=429, content=ERROR, headers={"retry-after": "soon"}), "'soon' is not of type 'integer'"),
        (changed(url=f"{BASE}/connections?dry=1"), "query parameter dry is not specified"),
        (
            Exchange(
                method="DELETE", url=f"{BASE}/connections/7", body=b"", status=200, headers={}, content=b'{"a": 1}'
            ),
            "path parameter connectionId, .*'7' is not a 'uuid'",
        ),
    ],
)
def test_departures_are_found(exchange: Exchange, departure: str | None) -> None:
    found = specification.departures([exchange])
    if departure is None:
        assert found == []
    else:
        assert any(re.search(departure, each) for each in found), found


def test_an_address_that_is_not_specified_is_an_error() -> None:
    with pytest.raises(AssertionError, match="GET /v1/connection is not in the specifications"):
        specification.departures([msgspec.structs.replace(GOOD, method="GET", url=f"{BASE}/connection")])


def examples() -> dict[Path, specification.Operation]:
    """The operation of each published example."""
    return {
        (operation.source.parent / example["$ref"]).resolve(): operation
        for operation in specification.operations()
        for example in operation.document["x-ms-examples"].values()
    }


def test_every_published_example_belongs_to_an_operation() -> None:
    assert specification.examples()
    assert set(specification.examples()) <= set(examples())


@pytest.mark.parametrize("file", specification.examples(), ids=lambda file: file.stem)
def test_published_examples_are_as_specified(file: Path) -> None:
    operation, example = examples()[file], json.loads(file.read_text(encoding="utf-8-sig"))
    for parameter in operation.document.get("parameters", ()):
        if parameter["in"] == "body" and parameter["name"] in example["parameters"]:
            body = json.dumps(example["parameters"][parameter["name"]]).encode()
            assert [*operation._body("request", body, parameter["schema"])] == []
    for status, answer in example["responses"].items():
        content = json.dumps(answer["body"]).encode() if "body" in answer else b""
        assert [*operation._body("answer", content, operation.document["responses"][status].get("schema"))] == []
