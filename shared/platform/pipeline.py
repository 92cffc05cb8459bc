"""What every SDK client of the app has in its pipeline: a new token after a 401, and no answer that is not JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from azure.core.exceptions import ServiceResponseError, StreamConsumedError
from azure.core.pipeline import PipelineRequest, PipelineResponse
from azure.core.pipeline.policies import AsyncHTTPPolicy
from azure.core.rest import AsyncHttpResponse, HttpRequest

type Request = PipelineRequest[HttpRequest]
type Response = PipelineResponse[HttpRequest, AsyncHttpResponse]

_BOM = b"\xef\xbb\xbf"


class Unreadable(ServiceResponseError):
    """A service answered with something other than the JSON that it documents."""


class FreshToken(AsyncHTTPPolicy[HttpRequest, AsyncHttpResponse]):
    """Sends a call a second time, with a new token, when the service answered 401: it has done nothing then.

    It precedes the policy that adds the token, which forgets its own token after a 401. `renew` makes the credential
    forget its tokens too.
    """

    def __init__(self, renew: Callable[[], None]):
        super().__init__()
        self._renew = renew

    async def send(self, request: Request) -> Response:
        options = dict(request.context.options)
        response = await self.next.send(request)
        if response.http_response.status_code != 401:
            return response
        self._renew()
        request.context.options.update(options)  # the policies that follow took theirs out
        return await self.next.send(request)


class JsonOnly(AsyncHTTPPolicy[HttpRequest, AsyncHttpResponse]):
    """Raises `Unreadable` for an answer that is no JSON object although its status says that the service spoke.

    It follows the retry policy, which repeats what may be repeated. A status that any gateway may answer with (401,
    408, 429, 5xx) says enough without a body. Of an answer that the SDK streams (to a batch, or to what begins an
    operation) only the type is looked at: an empty one can't be read twice.
    """

    async def send(self, request: Request) -> Response:
        response = await self.next.send(request)
        answer = response.http_response
        if says_enough(answer.status_code):
            return response
        is_text = answer.headers.get("Content-Type", "").startswith("text/")
        if answer.status_code < 300 and request.context.options.get("stream") and not is_text:
            return response
        content = await _content(answer)
        is_empty = not content and answer.status_code < 300 and request.http_request.method != "GET"
        if not is_empty and not is_object(content):
            raise Unreadable(unreadable(request.http_request, answer, content))
        return response


async def _content(answer: AsyncHttpResponse) -> bytes:
    """The body of an answer. azure-core reads an empty one when it arrives, and refuses to read it again."""
    try:
        return await answer.read()
    except StreamConsumedError:
        return b""


def says_enough(status: int) -> bool:
    """Whether an HTTP status has a meaning whatever the body is."""
    return 300 <= status < 400 or status in (401, 408, 429) or status >= 500


def is_object(content: bytes) -> bool:
    """Whether the content is a whole JSON object."""
    try:
        msgspec.json.decode(content.removeprefix(_BOM), type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return True


def unreadable(request: HttpRequest, answer: Any, content: bytes) -> str:
    """What a service answered with instead of JSON. Never the content, which may hold secrets."""
    kind = answer.headers.get("Content-Type", "").partition(";")[0] or "no content type"
    what = f"{len(content)} bytes ({kind}) that are no JSON object" if content else "nothing"
    return f"{request.method} {request.url.partition('?')[0]} was answered with HTTP {answer.status_code} and {what}"
