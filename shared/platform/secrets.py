"""Passwords: made here, kept in Key Vault, never returned to an orchestrator.

A password is written to Key Vault before it is set on a server, so a run that is cut off in between finds it there.
Where Key Vault can't be used, `NotAllowed` or `Unavailable` is raised, never with a value in it.
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
"""The tag that says for which rotation a password was made."""
_ALPHABET = string.ascii_letters + string.digits


class Secret(msgspec.Struct, frozen=True):
    """A secret's current value, its version in Key Vault, and for which rotation the app made it (0: for none)."""

    value: str
    version: str
    rotation: int = 0

    def __repr__(self) -> str:
        return f"Secret({self.version})"


async def read(name: str) -> Secret | None:
    """The current version of the secret `name`, or None."""
    with _translated(name):
        try:
            return _secret(await vault().get_secret(name))
        except ResourceNotFoundError:
            return None


async def ensure(name: str, tags: dict[str, str], rotation: int = 0) -> Secret:
    """The password kept as `name`; a new one when there is none, or none that was made for this rotation or a later
    one: so a rotation that is cut off and begun again makes one password. `tags` say what it is for."""
    found = await read(name)
    if found and found.rotation >= rotation:
        return found
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
    """Delete the secret; one that is gone already is fine. Key Vault keeps it recoverable for its retention time."""
    with _translated(name):
        try:
            await vault().delete_secret(name)
        except ResourceNotFoundError:
            return


async def _write(name: str, password: str, tags: dict[str, str], rotation: int) -> Secret:
    tags = tags | {ROTATION: str(rotation)}
    return _secret(await vault().set_secret(name, password, content_type="PostgreSQL role password", tags=tags))


def _secret(found: KeyVaultSecret) -> Secret:
    rotation = (found.properties.tags or {}).get(ROTATION, "")
    return Secret(found.value or "", found.properties.version or "", int(rotation) if rotation.isdecimal() else 0)


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
    return translated("Key Vault", f"secret {name!r} of {settings().services.key_vault}", remedy)
