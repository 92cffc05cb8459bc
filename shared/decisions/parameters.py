"""Which server parameters a flexible server needs for its mirrors, and whether they need a restart.

Nothing is ever lowered, and nothing that others put into a list is dropped. A release gives back what needs no restart.

Source of the rules: "Fabric mirroring" in the docs of Azure Database for PostgreSQL flexible server, and Microsoft's
own set-up script (three worker processes a mirrored database).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import msgspec

from shared.desired.changes import GiveBackParameter
from shared.platform.reasons import Reason
from shared.source.parameters import Parameter, Used

LEAST_WORKERS = 13
"""What the service itself asks of `max_worker_processes` (`MAX_WORKER_PROCESSES_TOO_LOW`)."""
WORKERS_PER_DATABASE = 3
LIBRARY = "azure_cdc"
SWITCH, MIRRORED = "azure.fabric_mirror_enabled", "azure.mirror_databases"
"""What Azure's portal and CLI take for mirroring: whether the server is mirrored, and which of its databases."""


class ParameterChange(msgspec.Struct, frozen=True):
    """One parameter to set, from its present value to the needed one."""

    name: str
    present: str
    needed: str
    restart: bool
    """The value takes effect only with a restart."""


class ParameterProblem(msgspec.Struct, frozen=True):
    """Why a parameter can't become what mirroring needs."""

    parameter: str
    reason: Reason


class ParameterPlan(msgspec.Struct, frozen=True):
    """The changes, in the order in which to make them, and what stands in the way of others."""

    changes: tuple[ParameterChange, ...]
    problems: tuple[ParameterProblem, ...]
    baseline_worker_processes: int
    """The value of `max_worker_processes` without the mirrors; the next plan needs it."""


type _Rule = Callable[[Parameter], str | Reason]
"""The value that a parameter needs, given what it is; or the reason why there is no such value."""


def plan(
    parameters: Mapping[str, Parameter],
    databases: Sequence[str],
    *,
    baseline: int | None = None,
    used: Used = Used(),  # noqa: B008 - frozen
) -> ParameterPlan:
    """What to change so that `databases` (all of the server's mirrored databases, not just new ones) can be mirrored.

    `baseline` is the `baseline_worker_processes` of the plan that was made before the server was first prepared. None
    when it never was: then the baseline is the present value, less what the databases need that are set up for
    mirroring already (by the portal or by hand), but not less than the server's default.
    """
    databases = sorted(set(databases))
    if baseline is None:
        baseline = _baseline(parameters)
    changes: list[ParameterChange] = []
    problems = list(_not_offered(parameters))
    for name, rule in _rules(databases, baseline, used).items():
        match _outcome(name, parameters.get(name), rule):
            case ParameterChange() as change:
                changes.append(change)
            case ParameterProblem() as problem:
                problems.append(problem)
    changes.sort(key=lambda change: change.restart)
    return ParameterPlan(tuple(changes), tuple(problems), baseline)


def pending_restart(parameters: Mapping[str, Parameter]) -> tuple[str, ...]:
    """The parameters of mirroring whose value waits for a restart."""
    return tuple(name for name in _NAMES if name in parameters and parameters[name].pending_restart)


def set_by_somebody(parameters: Mapping[str, Parameter]) -> tuple[str, ...]:
    """The parameters of mirroring whose value is not the server's default."""
    return tuple(name for name in _NAMES if name in parameters and parameters[name].value != parameters[name].default)


def give_back(
    parameters: Mapping[str, Parameter], set_by_app: Collection[str], leaving: Sequence[str]
) -> tuple[GiveBackParameter, ...]:
    """The parameters that a release gives back: those of Azure's own mirroring, which the app set and which need no
    restart. What others mirror stays: the databases that are not `leaving`, and with them the switch.
    """
    mirrored, switch = parameters.get(MIRRORED), parameters.get(SWITCH)
    staying = [item for item in _items(mirrored.value) if item not in leaving] if mirrored else []
    off = {} if staying else {SWITCH: switch.default if switch else ""}
    values = off | {MIRRORED: ",".join(staying) or (mirrored.default if mirrored else "")}
    return tuple(
        GiveBackParameter(name, value)
        for name, value in values.items()
        if (parameter := parameters.get(name))
        and name in set_by_app
        and parameter.dynamic
        and not parameter.read_only
        and parameter.value != value
    )


def _rules(databases: Sequence[str], baseline: int, used: Used) -> dict[str, _Rule]:
    """The rule of each parameter, in the order of the changes: an extension is allowed before it is loaded."""
    count = len(databases)
    return {
        "azure.extensions": _with_library,
        SWITCH: lambda parameter: parameter.value if _is_on(parameter.value) else "on",
        MIRRORED: lambda parameter: _with_databases(parameter, databases),
        "shared_preload_libraries": _with_library,
        "wal_level": lambda parameter: "logical",
        "max_worker_processes": lambda parameter: _at_least(
            parameter, max(LEAST_WORKERS, baseline + WORKERS_PER_DATABASE * count)
        ),
        "max_replication_slots": lambda parameter: _at_least(parameter, used.slots + count),
        "max_wal_senders": lambda parameter: _at_least(parameter, used.senders + count),
        "azure_cdc.max_fabric_mirrors": lambda parameter: _at_least(parameter, count),
    }


