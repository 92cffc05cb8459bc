"""Which tables of a database can be mirrored, and why the others can't: one query of the catalogue.

Where the server has `azure_cdc.get_all_tables_mirror_status()`, the report takes the answer of the service itself. The
report leaves out the service's code for a missing ownership, since the service speaks of the role that asks, which is
the app here; it names the owner of each table instead. Codes, types and limits come from "Fabric mirroring" and its
limitations in the docs of Azure Database for PostgreSQL.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from psycopg import errors, sql

from shared.desired.takeover import TableName
from shared.source import extension
from shared.source.connection import Connection
from shared.source.facts import TABLE_LIMIT, TABLE_LIMIT_EXCEEDED, TableReport, TableStatus


async def report(connection: Connection, role: str, selection: Sequence[TableName] | None = None) -> TableReport:
    """The report on the selected tables, or on all tables, of the connection's database. `role`: the fabric role.

    A selected table that does not exist is in the report too.
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
    statuses = [_status(name, rows.get(name), of_service.get(name), schemas) for name in sorted(names)]
    return TableReport(_limited(statuses))


SUPPORTED_TYPES = [
    "bigint", "boolean", "bytea", "character", "character varying", "date", "double precision", "integer", "money",
    "numeric", "oid", "real", "smallint", "text", "time without time zone", "time with time zone",
    "timestamp without time zone", "timestamp with time zone", "uuid",
]  # fmt: skip
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
}
_MESSAGES = {
    "SCHEMA_DOES_NOT_EXIST": "There is no such schema.",
    "TABLE_DOES_NOT_EXIST": "There is no such table.",
    "NOT_REGULAR_TABLE": "It is not a regular, permanent table: views, foreign and partitioned ones are not mirrored.",
    "FORBIDDEN_CHARS_IN_TABLE_NAME": "Its name has a space or one of ;{{}}()= or a tab or line feed: rename it.",
    "FORBIDDEN_CHARS_IN_COLUMN_NAME": "Columns {forbidden} have a space or one of ;{{}}()= in their name: rename them.",
    "UNSUPPORTED_TYPE_IN_REPLICA_IDENTITY": "It has no key with only types that can be mirrored: add one.",
    TABLE_LIMIT_EXCEEDED: f"A mirrored database has at most {TABLE_LIMIT} tables, the first by schema and name. "
    "Choose.",
    "UNSUPPORTED_DATA_TYPE": "Columns {unsupported} are left out: their type can't be mirrored.",
    "NO_INDEX_FULL_IDENTITY": "It has neither a primary key nor a unique index on columns that are NOT NULL: "
    "whole rows are logged for every change. Add a key.",
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


_NO_ROW: Mapping[str, Any] = {"forbidden": [], "unsupported": [], "owner": "", "reached": False}


def _status(
    table: TableName, row: Mapping[str, Any] | None, of_service: dict[str, str] | None, schemas: set[str]
) -> TableStatus:
    if row is None:
        missing = "TABLE_DOES_NOT_EXIST" if table.schema in schemas else "SCHEMA_DOES_NOT_EXIST"
        return _with_codes(table, _NO_ROW, {missing: "ERROR"})
    return _with_codes(table, row, of_service or {code: _LEVEL_OF[code] for code in _codes(row)})


def _with_codes(table: TableName, row: Mapping[str, Any], codes: Mapping[str, str]) -> TableStatus:
    columns = {"forbidden": ", ".join(row["forbidden"]), "unsupported": ", ".join(row["unsupported"])}
    return TableStatus(
        schema=table.schema,
        name=table.name,
        status=min(codes.values(), key=_LEVELS.index),
        codes=tuple(codes),
        message=" ".join(_MESSAGES.get(code, code).format(**columns) for code, level in codes.items() if level != "OK"),
        owner=row["owner"],
        reached=row["reached"],
    )


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


def _limited(statuses: Sequence[TableStatus]) -> tuple[TableStatus, ...]:
    """The statuses, with an error for each table that could be mirrored but is beyond the limit."""
    limited: list[TableStatus] = []
    eligible = 0
    for status in statuses:
        eligible += status.status != "ERROR"
        if eligible > TABLE_LIMIT and status.status != "ERROR":
            status = msgspec.structs.replace(  # noqa: PLW2901
                status, status="ERROR", codes=(TABLE_LIMIT_EXCEEDED,), message=_MESSAGES[TABLE_LIMIT_EXCEEDED]
            )
        limited.append(status)
    return tuple(limited)


# A key fits when it can be the replica identity: unique, not deferrable, not partial, without expressions, all columns
# NOT NULL and of supported types (`time with time zone` is supported, but not in a key).
_CATALOGUE = sql.SQL("""
    WITH columns AS (
        SELECT attrelid, attnum, attname::text AS name, attnotnull,
               atttypid = ANY (%(supported)s::regtype[]) AS supported,
               atttypid = ANY (%(supported)s::regtype[]) AND atttypid <> 'timetz'::regtype AS fits_key
        FROM pg_attribute WHERE attnum > 0 AND NOT attisdropped
    ), keys AS (
        SELECT i.indrelid, i.indisprimary, bool_and(c.fits_key) AS fit
        FROM pg_index i JOIN columns c ON c.attrelid = i.indrelid AND c.attnum = ANY (i.indkey[0 : i.indnkeyatts - 1])
        WHERE i.indisunique AND i.indimmediate AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
        GROUP BY i.indrelid, i.indexrelid, i.indisprimary HAVING bool_and(c.attnotnull)
    )
    SELECT n.nspname::text AS schema, r.relname::text AS name, r.relkind::text AS kind,
           pg_get_userbyid(r.relowner)::text AS owner,
           coalesce((SELECT pg_has_role(f.oid, r.relowner, 'USAGE') FROM pg_roles f WHERE f.rolname = %(role)s), false)
               AS reached,
           r.relkind = 'r' AND r.relpersistence = 'p' AND NOT r.relispartition AS regular,
           r.relname ~ E'[ ;{}\\n\\t=()]' OR n.nspname ~ ' ' AS forbidden_name,
           coalesce(c.forbidden, '{}') AS forbidden, coalesce(c.unsupported, '{}') AS unsupported,
           coalesce(k.keys, false) AS keys, coalesce(k.fit, false) AS fit_keys,
           coalesce(k.fit_primary, false) AS fit_primary_key
    FROM pg_class r
    JOIN pg_namespace n ON n.oid = r.relnamespace
    LEFT JOIN (
        SELECT attrelid, array_agg(name ORDER BY attnum) FILTER (WHERE name ~ E'[ ;{}\\n\\t=()]') AS forbidden,
               array_agg(name ORDER BY attnum) FILTER (WHERE NOT supported) AS unsupported
        FROM columns GROUP BY attrelid
    ) c ON c.attrelid = r.oid
    LEFT JOIN (
        SELECT indrelid, true AS keys, bool_or(fit) AS fit, bool_or(fit AND indisprimary) AS fit_primary
        FROM keys GROUP BY indrelid
    ) k ON k.indrelid = r.oid
    WHERE r.relkind IN ('r', 'p', 'v', 'm', 'f')
      AND n.nspname NOT IN ('information_schema', 'azure_cdc') AND n.nspname !~ '^pg_'
      AND NOT (n.nspname = 'fabric_mirror' AND r.relname ~ '^takeovers')
      AND NOT EXISTS (SELECT FROM pg_depend e
                      WHERE e.classid = 'pg_class'::regclass AND e.objid = r.oid AND e.deptype = 'e')
    ORDER BY 1, 2
""")
