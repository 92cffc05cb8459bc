"""The fault control of the stand-ins: what can be ordered to go wrong, by real HTTP to one of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from local.cloud.web import Answer, Call, Operation, Service

KEY = {"x-control-key": "key"}


class Counter:
    """A service of one operation, which counts how often it did its work."""

    def __init__(self) -> None:
        self.done = 0
        operation = Operation("PUT", "/count/{name}", "Counter_Add", self.add)
        topology: Any = SimpleNamespace(control_key="key")
        self.service = Service("counter", topology, [operation], (), lambda it: {"code": it.code, "why": it.message})

    async def add(self, call: Call) -> Answer:
        self.done += 1
        return Answer(body={"name": call.parameters["name"], "done": self.done})


@pytest.fixture
def counter() -> Counter:
    return Counter()


@pytest.fixture
async def client(counter: Counter) -> AsyncIterator[TestClient[Any, Any]]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", counter.service.handle)
    async with TestClient(TestServer(app)) as client:
        yield client


async def order(client: TestClient[Any, Any], **fault: Any) -> int:
    async with client.post("/.control/faults", json={"operation": "Counter_Add", **fault}, headers=KEY) as answer:
        return answer.status


async def put(client: TestClient[Any, Any], name: str = "a", body: Any = None) -> tuple[int, str, str]:
    async with client.put(f"/count/{name}", json=body or {}) as answer:
        return answer.status, answer.content_type, await answer.text()


GOOD = '{"name": "a", "done": 1}'


@pytest.mark.parametrize(
    ("fault", "answer"),
    [
        ({"raw": "<html>", "content_type": "text/html"}, (200, "text/html", "<html>")),
        ({"raw": "null"}, (200, "application/json", "null")),
        ({"raw": "", "status": 502}, (502, "application/json", "")),
        ({"status": 401, "code": "Expired"}, (401, "application/json", '{"code": "Expired", "why": "m"}')),
        ({"status": 429}, (429, "application/json", '{"code": "InjectedFault", "why": "m"}')),
    ],
)
@pytest.mark.parametrize("after", [False, True])
async def test_an_answer_in_the_place_of_the_services_own(
    counter: Counter, client: TestClient[Any, Any], fault: dict[str, Any], answer: tuple[int, str, str], after: bool
) -> None:
    assert await order(client, message="m", after=after, **fault) == 201
    assert await put(client) == answer
    assert counter.done == after
    assert (await put(client))[0] == 200


async def test_a_truncated_answer_follows_the_work(counter: Counter, client: TestClient[Any, Any]) -> None:
    assert await order(client, truncate=9) == 201
    assert await put(client) == (200, "application/json", GOOD[:9])
    assert counter.done == 1


@pytest.mark.parametrize("fault", [{"truncate": 9, "drop": True}, {"drop": True, "after": True}])
async def test_a_connection_that_is_cut_after_the_work(
    counter: Counter, client: TestClient[Any, Any], fault: dict[str, Any]
) -> None:
    await order(client, **fault)
    with pytest.raises(aiohttp.ClientError):
        await put(client)
    assert counter.done >= 1


async def test_the_calls_that_a_fault_is_for(counter: Counter, client: TestClient[Any, Any]) -> None:
    await order(client, skip=1, times=2, path="^/count/b", body='"kind": "big"', status=503)
    big = {"kind": "big"}
    statuses = [
        (await put(client, name, body))[0]
        for name, body in [("a", big), ("b", {}), ("b", big), ("b", big), ("a", big), ("b", big), ("b", big)]
    ]
    assert statuses == [200, 200, 200, 503, 200, 503, 200]


@pytest.mark.parametrize("fault", [{"path": "("}, {"body": "["}, {"operation": "Other"}, {"hang": True}])
async def test_a_fault_that_can_not_be_understood_is_refused(
    client: TestClient[Any, Any], fault: dict[str, Any]
) -> None:
    assert await order(client, **fault) == 400
