"""The checks of the tables of one database: which are not mirrored as they are, and why.

Without a choice of tables, what can't be mirrored is left out with a warning. A table that somebody chose has to work.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from shared.decisions.readiness.report import LIMITS, Check, Outcome
from shared.platform.brief import listed
from shared.source.facts import (
    GENERATED,
    HIDDEN_ROWS,
    ROW_SECURITY,
    TABLE_LIMIT_EXCEEDED,
    TableReport,
    TableStatus,
)


def table_checks(database: str, report: TableReport, chosen: bool) -> Iterator[Check]:
    """All checks of this file. `chosen`: the tables were chosen by name. A table that is fine gets no check."""
    beyond = tuple(table for table in report.tables if TABLE_LIMIT_EXCEEDED in table.codes)
    for table in report.tables:
        if HIDDEN_ROWS in table.codes:
            yield row_security_forced(database, table, chosen)
        elif table.status == "WARNING":
            yield table_status(database, table, chosen)
        if table.status == "ERROR" and table not in beyond:
            yield table_status(database, table, chosen)
    if beyond:
        yield too_many_tables(database, report, beyond, chosen)
    yield from names_differ_in_case(database, report)
    if secured := [table for table in report.tables if ROW_SECURITY in table.codes and table.status != "ERROR"]:
        yield row_security(database, secured)


def table_status(database: str, table: TableStatus, chosen: bool) -> Check:
    """`Table`: the table is not mirrored, or mirrored with a loss.

    One whose replica identity can't be published fails although nobody chose it: with all tables, Fabric publishes it
    too, and the application's UPDATE fails.
    """
    status: Outcome = "fail" if table.status == "ERROR" and (chosen or GENERATED in table.codes) else "warn"
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
        wanted=f"at most {report.limit}",
        message=f"A mirrored database has at most {report.limit} tables, the first by schema and name: {len(beyond)} "
        f"of database {database!r} are left out, from {beyond[0].schema}.{beyond[0].name} on.",
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


def row_security_forced(database: str, table: TableStatus, chosen: bool) -> Check:
    """Forced row-level security holds for the owner, and so for the fabric role: Fabric would copy no row."""
    return Check(
        id="RowSecurityForced",
        subject=f"{database}: {table.schema}.{table.name}",
        status="fail" if chosen else "warn",
        found=", ".join(table.codes),
        wanted="every row visible to the fabric role",
        message=table.message,
        remedy=table.remedy,
        reference=LIMITS,
    )


def row_security(database: str, tables: Sequence[TableStatus]) -> Check:
    """The mirror has every row: Fabric does not know the policies."""
    named = listed([f"{table.schema}.{table.name}" for table in tables])
    return Check(
        id="RowSecurity",
        subject=database,
        status="warn",
        found=named,
        message=f"Tables of database {database!r} have row-level security: {named}. Fabric does not know its "
        "policies, so whoever reads the mirror may read every row of it.",
        remedy="Give the mirror to those alone who may see every row, or choose other tables.",
        reference=LIMITS,
    )
