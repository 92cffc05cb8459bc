"""Management operations on a server. A restart is made with care, and the parameters that the app set are noted."""

from __future__ import annotations

from shared.desired.changes import Change, GiveBackParameter, Progress, Restart, SetParameter
from shared.desired.server_id import ServerId
from shared.platform.errors import MirrorError
from shared.records import store
from shared.source import server
from shared.source.refusals import is_refused
from shared.steps import restart


async def begin(id: ServerId, change: Change) -> str:
    """Start a change. Returns the continuation token; empty: there is nothing to do any more."""
    match change:
        case Restart():
            return await restart.begin(id)
        case SetParameter():
            return await _set(id, change)
    return await server.begin(id, change)


async def _set(id: ServerId, change: SetParameter) -> str:
    """Set a server parameter. It is noted before: the answer may be lost. What Azure refuses is no change."""
    is_new = await store.note_parameter(id, change.name, is_set=True)
    try:
        return await server.begin(id, change)
    except MirrorError as error:
        if is_new and is_refused(error):
            await store.note_parameter(id, change.name, is_set=False)
        raise


async def poll(id: ServerId, change: Change, token: str) -> Progress:
    """Ask once for the state of a change that was started. Raises `Blocked` when it failed."""
    match change:
        case Restart():
            return await restart.poll(id, token)
        case GiveBackParameter():
            progress = await server.poll(id, change, token)
            if progress.done:
                await store.note_parameter(id, change.name, is_set=False)
            return progress
    return await server.poll(id, change, token)
