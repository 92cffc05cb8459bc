"""Notices: what the app tells an operator or a portal. docs/notices.md describes them; `topic` sends them."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID, uuid5

import msgspec

from shared.platform.reasons import Reason

MOST_MIRRORS = 100
"""Mirrors that a notice names: it stays below 64 KB then, which Event Grid counts as one operation."""
_IDS = UUID("6b1c3c0f-6d0e-5b44-9a54-5f6f3b0f4a6e")


class _Data(msgspec.Struct, frozen=True, kw_only=True):
    server: str
    """The ARM resource id of the flexible server."""

    @classmethod
    def type(cls) -> str:
        """The event type."""
        return f"FabricMirror.{cls.__name__}"


class HealthChanged(_Data, frozen=True, kw_only=True):
    """A mirror has another level of health, and has kept it for as many observations as the settings ask for."""

    database: str
    workspace: str
    mirror: str
    """Id of the mirrored database in the workspace."""
    level: str
    previous: str
    """The level that was told before. A new mirror is taken to be Healthy."""
    since: datetime
    """When the level was first seen."""
    reasons: tuple[Reason, ...]


class PreparationBlocked(_Data, frozen=True, kw_only=True):
    """A server can't be prepared or released until somebody does what the reasons say, or Azure does not find it."""

    run: str
    reasons: tuple[Reason, ...]


class RestartApprovalRequired(_Data, frozen=True, kw_only=True):
    """A server waits for a decision about its restart."""

    run: str
    reasons: tuple[Reason, ...]


class PreparedMirror(msgspec.Struct, frozen=True):
    """One mirrored database of a server. `mirror` is its id in the workspace."""

    database: str
    workspace: str
    mirror: str


class ServerPrepared(_Data, frozen=True, kw_only=True):
    """Every wanted database of a server is mirrored. `mirrors` has the first hundred; `count` counts all of them."""

    run: str
    mirrors: tuple[PreparedMirror, ...]
    count: int


class ServerReleased(_Data, frozen=True, kw_only=True):
    """A server is no longer mirrored; its tables and rights are given back."""

    run: str


type Data = HealthChanged | PreparationBlocked | RestartApprovalRequired | ServerPrepared | ServerReleased


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """What the app tells of a server or of a database of it."""

    subject: str
    """ARM resource id of the server, or of its database."""
    change: str
    """Words that differ from those of every earlier notice of this type and subject."""
    at: datetime
    data: Data

    @property
    def id(self) -> str:
        """Made of what the notice tells: a notice that is sent again, after a crash for example, has the same id."""
        return str(uuid5(_IDS, f"{self.data.type()} {self.subject} {self.change}"))
