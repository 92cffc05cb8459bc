"""What a door answers when something goes wrong behind it, and what the log says."""

from __future__ import annotations

import json
import logging

import azure.functions as func
import grpc.aio
import pytest

from functions.problems import with_problems
from shared.platform import logs
from shared.platform.errors import MirrorError, NotAllowed, Unavailable

PLACE = {"subscription": "00000000-0000-0000-0000-0000000000A1", "resource_group": "rg-Shop", "server": "pg-shop"}
KEY = "00000000-0000-0000-0000-0000000000a1:rg-shop:pg-shop"


def asked(**route_params: str) -> func.HttpRequest:
    return func.HttpRequest(method="GET", url="https://app/api/x", route_params=route_params, body=b"")


@with_problems()
async def broken(req: func.HttpRequest) -> func.HttpResponse:
    logs.logger("behind").info("at it, 100 %")
    raise RuntimeError("the secret reason")


@pytest.mark.parametrize(("place", "end"), [(PLACE, f" [server={KEY}]"), ({}, "")])
async def test_an_unexpected_error_stays_in_the_log_with_its_server(
    caplog: pytest.LogCaptureFixture, place: dict[str, str], end: str
) -> None:
    caplog.set_level(logging.INFO)
    answer = await broken(req=asked(**place))
    assert answer.status_code == 500
    assert "secret" not in answer.get_body().decode()
    assert json.loads(answer.get_body())["code"] == "InternalError"
    assert [line.getMessage() for line in caplog.records] == [f"at it, 100 %{end}", f"broken failed{end}"]
    assert caplog.records[1].exc_info
    assert {line.__dict__.get("server") for line in caplog.records} == {KEY if place else None}


async def test_an_engine_that_is_silent_is_asked_again_later() -> None:
    @with_problems()
    async def unanswered(req: func.HttpRequest) -> func.HttpResponse:
        raise grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), "refused")

    answer = await unanswered(asked(**PLACE))
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert json.loads(answer.get_body())["code"] == "EngineUnavailable"


@pytest.mark.parametrize(
    ("error", "status", "after"),
    [
        (Unavailable("Busy.", retry_after=7.2), 503, "8"),
        (NotAllowed("Not you.", code="Mine", remedy="Ask."), 403, None),
    ],
)
async def test_an_error_of_ours_says_what_to_do(error: MirrorError, status: int, after: str | None) -> None:
    @with_problems()
    async def refused(req: func.HttpRequest) -> func.HttpResponse:
        raise error

    answer = await refused(asked(**PLACE))
    assert (answer.status_code, answer.mimetype) == (status, "application/problem+json")
    assert answer.headers.get("Retry-After") == after
    body = json.loads(answer.get_body())
    assert (body["code"], body["detail"], body.get("remedy", "")) == (error.code, error.message, error.remedy)
