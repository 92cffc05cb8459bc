"""What orchestrations, activities, events and the mailbox send each other. Types alone: nothing here imports an SDK."""

from __future__ import annotations

from datetime import datetime

import msgspec

from shared.decisions.answers import Asked, Verdict
from shared.decisions.outcome import Outcome
from shared.desired.changes import Change
from shared.desired.server_id import ServerId
from shared.desired.takeover import TableName
from shared.platform.reasons import Reason
from shared.platform.settings import Limits, RestartPolicy, Rights


class OfServer(msgspec.Struct, frozen=True, kw_only=True):
    """A request about a server."""

    server: ServerId


class OfDatabase(OfServer, frozen=True, kw_only=True):
    """A request about one database of a server."""

    database: str


class OfRun(OfServer, frozen=True, kw_only=True):
    """A request about a server that needs to know which run makes it. `run` is its instance id."""

    run: str


class Operation(OfServer, frozen=True, kw_only=True):
    """A change of a server, to be started."""

    change: Change


class StartedOperation(Operation, frozen=True, kw_only=True):
    """A change of a server that was started. `token` is the SDK's continuation token."""

    token: str


class OperationUntil(StartedOperation, frozen=True, kw_only=True):
    """A started change, and until when (UTC) it is waited for."""

    until: datetime


class OperationOutcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a started change ended. It is done if there is neither a `problem` nor a reason to begin it `again`."""

    problem: Reason | None
    again: Reason | None = None


class DecideRestart(OfServer, frozen=True, kw_only=True):
    """Whether the server may be restarted at `now` (UTC) for the parameters that are `pending`."""

    policy: RestartPolicy
    pending: tuple[str, ...]
    now: datetime


class RecordWaiting(OfServer, frozen=True, kw_only=True):
    """What the server's row is to say while the verdict is waited for."""

    verdict: Verdict


class StillWaiting(OfServer, frozen=True, kw_only=True):
    """What a wait for a restart began with."""

    fingerprint: str
    asked: Asked


class RecordRefusal(OfServer, frozen=True, kw_only=True):
    """There was no restart for the intent with this fingerprint. `code` is the reason's."""

    fingerprint: str
    code: str


class RotatePassword(OfServer, frozen=True, kw_only=True):
    """The rotation that was asked for, and the databases whose connections need the password."""

    host: str
    rotation: int
    databases: tuple[str, ...]


class EnsureRole(OfServer, frozen=True, kw_only=True):
    """The fabric role of a server, with which Fabric mirrors into `workspace`."""

    host: str
    workspace: str
    rotation: int


class WorkspaceAccess(OfServer, frozen=True, kw_only=True):
    """The server's own identity is to have a role in the workspace."""

    workspace: str


class Target(OfDatabase, frozen=True, kw_only=True):
    """A database that is to be mirrored, and where to."""

    host: str
    tables: tuple[TableName, ...]
    """The chosen tables; none: all of them."""
    workspace: str
    workspace_name: str
    gateway: str
    rotation: int
    rights: Rights = "auto"
    consent: str = ""
    """Where somebody named the rights; empty: it is the app setting's."""


class MirrorDatabase(msgspec.Struct, frozen=True, kw_only=True):
    """Input of `mirror_database`. `run` is the instance id of the run, which gets an event for each step."""

    run: str
    target: Target
    limits: Limits


class DatabaseOutcome(msgspec.Struct, frozen=True):
    """Why a database could not be mirrored; no reasons: it is mirrored."""

    reasons: tuple[Reason, ...]


class EnsureMirror(Target, frozen=True, kw_only=True):
    """The mirrored database of a target. `adopt`: perhaps one that a person made over the app's connection."""

    adopt: bool


class AdvanceMirror(OfDatabase, frozen=True, kw_only=True):
    """A look at a mirror on its way to Running. `started` is what the look before this one answered."""

    started: bool


class RecordOutcome(OfServer, frozen=True, kw_only=True):
    """How a run ended."""

    outcome: Outcome


class RecordProblem(OfDatabase, frozen=True, kw_only=True):
    """Why a database is not mirrored, or could not be released."""

    reasons: tuple[Reason, ...]


class StepDone(msgspec.Struct, frozen=True):
    """Event: a database has `done` of the steps in `progress.DATABASE_STEPS` behind it."""

    database: str
    done: int


class RestartDecision(msgspec.Struct, frozen=True):
    """Event: somebody decided about the restart that a run waits for."""

    restart: bool


class LookAgain(msgspec.Struct, frozen=True):
    """Event: something may have changed while a run waits."""


class RunEnded(msgspec.Struct, frozen=True):
    """Signal to the mailbox: the run with this instance id is over, by its own word or because it was dead."""

    run: str


class Box(msgspec.Struct, frozen=True):
    """State of a mailbox."""

    runs: int = 0
    """How many runs there have been."""
    running: str = ""
    """Instance id of the present run; empty: none is running."""
    again: bool = False
    """Something changed during the present run: one more has to follow it."""
