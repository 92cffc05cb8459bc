"""The manners of Fabric's REST API: its form of errors, typed request bodies, pages, times."""

from __future__ import annotations

import base64
import binascii
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from local.cloud import tokens
from local.cloud.web import Answer, Call, Refusal

BASE = "https://api.fabric.microsoft.com/v1"
AUDIENCES = (tokens.FABRIC, "https://analysis.windows.net/powerbi/api")
RETRIABLE = {429, 500, 502, 503, 504}


class Behaviour(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """What a test may change: rows in a page, seconds that things take, and which operations answer 202 first."""

    page_size: int = 100
    initializing_seconds: float = 0.5
    operation_seconds: float = 0.5
    long_running: tuple[str, ...] = ()


def error(code: str, message: str, details: Sequence[tuple[str, str]] = (), retriable: bool = False) -> dict[str, Any]:
    """An `ErrorResponse`. `details`: (code, message) of what lies behind it."""
    return {
        "requestId": str(uuid.uuid4()),
        "errorCode": code,
        "message": message,
        "moreDetails": [{"errorCode": c, "message": m} for c, m in details],
        "isRetriable": retriable,
    }


def error_body(refusal: Refusal) -> dict[str, Any]:
    """The body for a refusal; the request's id and the code are also sent as headers, as Fabric does."""
    retriable = refusal.more.get("retriable", refusal.status in RETRIABLE)
    body = error(refusal.code, refusal.message, refusal.more.get("details", ()), retriable)
    refusal.headers |= {"requestId": body["requestId"], "x-ms-public-api-error-code": refusal.code}
    return body


def invalid(message: str) -> Refusal:
    return Refusal(400, "InvalidInput", "The request has an invalid input", details=[("InvalidParameter", message)])


def decode[T](body: Any, form: type[T]) -> T:
    """The request's body as `form`; a `Refusal` that says what is wrong with which field."""
    try:
        return msgspec.convert(body if body is not None else {}, form)
    except msgspec.ValidationError as reason:
        raise invalid(f"{reason}.") from None


def page(call: Call, rows: Sequence[Any], size: int, key: str = "value") -> Answer:
    """One page of `rows`; the token for the next page is opaque to the caller."""
    start = _position(call.query.get("continuationToken"))
    body: dict[str, Any] = {key: list(rows[start : start + size])}
    if start + size < len(rows):
        token = base64.urlsafe_b64encode(f"rows-from-{start + size}".encode()).decode().rstrip("=")
        rest = "".join(f"&{name}={value}" for name, value in call.query.items() if name != "continuationToken")
        path = call.path.removeprefix("/v1")
        body |= {"continuationToken": token, "continuationUri": f"{BASE}{path}?continuationToken={token}{rest}"}
    return Answer(body=body)


def _position(token: str | None) -> int:
    if not token:
        return 0
    try:
        text = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode()
        return int(text.removeprefix("rows-from-"))
    except (binascii.Error, ValueError):
        raise invalid(f"The continuationToken {token!r} is not one that this service gave.") from None


def timestamp(seconds: float) -> str:
    """Seconds since the epoch as Fabric writes a time."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
