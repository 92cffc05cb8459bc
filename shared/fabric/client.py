"""REST calls to Fabric on azure-core's pipeline: identity, retry, quota, pages, long-running operations, errors.

Source: "Fabric REST API" articles on pagination, long-running operations, throttling and the `ErrorResponse` form.

The pipeline repeats a call for a few seconds only, and only where a second call does no harm. A longer wait is raised
as `Unavailable` with its length, so that a durable timer waits. Operations are the exception: a second call would start
a second operation, so this module follows an operation for `OPERATION_SECONDS`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import unquote, urljoin

import msgspec
from azure.core import AsyncPipelineClient
from azure.core.exceptions import AzureError, ClientAuthenticationError
from azure.core.pipeline import PipelineRequest, PipelineResponse
from azure.core.pipeline.policies import (
    AsyncBearerTokenCredentialPolicy,
    AsyncHTTPPolicy,
    AsyncRedirectPolicy,
    AsyncRetryPolicy,
    DistributedTracingPolicy,
    HttpLoggingPolicy,
    ProxyPolicy,
    RequestIdPolicy,
    SensitiveHeaderCleanupPolicy,
    UserAgentPolicy,
)
from azure.core.rest import AsyncHttpResponse, HttpRequest

from shared.fabric.quota import Quota, in_background
from shared.platform.clients import cloud, credential, once
from shared.platform.errors import Blocked, Conflict, MirrorError, NotAllowed, NotFound, Unavailable
from shared.platform.settings import settings
from shared.platform.version import VERSION

LONGEST_WAIT = 5.0
"""The longest pause in seconds before the pipeline repeats a call; Fabric says how long the pause is."""
OPERATION_SECONDS = 120.0
"""Seconds that an operation may take whose result the app needs at once. Another try would start another operation."""
SHORTEST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Limits in seconds of the pause between two requests for the state of an operation, whatever Fabric says."""
RETRY_AFTER = 15.0
"""Seconds to wait when Fabric is busy and does not say how long."""
IN_BACKGROUND: dict[str, Any] = {"read_timeout": 30, "retry_read": 1}
"""Limits for the sweep, which has other mirrors to look at when Fabric does not answer."""
NOT_OVER = "OperationNotOver"
READS = frozenset({"GET"})
ANY_METHOD = frozenset({"GET", "POST", "PATCH", "DELETE"})

_CAPACITY = {
    "CapacityNotActive": "Resume the capacity of the workspace; the hourly resync then goes on by itself.",
    "WorkspaceNotAssignedToCapacity": "Assign the workspace to an active Fabric capacity.",
}
"""Codes that have to do with the workspace's capacity, although their status is 403; and the remedy."""
_PASSES = "The app tries again by itself. If it lasts, see the service health of Microsoft Fabric."
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


class _State(msgspec.Struct, frozen=True):
    status: str
    error: ErrorResponse | None = None


class _Page(msgspec.Struct, frozen=True, rename="camel"):
    value: tuple[msgspec.Raw, ...] = ()
    data: tuple[msgspec.Raw, ...] = ()
    continuation_token: str | None = None
    continuation_uri: str | None = None


async def read[T](kind: type[T], path: str, *, method: str = "GET", **query: str) -> T:
    """Fabric's answer to a call that changes nothing. Where Fabric answers with an operation, see `write`."""
    return await _settled(kind, path, await _send(method, path, query=query, repeatable=ANY_METHOD))


async def pages[T](kind: type[T], path: str, *, method: str = "GET", **query: str) -> AsyncIterator[T]:
    """Every row of a list. The function asks for one page after the other."""
    url = path
    while True:
        response = await _send(method, url, query=query, repeatable=ANY_METHOD)
        page = _decode(_Page, response)
        for raw in page.value or page.data:
            yield _decode(kind, response, raw)
        if page.continuation_uri and page.continuation_uri.startswith(f"{cloud().fabric}/"):
            url, query = page.continuation_uri, {}
        elif page.continuation_token:
            url, query = path, query | {"continuationToken": unquote(page.continuation_token)}
        else:
            return


async def write[T](
    kind: type[T], method: str, path: str, body: Any = None, *, repeatable: bool = False, **query: str
) -> T:
    """Change something, and return Fabric's answer. `repeatable` says that a second call after an error does no harm.

    Where Fabric answers with an operation, the function waits for its end, `OPERATION_SECONDS` at most. Raises
    `Unavailable` when the operation has not ended by then; when it failed, `Unavailable` where Fabric calls the error
    retriable, and `Blocked` otherwise.
    """
    response = await _send(method, path, body=body, query=query, repeatable=ANY_METHOD if repeatable else READS)
    return await _settled(kind, path, response)


