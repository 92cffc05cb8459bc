"""What a connection logs in with: a role's password, a service principal's secret, or the workspace's identity."""

from __future__ import annotations

import uuid
from typing import ClassVar, Literal

import msgspec

from local.cloud.web import Refusal

Encryption = Literal["Encrypted", "Any", "NotEncrypted"]


class Given(msgspec.Struct, frozen=True, rename="camel"):
    """Credentials as a request gives them; which members are needed depends on the type."""

    credential_type: str
    username: str = ""
    password: str = ""
    tenant_id: uuid.UUID | None = None
    service_principal_client_id: uuid.UUID | None = None
    service_principal_secret: str = ""


class CredentialDetails(msgspec.Struct, frozen=True, rename="camel"):
    credentials: Given
    single_sign_on_type: Literal["None"] = "None"
    connection_encryption: Encryption = "NotEncrypted"
    skip_test_connection: bool = False


class Password(msgspec.Struct, frozen=True):
    TYPE: ClassVar = "Basic"
    username: str
    password: str


class ServicePrincipal(msgspec.Struct, frozen=True):
    TYPE: ClassVar = "ServicePrincipal"
    tenant: str
    client_id: str
    secret: str


class WorkspaceIdentity(msgspec.Struct, frozen=True):
    TYPE: ClassVar = "WorkspaceIdentity"


type Login = Password | ServicePrincipal | WorkspaceIdentity


class Credentials(msgspec.Struct, frozen=True):
    """Where a connection leads and how it logs in there. `gateway`: through a virtual network data gateway.

    `workspace`: in which one it is being used; empty for one that is only being tested.
    """

    host: str
    database: str
    login: Login
    encryption: str
    gateway: bool
    workspace: str = ""

    def __repr__(self) -> str:
        return f"Credentials({self.login.TYPE} for {self.host}/{self.database})"


def read(details: CredentialDetails, supported: list[str], gateway: bool) -> Login:
    """The login that a request asks for, of the types that its connection supports. Raises `Refusal`."""
    given = details.credentials
    if given.credential_type not in supported:
        raise _invalid(f"{given.credential_type!r} is none of the supported credential types {supported}.")
    match given.credential_type:
        case "Basic" if given.username and given.password:
            return Password(given.username, given.password)
        case "Basic":
            raise _invalid("credentials of type Basic with username and password are expected.")
        case "ServicePrincipal":
            if given.tenant_id and given.service_principal_client_id and given.service_principal_secret:
                return ServicePrincipal(
                    str(given.tenant_id), str(given.service_principal_client_id), given.service_principal_secret
                )
            raise _invalid("tenantId, servicePrincipalClientId and servicePrincipalSecret are expected.")
        case "WorkspaceIdentity" if gateway:
            raise _invalid("a workspace identity is not supported for gateway connections.")
        case "WorkspaceIdentity" if not details.skip_test_connection:
            raise _invalid("a connection with a workspace identity can't be tested; set skipTestConnection.")
        case "WorkspaceIdentity":
            return WorkspaceIdentity()
    message = f"The stand-in for fabric does not log in with credentials of type {given.credential_type}."
    raise Refusal(501, "NotImplemented", message)


def _invalid(why: str) -> Refusal:
    return Refusal(
        400, "InvalidCredentialDetails", "The CredentialDetails input provided is not valid.",
        details=[("InvalidParameter", why)],
    )  # fmt: skip
