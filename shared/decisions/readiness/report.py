"""What readiness says: checks, a plan, and both together in a report."""

from __future__ import annotations

from typing import Literal

import msgspec

from shared.desired.changes import Change
from shared.platform.reasons import Reason

CONCEPTS = "https://learn.microsoft.com/azure/postgresql/integration/concepts-fabric-mirroring"
TUTORIAL = "https://learn.microsoft.com/fabric/mirroring/azure-database-postgresql-tutorial"
WORKSPACE_IDENTITY = "https://learn.microsoft.com/fabric/security/workspace-identity-authenticate"
LIMITS = "https://learn.microsoft.com/fabric/mirroring/azure-database-postgresql-limitations"

type Outcome = Literal["pass", "will_fix", "warn", "fail"]


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """What the app looked at, what it saw, and what that means."""

    id: str
    subject: str
    """What the check is about: the server, a parameter, a database, a table, a workspace."""
    status: Outcome
    found: str = ""
    wanted: str = ""
    message: str = ""
    """Why the check does not pass; empty where it does."""
    remedy: str = ""
    reference: str = ""
    """Address of the documentation of the rule."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Every change to the server in order, and whether a restart follows."""

    changes: tuple[Change, ...]
    restart: bool
    restart_because: tuple[str, ...]
    """The parameters that take effect only with a restart."""
    databases: tuple[str, ...]
    """The databases to mirror."""
    baseline_worker_processes: int
    leave: tuple[str, ...] = ()
    """The databases in which the fabric role is a member of an owner that has become strong, and leaves it."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The checks and the plan."""

    checks: tuple[Check, ...]
    plan: Plan
    workspace_name: str = ""

    @property
    def failures(self) -> tuple[Reason, ...]:
        """Why the server can't be prepared; empty when it can."""
        return tuple(Reason(check.id, check.message, check.remedy) for check in self.checks if check.status == "fail")


def pass_or_fail(
    id: str, subject: str, met: bool, *, found: object, wanted: str, message: str, remedy: str, reference: str = ""
) -> Check:
    """A check that passes where its condition is met. Where it is not, a person has to act."""
    if met:
        return Check(id=id, subject=subject, status="pass", found=str(found), wanted=wanted)
    return Check(
        id=id, subject=subject, status="fail", found=str(found), wanted=wanted, message=message, remedy=remedy,
        reference=reference,
    )  # fmt: skip


def pass_or_fix(id: str, subject: str, met: bool, *, found: str, wanted: str, message: str) -> Check:
    """A check that passes where its condition is met. Where it is not, it announces the app's own change."""
    status: Outcome = "pass" if met else "will_fix"
    return Check(id=id, subject=subject, status=status, found=found, wanted=wanted, message="" if met else message)
