"""Translates what services answer by azure-core's errors into the errors of this system."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from azure.core.exceptions import AzureError, ClientAuthenticationError, DecodeError, HttpResponseError

from shared.platform.errors import NotAllowed, Unavailable
from shared.platform.identity import NoToken
from shared.platform.pipeline import Unreadable

NOT_ISSUED = "TokenMissing"
NOT_ACCEPTED = "TokenRefused"
RETRY_AFTER = 15.0
"""Seconds until the next try where the service names no time."""
_PASSES = re.compile(
    r"busy|in ?progress|not ?ready|time[ds]? ?out|throttl|too ?many ?requests|(server|service|temporarily) ?unavailable"
    r"|internal|preempted|retry|^conflict$",
    re.IGNORECASE,
)


def passes(code: str) -> bool:
    """Whether the code of an error names what passes by itself: ServerIsBusy, ServerIsNotReady, OperationTimedOut, …"""
    return bool(_PASSES.search(code))


@contextmanager
def translated(service: str, at: str, remedy: str) -> Iterator[None]:
    """Raise azure-core's errors as errors of this system: `NotAllowed` with the remedy, or `Unavailable`.

    azure-core has retried the call by then. `at` names the part of the service: "table Servers".
    """
    try:
        yield
    except NoToken as error:
        raise no_token(service, error) from error
    except (Unreadable, DecodeError) as error:
        raise unreadable(service, f"at {at}: {first_line(error)}") from error
    except HttpResponseError as error:
        said = first_line(error)
        if is_401(error):
            raise token_refused(service, f"at {at}: {said}") from error
        if error.status_code == 403:
            raise NotAllowed(f"{service} refused the app's identity at {at}: {said}", remedy=remedy) from error
        raise Unavailable(
            f"{service} answered {error.status_code} at {at}: {said}", remedy=if_it_lasts(service)
        ) from error
    except AzureError as error:
        raise Unavailable(
            f"{service} is out of reach at {at}: {first_line(error)}", remedy=if_it_lasts(service)
        ) from error


def is_401(error: HttpResponseError) -> bool:
    """Whether a service refused the token, and not what the app asked for."""
    return error.status_code == 401 or (isinstance(error, ClientAuthenticationError) and error.status_code != 403)


def no_token(service: str, error: AzureError) -> Unavailable:
    """The error where the app's identity gets no token."""
    return Unavailable(
        f"The app's managed identity got no token for {service}: {first_line(error)}",
        code=NOT_ISSUED,
        remedy="The app tries again by itself. If it lasts, assign the user-assigned identity that AZURE_CLIENT_ID "
        "names to the function app.",
        retry_after=RETRY_AFTER,
    )


def token_refused(service: str, said: str, remedy: str = "") -> Unavailable:
    """The error where a service refuses the app's token and a new one. `said` says where, and what it answered."""
    return Unavailable(
        f"{service} refused the app's token, and a new one, {said}",
        code=NOT_ACCEPTED,
        remedy=remedy
        or "The app tries again by itself. If it lasts, check that the service belongs to the Microsoft Entra tenant "
        "of the app's managed identity, and that nobody deleted or disabled the identity.",
        retry_after=RETRY_AFTER,
    )


def unreadable(service: str, said: str) -> Unavailable:
    """The error where a service answers with something other than it documents."""
    return Unavailable(
        f"{service} gave an answer that the app can't read, {said}",
        remedy=if_it_lasts(service),
        retry_after=RETRY_AFTER,
    )


def if_it_lasts(service: str) -> str:
    """The remedy for what usually passes."""
    return f"The app tries again by itself. If it lasts, see the service health of {service}, and what is between."


def first_line(error: AzureError) -> str:
    """What an error says, without the content of an answer, which azure-core adds in further lines."""
    return error.message.partition("\n")[0]
