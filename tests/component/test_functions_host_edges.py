"""What the real Functions host answers at its edges, asked again of the local one.

`host_answers.json` holds 212 requests and the answers of the real host (4.1037, Durable extension 3.19.0, Event Grid
extension 3.3.0), behind which stood an echo of every door. What is compared: the status, what reached the function, and
headers that callers act on.
"""

from __future__ import annotations

import http.client
import json
from pathlib import Path
from typing import Any

import pytest

from tests.component.functions_host import SETTINGS, Host
from tests.conftest import StackFactory

HERE = Path(__file__).parent
RECORDED = json.loads((HERE / "host_answers.json").read_text())
HEADERS = ("www-authenticate", "webhook-allowed-origin", "webhook-allowed-rate", "retry-after")
RECORDED_CHARACTERS = 1200
"""Of each body: no more was recorded."""
ECHOED = ("function", "url", "method", "query", "params")
FROM_CUSTOM_HANDLER = "the recorded echo was a custom handler's, whose form of this is not the Python worker's"
OTHERWISE = {
    "query a=": FROM_CUSTOM_HANDLER,
    "query a": FROM_CUSTOM_HANDLER,
    "function: none": FROM_CUSTOM_HANDLER,
    "parameter a%2525b": "the real host decodes the address that it hands on once more than the parameters",
    "durable: another hub": "the local host has one task hub, and does not look at the name",
    "durable: restart wait1": "the in-memory engine restarts only what has ended",
}
"""What the local host answers otherwise, and why."""


@pytest.fixture(scope="module")
def edges(stack_factory: StackFactory) -> Host:
    return Host(stack_factory("host", settings=SETTINGS | {"FUNCTIONS_APP_DIRECTORY": str(HERE / "edges_app")}))


def asked(host: Host, call: dict[str, Any]) -> dict[str, Any]:
    """What the local host answers, in the form of the recorded answer."""
    keys = host.keys
    path = call["path"].replace("{default}", keys["default"])
    if name := call.get("key_in_query"):
        path += ("&" if "?" in path else "?") + "code=" + keys.get(name, "no-key")
    headers = {name: value.replace("{default}", keys["default"]) for name, value in (call.get("headers") or {}).items()}
    if name := call.get("key_in_header"):
        headers["x-functions-key"] = keys.get(name, "no-key")
    body = call.get("body")
    latin = body is not None and body.startswith("latin1:")
    raw = None if body is None else body.removeprefix("latin1:").encode("latin-1" if latin else "utf-8")
    connection = http.client.HTTPConnection("127.0.0.1", host.port, timeout=30)
    connection.putrequest(call["method"], path, skip_accept_encoding=True)
    for name, value in headers.items():
        connection.putheader(name, value)
    if raw is not None:
        connection.putheader("content-length", str(len(raw)))
    connection.endheaders(raw)
    answer = connection.getresponse()
    text = answer.read().decode("utf-8", "replace")
    connection.close()
    for name, value in keys.items():
        text = text.replace(value, f"{{{name}}}")
    return {
        "status": answer.status,
        "headers": {name.lower(): value for name, value in answer.getheaders()},
        "body": text.replace(f":{host.port}", ":PORT"),
    }


def seen(answer: dict[str, Any]) -> dict[str, Any]:
    """What is compared of an answer."""
    try:
        body = json.loads(answer["body"]) if len(answer["body"]) < RECORDED_CHARACTERS else None
    except ValueError:
        body = None
    echo = {name: body.get(name) for name in ECHOED} if isinstance(body, dict) and "function" in body else None
    headers = {name: value for name, value in answer["headers"].items() if name in HEADERS}
    return {"status": answer["status"], "headers": headers, "echo": echo}


def test_the_local_host_answers_as_the_real_one(edges: Host) -> None:
    others = {}
    for call in RECORDED:
        expected, got = seen(call["answer"]), seen(asked(edges, call))
        if got != expected:
            others[call["name"]] = {name: (expected[name], got[name]) for name in got if got[name] != expected[name]}
    unexplained = {name: value for name, value in others.items() if name not in OTHERWISE}
    assert not unexplained, "\n".join(f"{name}: {value}" for name, value in unexplained.items())
    assert set(OTHERWISE) <= set(others)
