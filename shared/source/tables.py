"""Which tables of a database can be mirrored, and why the others can't: one query of the catalogue.

Where the server has `azure_cdc.get_all_tables_mirror_status()`, the report takes the answer of the service itself. The
report leaves out the service's code for a missing ownership, since the service speaks of the role that asks, which is
the app here; it names the owner of each table instead. Codes, types and limits come from "Fabric mirroring", its
limitations and its troubleshooting in the docs of Azure Database for PostgreSQL; where the lists of types differ, the
newest counts.

What the service does not look at gets codes of the app's own, whatever the service says: row-level security that hides
rows from Fabric, fractions that get lost, keys that PostgreSQL does not publish, hypertables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from psycopg import errors, sql

from shared.desired.takeover import TableName
from shared.source import extension
from shared.source.connection import Connection
from shared.source.facts import (
    GENERATED,
    HIDDEN_ROWS,
    ROW_SECURITY,
    TABLE_LIMIT_EXCEEDED,
    TableReport,
    TableStatus,
)
from shared.source.membership import major


async def report(
    connection: Connection, role: str, limit: int, selection: Sequence[TableName] | None = None
) -> TableReport:
    """The report on the selected tables, or on all tables, of the connection's database. `role`: the fabric role.

    A selected table that does not exist is in the report too. `limit`: how many tables a mirrored database takes.
    """
    cursor = await connection.execute(_CATALOGUE, {"supported": SUPPORTED_TYPES, "role": role})
    rows = {TableName(row["schema"], row["name"]): row for row in await cursor.fetchall()}
    cursor = await connection.execute("SELECT nspname::text AS schema FROM pg_namespace")
    schemas = {row["schema"] for row in await cursor.fetchall()}
    of_service = await _codes_of_service(connection)
    if selection is None:
        names = [name for name, row in rows.items() if row["kind"] in _TABLES]
    else:
        names = list(set(selection))
    version = major(connection)
    statuses = [_status(name, rows.get(name), of_service.get(name), schemas, version) for name in sorted(names)]
    return limited(statuses, limit)


SUPPORTED_TYPES = [
    "bigint", "boolean", "bytea", "character", "character varying", "date", "double precision", "integer", "money",
    "numeric", "oid", "real", "smallint", "text", "time without time zone", "time with time zone",
    "timestamp without time zone", "timestamp with time zone", "uuid",
    # since 2026, by the page on troubleshooting:
    "xml", "json", "jsonb", "inet", "cidr", "macaddr", "macaddr8", "tsvector", "tsquery", "int4range", "int8range",
    "numrange", "tsrange", "tstzrange", "daterange", "circle", "line", "lseg", "box", "path", "point", "polygon",
    "interval",
]  # fmt: skip
HYPERTABLE = "HYPERTABLE"
NUMERIC = "NUMERIC_WITHOUT_PRECISION"
PUBLISHED_FROM = 18
"""The first version that refuses UPDATE and DELETE where columns of the replica identity are not published."""
_TABLES = {"r", "p", "f", "m"}
"""Kinds of relations that the report has without a selection: tables, partitioned, foreign, materialized views."""
_LEVELS = ("ERROR", "WARNING", "OK")
"""The worst first."""
_LEVEL_OF = {
    "NOT_REGULAR_TABLE": "ERROR",
    "FORBIDDEN_CHARS_IN_TABLE_NAME": "ERROR",
    "FORBIDDEN_CHARS_IN_COLUMN_NAME": "ERROR",
    "UNSUPPORTED_TYPE_IN_REPLICA_IDENTITY": "ERROR",
    "UNSUPPORTED_DATA_TYPE": "WARNING",
    "NO_INDEX_FULL_IDENTITY": "WARNING",
    "HAS_PRIMARY_KEY": "OK",
    "HAS_UNIQUE_INDEX": "OK",
    HYPERTABLE: "ERROR",
    GENERATED: "ERROR",
    HIDDEN_ROWS: "WARNING",
    NUMERIC: "WARNING",
    ROW_SECURITY: "OK",
}
_MESSAGES = {
    "SCHEMA_DOES_NOT_EXIST": "There is no such schema.",
    "TABLE_DOES_NOT_EXIST": "There is no such table.",
    "NOT_REGULAR_TABLE": "It is not a regular, permanent table: views, foreign and partitioned ones are not mirrored.",
    "FORBIDDEN_CHARS_IN_TABLE_NAME": "Its name has a space or one of ;{{}}()= or a tab or line feed: rename it.",
    "FORBIDDEN_CHARS_IN_COLUMN_NAME": "Columns {forbidden} have a space or one of ;{{}}()= in their name: rename them.",
    "UNSUPPORTED_TYPE_IN_REPLICA_IDENTITY": "It has no key with only types that can be mirrored: add one.",
    TABLE_LIMIT_EXCEEDED: "A mirrored database has at most {limit} tables, the first by schema and name. Choose.",
    "UNSUPPORTED_DATA_TYPE": "Columns {unsupported} are left out: their type can't be mirrored.",
    "NO_INDEX_FULL_IDENTITY": "It has neither a primary key nor a unique index on columns that are NOT NULL: "
    "whole rows are logged for every change. Add a key.",
    HYPERTABLE: "It is a hypertable of TimescaleDB: its rows are in chunks, which are not mirrored.",
    GENERATED: "PostgreSQL does not publish generated columns, and what would identify its rows has some: add a unique "
    "index on columns that are NOT NULL and not generated.",
    HIDDEN_ROWS: "Row-level security is forced on it, so that it hides rows from the role that Fabric logs in as: "
    "they are not mirrored, and nothing says so.",
    NUMERIC: "Columns {loose} are numeric without precision and scale: fractions are lost, and values of more than 38 "
    "digits become NULL. Give them both: numeric(18, 4).",
}


async def _codes_of_service(connection: Connection) -> Mapping[TableName, dict[str, str]]:
    """The codes that the extension gives each table, with their levels; empty where the app can't ask the extension.

    A level that this version does not know counts as WARNING, so that it stops no mirror.
    """
    if "get_all_tables_mirror_status" not in await extension.members(connection):
        return {}
    try:
        cursor = await connection.execute(
            "SELECT table_schema, table_name, mirroring_data FROM azure_cdc.get_all_tables_mirror_status()"
        )
    except (errors.UndefinedFunction, errors.InsufficientPrivilege):
        return {}
    return {
        TableName(row["table_schema"], row["table_name"]): {
            status["status_code"]: status["status"] if status["status"] in _LEVELS else "WARNING"
            for status in row["mirroring_data"]
            if status["status_code"] != "NOT_TABLE_OWNER"
        }
        for row in await cursor.fetchall()
    }


_NO_ROW: Mapping[str, Any] = {"forbidden": [], "unsupported": [], "loose": [], "owner": "", "reached": False}


def _status(
    table: TableName, row: Mapping[str, Any] | None, of_service: dict[str, str] | None, schemas: set[str], version: int
) -> TableStatus:
    if row is None:
        missing = "TABLE_DOES_NOT_EXIST" if table.schema in schemas else "SCHEMA_DOES_NOT_EXIST"
        return _with_codes(table, _NO_ROW, {missing: "ERROR"})
    codes = of_service or {code: _LEVEL_OF[code] for code in _codes(row)}
    return _with_codes(table, row, codes | _own_codes(row, version))


def _with_codes(table: TableName, row: Mapping[str, Any], codes: Mapping[str, str]) -> TableStatus:
    columns = {name: ", ".join(row[name]) for name in ("forbidden", "unsupported", "loose")}
    return TableStatus(
        schema=table.schema,
        name=table.name,
        status=min(codes.values(), key=_LEVELS.index),
        codes=tuple(codes),
        message=" ".join(_MESSAGES.get(code, code).format(**columns) for code, level in codes.items() if level != "OK"),
        owner=row["owner"],
        reached=row["reached"],
        remedy=_seeing_all_rows(table, row) if HIDDEN_ROWS in codes else "",
    )


def _own_codes(row: Mapping[str, Any], version: int) -> dict[str, str]:
    """What the service does not look at, with levels. Views and the like have no such facts."""
    if not row["regular"]:
        return {}
    applies = {
        HYPERTABLE: row["hypertable"],
        GENERATED: row["generated_key"] or (version >= PUBLISHED_FROM and row["generated_row"]),
        HIDDEN_ROWS: row["hidden_rows"],
        ROW_SECURITY: row["row_security"],
        NUMERIC: bool(row["loose"]),
    }
    levels = _LEVEL_OF if version >= PUBLISHED_FROM else _LEVEL_OF | {GENERATED: "WARNING"}
    return {code: levels[code] for code, it_applies in applies.items() if it_applies}


def _seeing_all_rows(table: TableName, row: Mapping[str, Any]) -> str:
    """The statements that let the fabric role see all rows of a table: each of them alone is enough."""
    name = sql.Identifier(table.schema, table.name)
    calm = sql.SQL("ALTER TABLE {} NO FORCE ROW LEVEL SECURITY;").format(name).as_string()
    if not row["role"]:
        return f"Run as {row['owner']}: {calm}"
    policy = sql.SQL("CREATE POLICY fabric_mirror ON {} FOR SELECT TO {} USING (true);")
    return f"Run as {row['owner']}: {calm} Or: {policy.format(name, sql.Identifier(row['role'])).as_string()}"


def _codes(row: Mapping[str, Any]) -> tuple[str, ...]:
    """The codes of a table by the rules of the service, the worst first."""
    if not row["regular"]:
        return ("NOT_REGULAR_TABLE",)
    codes = {
        "FORBIDDEN_CHARS_IN_TABLE_NAME": row["forbidden_name"],
        "FORBIDDEN_CHARS_IN_COLUMN_NAME": bool(row["forbidden"]),
        "UNSUPPORTED_DATA_TYPE": bool(row["unsupported"]),
        "UNSUPPORTED_TYPE_IN_REPLICA_IDENTITY": not row["fit_keys"] and (row["keys"] or row["unsupported"]),
        "HAS_PRIMARY_KEY": row["fit_primary_key"],
        "HAS_UNIQUE_INDEX": row["fit_keys"] and not row["fit_primary_key"],
        "NO_INDEX_FULL_IDENTITY": not row["keys"],
    }
    return tuple(code for code, applies in codes.items() if applies)


def limited(statuses: Sequence[TableStatus], limit: int) -> TableReport:
    """The report, with an error for each table that could be mirrored but is beyond the limit."""
    tables: list[TableStatus] = []
    eligible = 0
    for status in statuses:
        eligible += status.status != "ERROR"
        if eligible > limit and status.status != "ERROR":
            message = _MESSAGES[TABLE_LIMIT_EXCEEDED].format(limit=limit)
            status = msgspec.structs.replace(  # noqa: PLW2901
                status, status="ERROR", codes=(TABLE_LIMIT_EXCEEDED,), message=message
            )
        tables.append(status)
    return TableReport(tuple(tables), limit)


# A key fits when it can be the replica identity: unique, not deferrable, not partial, without expressions, all columns
# NOT NULL and of supported types (`time with time zone` is supported, but not in a key).
_CATALOGUE = sql.SQL("""
    WITH columns AS (
        SELECT attrelid, attnum, attname::text AS name, attnotnull,
               atttypid = ANY (%(supported)s::regtype[]) AS supported,
               atttypid = ANY (%(supported)s::regtype[]) AND atttypid <> 'timetz'::regtype AS fits_key,
               attgenerated <> '' AS generated, atttypid = 'numeric'::regtype AND atttypmod < 0 AS loose
        FROM pg_attribute WHERE attnum > 0 AND NOT attisdropped
    ), keys AS (
        SELECT i.indrelid, i.indisprimary, bool_and(c.fits_key) AS fit, bool_or(c.generated) AS generated
        FROM pg_index i JOIN columns c ON c.attrelid = i.indrelid AND c.attnum = ANY (i.indkey[0 : i.indnkeyatts - 1])
        WHERE i.indisunique AND i.indimmediate AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
        GROUP BY i.indrelid, i.indexrelid, i.indisprimary HAVING bool_and(c.attnotnull)
    ), fabric AS (
        SELECT oid, rolname::text AS name, rolbypassrls OR rolsuper AS sees_all FROM pg_roles WHERE rolname = %(role)s
    ), policies AS (
        SELECT p.polrelid, bool_or(p.polpermissive AND q.all_rows) AND bool_and(p.polpermissive OR q.all_rows) AS open
        FROM pg_policy p, LATERAL (SELECT pg_get_expr(p.polqual, p.polrelid) IS NOT DISTINCT FROM 'true') q (all_rows)
        WHERE p.polcmd IN ('*', 'r') AND EXISTS (
            SELECT FROM unnest(p.polroles) u (role)
            WHERE u.role = 0 OR EXISTS (SELECT FROM fabric f WHERE pg_has_role(f.oid, u.role, 'USAGE')))
        GROUP BY p.polrelid
    )
    SELECT n.nspname::text AS schema, r.relname::text AS name, r.relkind::text AS kind,
           pg_get_userbyid(r.relowner)::text AS owner,
           f.name AS role, coalesce(pg_has_role(f.oid, r.relowner, 'USAGE'), false) AS reached,
           r.relkind = 'r' AND r.relpersistence = 'p' AND NOT r.relispartition AS regular,
           r.relname ~ E'[ ;{}\\n\\t=()]' OR n.nspname ~ ' ' AS forbidden_name,
           coalesce(c.forbidden, '{}') AS forbidden, coalesce(c.unsupported, '{}') AS unsupported,
           coalesce(k.keys, false) AS keys, coalesce(k.fit, false) AS fit_keys,
           coalesce(k.fit_primary, false) AS fit_primary_key,
           coalesce(c.loose, '{}') AS loose,
           coalesce(k.fit AND NOT k.plain, false) AS generated_key,
           coalesce(c.generated, false) AND NOT coalesce(k.plain, false) AS generated_row,
           r.relrowsecurity AS row_security,
           r.relrowsecurity AND r.relforcerowsecurity
               AND NOT (coalesce(f.sees_all, false) OR coalesce(o.open, false)) AS hidden_rows,
           EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = r.oid AND t.tgname = 'ts_insert_blocker')
               OR EXISTS (SELECT FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhrelid
                          JOIN pg_namespace pn ON pn.oid = p.relnamespace
                          WHERE i.inhparent = r.oid AND pn.nspname = '_timescaledb_internal') AS hypertable
    FROM pg_class r
    JOIN pg_namespace n ON n.oid = r.relnamespace
    LEFT JOIN fabric f ON true
    LEFT JOIN policies o ON o.polrelid = r.oid
    LEFT JOIN (
        SELECT attrelid, bool_or(generated) AS generated,
               array_agg(name ORDER BY attnum) FILTER (WHERE loose) AS loose,
               array_agg(name ORDER BY attnum) FILTER (WHERE name ~ E'[ ;{}\\n\\t=()]') AS forbidden,
               array_agg(name ORDER BY attnum) FILTER (WHERE NOT supported) AS unsupported
        FROM columns GROUP BY attrelid
    ) c ON c.attrelid = r.oid
    LEFT JOIN (
        SELECT indrelid, true AS keys, bool_or(fit) AS fit, bool_or(fit AND indisprimary) AS fit_primary,
               bool_or(fit AND NOT generated) AS plain
        FROM keys GROUP BY indrelid
    ) k ON k.indrelid = r.oid
    WHERE r.relkind IN ('r', 'p', 'v', 'm', 'f')
      AND n.nspname NOT IN ('information_schema', 'azure_cdc', '_timescaledb_internal') AND n.nspname !~ '^pg_'
      AND NOT (n.nspname = 'fabric_mirror' AND r.relname ~ '^takeovers')
      AND NOT EXISTS (SELECT FROM pg_depend e
                      WHERE e.classid = 'pg_class'::regclass AND e.objid = r.oid AND e.deptype = 'e')
    ORDER BY 1, 2
""")
