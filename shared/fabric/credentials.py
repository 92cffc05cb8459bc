"""What Fabric's connections log in with, in the form of Fabric's API. None shows its secret when it is printed."""

from __future__ import annotations

import msgspec


class Basic(msgspec.Struct, frozen=True, tag_field="credentialType"):
    """Fabric logs in with a role's name and password."""

    username: str
    password: str

    def __repr__(self) -> str:
        return f"Basic({self.username!r})"


class ServicePrincipal(msgspec.Struct, frozen=True, tag_field="credentialType", rename="camel"):
    """Fabric logs in as an application in Microsoft Entra ID, with its client secret. The ids are GUIDs."""

    tenant_id: str
    service_principal_client_id: str
    service_principal_secret: str

    def __repr__(self) -> str:
        return f"ServicePrincipal({self.service_principal_client_id})"


class WorkspaceIdentity(msgspec.Struct, frozen=True, tag_field="credentialType"):
    """Fabric logs in as the identity of the workspace that uses the connection.

    Fabric can't test such a connection when it is created, and does not allow one through a gateway (source:
    "Authenticate with Microsoft Fabric workspace identity").
    """


type Credentials = Basic | ServicePrincipal | WorkspaceIdentity
