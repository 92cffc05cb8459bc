"""What a readiness report is made of: facts go in, checks and a plan come out."""

from __future__ import annotations

from typing import Literal

import msgspec

from shared.desired.changes import Change
from shared.desired.intent import MirrorIntent
from shared.desired.takeover import NotTakeable
from shared.fabric.workspace import WorkspaceFacts
from shared.platform.reasons import Reason
from shared.source.facts import ServerFacts
from shared.source.parameters import Parameter, Used
from shared.source.tables import TableReport

CONCEPTS = "https://learn.microsoft.com/azure/postgresql/integration/concepts-fabric-mirroring"
TUTORIAL = "https://learn.microsoft.com/fabric/mirroring/azure-database-postgresql-tutorial"
WORKSPACE_IDENTITY = "https://learn.microsoft.com/fabric/security/workspace-identity-authenticate"
LIMITS = "https://learn.microsoft.com/fabric/mirroring/azure-database-postgresql-limitations"

type Outcome = Literal["pass", "will_fix", "warn", "fail"]


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at. `subject`: what it is about (the server, a database, a table, a workspace)."""

    id: str
    subject: str
    status: Outcome
    found: str = ""
    wanted: str = ""
    message: str = ""
    remedy: str = ""
    reference: str = ""


class DatabaseFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What PostgreSQL tells about one database. `mirrored_by_others`: publications of mirrors that are not ours;
    `not_takeable`: tables whose owners the app may not act for."""

    name: str
    tables: TableReport | None = None
    mirrored_by_others: tuple[str, ...] = ()
    not_takeable: tuple[NotTakeable, ...] = ()
    problem: Reason | None = None


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is known before the decision. `parameters` is empty for a server that is not ready, `used` None
    where the app can't log in yet. `connections` is the type of the connections that Fabric makes to PostgreSQL.
    `principal_secret`: whether Key Vault has the client secret of the principal that Fabric logs in as."""

    server: ServerFacts
    parameters: dict[str, Parameter]
    workspace: WorkspaceFacts | None
    workspace_problem: Reason | None = None
    connections: str = ""
    connections_problem: Reason | None = None
    principal_secret: bool = True
    used: Used | None = None
    databases: tuple[DatabaseFacts, ...] = ()
    baseline_worker_processes: int | None = None


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Every change to the server in order, and whether a restart follows. `databases` are those to mirror."""

    changes: tuple[Change, ...]
    restart: bool
    restart_because: tuple[str, ...]
    databases: tuple[str, ...]
    baseline_worker_processes: int


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The checks and the plan."""

    checks: tuple[Check, ...]
    plan: Plan
    workspace_name: str = ""

    @property
    def failures(self) -> tuple[Reason, ...]:
        """Why the server can't be prepared; empty when it can."""
        return tuple(Reason(check.id, check.message, check.remedy) for check in self.checks if check.status == "fail")


def databases_of(intent: MirrorIntent, server: ServerFacts) -> tuple[str, ...]:
    """The databases to mirror: the chosen ones, or every user database."""
    return intent.databases or server.databases


def gateway_of(intent: MirrorIntent, server: ServerFacts) -> str:
    """The gateway by which Fabric comes in: none where its shared cloud reaches the server itself."""
    return "" if server.public_access and server.azure_services_allowed else intent.gateway


def judged(
    id: str, subject: str, good: bool, found: object, wanted: str, message: str, remedy: str, reference: str = ""
) -> Check:
    """A check that passes or fails."""
    if good:
        return Check(id=id, subject=subject, status="pass", found=str(found), wanted=wanted)
    return Check(
        id=id, subject=subject, status="fail", found=str(found), wanted=wanted, message=message, remedy=remedy,
        reference=reference,
    )  # fmt: skip


def fixed(id: str, subject: str, good: bool, found: str, wanted: str, message: str) -> Check:
    """A check that passes, or announces a change."""
    status: Outcome = "pass" if good else "will_fix"
    return Check(id=id, subject=subject, status=status, found=found, wanted=wanted, message="" if good else message)
