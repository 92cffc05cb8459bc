"""The checks of the server itself: its state, kind and settings, and whether Fabric reaches it and can log in."""

from __future__ import annotations

from collections.abc import Iterator

from shared.decisions.login import PasswordLogin, login_of
from shared.decisions.readiness.report import CONCEPTS, TUTORIAL, Check, pass_or_fail
from shared.desired.intent import MirrorIntent
from shared.platform.settings import Settings
from shared.source.facts import ServerFacts

OLDEST, NEWEST = 14, 18
"""The first and the last major version of PostgreSQL that can be mirrored."""
HIGH_AVAILABILITY_FROM = 17
WRITABLE_ROLES = frozenset({"Primary", "None"})


def server_checks(server: ServerFacts, intent: MirrorIntent, settings: Settings) -> Iterator[Check]:
    """All checks of this file."""
    yield server_state(server)
    yield server_version(server)
    yield server_tier(server)
    yield high_availability(server)
    yield replication_role(server)
    yield read_replicas(server, settings)
    yield elastic_cluster(server)
    if isinstance(login_of(settings), PasswordLogin):
        yield password_authentication(server)
    yield network(server, intent)


def server_state(server: ServerFacts) -> Check:
    """A server is changed only while it is Ready."""
    return pass_or_fail(
        "ServerState",
        server.id.name,
        server.state == "Ready",
        found=server.state,
        wanted="Ready",
        message=f"Server {server.id.name!r} is {server.state}, not Ready.",
        remedy="Ask Azure support."
        if server.state == "Disabled"
        else "Start it, or wait until its operation has ended.",
        reference=CONCEPTS,
    )


def server_version(server: ServerFacts) -> Check:
    """Mirroring exists for some major versions of PostgreSQL."""
    return pass_or_fail(
        "ServerVersion",
        server.id.name,
        OLDEST <= server.version <= NEWEST,
        found=server.version,
        wanted=f"{OLDEST} to {NEWEST}",
        message=f"PostgreSQL {server.version} can't be mirrored.",
        remedy=f"Upgrade the server to a version from {OLDEST} to {NEWEST}.",
        reference=CONCEPTS,
    )


def server_tier(server: ServerFacts) -> Check:
    """Azure does not mirror servers in the Burstable tier."""
    return pass_or_fail(
        "ServerTier",
        server.id.name,
        server.tier.lower() != "burstable",
        found=server.tier,
        wanted="GeneralPurpose or MemoryOptimized",
        message="A server in the Burstable tier can't be mirrored.",
        remedy="Scale it to General Purpose or Memory Optimized (this restarts it).",
        reference=CONCEPTS,
    )


def high_availability(server: ServerFacts) -> Check:
    """Before PostgreSQL 17, a failover loses the replication slots of the mirrors."""
    return pass_or_fail(
        "HighAvailability",
        server.id.name,
        server.high_availability == "Disabled" or server.version >= HIGH_AVAILABILITY_FROM,
        found=server.high_availability,
        wanted=f"Disabled, or PostgreSQL {HIGH_AVAILABILITY_FROM} and later",
        message=f"With high availability ({server.high_availability}), mirroring needs PostgreSQL "
        f"{HIGH_AVAILABILITY_FROM}; this server runs {server.version}.",
        remedy=f"Upgrade to PostgreSQL {HIGH_AVAILABILITY_FROM}, or disable high availability.",
        reference=CONCEPTS,
    )


def replication_role(server: ServerFacts) -> Check:
    """Only a primary can be written to, and so be prepared."""
    return pass_or_fail(
        "ReplicationRole",
        server.id.name,
        server.replication_role in WRITABLE_ROLES,
        found=server.replication_role,
        wanted="Primary",
        message=f"The server is a read replica ({server.replication_role}); only a primary can be mirrored.",
        remedy="Tag its primary instead, or promote it.",
        reference=CONCEPTS,
    )


def read_replicas(server: ServerFacts, settings: Settings) -> Check:
    """An organisation may choose not to mirror servers that have read replicas."""
    return pass_or_fail(
        "ReadReplicas",
        server.id.name,
        settings.scope.replicas or not server.replicas,
        found=server.replicas,
        wanted="no read replica",
        message=f"The server has {server.replicas} read replicas, and the app's settings forbid mirroring such a "
        "server.",
        remedy="Set ALLOW_REPLICAS to true (allowed by Azure since 2026), or delete the replicas.",
        reference=CONCEPTS,
    )


def elastic_cluster(server: ServerFacts) -> Check:
    """Azure does not mirror elastic clusters."""
    return pass_or_fail(
        "ElasticCluster",
        server.id.name,
        not server.elastic_cluster,
        found="elastic cluster" if server.elastic_cluster else "single server",
        wanted="single server",
        message="An elastic cluster can't be mirrored.",
        remedy="Use a server that is not an elastic cluster.",
        reference=CONCEPTS,
    )


def password_authentication(server: ServerFacts) -> Check:
    """Where Fabric logs in with a password, the server has to accept passwords."""
    return pass_or_fail(
        "PasswordAuthentication",
        server.id.name,
        server.password_auth,
        found="Enabled" if server.password_auth else "Disabled",
        wanted="Enabled",
        message="Password authentication is disabled, and Fabric logs in with a password.",
        remedy="Enable PostgreSQL authentication in addition to Microsoft Entra authentication, or set "
        "FABRIC_CREDENTIALS.",
        reference=TUTORIAL,
    )


def network(server: ServerFacts, intent: MirrorIntent) -> Check:
    """Fabric reaches the server from its shared cloud, or by a virtual network data gateway."""
    within_reach = server.public_access and server.azure_services_allowed
    if not server.public_access:
        access = "public access is disabled"
    elif server.azure_services_allowed:
        access = "Azure services are allowed"
    else:
        access = "the firewall does not allow Azure services"
    return pass_or_fail(
        "Network",
        server.id.name,
        within_reach or bool(intent.gateway),
        found=access,
        wanted="public access with Azure services allowed, or a virtual network data gateway",
        message=f"Fabric can't reach the server: {access}, and no virtual network data gateway is named.",
        remedy="Enable public access and add the firewall rule 0.0.0.0-0.0.0.0 (Allow access from Azure services), "
        "or name a virtual network data gateway, in FABRIC_GATEWAY or as `gateway` in the request.",
        reference=TUTORIAL,
    )
