"""The checks of the databases: each exists, lets the app in, is mirrored by nobody else, and has tables to mirror."""

from __future__ import annotations

from collections.abc import Iterator

from shared.decisions.readiness.facts import DatabaseFacts
from shared.decisions.readiness.report import Check, pass_or_fail
from shared.decisions.readiness.rights import rights_checks
from shared.decisions.readiness.tables import table_checks
from shared.desired.intent import MirrorIntent
from shared.platform.reasons import Reason
from shared.source.facts import TAKEN, ServerFacts


def database_checks(
    server: ServerFacts, databases: tuple[str, ...], intent: MirrorIntent, facts: tuple[DatabaseFacts, ...]
) -> Iterator[Check]:
    """All checks of this file and of the tables. The databases of a server that is not Ready can't be seen."""
    if server.state == "Ready" and not databases:
        yield no_databases(server)
    for name in databases:
        yield database_exists(server, name)
    for database in facts:
        if database.problem and database.problem.code == TAKEN:
            yield schema_taken(database.name, database.problem)
        elif database.problem:
            yield database_connectable(database.name, database.problem)
        if database.mirrored_by_others:
            yield mirrored_elsewhere(database)
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
        message="The server has no user database.",
        remedy="Create a database, then tag the server again.",
    )


def database_exists(server: ServerFacts, name: str) -> Check:
    """A chosen database is one of the server's."""
    exists = name in server.databases or server.state != "Ready"
    return pass_or_fail(
        "DatabaseExists",
        name,
        exists,
        found="there" if exists else "missing",
        wanted="there",
        message=f"Database {name!r} does not exist on server {server.id.name!r}; it has "
        f"{', '.join(server.databases) or 'none'}.",
        remedy="Correct the name (letter case matters), or create the database.",
    )


def database_connectable(name: str, problem: Reason) -> Check:
    """The app can log in to the database and look into it."""
    return Check(id="DatabaseConnectable", subject=name, status="fail", message=problem.message, remedy=problem.remedy)


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
