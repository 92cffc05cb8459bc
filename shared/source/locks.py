"""Who holds the lock on a table that a statement of the app waited for in vain.

Source: "pg_locks" and "pg_stat_activity" of the PostgreSQL docs.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import msgspec
from psycopg import errors, sql

from shared.platform.errors import Unavailable
from shared.source.connection import Connection

MOST_NAMED = 5


class Holder(msgspec.Struct, frozen=True):
    """A session that holds a lock. What the app may not see is empty."""

    pid: int
    application: str
    role: str
    state: str
    since: datetime | None
    """When its transaction began."""


@asynccontextmanager
async def holders_named(connection: Connection, tables: Collection[int]) -> AsyncIterator[None]:
    """Guard statements that lock these tables (oids). If a lock was not free in time, the error names the sessions that
    hold it: `Unavailable` with code `TableLocked`. The transaction of the statement has to be over by then."""
    try:
        yield
    except Unavailable as error:
        if not isinstance(error.__cause__, errors.LockNotAvailable):
            raise
        rows = await (await connection.execute(_HOLDERS, {"tables": list(tables)})).fetchall()
        raise explained_by(error, [Holder(**row) for row in rows]) from error.__cause__


def explained_by(error: Unavailable, holders: Sequence[Holder]) -> Unavailable:
    """The error with the sessions that hold the lock; the error itself where there are none any more."""
    if not holders:
        return error
    named = "; ".join(map(_named, holders[:MOST_NAMED]))
    more = f"; and {len(holders) - MOST_NAMED} more" if len(holders) > MOST_NAMED else ""
    return Unavailable(
        f"{error.message}. The lock is held by {named}{more}.",
        code="TableLocked",
        remedy="Nothing: the app tries again by itself. If it lasts, let the oldest of these sessions end its "
        f"transaction, or end it: SELECT pg_terminate_backend({holders[0].pid});",
        retry_after=error.retry_after,
    )


def _named(holder: Holder) -> str:
    application = repr(holder.application) if holder.application else "an application without a name"
    role = f"role {holder.role!r}" if holder.role else ""
    about = ", ".join(part for part in (role, holder.state) if part)
    since = f", since {holder.since.astimezone(UTC).isoformat(timespec='seconds')}" if holder.since else ""
    return f"session {holder.pid} of {application}" + (f" ({about})" if about else "") + since


# The app may read pg_stat_activity of everybody only as a member of pg_read_all_stats.
_HOLDERS = sql.SQL("""
    SELECT a.pid, coalesce(a.application_name, '') AS application, coalesce(a.usename::text, '') AS role,
           coalesce(a.state, '') AS state, a.xact_start AS since
    FROM pg_stat_activity a
    WHERE a.pid <> pg_backend_pid() AND EXISTS (
        SELECT FROM pg_locks l
        WHERE l.pid = a.pid AND l.granted AND l.locktype = 'relation' AND l.relation = ANY (%(tables)s::oid[])
          AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()))
    ORDER BY a.xact_start NULLS LAST, a.pid
""")
