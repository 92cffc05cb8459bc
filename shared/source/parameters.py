"""Which server parameters a flexible server needs for its mirrors, and whether they need a restart.

Pure: what the server has, how many databases and what others use go in; the changes come out. Nothing is ever
lowered, and nothing that others put into a list is dropped. Rules: "Fabric mirroring" in the docs of Azure Database for
PostgreSQL flexible server, and Microsoft's own set-up script (three worker processes a mirrored database).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

WORKERS_PER_DATABASE = 3
LIBRARY = "azure_cdc"


class Parameter(msgspec.Struct, frozen=True, kw_only=True):
    """One server parameter as the service describes it. `allowed` is its text: `a,b,c`, `1-100` or a pattern."""

    name: str
    value: str
    default: str = ""
    allowed: str = ""
    read_only: bool = False
    dynamic: bool = True
    """Takes effect at once; otherwise with the next restart."""
    pending_restart: bool = False
    data_type: str = "String"
    source: str = ""


class Used(msgspec.Struct, frozen=True):
    """Replication slots and WAL senders that others use."""

    slots: int = 0
    senders: int = 0


class ParameterChange(msgspec.Struct, frozen=True):
    """One parameter to set. `restart`: it takes effect only with a restart."""

    name: str
    found: str
    wanted: str
    restart: bool


class Problem(msgspec.Struct, frozen=True):
    """Why a parameter can't become what mirroring needs."""

    code: str
    parameter: str
    message: str
    remedy: str


class ParameterPlan(msgspec.Struct, frozen=True):
    """The changes, in the order in which to make them. `baseline_worker_processes`: to be kept for the next plan."""

    changes: tuple[ParameterChange, ...]
    problems: tuple[Problem, ...]
    baseline_worker_processes: int

    @property
    def restart(self) -> bool:
        """Whether one of the changes takes effect only with a restart."""
        return any(change.restart for change in self.changes)


class _Impossible(Exception):
    """A rule can't be met."""

    def __init__(self, code: str, message: str, remedy: str):
        super().__init__(message)
        self.code, self.message, self.remedy = code, message, remedy


type _Want = Callable[[Parameter], str]


def plan(
    parameters: Mapping[str, Parameter],
    databases: Sequence[str],
    *,
    baseline: int | None = None,
    used: Used = Used(),  # noqa: B008 - frozen
) -> ParameterPlan:
    """What to change so that `databases` (all of the server's mirrored databases, not just new ones) can be mirrored.

    `baseline` is the plan's `baseline_worker_processes` recorded before the server was first prepared. None when it
    never was: then it is the value found now, less what the databases need that are set up for mirroring already (by
    the portal or by hand), but not less than the server's default.
    """
    databases = sorted(set(databases))
    if baseline is None:
        baseline = _baseline(parameters)
    changes: list[ParameterChange] = []
    problems: list[Problem] = [] if _offered(parameters) else [_NOT_OFFERED]
    for name, want in _rules(len(databases), databases, baseline, used).items():
        parameter = parameters.get(name)
        try:
            if parameter is None:
                _must_exist(name)
            else:
                changes.extend(_change(parameter, want))
        except _Impossible as error:
            problems.append(Problem(error.code, name, error.message, error.remedy))
    changes.sort(key=lambda change: change.restart)
    return ParameterPlan(tuple(changes), tuple(problems), baseline)


def pending_restart(parameters: Mapping[str, Parameter]) -> tuple[str, ...]:
    """The parameters of mirroring whose value waits for a restart."""
    return tuple(name for name in _NAMES if name in parameters and parameters[name].pending_restart)


def _baseline(parameters: Mapping[str, Parameter]) -> int:
    workers, mirrored = parameters.get("max_worker_processes"), parameters.get("azure.mirror_databases")
    if workers is None or not workers.value.isdecimal():
        return 0
    found = int(workers.value)
    prepared = found - WORKERS_PER_DATABASE * len(_items(mirrored.value) if mirrored else ())
    return max(prepared, min(found, int(workers.default) if workers.default.isdecimal() else 0))


