"""How Fabric logs in to the servers, and what a password has to reach. Pure.

There are three ways, and `login_of` alone looks which of them the settings choose. Everything else asks the login.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from typing import ClassVar

import msgspec

from shared.desired.server_id import ServerId
from shared.platform.settings import Credentials, Settings
from shared.records.rows import MirrorRow, ServerRow


class PasswordLogin(msgspec.Struct, frozen=True):
    """As the fabric role, with its password, which the app makes and keeps in Key Vault."""

    credential_type: ClassVar[Credentials] = "Basic"
    role: str

    def secret_of(self, server: ServerId) -> str:
        """Name of the Key Vault secret that Fabric logs in with."""
        return password_name(server)


class PrincipalLogin(msgspec.Struct, frozen=True):
    """As a Microsoft Entra application, with a client secret that a person keeps in Key Vault."""

    credential_type: ClassVar[Credentials] = "ServicePrincipal"
    role: str
    tenant: str
    client_id: str
    object_id: str
    """Of the application's service principal: the fabric role is mapped to it."""
    client_secret: str
    """Name of the Key Vault secret."""

    def secret_of(self, _: ServerId) -> str:
        """Name of the Key Vault secret that Fabric logs in with."""
        return self.client_secret


class WorkspaceLogin(msgspec.Struct, frozen=True):
    """As the identity of the workspace, which has no secret."""

    credential_type: ClassVar[Credentials] = "WorkspaceIdentity"
    role: str

    def secret_of(self, _: ServerId) -> str:
        """There is no secret: empty."""
        return ""


type FabricLogin = PasswordLogin | PrincipalLogin | WorkspaceLogin


def login_of(settings: Settings) -> FabricLogin:
    """The way in which Fabric logs in."""
    chosen = settings.login
    match chosen.credentials:
        case "ServicePrincipal":
            tenant = settings.identity.tenant
            return PrincipalLogin(chosen.role, tenant, chosen.client_id, chosen.object_id, chosen.client_secret)
        case "WorkspaceIdentity":
            return WorkspaceLogin(chosen.role)
    return PasswordLogin(chosen.role)


def password_name(server: ServerId) -> str:
    """The Key Vault secret with the password of a server's fabric role. Names there are letters, digits and '-'."""
    digest = hashlib.sha256(str(server).encode()).hexdigest()[:8]
    return f"fabric-mirror-{server.name}-{digest}"


def is_rotation_due(row: ServerRow | None, role: str) -> bool:
    """Whether somebody asked for a new password that is not on the server and in all connections yet.

    A server whose fabric role has another name, or none, has nothing to rotate.
    """
    return row is not None and row.role == role and row.rotation > row.rotated


def outstanding(row: ServerRow | None, rotation: int) -> int:
    """The number of the rotation that a password has to be made for; 0: the present one will do."""
    return rotation if row is not None and row.rotated < rotation else 0


def mark(rotation: int, version: str) -> str:
    """What tells whether a connection has the present login. `version` is the secret's in Key Vault; '' for none."""
    return f"{rotation} {version}"


def out_of_date(rows: Iterable[MirrorRow], databases: Collection[str], present: str) -> list[MirrorRow]:
    """The mirrors of these databases whose connections have another login than the `present` mark says."""
    return [row for row in rows if row.database in databases and row.login != present]
