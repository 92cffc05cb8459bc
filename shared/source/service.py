"""The service's own word: what `azure_cdc` says to the role that Fabric logs in as.

The answers are about the caller, so the connection has to be that of the fabric role. The app asks only an extension
that nobody but administrators had a hand in.

Source: "Troubleshoot Fabric mirrored databases from Azure Database for PostgreSQL".
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import msgspec
from psycopg import errors

from shared.desired.takeover import TableName
from shared.platform.reasons import Reason
from shared.source import extension
from shared.source.connection import Connection
from shared.source.slots import tracked_publications

NOT_OWNER = "NOT_TABLE_OWNER"
LIMIT_REACHED = "PUBLICATION_LIMIT_REACHED"
"""Said of a database that is mirrored already: one mirror a database."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What the service says of one database to the fabric role."""

    asked: bool
    """False: the extension has no function that tells about tables, or does not let the role ask."""
    not_owned: tuple[TableName, ...] = ()
    """The tables for which the service insists on ownership."""
    prerequisites: tuple[Reason, ...] = ()
    """What `check_prerequisites` has against a mirror, by the service's codes."""


async def ask(connection: Connection, tables: Sequence[TableName]) -> Answer:
    """What the service says of these tables, and of the database. `connection` is the fabric role's."""
    members = await extension.members(connection)
    try:
        async with connection.transaction():
            return await _answer(connection, members, tables)
    except (errors.UndefinedFunction, errors.InsufficientPrivilege):
        return Answer(asked=False)


async def is_mirrored(connection: Connection) -> bool:
    """Whether the extension tracks a publication of the connection's role in its database."""
    tracked = await tracked_publications(connection)
    row = await (await connection.execute("SELECT current_user::text AS role")).fetchone()
    return row is not None and any(publication.owner == row["role"] for publication in tracked)


async def _answer(connection: Connection, members: Collection[str], tables: Sequence[TableName]) -> Answer:
    prerequisites: tuple[Reason, ...] = ()
    if "check_prerequisites" in members:
        prerequisites = await _prerequisites(connection)
    if "get_all_tables_mirror_status" not in members:
        return Answer(asked=False, prerequisites=prerequisites)
    cursor = await connection.execute(
        "SELECT table_schema, table_name FROM azure_cdc.get_all_tables_mirror_status()"
        " WHERE mirroring_data @> %s::jsonb",
        [f'[{{"status_code": "{NOT_OWNER}"}}]'],
    )
    rows = {TableName(row["table_schema"], row["table_name"]) for row in await cursor.fetchall()}
    return Answer(asked=True, not_owned=tuple(sorted(rows & set(tables))), prerequisites=prerequisites)


async def _prerequisites(connection: Connection) -> tuple[Reason, ...]:
    row = await (await connection.execute("SELECT status, data FROM azure_cdc.check_prerequisites()")).fetchone()
    listed = row["data"] if row and isinstance(row["data"], list) else []
    return tuple(_reason(entry) for entry in listed if entry.get("status") != "OK")


def _reason(entry: dict[str, Any]) -> Reason:
    code = str(entry.get("status_code", "UNKNOWN"))
    details = entry.get("details")
    words = f": {msgspec.json.encode(details).decode()}" if details else ""
    return Reason(code, f"The service says {code}{words}.", _REMEDIES.get(code, ""))


_REMEDIES = {
    "IDENTITY_NOT_CONFIGURED": "Look at the server again: the app enables its system-assigned identity.",
    "CDC_ADMIN_ROLE_NOT_EXISTS": "Load azure_cdc by shared_preload_libraries and restart the server.",
    "USER_NOT_CDC_ADMIN": "Somebody took azure_cdc_admin from the fabric role: stop that, then look again.",
    "NO_CREATE_PRIVILEGE_ON_DATABASE": "Somebody took CREATE on the database away: stop that, then look again.",
    "PUBLICATION_LIMIT_REACHED": "Remove the other mirror of this database.",
    "SERVER_IN_RECOVERY": "Mirror the primary, or wait until the server has recovered.",
    "MAX_WORKER_PROCESSES_TOO_LOW": "Raise max_worker_processes, and restart the server.",
}