_REQUIRED = frozenset({"wal_level", "max_worker_processes", "max_replication_slots", "max_wal_senders"})
"""The parameters that every flexible server has. The others depend on the region and the minor version."""


def _baseline(parameters: Mapping[str, Parameter]) -> int:
    workers, mirrored = parameters.get("max_worker_processes"), parameters.get(MIRRORED)
    if workers is None or not workers.value.isdecimal():
        return 0
    present = int(workers.value)
    without_mirrors = present - WORKERS_PER_DATABASE * len(_items(mirrored.value) if mirrored else ())
    default = int(workers.default) if workers.default.isdecimal() else 0
    return max(without_mirrors, min(present, default))


def _not_offered(parameters: Mapping[str, Parameter]) -> Iterator[ParameterProblem]:
    extensions = parameters.get("azure.extensions")
    if SWITCH in parameters or (extensions and _offers_library(extensions)):
        return
    yield ParameterProblem(
        "azure.extensions",
        Reason(
            "MirroringNotOffered",
            f"This server offers neither the extension {LIBRARY} nor the parameter azure.fabric_mirror_enabled.",
            "Fabric mirroring is not available for this server's region or minor version yet: apply pending "
            "maintenance, or choose a region that has it.",
        ),
    )


def _outcome(name: str, parameter: Parameter | None, rule: _Rule) -> ParameterChange | ParameterProblem | None:
    """What to do about one parameter; None: nothing."""
    if parameter is None:
        return ParameterProblem(name, _missing(name)) if name in _REQUIRED else None
    needed = rule(parameter)
    if isinstance(needed, Reason):
        return ParameterProblem(name, needed)
    if needed == parameter.value:
        return None
    if obstacle := _obstacle(parameter, needed):
        return ParameterProblem(name, obstacle)
    return ParameterChange(name, parameter.value, needed, restart=not parameter.dynamic)


def _missing(name: str) -> Reason:
    return Reason(
        "ParameterMissing", f"The server has no parameter {name!r}.", "Check that it is a flexible server, 14 or later."
    )


def _obstacle(parameter: Parameter, needed: str) -> Reason | None:
    """Why the server does not take the value; None when it does."""
    if parameter.read_only:
        return Reason(
            "ParameterReadOnly",
            f"Parameter {parameter.name!r} is {parameter.value!r}, {needed!r} is needed, and it is read-only here.",
            "It depends on the server's compute size or storage: scale the server, or ask Azure support to change it.",
        )
    if not _allows(parameter, needed):
        return Reason(
            "ParameterValueNotAllowed",
            f"Parameter {parameter.name!r} is {parameter.value!r} and {needed!r} is needed, "
            f"but this server allows only {parameter.allowed!r}.",
            "Scale the server up, or mirror fewer databases of it.",
        )
    return None


def _allows(parameter: Parameter, needed: str) -> bool:
    """Whether the allowed values admit the value. What is not understood of them is left to the service to judge."""
    if not parameter.allowed:
        return True
    match parameter.data_type.lower():
        case "integer":
            low, _, high = parameter.allowed.partition("-")
            return not (low.isdecimal() and high.isdecimal()) or int(low) <= int(needed) <= int(high)
        case "enumeration":
            return needed.lower() in (value.lower() for value in _items(parameter.allowed))
    return True


def _at_least(parameter: Parameter, needed: int) -> str | Reason:
    if not parameter.value.isdecimal():
        return Reason(
            "ParameterNotUnderstood",
            f"Parameter {parameter.name!r} is {parameter.value!r}, a whole number was expected.",
            "Set it to a number.",
        )
    return parameter.value if int(parameter.value) >= needed else str(needed)


def _with_library(parameter: Parameter) -> str:
    """The list with the library at its end; unchanged where the library is in it or isn't offered."""
    items = _items(parameter.value)
    if not _offers_library(parameter) or LIBRARY in (item.lower() for item in items):
        return parameter.value
    return ",".join([*items, LIBRARY])


def _offers_library(parameter: Parameter) -> bool:
    return LIBRARY in (item.lower() for item in _items(parameter.allowed))


def _with_databases(parameter: Parameter, databases: Sequence[str]) -> str | Reason:
    """The list with the missing databases at its end. Letter case matters in the names of databases."""
    items = _items(parameter.value)
    missing = [database for database in databases if database not in items]
    for database in missing:
        if "," in database or database != database.strip():
            return Reason(
                "DatabaseNameNotPossible",
                f"Database {database!r} can't be named in {parameter.name!r}: its items are separated by commas.",
                "Rename the database, or leave it out.",
            )
    return ",".join([*items, *missing]) if missing else parameter.value


def _is_on(value: str) -> bool:
    return value.lower() in ("on", "true", "yes", "1")


def _items(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


_NAMES = tuple(_rules((), 0, Used()))
