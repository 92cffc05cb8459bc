"""Passwords: made here, kept in Key Vault, never returned to an orchestrator.

A password is written to Key Vault before it is set on a server, so a run that is cut off in between finds it there.
Where Key Vault can't be used, `NotAllowed` or `Unavailable` is raised, never with a value in it.
"""

from __future__ import annotations

import secrets
import string
from contextlib import AbstractContextManager

from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

from shared.platform.azure_errors import translated
from shared.platform.clients import vault
from shared.platform.errors import Unavailable
from shared.platform.settings import settings

PASSWORD_LENGTH = 40
_ALPHABET = string.ascii_letters + string.digits


async def read(name: str) -> str | None:
    """The current value of the secret `name`, or None."""
    with _translated(name):
        try:
            return (await vault().get_secret(name)).value
        except ResourceNotFoundError:
            return None


async def ensure(name: str, tags: dict[str, str]) -> str:
    """The password kept as `name`; a new one when there is none."""
    return await read(name) or await renew(name, tags)


async def renew(name: str, tags: dict[str, str]) -> str:
    """Make a new password and keep it as the current version of `name`. `tags` say what it is for."""
    password = "".join(secrets.choice(_ALPHABET) for _ in range(PASSWORD_LENGTH))
    with _translated(name):
        try:
            await vault().set_secret(name, password, content_type="PostgreSQL role password", tags=tags)
        except HttpResponseError as error:
            if error.status_code != 409:
                raise
            await _recover(name)
            await vault().set_secret(name, password, content_type="PostgreSQL role password", tags=tags)
    return password


async def delete(name: str) -> None:
    """Delete the secret; one that is gone already is fine. Key Vault keeps it recoverable for its retention time."""
    with _translated(name):
        try:
            await vault().delete_secret(name)
        except ResourceNotFoundError:
            return


async def _recover(name: str) -> None:
    """A secret deleted earlier still holds its name: bring it back, so that a new version can be written."""
    try:
        await vault().recover_deleted_secret(name)
    except ResourceNotFoundError:
        raise Unavailable(f"Key Vault is still deleting or restoring the secret {name!r}.") from None


def _translated(name: str) -> AbstractContextManager[None]:
    remedy = (
        "Give the identity the role Key Vault Secrets Officer on the vault, and let the app's network reach it; a "
        "secret that is disabled has to be enabled."
    )
    return translated("Key Vault", f"secret {name!r} of {settings().key_vault_url}", remedy)
