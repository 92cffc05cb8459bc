"""The checks of the server itself: what it is, and how one gets in."""

from __future__ import annotations

from collections.abc import Iterator

from shared.decisions.readiness.report import CONCEPTS, TUTORIAL, Check, fixed, judged
from shared.desired.changes import AddAdministrator, Change, EnableEntraAuthentication, EnableSystemIdentity
from shared.desired.intent import MirrorIntent
from shared.platform.settings import Settings
from shared.source.facts import ServerFacts

OLDEST, NEWEST = 14, 18
HIGH_AVAILABILITY_FROM = 17
WRITABLE_ROLES = frozenset({"Primary", "None"})


def server_checks(server: ServerFacts, intent: MirrorIntent, settings: Settings) -> Iterator[Check]:
    def judge(
        id: str, good: bool, found: object, wanted: str, message: str, remedy: str, reference: str = CONCEPTS
    ) -> Check:
        return judged(id, server.id.name, good, found, wanted, message, remedy, reference)

    yield judge(
        "ServerState",
        server.state == "Ready",
        server.state,
        "Ready",
        f"Server {server.id.name!r} is {server.state}, not Ready.",
        "Start it, or wait until its operation has ended." if server.state != "Disabled" else "Ask Azure support.",
    )
    yield judge(
        "ServerVersion",
        OLDEST <= server.version <= NEWEST,
        server.version,
        f"{OLDEST} to {NEWEST}",
        f"PostgreSQL {server.version} can't be mirrored.",
        f"Upgrade the server to a version from {OLDEST} to {NEWEST}.",
    )
    yield judge(
        "ServerTier",
        server.tier.lower() != "burstable",
        server.tier,
        "GeneralPurpose or MemoryOptimized",
        "A server in the Burstable tier can't be mirrored.",
        "Scale it to General Purpose or Memory Optimized (this restarts it).",
    )
    yield judge(
        "HighAvailability",
        server.high_availability == "Disabled" or server.version >= HIGH_AVAILABILITY_FROM,
        server.high_availability,
        f"Disabled, or PostgreSQL {HIGH_AVAILABILITY_FROM} and later",
        f"With high availability ({server.high_availability}), mirroring needs PostgreSQL {HIGH_AVAILABILITY_FROM}; "
        f"this server runs {server.version}.",
        f"Upgrade to PostgreSQL {HIGH_AVAILABILITY_FROM}, or disable high availability.",
    )
    yield judge(
        "ReplicationRole",
        server.replication_role in WRITABLE_ROLES,
        server.replication_role,
        "Primary",
        f"The server is a read replica ({server.replication_role}); only a primary can be mirrored.",
        "Tag its primary instead, or promote it.",
    )
    yield judge(
        "ReadReplicas",
        settings.allow_replicas or not server.replicas,
        server.replicas,
        "no read replica",
        f"The server has {server.replicas} read replicas, and the app's settings forbid mirroring such a server.",
        "Set ALLOW_REPLICAS to true (allowed by Azure since 2026), or delete the replicas.",
    )
    yield judge(
        "ElasticCluster",
        not server.elastic_cluster,
        "elastic cluster" if server.elastic_cluster else "single server",
        "single server",
        "An elastic cluster can't be mirrored.",
        "Use a server that is not an elastic cluster.",
    )
    if settings.fabric_credentials == "Basic":
        yield judge(
            "PasswordAuthentication",
            server.password_auth,
            "Enabled" if server.password_auth else "Disabled",
            "Enabled",
            "Password authentication is disabled, and Fabric logs in with a password.",
            "Enable PostgreSQL authentication beside Microsoft Entra authentication, or set FABRIC_CREDENTIALS.",
            TUTORIAL,
        )
    yield judge(
        "Network",
        (server.public_access and server.azure_services_allowed) or bool(intent.gateway),
        _network(server),
        "public access with Azure services allowed, or a virtual network data gateway",
        f"Fabric can't reach the server: {_network(server)}, and no virtual network data gateway is named.",
        "Enable public access and add the firewall rule 0.0.0.0-0.0.0.0 (Allow access from Azure services), "
        "or name a virtual network data gateway, in FABRIC_GATEWAY or as `gateway` in the request.",
        TUTORIAL,
    )


def access_changes(server: ServerFacts, settings: Settings) -> Iterator[Change]:
    if not server.principal_id:
        yield EnableSystemIdentity()
    if not server.entra_auth:
        yield EnableEntraAuthentication()
    if not is_administrator(server, settings):
        yield AddAdministrator(settings.identity_object_id, settings.identity_name, settings.azure_tenant_id)


def access_checks(server: ServerFacts, settings: Settings) -> Iterator[Check]:
    yield fixed(
        "SystemIdentity",
        server.id.name,
        bool(server.principal_id),
        server.identity_type,
        "system-assigned",
        "The server's system-assigned managed identity will be enabled.",
    )
    yield fixed(
        "EntraAuthentication",
        server.id.name,
        server.entra_auth,
        "Enabled" if server.entra_auth else "Disabled",
        "Enabled",
        "Microsoft Entra authentication will be enabled, so that this app can log in.",
    )
    yield fixed(
        "AppAdministrator",
        server.id.name,
        is_administrator(server, settings),
        ", ".join(administrator.name for administrator in server.administrators),
        settings.identity_name,
        f"The app's identity {settings.identity_name!r} will be made a Microsoft Entra administrator of the server. "
        "What only PostgreSQL itself can tell (its tables, the slots in use) is checked then, before anything else is "
        "changed.",
    )


def is_administrator(server: ServerFacts, settings: Settings) -> bool:
    """Whether the app's identity is a Microsoft Entra administrator of the server."""
    return any(administrator.object_id == settings.identity_object_id for administrator in server.administrators)


def _network(server: ServerFacts) -> str:
    if not server.public_access:
        return "public access is disabled"
    return (
        "Azure services are allowed" if server.azure_services_allowed else "the firewall does not allow Azure services"
    )
