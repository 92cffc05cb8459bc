"""The facts from which readiness is decided, and what follows from them for more than one check."""

from __future__ import annotations

import msgspec

from shared.decisions import rights
from shared.decisions.harm import Harm
from shared.desired.intent import MirrorIntent
from shared.desired.takeover import NotTakeable
from shared.fabric.facts import WorkspaceFacts
from shared.platform.reasons import Reason
from shared.source.facts import CLOSED, EventTrigger, IdentityChange, Missing, Owner, ServerFacts, TableReport
from shared.source.parameters import Parameter, Used


class DatabaseFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What PostgreSQL tells about one database."""

    name: str
    tables: TableReport | None = None
    """None where the app could not look at the tables."""
    mirrored: bool = False
    """The app has made a mirrored database of it already."""
    identities: tuple[IdentityChange, ...] = ()
    """The tables that need another replica identity before they are published."""
    event_triggers: tuple[EventTrigger, ...] = ()
    """Functions that PostgreSQL calls when the app or Fabric sends DDL."""
    mirrored_by_others: tuple[str, ...] = ()
    """The publications of mirrors that this app did not make."""
    owners: tuple[Owner, ...] = ()
    """The owners of the tables to mirror."""
    rights: rights.Plan = rights.Plan(owners=())
    """How the fabric role is to get its rights on the tables."""
    strong_owners: tuple[str, ...] = ()
    """Owners of which the app made the fabric role a member, and that have become strong since."""
    harms: tuple[Harm, ...] = ()
    """What of the application would behave differently if the role owned the tables that the plan takes."""
    not_takeable: tuple[NotTakeable, ...] = ()
    """The tables that the plan takes and whose owners the app may not act for."""
    missing: tuple[Missing, ...] = ()
    """What the role needs in the database, and the app may not grant."""
    problem: Reason | None = None
    """Why the app could not look into the database."""

    @property
    def closed(self) -> bool:
        """It accepts no connections."""
        return self.problem is not None and self.problem.code == CLOSED

    @property
    def empty(self) -> bool:
        """It has no table that can be mirrored."""
        return self.tables is not None and not self.tables.eligible


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the decision depends on."""

    server: ServerFacts
    parameters: dict[str, Parameter]
    """Empty for a server that is not Ready."""
    workspace: WorkspaceFacts | None
    """None where the workspace does not exist, or could not be looked at (`workspace_problem`)."""
    workspace_problem: Reason | None = None
    connections: str = ""
    """The type of the connections that Fabric makes to PostgreSQL."""
    connections_problem: Reason | None = None
    """Why Fabric can't make connections to PostgreSQL."""
    principal_secret: bool = True
    """Whether Key Vault has the client secret of the service principal that Fabric logs in as."""
    used: Used | None = None
    """None where the app can't log in to the server yet."""
    databases: tuple[DatabaseFacts, ...] = ()
    baseline_worker_processes: int | None = None
    """As the server's row has it; None before the first preparation."""


def databases_of(intent: MirrorIntent, server: ServerFacts) -> tuple[str, ...]:
    """The databases to mirror: the chosen ones, or every user database."""
    return intent.databases or server.databases


def to_mirror(intent: MirrorIntent, server: ServerFacts, databases: tuple[DatabaseFacts, ...]) -> tuple[str, ...]:
    """The databases to mirror, as far as they can be: where nobody named any, those are left out that accept no
    connections or have no table. What is mirrored already stays."""
    if intent.databases:
        return intent.databases
    left_out = {it.name for it in databases if (it.closed or it.empty) and not it.mirrored}
    return tuple(name for name in server.databases if name not in left_out)


def gateway_of(intent: MirrorIntent, server: ServerFacts) -> str:
    """The gateway by which Fabric reaches the server; '' where its shared cloud reaches the server without one."""
    return "" if server.public_access and server.azure_services_allowed else intent.gateway
