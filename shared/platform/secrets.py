"""Passwords in Key Vault. This module generates them, and no orchestrator ever gets them.

The app writes a password to Key Vault before it sets it on a server, so that a run that ends in between finds it there.
Where the app can't use Key Vault, the functions raise `NotAllowed` or `Unavailable`, and no message contains a value.
"""

from __future__ import annotations

import secrets
import string
from contextlib import AbstractContextManager

import msgspec
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.keyvault.secrets import KeyVaultSecret

from shared.platform.azure_errors import translated
from shared.platform.clients import vault
from shared.platform.errors import Unavailable
from shared.platform.settings import settings

PASSWORD_LENGTH = 40
ROTATION = "rotation"
"""The tag of a secret that holds the number of the rotation for which the app generated the password."""
_ALPHABET = string.ascii_letters + string.digits


class Secret(msgspec.Struct, frozen=True):
    """The current version of a secret."""

    value: str
    version: str
    """The id of the version in Key Vault."""
    rotation: int = 0
    """The rotation for which the app generated the value; 0 for none."""

    def __repr__(self) -> str:
        return f"Secret({self.version})"


async def read(name: str) -> Secret | None:
    """The current version of the secret called `name`, or None."""
    with _translated(name):
        try:
            return _secret(await vault().get_secret(name))
        except ResourceNotFoundError:
            return None


async def ensure(name: str, tags: dict[str, str], rotation: int = 0) -> Secret:
    """The password in the secret called `name`.

    The function generates a password when there is none, or none for this rotation or a later one. So a rotation that
    starts a second time, after an interruption, generates no second password. `tags` are written with the password.
    """
    secret = await read(name)
    if secret and secret.rotation >= rotation:
        return secret
    password = "".join(secrets.choice(_ALPHABET) for _ in range(PASSWORD_LENGTH))
    with _translated(name):
        try:
            return await _write(name, password, tags, rotation)
        except HttpResponseError as error:
            if error.status_code != 409:
                raise
            await _recover(name)
            return await _write(name, password, tags, rotation)


async def delete(name: str) -> None:
    """Delete the secret, unless it is gone already. Key Vault can recover it for its retention time."""
    with _translated(name):
        try:
            await vault().delete_secret(name)
        except ResourceNotFoundError:
            return


async def _write(name: str, password: str, tags: dict[str, str], rotation: int) -> Secret:
    tags = tags | {ROTATION: str(rotation)}
    return _secret(await vault().set_secret(name, password, content_type="PostgreSQL role password", tags=tags))


def _secret(secret: KeyVaultSecret) -> Secret:
    rotation = (secret.properties.tags or {}).get(ROTATION, "")
    return Secret(secret.value or "", secret.properties.version or "", int(rotation) if rotation.isdecimal() else 0)


async def _recover(name: str) -> None:
    """Recover a deleted secret, since it still occupies the name: afterwards the app can write a new version."""
    try:
        await vault().recover_deleted_secret(name)
    except ResourceNotFoundError:
        raise Unavailable(f"Key Vault is still deleting or restoring the secret {name!r}.") from None


def _translated(name: str) -> AbstractContextManager[None]:
    remedy = (
        "Give the identity the role Key Vault Secrets Officer on the vault, and let the app's network reach it; a "
        "secret that is disabled has to be enabled."
    )
    return translated("Key Vault", f"secret {name!r} of {settings().services.key_vault}", remedy)
