"""Translates the refusals of Azure Resource Manager into the errors of this system.

A refusal is worth another try, shows that the app lacks a right, or needs a person.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError

from shared.platform.errors import Blocked, MirrorError, NotAllowed, Unavailable

BUSY_AFTER = 15.0
"""Seconds until the next try when the server is busy and the service names no time."""
NOT_FOUND_PATIENCE = 180.0
"""Seconds for which a step is tried again that Azure does not find something for."""
_BUSY = re.compile(r"busy|in ?progress", re.IGNORECASE)


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Raise the SDK's errors as errors of this system. `doing` begins the message: "Restarting server 'x'"."""
    try:
        yield
    except ClientAuthenticationError as error:
        raise _not_allowed(doing, error) from error
    except HttpResponseError as error:
        raise _refusal(doing, error) from error
    except AzureError as error:
        raise Unavailable(f"{doing}: Azure Resource Manager did not answer ({error.message}).") from error


def is_refused(error: MirrorError) -> bool:
    """Whether Azure's own answer says that it did not do what the app asked for. A request that got no answer, an
    error of the service or a 429 of some gateway does not say so: the work may be done all the same."""
    status = getattr(error.__cause__, "status_code", None) or 0
    return 400 <= status < 500 and status not in (408, 429)


def _refusal(doing: str, error: HttpResponseError) -> MirrorError:
    code = (error.error.code if error.error else None) or ""
    message = f"{doing} failed: {(error.error.message if error.error else None) or error.reason or error.message}"
    status = error.status_code or 0
    if status < 300:  # the request for the state of an operation succeeded; the operation itself failed
        return Blocked(
            f"{message} ({code or 'no code'})",
            code=code or "OperationFailed",
            remedy="Look at the server in the Azure portal, then try again.",
        )
    if status in (408, 429) or status >= 500 or (status == 409 and _BUSY.search(code)):
        return Unavailable(f"{message} ({code or status})", retry_after=_retry_after(error))
    if status == 403:
        return _not_allowed(doing, error)
    if status == 404:
        return not_found(f"{message} ({code or status})")
    return Blocked(f"{message} ({code or status})", code=code, remedy="Correct what the service names, then try again.")


def not_found(message: str) -> Unavailable:
    """The error of a step that Azure does not find the server, or something of it, for. One such answer may be wrong:
    the step is tried again for some time, and the next run judges whether the server is gone."""
    return Unavailable(
        message,
        code="ServerNotFound",
        remedy="Check that the server exists and that the app's identity has its role on it; it is looked at again.",
        retry_after=BUSY_AFTER,
        patience=NOT_FOUND_PATIENCE,
    )


def _not_allowed(doing: str, error: AzureError) -> NotAllowed:
    return NotAllowed(
        f"{doing} was refused: {error.message.splitlines()[0]}",
        remedy="Give the app's managed identity the role 'Flexible server mirroring' on the server's subscription.",
    )


def _retry_after(error: HttpResponseError) -> float:
    headers = getattr(error.response, "headers", {})
    try:
        return float(headers.get("Retry-After", BUSY_AFTER))
    except ValueError:
        return BUSY_AFTER
