"""Translates the refusals of Azure Resource Manager into the errors of this system.

A refusal is worth another try, shows that the app lacks a right, or needs a person.

Sources: "Understand Azure Resource Manager errors", "Troubleshoot common Azure deployment errors", and "Azure async
operations" of the Azure Resource Manager docs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from azure.core.exceptions import AzureError, DecodeError, HttpResponseError

from shared.platform.azure_errors import (
    first_line,
    if_it_lasts,
    is_401,
    no_token,
    passes,
    token_refused,
    unreadable,
)
from shared.platform.errors import Blocked, MirrorError, NotAllowed, Unavailable
from shared.platform.identity import NoToken
from shared.platform.pipeline import Unreadable

SERVICE = "Azure Resource Manager"
BUSY_AFTER = 15.0
"""Seconds until the next try when the server is busy and the service names no time."""
NOT_FOUND_PATIENCE = 180.0
"""Seconds for which a step is tried again when Azure does not find something that it needs."""
OPERATION_FAILED = "OperationFailed"
OPERATION_LOST = "OperationLost"
SERVER_NOT_FOUND = "ServerNotFound"
_LACKS_RIGHT = frozenset({"", "AuthorizationFailed", "LinkedAuthorizationFailed", "Forbidden"})
_ROLE = "Give the app's managed identity the role 'Flexible server mirroring' on the server's subscription."
_REMEDIES = {
    "RequestDisallowedByPolicy": "Exempt the server from the Azure Policy assignment that the message names, or have "
    "the policy changed. The next run then goes on.",
    "ScopeLocked": "Remove the lock that the message names from the server, its resource group or its subscription. "
    "The next run then goes on.",
    "ReadOnlyDisabledSubscription": "Enable the subscription again: Azure disabled it, and lets nobody change it.",
    "MissingSubscriptionRegistration": "Register the resource provider Microsoft.DBforPostgreSQL in the subscription.",
}
"""The remedy for refusals that no right of the app would change."""
_OTHER = "Correct what the service names, then try again."


class OperationEnded(HttpResponseError):
    """A long-running operation ended without success. `state` is Azure's word for that."""

    def __init__(self, state: str, **options: object):
        super().__init__(**options)  # type: ignore[arg-type]
        self.state = state


class Passing(Unavailable):
    """A long-running operation ended without success for a reason that passes: it has to be begun again."""


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Raise the SDK's errors as errors of this system. `doing` begins the message: "Restarting server 'x'"."""
    try:
        yield
    except NoToken as error:
        raise _before(doing, no_token(SERVICE, error)) from error
    except OperationEnded as error:
        raise _ended(doing, error) from error
    except (Unreadable, DecodeError) as error:
        raise _before(doing, unreadable(SERVICE, first_line(error))) from error
    except HttpResponseError as error:
        raise _refusal(doing, error) from error
    except AzureError as error:
        raise Unavailable(
            f"{doing}: {SERVICE} did not answer ({first_line(error)}).", remedy=if_it_lasts(SERVICE)
        ) from error


def is_refused(error: MirrorError) -> bool:
    """Whether it is certain that Azure did not do what the app asked for: Azure says so itself, or no request was sent.

    A request without an answer, an error of the service and the 429 of some gateway leave it open: Azure may have done
    the work all the same.
    """
    status = getattr(error.__cause__, "status_code", None) or 0
    return isinstance(error.__cause__, NoToken) or (400 <= status < 500 and status not in (408, 429))


def _refusal(doing: str, error: HttpResponseError) -> MirrorError:
    code, said, status = _code(error), _message(error), error.status_code or 0
    message = f"{doing} failed: {said} ({code or status})"
    if is_401(error):
        return _before(doing, token_refused(SERVICE, f"with {code or status}: {said}"))
    if status < 400:
        return _before(doing, unreadable(SERVICE, f"HTTP {status}, which it does not document"))
    if status in (408, 429) or status >= 500:
        return Unavailable(message, remedy=if_it_lasts(SERVICE), retry_after=_retry_after(error))
    if code in _REMEDIES:
        return Blocked(message, code=code, remedy=_REMEDIES[code])
    if status == 403 and code in _LACKS_RIGHT:
        return NotAllowed(f"{doing} was refused: {said} ({code or status})", remedy=_ROLE)
    if status == 404:
        return not_found(message)
    if status != 403 and passes(code):
        return Unavailable(message, remedy=if_it_lasts(SERVICE), retry_after=_retry_after(error))
    return Blocked(message, code=code, remedy=_OTHER)


def _ended(doing: str, error: OperationEnded) -> MirrorError:
    """What a failed operation means: its status was answered with 200, so the code of its error is all that counts."""
    code, said = _code(error), error.error.message if error.error else None
    message = f"{doing} failed: {said or f'the operation is {error.state}, and Azure gives no reason'}"
    message += f" ({code})" if code else ""
    if error.state.lower() == "canceled" or not code or passes(code):
        remedy = "The app tries again by itself. If it lasts, look at the server's activity log in the Azure portal."
        return Passing(message, code=code or OPERATION_FAILED, remedy=remedy)
    return Blocked(
        message, code=code, remedy=_REMEDIES.get(code, "Look at the server in the Azure portal, then try again.")
    )


def lost(doing: str) -> Passing:
    """The error where Azure no longer knows an operation, so that nobody can say how it ended."""
    return Passing(
        f"{doing}: Azure no longer knows the operation, so nobody can say how it ended.",
        code=OPERATION_LOST,
        remedy="The app looks again, and tries again by itself. If it lasts, look at the server's activity log.",
    )


def not_found(message: str) -> Unavailable:
    """The error of a step that needs the server, or a part of it, which Azure does not find. One such answer may be
    wrong: the step is tried again for some time, and the next run judges whether the server is gone."""
    return Unavailable(
        message,
        code=SERVER_NOT_FOUND,
        remedy="Check that the server exists and that the app's identity has its role on it; it is looked at again.",
        retry_after=BUSY_AFTER,
        patience=NOT_FOUND_PATIENCE,
    )


def _before(doing: str, error: Unavailable) -> Unavailable:
    """The error, with what was being done before its message."""
    return Unavailable(f"{doing}: {error.message}", code=error.code, remedy=error.remedy, retry_after=error.retry_after)


def _code(error: HttpResponseError) -> str:
    return (error.error.code if error.error else None) or ""


def _message(error: HttpResponseError) -> str:
    return (error.error.message if error.error else None) or error.reason or first_line(error)


def _retry_after(error: HttpResponseError) -> float:
    headers = getattr(error.response, "headers", {})
    try:
        return float(headers.get("Retry-After", BUSY_AFTER))
    except ValueError:
        return BUSY_AFTER
