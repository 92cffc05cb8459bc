"""A running host with the sample app, and a client that talks to it over HTTP as the world does."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import msgspec
import pytest

from local.stack import Stack
from tests import real_parts
from tests.conftest import StackFactory

SETTINGS = {"FUNCTIONS_APP_DIRECTORY": str(Path(__file__).parent / "sample_app"), "TICK_SCHEDULE": "*/1 * * * * *"}
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Response(msgspec.Struct, frozen=True):
    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Host:
    """The host part of `stack`, seen from outside."""

    def __init__(self, stack: Stack):
        self.stack, self.keys = stack, stack.topology.host_keys
        self.port = stack.topology.ports["host"]

    def call(
        self, method: str, path: str, body: bytes | None = None, key: str | None = None, **headers: str
    ) -> Response:
        """One request. `path` may be a whole address; `key` is the name of a host key, sent in its header."""
        parts = urlsplit(path)
        url = f"http://127.0.0.1:{self.port}{parts.path}{'?' + parts.query if parts.query else ''}"
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if key:
            sent["x-functions-key"] = self.keys[key]
        request = urllib.request.Request(url, data=body, headers=sent, method=method)
        try:
            with DIRECT.open(request, timeout=30) as answer:
                return Response(answer.status, answer.headers, answer.read())
        except urllib.error.HTTPError as error:
            return Response(error.code, error.headers, error.read())

    def start(self, orchestrator: str, instance: str, given: Any = None) -> dict[str, str]:
        """Start an orchestration through the sample app; the links that its client made."""
        path = f"/sample/start/{orchestrator}/{quote(instance, safe='')}"
        answer = self.call("POST", path, json.dumps(given).encode(), key="default")
        assert answer.status == 202, answer
        return answer.json

    def durable(self, method: str, path: str, body: bytes | None = None, **query: Any) -> Response:
        """A call of the durable management API with its system key."""
        parameters = urlencode(query | {"code": self.keys["durabletask_extension"]})
        return self.call(
            method, f"/runtime/webhooks/durabletask/{path}?{parameters}", body, Content_Type="application/json"
        )

    def status(self, instance: str, **query: Any) -> Any:
        return self.durable("GET", f"instances/{quote(instance, safe='')}", **query).json

    def ended(self, instance: str, seconds: float = 30) -> Any:
        """The status of the orchestration once it has ended."""
        return eventually(
            lambda: self.status(instance),
            lambda status: status["runtimeStatus"] in ("Completed", "Failed", "Terminated"),
            seconds,
        )

    def seen(self, what: str) -> list[Any]:
        return self.call("GET", f"/sample/seen/{what}").json

    def log(self) -> str:
        return self.stack.topology.log("host").read_text()


def eventually(look: Callable[[], Any], enough: Callable[[Any], bool], seconds: float = 30) -> Any:
    """What `look` gives once it is `enough`. Fails with the last thing seen."""
    end = time.monotonic() + seconds
    while not enough(seen := look()):
        assert time.monotonic() < end, f"still after {seconds:g} s: {seen}"
        time.sleep(0.02)
    return seen


@contextmanager
def hosting(folder: Path, app: Path) -> Iterator[Host]:
    """A host with the app in `app`. Raises `local.stack.StartFailed` when it does not come up."""
    with Stack(folder, ["host"], settings=SETTINGS | {"FUNCTIONS_APP_DIRECTORY": str(app)}) as stack:
        real_parts.used_stack(["host"])
        yield Host(stack)


@pytest.fixture(scope="session")
def host(stack_factory: StackFactory) -> Host:
    """The sample app in the session's host; its tests use names of their own, and look only at what they did."""
    return Host(stack_factory("host", settings=SETTINGS))
