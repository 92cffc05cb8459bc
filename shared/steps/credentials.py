"""What Fabric logs in to the servers with, as Key Vault and Fabric have it."""

from __future__ import annotations

import msgspec

from shared.decisions.login import PasswordLogin, PrincipalLogin, WorkspaceLogin, login_of, password_name
from shared.desired.server_id import ServerId
from shared.fabric import workspace as fabric_workspace
from shared.fabric.credentials import Basic, Credentials, ServicePrincipal, WorkspaceIdentity
from shared.fabric.facts import CLIENT_REMEDY
from shared.platform import secrets
from shared.platform.errors import Blocked, Unavailable
from shared.platform.secrets import Secret
from shared.platform.settings import settings


class Given(msgspec.Struct, frozen=True):
    """What Fabric's connections to a server log in with, and the version that it has in Key Vault ('' for none)."""

    credentials: Credentials
    version: str


async def principal(workspace: str) -> str | None:
    """The object id of the principal that the fabric role is mapped to; None where the role has a password.

    Raises `Blocked` for a workspace without the identity that is to log in.
    """
    match login_of(settings()):
        case PrincipalLogin(object_id=object_id):
            return object_id
        case WorkspaceLogin():
            return await fabric_workspace.identity(workspace)
        case PasswordLogin():
            return None


async def password(id: ServerId) -> Secret:
    """The password of the server's fabric role. Raises `Unavailable` while it is not in Key Vault."""
    secret = await secrets.read(password_name(id))
    if secret is None:
        raise Unavailable(f"Key Vault has no secret {password_name(id)!r} yet.", code="SecretMissing")
    return secret


async def for_fabric(id: ServerId) -> Given:
    """What Fabric's connections to the server log in with. Raises `Blocked` with code `PrincipalSecret`."""
    match login_of(settings()):
        case PrincipalLogin() as login:
            secret = await _client_secret(login.client_secret)
            return Given(ServicePrincipal(login.tenant, login.client_id, secret.value), secret.version)
        case WorkspaceLogin():
            return Given(WorkspaceIdentity(), "")
        case PasswordLogin(role):
            secret = await password(id)
            return Given(Basic(role, secret.value), secret.version)


async def is_client_secret_there() -> bool:
    """Whether Key Vault has the client secret of the principal; true where no principal with a secret logs in."""
    login = login_of(settings())
    return not isinstance(login, PrincipalLogin) or await secrets.read(login.client_secret) is not None


async def _client_secret(name: str) -> Secret:
    secret = await secrets.read(name)
    if secret is None:
        raise Blocked(f"Key Vault has no secret {name!r}.", code="PrincipalSecret", remedy=CLIENT_REMEDY)
    return secret