class _Redirect(AsyncRedirectPolicy[HttpRequest, AsyncHttpResponse]):
    """Follows redirects within Fabric's own host only, since bodies contain passwords."""

    def get_redirect_location(self, response: PipelineResponse[Any, Any]) -> str | None:
        location = super().get_redirect_location(response)
        target = urljoin(response.http_request.url, location) if location else ""
        return target if target.startswith(f"{cloud().fabric}/") else None


class _Retry(AsyncRetryPolicy[HttpRequest, AsyncHttpResponse]):
    """Repeats a throttled call, and a failed call where that does no harm. Never waits longer than `LONGEST_WAIT`."""

    def is_retry(self, settings: dict[str, Any], response: PipelineResponse[Any, Any]) -> bool:
        answer: AsyncHttpResponse = response.http_response
        if answer.status_code < 400 or not settings["total"] or _retry_after(answer, 0.0) > LONGEST_WAIT:
            return False
        if answer.status_code == 429:
            return True
        is_transient = answer.status_code in self._retry_on_status_codes or _error_of(answer).is_retriable
        return answer.request.method in settings["methods"] and bool(is_transient)

    def get_retry_after(self, response: PipelineResponse[Any, Any]) -> float:
        return _retry_after(response.http_response, 0.0)


class _WithinQuota(AsyncHTTPPolicy[HttpRequest, AsyncHttpResponse]):
    """Waits for the quota. It follows the retry policy in the pipeline, since every attempt counts."""

    def __init__(self, quota: Quota):
        super().__init__()
        self.quota = quota

    async def send(self, request: PipelineRequest[HttpRequest]) -> PipelineResponse[HttpRequest, AsyncHttpResponse]:
        async with self.quota.call():
            response = await self.next.send(request)
        if response.http_response.status_code == 429:
            self.quota.refused(_retry_after(response.http_response, RETRY_AFTER))
        return response


class _Client:
    """The pipeline of one event loop, with its quota."""

    def __init__(self) -> None:
        seconds = settings().fabric.window_seconds
        self.quota = Quota(max(1, round(settings().fabric.calls_per_minute * seconds / 60)), seconds)
        self.pipeline: AsyncPipelineClient[HttpRequest, AsyncHttpResponse] = AsyncPipelineClient(
            cloud().fabric,
            policies=[
                RequestIdPolicy(),
                UserAgentPolicy(base_user_agent=f"fabric-mirror/{VERSION}"),
                ProxyPolicy(),
                _Redirect(),
                _Retry(retry_total=3, retry_backoff_factor=0.5, retry_backoff_max=LONGEST_WAIT),
                _WithinQuota(self.quota),
                AsyncBearerTokenCredentialPolicy(credential(), cloud().fabric_scope),
                DistributedTracingPolicy(),
                SensitiveHeaderCleanupPolicy(),
                HttpLoggingPolicy(),
            ],
            connection_timeout=10,
            read_timeout=120,
        )

    async def close(self) -> None:
        await self.pipeline.close()


async def _send(
    method: str,
    path: str,
    *,
    body: Any = None,
    query: dict[str, str] | None = None,
    repeatable: frozenset[str] = READS,
) -> AsyncHttpResponse:
    """Send one call. Raises Fabric's refusals as errors of this system."""
    url = path if path.startswith("https:") else f"{cloud().fabric}{path}"
    request = HttpRequest(method, url, params=query or {}, json=body)
    options = IN_BACKGROUND if in_background() else {}
    try:
        response = await once("fabric", _Client).pipeline.send_request(request, retry_on_methods=repeatable, **options)
    except ClientAuthenticationError as error:
        raise NotAllowed(
            f"The app's identity got no token for Fabric: {error.message}",
            remedy="Assign the user-assigned identity that AZURE_CLIENT_ID names to the function app.",
        ) from error
    except AzureError as error:
        client_request = request.headers.get("x-ms-client-request-id", "unknown")
        raise Unavailable(
            f"Fabric is out of reach at {method} {path}: {error.message} (client request {client_request})",
            remedy=_PASSES,
            retry_after=RETRY_AFTER,
        ) from error
    if response.status_code >= 300:
        raise _refusal(f"{method} {path}", response)
    return response


