"""Event triggers of a database: functions that PostgreSQL calls when the app, or Fabric, sends DDL.

Such a function runs as whoever sends the command. So the app sends none to a database where one belongs to anybody but
administrators of the server, who could put into it what they like. And one that raises an exception stops the command:
then the error names it.

Source: "Event Triggers" of the PostgreSQL docs.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import psycopg
from psycopg import sql

from shared.platform.errors import Blocked, Unavailable
from shared.source.connection import Connection
from shared.source.facts import EventTrigger

NOT_TRUSTED = "EventTriggerNotTrusted"
REFUSED = "EventTriggerRefused"


async def look(connection: Connection) -> tuple[EventTrigger, ...]:
    """The event triggers of the connection's database that are enabled, without those that are an extension's own and
    in the hands of administrators."""
    rows = await (await connection.execute(_TRIGGERS)).fetchall()
    return tuple(
        EventTrigger(
            name=row["name"],
            event=row["event"],
            tags=tuple(row["tags"]),
            function=row["function"],
            owner=row["owner"],
            trusted=row["trusted"],
        )
        for row in rows
    )


@asynccontextmanager
async def guarded(connection: Connection) -> AsyncIterator[None]:
    """Guard the DDL that is sent within. Raises `Blocked` with code `EventTriggerNotTrusted` before any is sent, and
    with code `EventTriggerRefused` where an event trigger raised an exception; `Unavailable` with this code where its
    function waited for something in vain."""
    triggers = await look(connection)
    require_trusted(connection.info.dbname, triggers)
    try:
        yield
    except (psycopg.Error, Blocked, Unavailable) as error:
        cause = _cause(error)
        raising = _raising(cause, triggers) if cause else ()
        if cause is None or not raising:
            raise
        named = " or ".join(f"{it.name!r} (function {it.function})" for it in raising)
        refuse = Unavailable if isinstance(error, Unavailable) else Blocked
        raise refuse(
            f"Event trigger {named} of database {connection.info.dbname!r} refused a command: "
            f"{cause.diag.message_primary or cause}",
            code=REFUSED,
            remedy=f"Let the function pass commands of the app and of Fabric, or run: {disabling(raising)} Then have "
            "the server looked at again.",
        ) from error


def require_trusted(database: str, triggers: Sequence[EventTrigger]) -> None:
    """Raise `Blocked` where the function of an event trigger belongs to anybody but an administrator."""
    foreign = [it for it in triggers if not it.trusted]
    if foreign:
        named = ", ".join(f"{it.name!r} calls {it.function} of {it.owner!r}" for it in foreign)
        raise Blocked(
            f"Event triggers of database {database!r} would run functions of roles that are no administrators of the "
            f"server, as the app: {named}. The app has changed nothing.",
            code=NOT_TRUSTED,
            remedy=f"Read these functions, then give them to an administrator (ALTER FUNCTION … OWNER TO "
            f"azure_pg_admin;), or run: {disabling(foreign)}",
        )


def disabling(triggers: Sequence[EventTrigger]) -> str:
    """The statements that disable these event triggers."""
    statement = sql.SQL("ALTER EVENT TRIGGER {} DISABLE;")
    return " ".join(statement.format(sql.Identifier(it.name)).as_string() for it in triggers)


def _cause(error: BaseException | None) -> psycopg.Error | None:
    """PostgreSQL's own error behind an error of this system."""
    while error is not None and not isinstance(error, psycopg.Error):
        error = error.__cause__
    return error


def _raising(error: psycopg.Error, triggers: Sequence[EventTrigger]) -> tuple[EventTrigger, ...]:
    """The event triggers that an error may come from: by the functions in its context, else by its code."""
    context = error.diag.context or ""
    called = tuple(it for it in triggers if f"function {it.function}" in context or _bare(it) in context)
    if called or error.sqlstate != psycopg.errors.RaiseException.sqlstate:
        return called
    return tuple(triggers)


def _bare(trigger: EventTrigger) -> str:
    """The function as a context names it if its schema is in the function's own search path."""
    return f"function {trigger.function.rpartition('.')[2]}"


_TRIGGERS = sql.SQL("""
    SELECT e.evtname::text AS name, e.evtevent::text AS event, coalesce(e.evttags, '{}')::text[] AS tags,
           format('%I.%I()', n.nspname, p.proname) AS function, r.rolname::text AS owner, a.trusted
    FROM pg_event_trigger e JOIN pg_proc p ON p.oid = e.evtfoid JOIN pg_namespace n ON n.oid = p.pronamespace
    JOIN pg_roles r ON r.oid = p.proowner
    CROSS JOIN LATERAL (
        SELECT EXISTS (SELECT FROM pg_roles g
                       WHERE g.rolname = 'azure_pg_admin' AND pg_has_role(r.oid, g.oid, 'MEMBER'))
    ) a (trusted)
    WHERE e.evtenabled <> 'D' AND NOT (a.trusted AND EXISTS (
        SELECT FROM pg_depend d
        WHERE d.classid = 'pg_event_trigger'::regclass AND d.objid = e.oid AND d.deptype = 'e'))
    ORDER BY 1
""")
