"""What the app's own services (Table Storage, Key Vault) refuse, in the errors of this system."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError

from shared.platform.errors import NotAllowed, Unavailable


@contextmanager
def translated(service: str, at: str, remedy: str) -> Iterator[None]:
    """What azure-core has retried in vain is raised as ours: `NotAllowed` with the remedy, or `Unavailable`.

    `at` says what of the service it is about: "table Servers".
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
