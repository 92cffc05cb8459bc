"""The facts from which readiness is decided, and what follows from them for more than one check."""

from __future__ import annotations

import msgspec

from shared.decisions import rights
from shared.decisions.harm import Harm
from shared.desired.intent import MirrorIntent
from shared.desired.takeover import NotTakeable
from shared.fabric.facts import WorkspaceFacts
from shared.platform.reasons import Reason
from shared.source.facts import Missing, Owner, ServerFacts, TableReport
from shared.source.parameters import Parameter, Used


class DatabaseFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What PostgreSQL tells about one database."""

    name: str
    tables: TableReport | None = None
    """None where the app could not look at the tables."""
    mirrored_by_others: tuple[str, ...] = ()
    """The publications of mirrors that this app did not make."""
    owners: tuple[Owner, ...] = ()
    """The owners of the tables to mirror."""
    rights: rights.Plan = rights.Plan(owners=())
    """How the fabric role is to get its rights on the tables."""
    harms: tuple[Harm, ...] = ()
    """What the application would do otherwise, if the role owned the tables that the plan takes."""
    not_takeable: tuple[NotTakeable, ...] = ()
    """The tables that the plan takes and whose owners the app may not act for."""
    missing: tuple[Missing, ...] = ()
    """What the role needs in the database, and the app may not grant."""
    problem: Reason | None = None
    """Why the app could not look into the database."""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is seen before the decision."""

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


def gateway_of(intent: MirrorIntent, server: ServerFacts) -> str:
    """The gateway by which Fabric reaches the server; '' where its shared cloud reaches the server without one."""
    return "" if server.public_access and server.azure_services_allowed else intent.gateway
