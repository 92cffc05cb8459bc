"""How Fabric logs in to the servers: with the fabric role's password, or as the Microsoft Entra principal that the role
is mapped to."""

from __future__ import annotations

import hashlib

import msgspec

from shared.desired.server_id import ServerId
from shared.fabric import workspace as fabric_workspace
from shared.fabric.connection import Basic, Credentials, ServicePrincipal, WorkspaceIdentity
from shared.fabric.facts import CLIENT_REMEDY
from shared.platform import secrets
from shared.platform.errors import Blocked, Unavailable
from shared.platform.secrets import Secret
from shared.platform.settings import settings


def secret_name(id: ServerId) -> str:
    """The Key Vault secret with the password of a server's fabric role. Names there are letters, digits and '-'."""
    digest = hashlib.sha256(str(id).encode()).hexdigest()[:8]
    return f"fabric-mirror-{id.name}-{digest}"


def kept_as(id: ServerId) -> str:
    """The Key Vault secret that Fabric logs in to a server with; '' where there is none."""
    match settings().fabric_credentials:
        case "ServicePrincipal":
            return settings().fabric_principal_secret
        case "WorkspaceIdentity":
            return ""
    return secret_name(id)


async def principal(workspace: str) -> str | None:
    """The object id of the principal that the fabric role is mapped to; None where it has a password.

    Raises `Blocked` for a workspace without the identity that is to log in.
    """
    match settings().fabric_credentials:
        case "ServicePrincipal":
            return settings().fabric_principal_object_id
        case "WorkspaceIdentity":
            return await fabric_workspace.identity(workspace)
    return None


class Login(msgspec.Struct, frozen=True):
    """What Fabric's connections to a server log in with, and the version that it has in Key Vault ('' for none)."""

    credentials: Credentials
    version: str


async def password(id: ServerId) -> Secret:
    """The password of the server's fabric role. Raises `Unavailable` while it is not in Key Vault."""
    found = await secrets.read(secret_name(id))
    if found is None:
        raise Unavailable(f"Key Vault has no secret {secret_name(id)!r} yet.", code="SecretMissing")
    return found


async def for_fabric(id: ServerId) -> Login:
    """What Fabric's connections to the server log in with. Raises `Blocked` with code `PrincipalSecret`."""
    match settings().fabric_credentials:
        case "ServicePrincipal":
            secret, client = await _client_secret(), settings().fabric_principal_client_id
            return Login(ServicePrincipal(settings().azure_tenant_id, client, secret.value), secret.version)
        case "WorkspaceIdentity":
            return Login(WorkspaceIdentity(), "")
    kept = await password(id)
    return Login(Basic(settings().fabric_role, kept.value), kept.version)


async def is_secret_kept() -> bool:
    """Whether Key Vault has the client secret of the principal; true where no principal with a secret logs in."""
    name = settings().fabric_principal_secret
    return settings().fabric_credentials != "ServicePrincipal" or await secrets.read(name) is not None


async def _client_secret() -> Secret:
    found = await secrets.read(settings().fabric_principal_secret)
    if found is None:
        raise Blocked(
            f"Key Vault has no secret {settings().fabric_principal_secret!r}.",
            code="PrincipalSecret",
            remedy=CLIENT_REMEDY,
        )
    return found
