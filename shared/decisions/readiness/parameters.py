"""The checks of the server's parameters, and of the replication slots and WAL senders that they leave free."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from shared.decisions.readiness.report import CONCEPTS, Check, fixed
from shared.source.facts import ServerFacts
from shared.source.parameters import Parameter, ParameterPlan, Used


def parameter_checks(
    server: ServerFacts, found: dict[str, Parameter], plan: ParameterPlan, pending: Iterable[str]
) -> Iterator[Check]:
    for change in plan.changes:
        yield Check(
            id="Parameter",
            subject=change.name,
            status="will_fix",
            found=change.found,
            wanted=change.wanted,
            message=f"The server parameter {change.name} will be set to {change.wanted!r}"
            + (", which takes effect with a restart." if change.restart else "."),
            reference=CONCEPTS,
        )
    for problem in plan.problems:
        yield Check(
            id=problem.code,
            subject=problem.parameter,
            status="fail",
            found=found[problem.parameter].value if problem.parameter in found else "",
            message=problem.message,
            remedy=problem.remedy,
            reference=CONCEPTS,
        )
    changed = {change.name for change in plan.changes}
    for name in pending:
        if name not in changed:
            yield Check(
                id="PendingRestart",
                subject=name,
                status="will_fix",
                found=found[name].value,
                wanted=found[name].value,
                message=f"The server parameter {name} is set, and waits for a restart.",
                reference=CONCEPTS,
            )
    if not plan.changes and not plan.problems:
        yield Check(
            id="Parameter", subject=server.id.name, status="pass", message="Every server parameter is as needed."
        )


def capacity_checks(found: dict[str, Parameter], used: Used, plan: ParameterPlan, databases: int) -> Iterator[Check]:
    """A mirrored database takes one slot and one WAL sender; what others use is theirs."""
    wrong = {problem.parameter for problem in plan.problems}
    for id, name, taken, what in (
        ("ReplicationSlots", "max_replication_slots", used.slots, "replication slots"),
        ("WalSenders", "max_wal_senders", used.senders, "WAL senders"),
    ):
        if name not in found or name in wrong:
            continue  # the parameter's own check says what is the matter
        value = int(found[name].value)
        yield fixed(
            id,
            name,
            value - taken >= databases,
            f"{value}, of which others use {taken}",
            f"{databases} for the mirrors",
            f"Of {value} {what}, others use {taken}, and the mirrors need {databases}: {name} will be raised.",
        )
