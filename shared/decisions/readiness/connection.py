"""The checks of how Fabric connects to PostgreSQL: it offers such connections, and it has what it logs in with."""

from __future__ import annotations

from collections.abc import Iterator

from shared.decisions.login import PrincipalLogin, WorkspaceLogin, login_of
from shared.decisions.readiness.facts import Facts, gateway_of
from shared.decisions.readiness.report import TUTORIAL, WORKSPACE_IDENTITY, Check, pass_or_fail
from shared.desired.intent import MirrorIntent
from shared.fabric.facts import CLIENT_REMEDY
from shared.platform.settings import Settings


def connection_checks(intent: MirrorIntent, facts: Facts, settings: Settings) -> Iterator[Check]:
    """All checks of this file: the first always, the others by the way in which Fabric logs in."""
    yield postgresql_connections(facts)
    match login_of(settings):
        case PrincipalLogin(client_secret=name):
            yield principal_secret(facts, name)
        case WorkspaceLogin():
            yield workspace_identity_by_gateway(gateway_of(intent, facts.server))


def postgresql_connections(facts: Facts) -> Check:
    """`PostgreSqlConnections`: Fabric offers connections to PostgreSQL that take these credentials."""
    problem = facts.connections_problem
    return pass_or_fail(
        "PostgreSqlConnections",
        "Fabric",
        problem is None,
        found=facts.connections,
        wanted="offered",
        message=problem.message if problem else "",
        remedy=problem.remedy if problem else "",
        reference=TUTORIAL,
    )


def principal_secret(facts: Facts, name: str) -> Check:
    """Fabric logs in with a client secret that a person keeps in Key Vault."""
    return pass_or_fail(
        "PrincipalSecret",
        name,
        facts.principal_secret,
        found="kept" if facts.principal_secret else "missing",
        wanted="kept in Key Vault",
        message=f"Key Vault has no secret {name!r}, with which Fabric is to log in.",
        remedy=CLIENT_REMEDY,
        reference=TUTORIAL,
    )


def workspace_identity_by_gateway(gateway: str) -> Check:
    """Fabric can't log in as a workspace where it comes in by a gateway (source: WORKSPACE_IDENTITY, "Limitations")."""
    return pass_or_fail(
        "WorkspaceIdentityByGateway",
        "Fabric",
        not gateway,
        found=gateway or "no gateway",
        wanted="no gateway",
        message="A workspace identity can't log in by way of a gateway, and Fabric does not reach the server without "
        "one.",
        remedy="Allow public access by Azure services, or set FABRIC_CREDENTIALS to ServicePrincipal or Basic.",
        reference=WORKSPACE_IDENTITY,
    )
