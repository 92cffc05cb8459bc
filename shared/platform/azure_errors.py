"""Translates the refusals of the app's own services, Table Storage and Key Vault, into the errors of this system."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError

from shared.platform.errors import NotAllowed, Unavailable


@contextmanager
def translated(service: str, at: str, remedy: str) -> Iterator[None]:
    """Raise azure-core's errors as errors of this system: `NotAllowed` with the remedy, or `Unavailable`.

    azure-core has retried the call by then. `at` names the part of the service: "table Servers".
    """
    try:
        yield
    except HttpResponseError as error:
        if isinstance(error, ClientAuthenticationError) or error.status_code in (401, 403):
            raise NotAllowed(
                f"{service} refused the app's identity at {at}: {_first_line(error)}", remedy=remedy
            ) from error
        raise Unavailable(f"{service} answered {error.status_code} at {at}: {_first_line(error)}") from error
    except AzureError as error:
        raise Unavailable(f"{service} is out of reach at {at}: {_first_line(error)}") from error


def _first_line(error: AzureError) -> str:
    return error.message.partition("\n")[0]
