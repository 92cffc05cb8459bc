"""Columns of rows that the app reads together, each selection as a struct of its own, so that no row is half filled.

The selections of `HealthRow` for the next look are its base classes in `rows`. What the pages read is in `glance`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, ClassVar

from shared.desired import server_id
from shared.desired.server_id import ServerId
from shared.platform.reasons import Reason
from shared.platform.row import EPOCH, Columns
from shared.records.rows import Level, MirrorPhase, ServerPhase


class _OfServer(Columns, frozen=True, kw_only=True):
    """Servers are written as ARM resource ids."""

    texts: ClassVar[Mapping[type, Callable[[str], Any]]] = {ServerId: server_id.parse}


class Watched(_OfServer, frozen=True, kw_only=True):
    """Of a MirrorRow: what a sweep plans and looks at a mirror with."""

    server: ServerId
    database: str
    phase: MirrorPhase = "New"
    workspace: str = ""
    workspace_name: str = ""
    item: str = ""
    item_name: str = ""
    everything: bool = True
    changed_at: datetime = EPOCH


class Swept(_OfServer, frozen=True, kw_only=True):
    """Of a HealthRow: what a sweep is summed up by."""

    server: ServerId
    database: str
    level: Level
    reasons: tuple[Reason, ...] = ()
    retained_wal_bytes: int | None = None
    updated_at: datetime = EPOCH


class ServerNews(_OfServer, frozen=True, kw_only=True):
    """Of a ServerRow: what a notice of the server is made from."""

    id: ServerId
    phase: ServerPhase = "New"
    fingerprint: str = ""
    reasons: tuple[Reason, ...] = ()
    run: str = ""
    announced: str = ""
    updated_at: datetime = EPOCH
