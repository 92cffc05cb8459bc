"""What decisions answer to orchestrations: the types alone, so that indexing the app imports no decision."""

from __future__ import annotations

from datetime import datetime

import msgspec

from shared.desired.changes import Change, GiveBackParameter, SetParameter
from shared.desired.takeover import TableName
from shared.platform.reasons import Reason
from shared.platform.settings import Limits, RestartPolicy, Rights
from shared.records.columns import Watched


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody asked for besides the mirroring. It waits for no readiness, and for no decision about a restart."""

    host: str = ""
    databases: tuple[str, ...] = ()
    """The databases whose connections need the present password."""
    rotation: int = 0
    """Number of the last new password that was asked for."""
    rotate: bool = False
    """That password has not reached the server and all connections."""
    restarts: tuple[str, ...] = ()
    """The databases whose mirrors are to be restarted."""


class Prepare(msgspec.Struct, frozen=True, kw_only=True, tag="prepare"):
    """Prepare the server, mirror the databases of `asked`, and release those that are `leaving`."""

    why: str
    asked: Asked
    access: tuple[Change, ...]
    """What lets the app and Fabric in. It is changed first: only then PostgreSQL tells the rest."""
    parameters: tuple[SetParameter, ...]
    leaving: tuple[str, ...]
    tables: dict[str, tuple[TableName, ...]]
    """The chosen tables of each database; none: all of its tables."""
    workspace: str
    workspace_name: str
    gateway: str
    """GUID of the gateway by which Fabric comes in; empty: Fabric reaches the server itself."""
    restart: RestartPolicy
    rights: Rights = "auto"
    consent: str = ""
    """Where somebody named the rights, as the record of a consent says it."""
    fingerprint: str
    limits: Limits
    """How long the run waits: orchestrations read no settings, so the decision brings them."""


class Release(msgspec.Struct, frozen=True, kw_only=True, tag="release"):
    """Give back the databases that are `leaving`, and then the server."""

    why: str
    fingerprint: str
    leaving: tuple[str, ...]
    parameters: tuple[GiveBackParameter, ...] = ()
    """What is set back on the server once all databases are given back."""


class Forget(msgspec.Struct, frozen=True, kw_only=True, tag="forget"):
    """The server is gone: leave Fabric. What is needed to give back stays recorded for a while."""

    why: str


class Miss(msgspec.Struct, frozen=True, kw_only=True, tag="missing"):
    """Azure does not find the server, and that is no proof of its deletion: nothing is undone."""

    reason: Reason


class Refuse(msgspec.Struct, frozen=True, kw_only=True, tag="blocked"):
    """Something stands in the way. The run does only what was `asked` for, and ends the memberships of `leave`."""

    reasons: tuple[Reason, ...]
    asked: Asked
    leave: tuple[str, ...] = ()
    """The databases in which the fabric role is a member of an owner that has become strong, and leaves it."""


class Nothing(msgspec.Struct, frozen=True, kw_only=True, tag="none"):
    """There is nothing to do."""

    why: str


type Decision = Prepare | Release | Forget | Miss | Refuse | Nothing


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Whether to restart now, and why."""

    message: str
    """The sentence that says why the server is restarted now, or what is waited for."""
    wait_until: datetime | None = None
    """None: restart now. Otherwise that time (UTC) is waited for, or a decision before it."""
    since: datetime | None = None
    waiting_for: str = ""
    too_late: Reason | None = None
    """Why the run ends when the time has come; None: the server is restarted then."""
    refused: Reason | None = None
    """Why the run ends when somebody decides against the restart."""


class Advance(msgspec.Struct, frozen=True):
    """How far the mirror is: Fabric's word, whether it runs, and whether this run's start of it still stands."""

    status: str
    running: bool
    started: bool


class Chunk(msgspec.Struct, frozen=True):
    """Mirrors that are looked at together. Those of one server are in one chunk if they fit."""

    after: float
    """Seconds from the start of the sweep to the first look."""
    mirrors: tuple[Watched, ...]


class Timetable(msgspec.Struct, frozen=True):
    """When a sweep looks at which mirrors."""

    chunks: tuple[Chunk, ...]
    left: int
    """How many mirrors wait for the next sweep, since this one has no time for them."""


class Probed(msgspec.Struct, frozen=True):
    """What the looks at a chunk took."""

    calls: int
    """How many calls to Fabric the looks took."""
