"""The checks of what lets the app and Fabric in, and the changes that mend each of them.

None of these checks fails: the app makes the change itself, through Azure Resource Manager.
"""

from __future__ import annotations

from collections.abc import Iterator

from shared.decisions.readiness.report import Check, pass_or_fix
from shared.desired.changes import AddAdministrator, Change, EnableEntraAuthentication, EnableSystemIdentity
from shared.platform.settings import Settings
from shared.source.facts import ServerFacts


def access_checks(server: ServerFacts, settings: Settings) -> Iterator[Check]:
    """All checks of this file."""
    yield system_identity(server)
    yield entra_authentication(server)
    yield app_administrator(server, settings)


def access_changes(server: ServerFacts, settings: Settings) -> Iterator[Change]:
    """The change for each of these checks that does not pass, in the order of the checks."""
    if not server.principal_id:
        yield EnableSystemIdentity()
    if not server.entra_auth:
        yield EnableEntraAuthentication()
    if not is_administrator(server, settings):
        yield AddAdministrator(settings.identity.object_id, settings.identity.name, settings.identity.tenant)


def system_identity(server: ServerFacts) -> Check:
    """The server writes into OneLake with an identity of its own."""
    return pass_or_fix(
        "SystemIdentity",
        server.id.name,
        bool(server.principal_id),
        found=server.identity_type,
        wanted="system-assigned",
        message="The server's system-assigned managed identity will be enabled.",
    )


def entra_authentication(server: ServerFacts) -> Check:
    """The app has no password: it logs in with a token of Microsoft Entra ID."""
    return pass_or_fix(
        "EntraAuthentication",
        server.id.name,
        server.entra_auth,
        found="Enabled" if server.entra_auth else "Disabled",
        wanted="Enabled",
        message="Microsoft Entra authentication will be enabled, so that this app can log in.",
    )


def app_administrator(server: ServerFacts, settings: Settings) -> Check:
    """Only an administrator may make the fabric role and give it its rights."""
    return pass_or_fix(
        "AppAdministrator",
        server.id.name,
        is_administrator(server, settings),
        found=", ".join(administrator.name for administrator in server.administrators),
        wanted=settings.identity.name,
        message=f"The app's identity {settings.identity.name!r} will be made a Microsoft Entra administrator of the "
        "server. What only PostgreSQL itself can tell (its tables, the slots in use) is checked then, before anything "
        "else is changed.",
    )


def is_administrator(server: ServerFacts, settings: Settings) -> bool:
    """Whether the app's identity is a Microsoft Entra administrator of the server."""
    return any(administrator.object_id == settings.identity.object_id for administrator in server.administrators)
