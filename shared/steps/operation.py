"""Management operations on a server: most are begun and looked after as they are, a restart only with care."""

from __future__ import annotations

from shared.desired.changes import Change, Progress, Restart
from shared.desired.server_id import ServerId
from shared.source import server
from shared.steps import restart


async def begin(id: ServerId, change: Change) -> str:
    """Start a change. Returns the continuation token; empty: there is nothing to do any more."""
    return await (restart.begin(id) if isinstance(change, Restart) else server.begin(id, change))


async def poll(id: ServerId, change: Change, token: str) -> Progress:
    """Ask once for the state of a change that was started. Raises `Blocked` when it failed."""
    return await (restart.poll(id, token) if isinstance(change, Restart) else server.poll(id, change, token))
