"""Errors as RFC 9457 problem details: `application/problem+json` with a stable `code`, and never a stack trace."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Awaitable, Callable, Collection
from typing import Any

import azure.functions as func
import grpc.aio

from functions import bodies
from shared.platform import brief, logs
from shared.platform.errors import (
    Blocked,
    Conflict,
    InvalidInput,
    InvalidSetting,
    MirrorError,
    NotAllowed,
    NotFound,
    TooLarge,
    Unavailable,
)

log = logs.logger(__name__)

STATUS: dict[type[MirrorError], int] = {
    InvalidInput: 400,
    TooLarge: 413,
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
    413: "The body is too large",
    500: "The app failed",
    503: "Try again later",
}

ENGINE_SILENT = Unavailable(
    "Durable Functions, the engine of this app, did not answer.",
    code="EngineUnavailable",
    remedy="Try again in a moment. If it stays, look at the app's storage account and at its log.",
    retry_after=5,
)
UNEXPECTED = MirrorError("The app failed; its log says why.", remedy="Try again; if it stays, see the log.")

OF_HOST = ("code", "clientid")
"""Parameters that the Functions host reads on every address: the key, and the key's name."""
LONGEST_NAME = 100

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
        "remedy": error.remedy,
    }
    headers = {"Cache-Control": "no-store"}
    if error.retry_after is not None:
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    return func.HttpResponse(
        json.dumps(body, ensure_ascii=False), status_code=status, mimetype="application/problem+json", headers=headers
    )


def with_problems(*query: str) -> Callable[[Door], Door]:
    """Let a door answer with problem details whatever goes wrong behind it. `query`: the parameters that it takes."""

    def guard(door: Door) -> Door:
        @functools.wraps(door)
        async def guarded(*arguments: Any, **named: Any) -> func.HttpResponse:
            request = next(it for it in (*arguments, *named.values()) if isinstance(it, func.HttpRequest))
            with logs.about(server=_server(request)):
                try:
                    require_readable(request, query)
                    return await door(*arguments, **named)
                except MirrorError as error:
                    return problem(error)
                except grpc.aio.AioRpcError as error:
                    log.warning("%s: the engine answered %s: %s", door.__name__, error.code().name, error.details())
                    return problem(ENGINE_SILENT)
                except Exception:
                    log.exception("%s failed", door.__name__)
                    return problem(UNEXPECTED)

        return guarded

    return guard


def require_readable(request: func.HttpRequest, query: Collection[str]) -> None:
    """Raise `TooLarge` or `InvalidInput` for a request that no door reads: its body is too large, or its address has
    other parameters than `query`."""
    bodies.require_small(request.get_body())
    unknown = sorted(name for name in request.params if name not in query and name.lower() not in OF_HOST)
    if unknown:
        names = brief.listed([repr(brief.cut(name, LONGEST_NAME)) for name in unknown])
        expected = f"known are {', '.join(sorted(query))}" if query else "this address takes none"
        raise InvalidInput(
            f"The address has unknown parameters: {names}; {expected}.",
            code="InvalidQuery",
            remedy="Correct the name in the address, or leave the parameter out.",
        )


def _server(request: func.HttpRequest) -> str:
    """The server in the address of a request, as lines of the log name it; empty: there is none in it."""
    parts = [request.route_params.get(name, "") for name in ("subscription", "resource_group", "server")]
    return ":".join(parts).lower() if all(parts) else ""