def _rules(count: int, databases: Sequence[str], baseline: int, used: Used) -> dict[str, _Want]:
    """What each parameter should be, given what it is. An extension is allowed before it is loaded."""
    return {
        "azure.extensions": _with_library,
        "azure.fabric_mirror_enabled": lambda found: found.value if _is_on(found.value) else "on",
        "azure.mirror_databases": lambda found: _with_databases(found, databases),
        "shared_preload_libraries": _with_library,
        "wal_level": lambda found: "logical",
        "max_worker_processes": lambda found: _at_least(found, baseline + WORKERS_PER_DATABASE * count),
        "max_replication_slots": lambda found: _at_least(found, used.slots + count),
        "max_wal_senders": lambda found: _at_least(found, used.senders + count),
        "azure_cdc.max_fabric_mirrors": lambda found: _at_least(found, count),
    }


_REQUIRED = {"wal_level", "max_worker_processes", "max_replication_slots", "max_wal_senders"}
_NOT_OFFERED = Problem(
    "MirroringNotOffered",
    "azure.extensions",
    f"This server offers neither the extension {LIBRARY} nor the parameter azure.fabric_mirror_enabled.",
    "Fabric mirroring is not available for this server's region or minor version yet: apply pending maintenance, "
    "or choose a region that has it.",
)


def _offered(parameters: Mapping[str, Parameter]) -> bool:
    extensions = parameters.get("azure.extensions")
    return "azure.fabric_mirror_enabled" in parameters or (extensions is not None and _offers_library(extensions))


def _must_exist(name: str) -> None:
    if name in _REQUIRED:
        raise _Impossible(
            "ParameterMissing",
            f"The server has no parameter {name!r}.",
            "Check that it is a flexible server, 14 or later.",
        )


def _change(parameter: Parameter, want: _Want) -> list[ParameterChange]:
    wanted = want(parameter)
    if wanted == parameter.value:
        return []
    _must_be_settable(parameter, wanted)
    return [ParameterChange(parameter.name, parameter.value, wanted, not parameter.dynamic)]


def _must_be_settable(parameter: Parameter, wanted: str) -> None:
    if parameter.read_only:
        raise _Impossible(
            "ParameterReadOnly",
            f"Parameter {parameter.name!r} is {parameter.value!r}, {wanted!r} is needed, and it is read-only here.",
            "It depends on the server's compute size or storage: scale the server, or ask Azure support to change it.",
        )
    if not _allows(parameter, wanted):
        raise _Impossible(
            "ParameterValueNotAllowed",
            f"Parameter {parameter.name!r} is {parameter.value!r} and {wanted!r} is needed, "
            f"but this server allows only {parameter.allowed!r}.",
            "Scale the server up, or mirror fewer databases of it.",
        )


def _allows(parameter: Parameter, wanted: str) -> bool:
    if not parameter.allowed:
        return True
    match parameter.data_type.lower():
        case "integer":
            low, _, high = parameter.allowed.partition("-")
            return not (low.isdecimal() and high.isdecimal()) or int(low) <= int(wanted) <= int(high)
        case "enumeration":
            return wanted.lower() in (value.lower() for value in _items(parameter.allowed))
    return True


def _at_least(parameter: Parameter, needed: int) -> str:
    if not parameter.value.isdecimal():
        raise _Impossible(
            "ParameterNotUnderstood",
            f"Parameter {parameter.name!r} is {parameter.value!r}, a whole number was expected.",
            "Set it to a number.",
        )
    return parameter.value if int(parameter.value) >= needed else str(needed)


def _with_library(parameter: Parameter) -> str:
    """The list with the library at its end; as it is where the library is there or isn't offered."""
    found = _items(parameter.value)
    if not _offers_library(parameter) or LIBRARY in (item.lower() for item in found):
        return parameter.value
    return ",".join([*found, LIBRARY])


def _offers_library(parameter: Parameter) -> bool:
    return LIBRARY in (item.lower() for item in _items(parameter.allowed))


def _with_databases(parameter: Parameter, databases: Sequence[str]) -> str:
    """The list with our databases at its end. Letter case matters in the names of databases."""
    found = _items(parameter.value)
    missing = [database for database in databases if database not in found]
    for database in missing:
        if "," in database or database != database.strip():
            raise _Impossible(
                "DatabaseNameNotPossible",
                f"Database {database!r} can't be named in {parameter.name!r}: its items are separated by commas.",
                "Rename the database, or leave it out.",
            )
    return ",".join([*found, *missing]) if missing else parameter.value


def _is_on(value: str) -> bool:
    return value.lower() in ("on", "true", "yes", "1")


def _items(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


_NAMES = tuple(_rules(0, (), 0, Used()))
