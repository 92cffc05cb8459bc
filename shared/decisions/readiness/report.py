"""What readiness says: checks, a plan, and both together in a report."""

from __future__ import annotations

from typing import Literal

import msgspec

from shared.desired.changes import Change
from shared.platform.brief import brief, cut, size
from shared.platform.reasons import Reason

CONCEPTS = "https://learn.microsoft.com/azure/postgresql/integration/concepts-fabric-mirroring"
TUTORIAL = "https://learn.microsoft.com/fabric/mirroring/azure-database-postgresql-tutorial"
WORKSPACE_IDENTITY = "https://learn.microsoft.com/fabric/security/workspace-identity-authenticate"
LIMITS = "https://learn.microsoft.com/fabric/mirroring/azure-database-postgresql-limitations"

MOST_BYTES = 64 * 1024
"""Of a report in short form, as JSON in UTF-8: the row of a server has room for it."""
_FORMS = ((5, 200, 2000), (3, 60, 1000), (1, 40, 500), (1, 20, 200), (0, 0, 0))
"""Ever shorter forms: how many checks of one kind, how many in all, and how long the texts are."""

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

    @property
    def kind(self) -> str:
        """What checks that say the same have in common: the id; of tables, the service's codes."""
        return self.found if self.id == "Table" else self.id


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
    """The checks and the plan. In short form it has the first checks of each kind, and `left_out` counts the others by
    their id, those of tables by the service's codes."""

    checks: tuple[Check, ...]
    plan: Plan
    workspace_name: str = ""
    left_out: dict[str, int] = {}

    @property
    def failures(self) -> tuple[Reason, ...]:
        """Why the server can't be prepared; empty when it can."""
        return tuple(Reason(check.id, check.message, check.remedy) for check in self.checks if check.status == "fail")

    @property
    def short(self) -> Report:
        """The report in at most `MOST_BYTES`, what fails first. A report that is small enough stays as it is."""
        report = self
        for each, most, longest in _FORMS:
            if size(report) <= MOST_BYTES:
                break
            report = self._in_form(each, most, longest)
        return report

    def _in_form(self, each: int, most: int, longest: int) -> Report:
        by_weight = sorted(self.checks, key=lambda check: _WEIGHTS.index(check.status))
        selected = brief(by_weight, lambda check: cut(check.kind, 200), each, most)
        checks = tuple(
            msgspec.structs.replace(check, **{name: cut(getattr(check, name), longest) for name in _TEXTS})
            for check in selected.shown
        )
        return msgspec.structs.replace(self, checks=checks, left_out=selected.more)


_WEIGHTS: tuple[Outcome, ...] = ("fail", "warn", "will_fix", "pass")
_TEXTS = ("subject", "found", "wanted", "message", "remedy")


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
