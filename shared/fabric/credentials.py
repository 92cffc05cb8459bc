"""What Fabric logs in to a server with, and the form of it in a request."""

from __future__ import annotations

from typing import Any

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


LOGIN_REMEDY: dict[type[Credentials], str] = {
    Basic: "Check that password authentication is enabled on the server and that the role may log in.",
    ServicePrincipal: "Check that FABRIC_ROLE is the service principal's display name, that FABRIC_PRINCIPAL_OBJECT_ID "
    "is the object id of its enterprise application, and that the secret in Key Vault is its current one.",
    WorkspaceIdentity: "Check that FABRIC_ROLE is the name of the workspace.",
}


def type_of(credentials: Credentials) -> str:
    """Fabric's name for the type of the credentials."""
    return type(credentials).__name__


def login_of(credentials: Credentials) -> str:
    """The name of what Fabric logs in as, for a message."""
    match credentials:
        case Basic(username=role):
            return repr(role)
        case ServicePrincipal(service_principal_client_id=client):
            return f"the service principal {client}"
    return "the workspace's identity"


def details(credentials: Credentials) -> dict[str, Any]:
    """The credentials in the form of a request."""
    return {
        "singleSignOnType": "None",
        "connectionEncryption": "Encrypted",
        "skipTestConnection": isinstance(credentials, WorkspaceIdentity),
        "credentials": msgspec.to_builtins(credentials),
    }
