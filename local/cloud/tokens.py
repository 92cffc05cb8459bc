"""Access tokens as Entra ID issues them: JWTs with audience, tenant, object id and expiry, signed by this stack."""

from __future__ import annotations

import functools
import time
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from local.topology import Principal, Topology

# A managed identity's token lives a day; clients ask for the next one five minutes before its end.
LIFETIME_SECONDS = 24 * 3600
RENEWAL_SECONDS = 300
ARM = "https://management.azure.com"
ARM_CLASSIC = "https://management.core.windows.net"
FABRIC = "https://api.fabric.microsoft.com"
KEY_VAULT = "https://vault.azure.net"
EVENT_GRID = "https://eventgrid.azure.net"
STORAGE = "https://storage.azure.com"
MONITOR = "https://monitor.azure.com"
POSTGRESQL = "https://ossrdbms-aad.database.windows.net"
AUDIENCES = (ARM, ARM_CLASSIC, FABRIC, KEY_VAULT, EVENT_GRID, STORAGE, MONITOR, POSTGRESQL)


def mint(topology: Topology, principal: Principal, audience: str) -> tuple[str, int]:
    """A token of `principal` for `audience`, and when it expires (seconds since the epoch).

    Everybody who asks gets the same one until it is about to expire, as Entra ID answers from its cache. So a
    database can know it as the principal's password.
    """
    issued, expires = period(topology)
    claims = {
        "aud": audience,
        "iss": f"https://sts.windows.net/{topology.tenant}/",
        "tid": topology.tenant,
        "oid": principal.object_id,
        "sub": principal.object_id,
        "appid": principal.client_id,
        "idtyp": "app",
        "ver": "1.0",
        "iat": issued,
        "nbf": issued,
        "exp": expires,
    }
    return jwt.encode(claims, _signing_key(topology.file("signing.pem")), algorithm="RS256"), expires


def period(topology: Topology) -> tuple[int, int]:
    """When the tokens handed out now were issued, and when they expire: days, counted from the stack's first moment."""
    first = int(topology.file("signing.pem").stat().st_mtime)
    day = int(time.time() - first + RENEWAL_SECONDS) // LIFETIME_SECONDS
    return first + day * LIFETIME_SECONDS - RENEWAL_SECONDS, first + (day + 1) * LIFETIME_SECONDS


@functools.lru_cache
def _signing_key(file: Path) -> RSAPrivateKey:
    key = load_pem_private_key(file.read_bytes(), password=None)
    assert isinstance(key, RSAPrivateKey)
    return key


def verify(topology: Topology, token: str, audiences: tuple[str, ...]) -> dict[str, Any]:
    """The claims of a token that this stack signed for one of `audiences`. Raises `jwt.InvalidTokenError`."""
    accepted = [form for audience in audiences for form in (audience.rstrip("/"), audience.rstrip("/") + "/")]
    return jwt.decode(
        token,
        topology.file("signing.pub").read_text(),
        algorithms=["RS256"],
        audience=accepted,
        issuer=f"https://sts.windows.net/{topology.tenant}/",
        options={"require": ["exp", "aud", "iss", "oid", "tid"]},
    )