async def _settled[T](kind: type[T], path: str, response: AsyncHttpResponse) -> T:
    """The answer itself, or the result of the operation that it announces. `msgspec.Raw` asks for none."""
    if response.status_code != 202:
        return _decode(kind, response)
    location = response.headers.get("Location", "").removesuffix("/result")
    id = response.headers.get("x-ms-operation-id") or location.rpartition("/")[2]
    if not id:
        raise Unavailable(
            f"Fabric accepted {path} and does not name the operation ({_request(response)}).",
            code=NOT_OVER,
            remedy=_PASSES,
        )
    operation = f"/operations/{id}"
    end = asyncio.get_running_loop().time() + OPERATION_SECONDS
    while not _succeeded(operation, response := await _send("GET", operation)):
        pause = min(max(SHORTEST_PAUSE, _retry_after(response, LONGEST_WAIT)), LONGEST_PAUSE)
        if asyncio.get_running_loop().time() + pause > end:
            raise Unavailable(
                f"Fabric is still working on {path} ({_about(operation, response)}).",
                code=NOT_OVER,
                remedy=_PASSES,
                retry_after=pause,
            )
        await asyncio.sleep(pause)
    if kind is msgspec.Raw:
        return _parse(kind, b"null")
    return _decode(kind, await _send("GET", f"{operation}/result"))


def _succeeded(operation: str, response: AsyncHttpResponse) -> bool:
    """Whether the operation succeeded; False while it runs, in whatever state. Raises when it failed."""
    state = _decode(_State, response)
    if state.status != "Failed":
        return state.status == "Succeeded"
    error = state.error or ErrorResponse()
    about = f"{error.error_code or 'UnknownError'}, {_about(operation, response, error)}"
    message = f"An operation of Fabric failed: {error.text} ({about})"
    if error.is_retriable:
        raise Unavailable(message, code=error.error_code, remedy=_PASSES, retry_after=RETRY_AFTER)
    raise Blocked(message, code=error.error_code, remedy="Look at the item in the Fabric portal, then try again.")


def _refusal(doing: str, response: AsyncHttpResponse) -> MirrorError:
    error, status = _error_of(response), response.status_code
    message = f"Fabric refused {doing}: {error.text} ({error.error_code or status}, {_request(response, error)})"
    if status in (408, 429) or status >= 500 or error.is_retriable:
        pause = _retry_after(response, RETRY_AFTER)
        return Unavailable(message, code=error.error_code, remedy=_PASSES, retry_after=pause)
    if error.error_code in _CAPACITY:
        return Blocked(message, code=error.error_code, remedy=_CAPACITY[error.error_code])
    if status in (401, 403):
        return NotAllowed(
            message,
            code=error.error_code,
            remedy="Give the app's identity the role Member on the workspace; a Fabric administrator has to allow the "
            "tenant setting 'Service principals can use Fabric APIs' for it.",
        )
    kind, remedy = _REFUSED.get(status, _OTHER)
    return kind(message, code=error.error_code, remedy=remedy)


def _about(operation: str, response: AsyncHttpResponse, error: ErrorResponse | None = None) -> str:
    return f"operation {operation.rpartition('/')[2]}, {_request(response, error)}"


def _request(response: AsyncHttpResponse, error: ErrorResponse | None = None) -> str:
    """The id that Fabric gave to the request: Microsoft's support asks for it."""
    return f"request {(error and error.request_id) or response.headers.get('requestId', 'unknown')}"


def _error_of(response: AsyncHttpResponse) -> ErrorResponse:
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


def _decode[T](kind: type[T], response: AsyncHttpResponse, part: msgspec.Raw | None = None) -> T:
    """The answer, or a part of it, as its documented type."""
    try:
        return _parse(kind, response.content or b"null" if part is None else part)
    except ValueError as error:
        where = response.request.url.partition("?")[0]
        raise Unavailable(
            f"Fabric's answer at {where} differs from its documentation: {error} ({_request(response)}).",
            remedy=_PASSES,
        ) from error


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


def _retry_after(response: AsyncHttpResponse, otherwise: float) -> float:
    """Seconds that Fabric asks to wait, in either form that HTTP allows; `otherwise` where Fabric does not say."""
    value = response.headers.get("Retry-After", "")
    for read_as in (float, _seconds_until):
        with contextlib.suppress(ValueError):
            return max(0.0, read_as(value))
    return otherwise


def _seconds_until(date: str) -> float:
    return (parsedate_to_datetime(date).astimezone(UTC) - datetime.now(UTC)).total_seconds()
