"""The app's own environment in a component test: its settings and the way to the stack, as its identity."""

from __future__ import annotations

import aiohttp.connector
import pytest

from local.topology import Topology
from shared.platform.settings import settings

IDENTITY = "id-fabric-mirror"


def app_environment(topology: Topology, monkeypatch: pytest.MonkeyPatch, **more: str) -> None:
    """Set every variable that the app reads. `more` are further settings by variable name.

    aiohttp reads SSL_CERT_FILE once in a process, and a process of tests meets several stacks: each one's authority is
    added to what it trusts.
    """
    who = topology.principals[IDENTITY]
    own = {
        "IDENTITY_NAME": IDENTITY,
        "IDENTITY_OBJECT_ID": who.object_id,
        "STORAGE_TABLE_ENDPOINT": topology.table_endpoint
        if "azurite" in topology.ports
        else "https://127.0.0.1:9/none",
        "KEY_VAULT_URL": topology.vault_url,
        "ALLOWED_SUBSCRIPTIONS": topology.subscription,
        "ALLOWED_WORKSPACES": topology.workspace,
        "DEFAULT_WORKSPACE": topology.workspace,
    }
    for name, value in {**topology.environment(IDENTITY), **own, **more}.items():
        monkeypatch.setenv(name, value)
    aiohttp.connector._SSL_CONTEXT_VERIFIED.load_verify_locations(topology.authority)
    settings.cache_clear()
