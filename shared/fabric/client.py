"""REST calls to Fabric on azure-core's pipeline: identity, retry, quota, pages, long-running operations, errors.

Source: "Fabric REST API" articles on pagination, long-running operations, throttling and the `ErrorResponse` form.

The pipeline repeats a call for a few seconds only, and only where a second call does no harm. A longer wait is raised
as `Unavailable` with its length, so that a durable timer waits. Operations are the exception: a second call would start
a second operation, so this module follows an operation for `OPERATION_SECONDS`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import unquote, urljoin

import msgspec
from azure.core import AsyncPipelineClient
from azure.core.exceptions import AzureError
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
from shared.fabric.refusals import (
    PASSES,
    PASSING_SECONDS,
    RETRY_AFTER,
    ErrorResponse,
    ListNotFound,
    decode,
    error_of,
    failure,
    refusal,
    request_of,
    retry_after,
    undocumented,
)
from shared.platform.azure_errors import no_token
from shared.platform.clients import cloud, credential, once
from shared.platform.errors import NotFound, Unavailable
from shared.platform.identity import NoToken
from shared.platform.pipeline import FreshToken
from shared.platform.settings import settings
from shared.platform.version import VERSION

LONGEST_WAIT = 5.0
"""The longest pause in seconds before the pipeline repeats a call; Fabric says how long the pause is."""
OPERATION_SECONDS = 120.0
"""Seconds that an operation may take whose result the app needs at once. Another try would start another operation."""
SHORTEST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Limits in seconds of the pause between two requests for the state of an operation, whatever Fabric says."""
IN_BACKGROUND: dict[str, Any] = {"read_timeout": 30, "retry_read": 1}
"""Limits for the sweep, which has other mirrors to look at when Fabric does not answer."""
NOT_OVER = "OperationNotOver"
READS = frozenset({"GET"})
ANY_METHOD = frozenset({"GET", "POST", "PATCH", "DELETE"})


class _State(msgspec.Struct, frozen=True):
    status: str
    error: ErrorResponse | None = None


class _Page(msgspec.Struct, frozen=True, rename="camel"):
    value: tuple[msgspec.Raw, ...] | None = None
    data: tuple[msgspec.Raw, ...] | None = None
    continuation_token: str | None = None
    continuation_uri: str | None = None


async def read[T](kind: type[T], path: str, *, method: str = "GET", **query: str) -> T:
    """Fabric's answer to a call that changes nothing. Where Fabric answers with an operation, see `write`."""
    return await _settled(kind, path, await _send(method, path, query=query, repeatable=ANY_METHOD))


async def pages[T](kind: type[T], path: str, *, method: str = "GET", **query: str) -> AsyncIterator[T]:
    """Every row of a list. The function asks for one page after the other. Raises `ListNotFound` for a GET."""
    url = path
    while True:
        try:
            response = await _send(method, url, query=query, repeatable=ANY_METHOD)
        except NotFound as error:
            if method != "GET":
                raise
            raise ListNotFound(
                error.message, code=error.code, remedy=error.remedy, retry_after=RETRY_AFTER, patience=PASSING_SECONDS
            ) from error
        page = decode(_Page, response)
        rows = page.data if page.value is None else page.value
        if rows is None:
            raise undocumented(response, "it has no rows")
        for raw in rows:
            yield decode(kind, response, raw)
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
        if answer.status_code < 400 or not settings["total"] or retry_after(answer, 0.0) > LONGEST_WAIT:
            return False
        if answer.status_code == 429:
            return True
        is_transient = answer.status_code in self._retry_on_status_codes or error_of(answer).is_retriable
        return answer.request.method in settings["methods"] and bool(is_transient)

    def get_retry_after(self, response: PipelineResponse[Any, Any]) -> float:
        return retry_after(response.http_response, 0.0)


class _WithinQuota(AsyncHTTPPolicy[HttpRequest, AsyncHttpResponse]):
    """Waits for the quota. It follows the retry policy in the pipeline, since every attempt counts."""

    def __init__(self, quota: Quota):
        super().__init__()
        self.quota = quota

    async def send(self, request: PipelineRequest[HttpRequest]) -> PipelineResponse[HttpRequest, AsyncHttpResponse]:
        async with self.quota.call():
            response = await self.next.send(request)
        if response.http_response.status_code == 429:
            self.quota.refused(retry_after(response.http_response, RETRY_AFTER))
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
                FreshToken(lambda: credential().renew()),
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
    except NoToken as error:
        raise no_token("Fabric", error) from error
    except AzureError as error:
        client_request = request.headers.get("x-ms-client-request-id", "unknown")
        raise Unavailable(
            f"Fabric is out of reach at {method} {path}: {error.message} (client request {client_request})",
            remedy=PASSES,
            retry_after=RETRY_AFTER,
        ) from error
    if response.status_code >= 300:
        raise refusal(f"{method} {path}", response)
    return response


async def _settled[T](kind: type[T], path: str, response: AsyncHttpResponse) -> T:
    """The answer itself, or the result of the operation that it announces. `msgspec.Raw` asks for none."""
    if response.status_code != 202:
        return decode(kind, response)
    location = response.headers.get("Location", "").removesuffix("/result")
    id = response.headers.get("x-ms-operation-id") or location.rpartition("/")[2]
    if not id:
        raise Unavailable(
            f"Fabric accepted {path} and does not name the operation ({request_of(response)}).",
            code=NOT_OVER,
            remedy=PASSES,
        )
    operation = f"/operations/{id}"
    end = asyncio.get_running_loop().time() + OPERATION_SECONDS
    while not _succeeded(operation, response := await _send("GET", operation)):
        pause = min(max(SHORTEST_PAUSE, retry_after(response, LONGEST_WAIT)), LONGEST_PAUSE)
        if asyncio.get_running_loop().time() + pause > end:
            raise Unavailable(
                f"Fabric is still working on {path} ({_about(operation, response)}).",
                code=NOT_OVER,
                remedy=PASSES,
                retry_after=pause,
            )
        await asyncio.sleep(pause)
    if kind is msgspec.Raw:
        return msgspec.json.decode(b"null", type=kind)
    return decode(kind, await _send("GET", f"{operation}/result"))


def _succeeded(operation: str, response: AsyncHttpResponse) -> bool:
    """Whether the operation succeeded; False while it runs, in whatever state. Raises when it failed."""
    state = decode(_State, response)
    if state.status.lower() not in ("failed", "canceled", "cancelled"):
        return state.status == "Succeeded"
    error = state.error or ErrorResponse()
    raise failure(error, _about(operation, response, error))


def _about(operation: str, response: AsyncHttpResponse, error: ErrorResponse | None = None) -> str:
    return f"operation {operation.rpartition('/')[2]}, {request_of(response, error)}"
