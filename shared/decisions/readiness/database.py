"""The checks of the databases: there, open to the app, mirrored by nobody else, and each of their tables."""

from __future__ import annotations

from collections.abc import Iterator

from shared.decisions.readiness.report import LIMITS, TUTORIAL, Check, DatabaseFacts, judged
from shared.desired.intent import MirrorIntent
from shared.source.facts import ServerFacts
from shared.source.tables import LIMIT, LIMIT_EXCEEDED, TableReport


def database_checks(
    server: ServerFacts, databases: tuple[str, ...], intent: MirrorIntent, facts: tuple[DatabaseFacts, ...]
) -> Iterator[Check]:
    if not databases and server.state == "Ready":
        yield Check(
            id="Databases",
            subject=server.id.name,
            status="fail",
            found="none",
            wanted="at least one",
            message="The server has no user database.",
            remedy="Create a database, then tag the server again.",
        )
    for database in databases:
        exists = database in server.databases or server.state != "Ready"
        yield judged(
            "DatabaseExists",
            database,
            exists,
            "there" if exists else "missing",
            "there",
            f"Database {database!r} does not exist on server {server.id.name!r}; it has "
            f"{', '.join(server.databases) or 'none'}.",
            "Correct the name (letter case matters), or create the database.",
        )
    for known in facts:
        yield from _inside_checks(known, intent)


def _inside_checks(database: DatabaseFacts, intent: MirrorIntent) -> Iterator[Check]:
    if database.problem:
        yield Check(
            id="DatabaseConnectable",
            subject=database.name,
            status="fail",
            message=database.problem.message,
            remedy=database.problem.remedy,
        )
    if database.mirrored_by_others:
        yield Check(
            id="MirroredElsewhere",
            subject=database.name,
            status="fail",
            found=", ".join(database.mirrored_by_others),
            message=f"Database {database.name!r} is mirrored already, by something that this app did not make.",
            remedy="Remove that mirror first, or leave the database to it.",
        )
    for refused in database.not_takeable:
        run_as = " or ".join(refused.run_as) or "a superuser"
        yield Check(
            id="TableNotTakeable",
            subject=f"{database.name}: {refused.schema}.{refused.table}",
            status="fail",
            found=refused.owner,
            message=f"Table {refused.schema}.{refused.table} of database {database.name!r} belongs to "
            f"{refused.owner!r}, for whom the app may not act.",
            remedy=f"Run as {run_as}: {refused.statement}",
            reference=TUTORIAL,
        )
    if database.tables is None:
        return
    chosen = bool(intent.tables_of(database.name))
    for table in database.tables.tables:
        if table.status == "OK" or LIMIT_EXCEEDED in table.codes:
            continue
        yield Check(
            id="Table",
            subject=f"{database.name}: {table.schema}.{table.name}",
            status="fail" if chosen and table.status == "ERROR" else "warn",
            found=", ".join(table.codes),
            message=table.message,
            reference=LIMITS,
        )
    yield from _too_many(database.name, database.tables, chosen)
    yield from _same_but_for_case(database.name, database.tables)
    if not any(table.status != "ERROR" for table in database.tables.tables):
        yield Check(
            id="NoTables",
            subject=database.name,
            status="warn",
            message=f"Database {database.name!r} has no table that can be mirrored, and a mirror needs one to come up.",
            remedy="Create a table with a primary key first.",
            reference=LIMITS,
        )


def _too_many(database: str, report: TableReport, chosen: bool) -> Iterator[Check]:
    beyond = [table for table in report.tables if LIMIT_EXCEEDED in table.codes]
    if beyond:
        yield Check(
            id="TooManyTables",
            subject=database,
            status="fail" if chosen else "warn",
            found=str(len(report.eligible) + len(beyond)),
            wanted=f"at most {LIMIT}",
            message=f"A mirrored database has at most {LIMIT} tables, the first by schema and name: {len(beyond)} of "
            f"database {database!r} are left out, from {beyond[0].schema}.{beyond[0].name} on.",
            remedy="Name the tables to mirror.",
            reference=LIMITS,
        )


def _same_but_for_case(database: str, report: TableReport) -> Iterator[Check]:
    """A SQL analytics endpoint has the workspace's collation, which may be one without letter case (source: "Collation"
    in the Fabric Data Warehouse docs)."""
    alike: dict[str, list[str]] = {}
    for table in report.eligible:
        alike.setdefault(str(table).lower(), []).append(str(table))
    for names in alike.values():
        if len(names) > 1:
            yield Check(
                id="NamesDifferInCase",
                subject=f"{database}: {names[0]}",
                status="warn",
                found=", ".join(names),
                message=f"Tables {' and '.join(names)} of database {database!r} differ only in letter case: a "
                "SQL analytics endpoint with a case-insensitive collation does not tell them apart.",
                remedy="Rename all but one, or name the tables to mirror.",
            )
