"""The checks of the tables of one database: which are not mirrored as they are, and why.

Without a choice of tables, what can't be mirrored is left out with a warning. A table that somebody chose has to work.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

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

_NAME = "Correct the name; letter case matters."
REMEDIES: Mapping[str, str] = {
    "HAS_PRIMARY_KEY": "",
    "HAS_UNIQUE_INDEX": "",
    "SCHEMA_DOES_NOT_EXIST": _NAME,
    "TABLE_DOES_NOT_EXIST": _NAME,
    "NOT_REGULAR_TABLE": "Mirror the tables that are behind it.",
    "FORBIDDEN_CHARS_IN_TABLE_NAME": "Rename the table.",
    "FORBIDDEN_CHARS_IN_COLUMN_NAME": "Rename the columns.",
    "UNSUPPORTED_TYPE_IN_REPLICA_IDENTITY": "Add a key of columns whose types can be mirrored.",
    "UNSUPPORTED_DATA_TYPE": "Nothing, if nobody needs these columns in Fabric; else add columns of supported types.",
    "NO_INDEX_FULL_IDENTITY": "Add a primary key.",
    TABLE_LIMIT_EXCEEDED: "Name the tables to mirror.",
    ROW_SECURITY: "Give the mirror to those alone who may see every row.",
    HIDDEN_ROWS: "Let the fabric role see every row.",
    "NUMERIC_WITHOUT_PRECISION": "Give the columns precision and scale, as numeric(18, 4).",
    GENERATED: "Add a unique index on other columns that are NOT NULL.",
    "HYPERTABLE": "Mirror an ordinary table of it.",
}
"""What to do about a table, by the code of the service or of the app; nothing where the code says that all is well."""


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
        remedy=table.remedy or _remedy(table.codes),
        reference=LIMITS,
    )


def _remedy(codes: Sequence[str]) -> str:
    """What to do about a table with these codes."""
    remedies = [REMEDIES.get(code, f"The service's documents say what {code} means.") for code in codes]
    return " ".join(dict.fromkeys(remedy for remedy in remedies if remedy))


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
