"""The checks of the databases: each exists, lets the app in, is mirrored by nobody else, and has tables to mirror."""

from __future__ import annotations

from collections.abc import Iterator

from shared.decisions.readiness.facts import DatabaseFacts
from shared.decisions.readiness.publishing import publishing_checks
from shared.decisions.readiness.report import LIMITS, Check, pass_or_fail
from shared.decisions.readiness.rights import rights_checks
from shared.decisions.readiness.tables import table_checks
from shared.desired.intent import MirrorIntent
from shared.platform.brief import listed
from shared.platform.reasons import Reason
from shared.source.facts import CLOSED, NO_TABLES, TAKEN, ServerFacts


def database_checks(
    server: ServerFacts, databases: tuple[str, ...], intent: MirrorIntent, facts: tuple[DatabaseFacts, ...]
) -> Iterator[Check]:
    """All checks of this file and of the tables. The databases of a server that is not Ready can't be seen."""
    if server.state == "Ready" and not databases and not any(database.empty for database in facts):
        yield no_databases(server)
    for name in databases:
        yield database_exists(server, name)
    for database in facts:
        if database.problem:
            yield database_problem(database, database.problem, left_out=database.name not in databases)
        if database.mirrored_by_others:
            yield mirrored_elsewhere(database)
        if database.empty:
            yield no_tables(database, left_out=bool(databases) and database.name not in databases)
        yield from publishing_checks(database)
        yield from rights_checks(database)
        if database.tables is not None:
            chosen = bool(intent.tables_of(database.name))
            yield from table_checks(database.name, database.tables, chosen)


def no_databases(server: ServerFacts) -> Check:
    """`Databases`: there is something to mirror."""
    return Check(
        id="Databases",
        subject=server.id.name,
        status="fail",
        found="none",
        wanted="at least one",
        message="The server has no user database, or none that accepts connections.",
        remedy="Create a database, then tag the server again.",
    )


def database_exists(server: ServerFacts, name: str) -> Check:
    """A chosen database is one of the server's."""
    exists = server.has(name) or server.state != "Ready"
    return pass_or_fail(
        "DatabaseExists",
        name,
        exists,
        found="there" if exists else "missing",
        wanted="there",
        message=f"Database {name!r} does not exist on server {server.id.name!r}; it has "
        f"{listed(server.databases) or 'none'}.",
        remedy="Correct the name (letter case matters), or create the database.",
    )


def database_problem(database: DatabaseFacts, problem: Reason, *, left_out: bool) -> Check:
    """The check for the reason that the app could not look into the database."""
    if database.closed:
        return database_closed(database.name, problem, left_out=left_out)
    if problem.code == TAKEN:
        return schema_taken(database.name, problem)
    return database_connectable(database.name, problem)


def database_connectable(name: str, problem: Reason) -> Check:
    """The app can log in to the database and look into it."""
    return Check(id="DatabaseConnectable", subject=name, status="fail", message=problem.message, remedy=problem.remedy)


def database_closed(name: str, problem: Reason, *, left_out: bool) -> Check:
    """The database accepts connections. Where nobody named it, it does not stop the others."""
    return Check(
        id=CLOSED,
        subject=name,
        status="warn" if left_out else "fail",
        found="ALLOW_CONNECTIONS false",
        wanted="ALLOW_CONNECTIONS true",
        message=f"{problem.message}{' It is left out.' if left_out else ''}",
        remedy=problem.remedy,
    )


def no_tables(database: DatabaseFacts, *, left_out: bool) -> Check:
    """A mirror without a table never starts to run. A mirror that has run may lose its tables for a while."""
    what = " It is left out until then." if left_out else ""
    return Check(
        id=NO_TABLES,
        subject=database.name,
        status="warn" if left_out or database.mirrored else "fail",
        message=f"Database {database.name!r} has no table that can be mirrored, and a mirror needs one to come up."
        f"{what}",
        remedy="Create a table with a primary key, then have the server looked at again.",
        reference=LIMITS,
    )


def schema_taken(name: str, problem: Reason) -> Check:
    """Nobody but administrators has put anything under the name of the extension, which the app calls."""
    return Check(id=TAKEN, subject=name, status="fail", message=problem.message, remedy=problem.remedy)


def mirrored_elsewhere(database: DatabaseFacts) -> Check:
    """A database is mirrored once at most."""
    return Check(
        id="MirroredElsewhere",
        subject=database.name,
        status="fail",
        found=", ".join(database.mirrored_by_others),
        message=f"Database {database.name!r} is mirrored already, by something that this app did not make.",
        remedy="Remove that mirror first, or leave the database to it.",
    )
