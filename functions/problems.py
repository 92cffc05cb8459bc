"""Errors as RFC 9457 problem details: `application/problem+json` with a stable `code`, and never a stack trace."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Awaitable, Callable
from typing import Any

import azure.functions as func

from shared.platform import logs
from shared.platform.errors import (
    Blocked,
    Conflict,
    InvalidInput,
    InvalidSetting,
    MirrorError,
    NotAllowed,
    NotFound,
    Unavailable,
)

log = logs.logger(__name__)

STATUS: dict[type[MirrorError], int] = {
    InvalidInput: 400,
    NotAllowed: 403,
    NotFound: 404,
    Conflict: 409,
    Blocked: 409,
    InvalidSetting: 500,
    Unavailable: 503,
}
TITLES = {
    400: "The request can't be understood",
    403: "Not allowed",
    404: "Not found",
    409: "Something stands in the way",
    500: "The app failed",
    503: "Try again later",
}

UNEXPECTED = MirrorError("The app failed; its log says why.", remedy="Try again; if it stays, see the log.")

type Door = Callable[..., Awaitable[func.HttpResponse]]


def answer(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> func.HttpResponse:
    """A JSON answer that no cache keeps."""
    return func.HttpResponse(
        json.dumps(body, ensure_ascii=False),
        status_code=status,
        mimetype="application/json",
        headers={"Cache-Control": "no-store", **(headers or {})},
    )


def status_of(error: MirrorError) -> int:
    """The HTTP status that an error stands for."""
    return next((status for kind, status in STATUS.items() if isinstance(error, kind)), 500)


def problem(error: MirrorError) -> func.HttpResponse:
    """The error as problem details."""
    status = status_of(error)
    body = {
        "type": "about:blank",
        "title": TITLES[status],
        "status": status,
        "code": error.code,
        "detail": error.message,
    }
    if error.remedy:
        body["remedy"] = error.remedy
    headers = {"Cache-Control": "no-store"}
    if error.retry_after is not None:
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    return func.HttpResponse(
        json.dumps(body, ensure_ascii=False), status_code=status, mimetype="application/problem+json", headers=headers
    )


def with_problems(door: Door) -> Door:
    """Let a door answer with problem details whatever goes wrong behind it."""

    @functools.wraps(door)
    async def guarded(*arguments: Any, **named: Any) -> func.HttpResponse:
        with logs.about(server=_server(*arguments, *named.values())):
            try:
                return await door(*arguments, **named)
            except MirrorError as error:
                return problem(error)
            except Exception:
                log.exception("%s failed", door.__name__)
                return problem(UNEXPECTED)

    return guarded


def _server(*given: Any) -> str:
    """The server in the address of a request, as lines of the log name it; empty: there is none in it."""
    request = next(one for one in given if isinstance(one, func.HttpRequest))
    parts = [request.route_params.get(name, "") for name in ("subscription", "resource_group", "server")]
    return ":".join(parts).lower() if all(parts) else ""
