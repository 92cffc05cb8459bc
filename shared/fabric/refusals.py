"""What Fabric's answers mean: its errors, in any form in which they come, and answers that are none of Fabric's.

Source: "Fabric REST API" articles on throttling and the `ErrorResponse` form.
"""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec
from azure.core.rest import AsyncHttpResponse

from shared.platform.azure_errors import passes, token_refused
from shared.platform.errors import Blocked, Conflict, MirrorError, NotAllowed, NotFound, Unavailable
from shared.platform.pipeline import is_object, says_enough, unreadable

RETRY_AFTER = 15.0
"""Seconds to wait when Fabric is busy and does not say how long."""
PASSING_SECONDS = 180.0
"""Seconds for which a step is tried again after its operation failed, or Fabric did not find its list."""
_CAPACITY = {
    "CapacityNotActive": "Resume the capacity of the workspace; the hourly resync then goes on by itself.",
    "WorkspaceNotAssignedToCapacity": "Assign the workspace to an active Fabric capacity.",
}
"""Codes that have to do with the workspace's capacity, although their status is 403; and the remedy."""
_EXPIRED = "TokenExpired"
_WHO = (
    "The app tries again by itself. If it lasts, a Fabric administrator has to allow the tenant setting 'Service "
    "principals can use Fabric APIs' for the app's identity, which has to be of the same tenant."
)
PASSES = "The app tries again by itself. If it lasts, see the service health of Microsoft Fabric."
_OTHER: tuple[type[MirrorError], str] = (
    Blocked, "Look in the Fabric portal at the item that the message names, or give Fabric support the request id.",
)  # fmt: skip
"""The error and the remedy for a status that `_REFUSED` does not name."""
_REFUSED: dict[int, tuple[type[MirrorError], str]] = {
    404: (NotFound, "If the item exists, give the app's identity access to it. Otherwise the next run creates it."),
    409: (Conflict, "Rename or delete the item in Fabric that has the name; the next run then goes on."),
}
"""The error and the remedy by status."""


class ErrorDetails(msgspec.Struct, frozen=True, rename="camel"):
    """One of the details of an error."""

    error_code: str = ""
    message: str = ""


class ErrorResponse(msgspec.Struct, frozen=True, rename="camel"):
    """Fabric's form of an error, in the body of a refusal and within a status."""

    error_code: str = ""
    message: str = ""
    request_id: str = ""
    more_details: tuple[ErrorDetails, ...] | None = None
    is_retriable: bool | None = None

    @property
    def text(self) -> str:
        """The message with the messages of its details."""
        details = [detail.message for detail in self.more_details or () if detail.message]
        return " ".join(dict.fromkeys(part for part in (self.message, *details) if part)) or "no reason was given"


class _Code(msgspec.Struct, frozen=True):
    code: str = ""
    message: str = ""


class _FrontError(msgspec.Struct, frozen=True):
    error: _Code = _Code()


class ListNotFound(Unavailable):
    """Fabric does not find a list. One such answer may be wrong, so the step is tried again for `PASSING_SECONDS`."""


def refusal(doing: str, response: AsyncHttpResponse) -> MirrorError:
    """What it means that Fabric refused a call: the method and path are what was being done."""
    error, status = error_of(response), response.status_code
    about = f"{error.text} ({error.error_code or status}, {request_of(response, error)})"
    message = f"Fabric refused {doing}: {about}"
    if status == 401 or error.error_code == _EXPIRED:
        return token_refused("Fabric", f"at {doing}: {about}", _WHO)
    if not says_enough(status) and not is_object(response.content):
        garbled = unreadable(response.request, response, response.content)
        return Unavailable(f"Fabric gave an answer that the app can't read: {garbled}", remedy=PASSES)
    if status in (408, 429) or status >= 500 or error.is_retriable:
        pause = retry_after(response, RETRY_AFTER)
        return Unavailable(message, code=error.error_code, remedy=PASSES, retry_after=pause)
    if error.error_code in _CAPACITY:
        return Blocked(message, code=error.error_code, remedy=_CAPACITY[error.error_code])
    if status == 403:
        return NotAllowed(
            message,
            code=error.error_code,
            remedy="Give the app's identity the role Member on the workspace; a Fabric administrator has to allow the "
            "tenant setting 'Service principals can use Fabric APIs' for it.",
        )
    kind, remedy = _REFUSED.get(status, _OTHER)
    return kind(message, code=error.error_code, remedy=remedy)


def failure(error: ErrorResponse, operation: str) -> MirrorError:
    """What it means that an operation failed. `operation` names it."""
    code = error.error_code or "UnknownError"
    message = f"An operation of Fabric failed: {error.text} ({code}, {operation})"
    if error.is_retriable:
        return Unavailable(message, code=code, remedy=PASSES, retry_after=RETRY_AFTER)
    if not error.error_code or passes(code):
        return Unavailable(message, code=code, remedy=PASSES, retry_after=RETRY_AFTER, patience=PASSING_SECONDS)
    return Blocked(message, code=code, remedy="Look at the item in the Fabric portal, then try again.")


def request_of(response: AsyncHttpResponse, error: ErrorResponse | None = None) -> str:
    """The id that Fabric gave to the request: Microsoft's support asks for it."""
    return f"request {(error and error.request_id) or response.headers.get('requestId', 'unknown')}"


def error_of(response: AsyncHttpResponse) -> ErrorResponse:
    """The error of an answer, in Fabric's form or in the form of Azure's gateway: `{"error": {"code", "message"}}`."""
    status = f"HTTP {response.status_code} {response.reason}"
    try:
        error = _parse(ErrorResponse, response.content)
        if error.error_code or error.message:
            return msgspec.structs.replace(error, message=error.message or status)
        front = _parse(_FrontError, response.content).error
    except ValueError:
        return ErrorResponse(message=status)
    return ErrorResponse(error_code=front.code, message=front.message or status)


def decode[T](kind: type[T], response: AsyncHttpResponse, part: msgspec.Raw | None = None) -> T:
    """The answer, or a part of it, as its documented type."""
    try:
        return _parse(kind, response.content or b"null" if part is None else part)
    except ValueError as error:
        raise undocumented(response, str(error)) from error


def undocumented(response: AsyncHttpResponse, why: str) -> Unavailable:
    """The error where Fabric's answer has not the form that it documents."""
    where = response.request.url.partition("?")[0]
    return Unavailable(
        f"Fabric's answer at {where} differs from its documentation: {why} ({request_of(response)}).", remedy=PASSES
    )


def _parse[T](kind: type[T], content: bytes | msgspec.Raw) -> T:
    """The content as a type. A null counts as a missing field. Raises `ValueError`, also where it is not UTF-8."""
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.ValidationError:
        return msgspec.json.decode(msgspec.json.encode(_without_nulls(msgspec.json.decode(content))), type=kind)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(inner) for name, inner in value.items() if inner is not None}
    return [_without_nulls(inner) for inner in value] if isinstance(value, list) else value


def retry_after(response: AsyncHttpResponse, otherwise: float) -> float:
    """Seconds that Fabric asks to wait, in either form that HTTP allows; `otherwise` where Fabric does not say."""
    value = response.headers.get("Retry-After", "")
    for read_as in (float, _seconds_until):
        with contextlib.suppress(ValueError):
            return max(0.0, read_as(value))
    return otherwise


def _seconds_until(date: str) -> float:
    return (parsedate_to_datetime(date).astimezone(UTC) - datetime.now(UTC)).total_seconds()
