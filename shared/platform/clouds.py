"""Endpoints and token scopes of the Azure cloud in use.

Source: azure-identity's `AzureAuthorityHosts` and "National clouds" in the Microsoft identity platform docs. Fabric has
one address in every cloud where it is offered.
"""

from __future__ import annotations

import msgspec


class Cloud(msgspec.Struct, frozen=True):
    """One Azure cloud. Scopes are what `get_token` is asked for."""

    management: str
    management_scope: str
    postgresql_scope: str
    fabric: str = "https://api.fabric.microsoft.com/v1"
    fabric_scope: str = "https://api.fabric.microsoft.com/.default"


CLOUDS = {
    "AzureCloud": Cloud(
        "https://management.azure.com",
        "https://management.azure.com/.default",
        "https://ossrdbms-aad.database.windows.net/.default",
    ),
    "AzureUSGovernment": Cloud(
        "https://management.usgovcloudapi.net",
        "https://management.usgovcloudapi.net/.default",
        "https://ossrdbms-aad.database.usgovcloudapi.net/.default",
    ),
    "AzureChinaCloud": Cloud(
        "https://management.chinacloudapi.cn",
        "https://management.chinacloudapi.cn/.default",
        "https://ossrdbms-aad.database.chinacloudapi.cn/.default",
    ),
}
