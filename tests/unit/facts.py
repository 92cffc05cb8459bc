"""Facts of a server and settings of an app, as a starting point for tests."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from shared.desired.server_id import ServerId
from shared.platform.settings import Settings, load
from shared.source.facts import Administrator, MaintenanceWindow, ServerFacts

SUBSCRIPTION = "00000000-0000-0000-0000-0000000000a1"
WORKSPACE = "00000000-0000-0000-0000-0000000000b1"
OTHER_WORKSPACE = "00000000-0000-0000-0000-0000000000b2"
OBJECT_ID = "00000000-0000-0000-0000-0000000000c1"
ENVIRONMENT = {
    "AZURE_TENANT_ID": "00000000-0000-0000-0000-0000000000d1",
    "AZURE_CLIENT_ID": "00000000-0000-0000-0000-0000000000d2",
    "IDENTITY_NAME": "id-fabric-mirror",
    "IDENTITY_OBJECT_ID": OBJECT_ID,
    "STORAGE_TABLE_ENDPOINT": "https://mirrors.table.core.windows.net",
    "KEY_VAULT_URL": "https://kv-mirrors.vault.azure.net/",
    "ALLOWED_SUBSCRIPTIONS": SUBSCRIPTION,
    "ALLOWED_WORKSPACES": f"{WORKSPACE}, {OTHER_WORKSPACE}",
    "DEFAULT_WORKSPACE": WORKSPACE,
}
SERVER = ServerId(SUBSCRIPTION, "rg-shop", "pg-shop")


def settings(**changes: str) -> Settings:
    """The settings of the environment above, with some variables changed."""
    return load({**ENVIRONMENT, **changes})


def server(**changes: Any) -> ServerFacts:
    """A server that is ready for mirroring, but for what `changes` say."""
    facts: dict[str, Any] = {
        "id": SERVER, "location": "westeurope", "version": 17, "state": "Ready", "tier": "GeneralPurpose",
        "storage_gib": 128, "high_availability": "Disabled", "replication_role": "Primary", "replicas": 0,
        "elastic_cluster": False, "identity_type": "SystemAssigned", "principal_id": "p", "password_auth": True,
        "entra_auth": True, "administrators": (Administrator(OBJECT_ID, "id-fabric-mirror", "ServicePrincipal"),),
        "public_access": True, "azure_services_allowed": True, "host": "pg-shop.postgres.database.azure.com",
        "created_at": datetime(2026, 1, 1, tzinfo=UTC), "tags": {}, "maintenance_window": MaintenanceWindow(),
        "databases": ("crm", "shop"),
    }  # fmt: skip
    return ServerFacts(**{**facts, **changes})
