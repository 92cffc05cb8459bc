"""The checks of the tables of one database: which are not mirrored as they are, and why.

Without a choice of tables, what can't be mirrored is left out with a warning. A table that somebody chose has to work.
"""

from __future__ import annotations

from collections.abc import Iterator

from shared.decisions.readiness.report import LIMITS, Check, Outcome
from shared.source.facts import TABLE_LIMIT, TABLE_LIMIT_EXCEEDED, TableReport, TableStatus


def table_checks(database: str, report: TableReport, chosen: bool) -> Iterator[Check]:
    """All checks of this file. `chosen`: the tables were chosen by name. A table that is fine gets no check."""
    beyond = tuple(table for table in report.tables if TABLE_LIMIT_EXCEEDED in table.codes)
    for table in report.tables:
        if table.status != "OK" and table not in beyond:
            yield table_status(database, table, chosen)
    if beyond:
        yield too_many_tables(database, report, beyond, chosen)
    yield from names_differ_in_case(database, report)
    if not report.eligible:
        yield no_tables(database)


def table_status(database: str, table: TableStatus, chosen: bool) -> Check:
    """`Table`: the table is not mirrored, or mirrored with a loss."""
    status: Outcome = "fail" if chosen and table.status == "ERROR" else "warn"
    return Check(
        id="Table",
        subject=f"{database}: {table.schema}.{table.name}",
        status=status,
        found=", ".join(table.codes),
        message=table.message,
        reference=LIMITS,
    )


def too_many_tables(database: str, report: TableReport, beyond: tuple[TableStatus, ...], chosen: bool) -> Check:
    """A mirrored database takes a limited number of tables; `beyond` are those that it leaves out."""
    return Check(
        id="TooManyTables",
        subject=database,
        status="fail" if chosen else "warn",
        found=str(len(report.eligible) + len(beyond)),
        wanted=f"at most {TABLE_LIMIT}",
        message=f"A mirrored database has at most {TABLE_LIMIT} tables, the first by schema and name: {len(beyond)} of "
        f"database {database!r} are left out, from {beyond[0].schema}.{beyond[0].name} on.",
        remedy="Name the tables to mirror.",
        reference=LIMITS,
    )


def names_differ_in_case(database: str, report: TableReport) -> Iterator[Check]:
    """A SQL analytics endpoint has the workspace's collation, which may ignore letter case (source: "Collation" in the
    docs of Fabric Data Warehouse)."""
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


def no_tables(database: str) -> Check:
    """A mirror without a table never starts to run."""
    return Check(
        id="NoTables",
        subject=database,
        status="warn",
        message=f"Database {database!r} has no table that can be mirrored, and a mirror needs one to come up.",
        remedy="Create a table with a primary key first.",
        reference=LIMITS,
    )
