"""The checks of the server's parameters, and of the replication slots and WAL senders that they leave free.

What each parameter needs is planned in `decisions/parameters`; here each outcome of that plan becomes a check.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from shared.decisions.parameters import ParameterChange, ParameterPlan, ParameterProblem, pending_restart
from shared.decisions.readiness.report import CONCEPTS, Check, pass_or_fix
from shared.source.facts import ServerFacts
from shared.source.parameters import Parameter, Used


def parameter_checks(server: ServerFacts, parameters: Mapping[str, Parameter], plan: ParameterPlan) -> Iterator[Check]:
    """A check for each change, for each problem, and for each parameter that waits for a restart already."""
    for change in plan.changes:
        yield parameter_to_set(change)
    for problem in plan.problems:
        yield parameter_problem(problem, parameters)
    changed = {change.name for change in plan.changes}
    for name in pending_restart(parameters):
        if name not in changed:
            yield parameter_waiting(parameters[name])
    if not plan.changes and not plan.problems:
        yield Check(
            id="Parameter", subject=server.id.name, status="pass", message="Every server parameter is as needed."
        )


def parameter_to_set(change: ParameterChange) -> Check:
    """`Parameter`: the app sets the parameter."""
    return Check(
        id="Parameter",
        subject=change.name,
        status="will_fix",
        found=change.present,
        wanted=change.needed,
        message=f"The server parameter {change.name} will be set to {change.needed!r}"
        + (", which takes effect with a restart." if change.restart else "."),
        reference=CONCEPTS,
    )


def parameter_problem(problem: ParameterProblem, parameters: Mapping[str, Parameter]) -> Check:
    """The parameter can't become what mirroring needs. The check's id is the code of the problem's reason."""
    parameter = parameters.get(problem.parameter)
    return Check(
        id=problem.reason.code,
        subject=problem.parameter,
        status="fail",
        found=parameter.value if parameter else "",
        message=problem.reason.message,
        remedy=problem.reason.remedy,
        reference=CONCEPTS,
    )


def parameter_waiting(parameter: Parameter) -> Check:
    """`PendingRestart`: somebody set the parameter before, and the restart is still to come."""
    return Check(
        id="PendingRestart",
        subject=parameter.name,
        status="will_fix",
        found=parameter.value,
        wanted=parameter.value,
        message=f"The server parameter {parameter.name} is set, and waits for a restart.",
        reference=CONCEPTS,
    )


def capacity_checks(
    parameters: Mapping[str, Parameter], used: Used, plan: ParameterPlan, databases: int
) -> Iterator[Check]:
    """Every mirrored database takes one replication slot and one WAL sender of those that others leave free.

    A parameter with a problem is left out: `parameter_problem` says what is the matter.
    """
    with_problems = {problem.parameter for problem in plan.problems}
    sound = {name: parameter for name, parameter in parameters.items() if name not in with_problems}
    if slots := sound.get("max_replication_slots"):
        yield replication_slots(slots, used.slots, databases)
    if senders := sound.get("max_wal_senders"):
        yield wal_senders(senders, used.senders, databases)


def replication_slots(parameter: Parameter, in_use: int, databases: int) -> Check:
    """The slots suffice for the mirrors and for others, or the app raises their number."""
    return _capacity("ReplicationSlots", parameter, in_use, databases, "replication slots")


def wal_senders(parameter: Parameter, in_use: int, databases: int) -> Check:
    """The WAL senders suffice for the mirrors and for others, or the app raises their number."""
    return _capacity("WalSenders", parameter, in_use, databases, "WAL senders")


def _capacity(id: str, parameter: Parameter, in_use: int, databases: int, things: str) -> Check:
    value = int(parameter.value)
    return pass_or_fix(
        id,
        parameter.name,
        value - in_use >= databases,
        found=f"{value}, of which others use {in_use}",
        wanted=f"{databases} for the mirrors",
        message=f"Of {value} {things}, others use {in_use}, and the mirrors need {databases}: {parameter.name} will be "
        "raised.",
    )
