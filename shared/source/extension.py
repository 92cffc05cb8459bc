"""The extension `azure_cdc` of a database, used only where none but administrators can have put anything into it.

The app is an administrator of the server, so a function that it calls can do all that an administrator can. A name
proves nothing: whoever may create schemas in a database can make a schema `azure_cdc`, or in some cases the extension
itself. So an object of it is used only if the catalogue says that it is a member of the extension, and that the
extension, its schema and everything in that schema belong to administrators of the server, who alone may change them.
What holds then goes on to hold: to change it takes an administrator.

Source: "CREATE EXTENSION" and "Packaging Related Objects into an Extension" (security) of the PostgreSQL docs.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from psycopg import errors, sql

from shared.platform.errors import Blocked, Unavailable
from shared.source.connection import Connection
from shared.source.facts import TAKEN

NAME = "azure_cdc"
MOST_NAMED = 5


class Foreign(msgspec.Struct, frozen=True):
    """Something in the way of trusting the extension: what it is, and the role that has it in hand."""

    kind: str
    """`schema`, `extension`, `function`, `relation`, `type`, `operator`, or `right to create` in the schema."""
    name: str
    owner: str


async def members(connection: Connection) -> frozenset[str]:
    """The names of the functions and relations of the extension; none where the database does not have it.

    Raises `Blocked` with code `SchemaTaken` where anybody but an administrator has a hand in it.
    """
    rows = await (await connection.execute(_OBJECTS)).fetchall()
    foreign = [Foreign(row["kind"], row["name"], row["owner"]) for row in rows if not row["administrators"]]
    require_administrators(connection.info.dbname, foreign)
    return frozenset(row["name"] for row in rows if row["member"])


async def require_member(connection: Connection, name: str) -> None:
    """Raise `Blocked` with code `SchemaTaken` unless the extension has a function or relation of this name."""
    if name not in await members(connection):
        raise Blocked(
            f"{NAME}.{name} of database {connection.info.dbname!r} is missing, or is no member of the extension.",
            code=TAKEN,
            remedy=f"Bring the extension to its newest version: ALTER EXTENSION {NAME} UPDATE;",
        )


def require_administrators(database: str, foreign: Sequence[Foreign]) -> None:
    """Raise `Blocked` with code `SchemaTaken` if there is anything foreign. It names the first few."""
    if not foreign:
        return
    named = ", ".join(f"the {it.kind} {it.name} of {it.owner!r}" for it in foreign[:MOST_NAMED])
    more = f" and {len(foreign) - MOST_NAMED} more" if len(foreign) > MOST_NAMED else ""
    raise Blocked(
        f"Database {database!r} has things under the name {NAME} that the app can't trust, since they belong to "
        f"nobody who is an administrator of the server: {named}{more}. The app has called nothing of it.",
        code=TAKEN,
        remedy=_remedy({it.kind for it in foreign}),
    )


def _remedy(kinds: set[str]) -> str:
    if "extension" in kinds:
        return (
            f"Find out who made it and why. Then run as its owner, in this database: DROP EXTENSION {NAME} CASCADE; "
            f"ALTER SCHEMA {NAME} RENAME TO {NAME}_former; The app creates the extension itself."
        )
    if "schema" in kinds:
        return (
            f"Find out who made it and why. Then run as its owner, in this database: "
            f"ALTER SCHEMA {NAME} RENAME TO {NAME}_former;"
        )
    return (
        f"Find out who made it and why. Then take it out of the schema {NAME} (DROP, or ALTER … SET SCHEMA), and leave "
        f"the right to create there to administrators alone (REVOKE CREATE ON SCHEMA {NAME} FROM …)."
    )


async def create(connection: Connection) -> None:
    """Create the extension, inside the open transaction.

    Its script runs with the schema in its search path, so nobody else may make that schema a moment before. Where there
    is none, making and dropping it reserves the name: whoever wants it too has to wait for the end of the transaction.
    Raises `Blocked` with code `SchemaTaken`, `Unavailable` where somebody was faster.
    """
    await members(connection)
    if await (await connection.execute(_SCHEMA)).fetchone() is None:
        try:
            await connection.execute("CREATE SCHEMA azure_cdc")
        except (errors.DuplicateSchema, errors.UniqueViolation) as error:
            raise Unavailable(f"Somebody made the schema {NAME} at the same time.", retry_after=0) from error
        await connection.execute("DROP SCHEMA azure_cdc")
    await connection.execute("CREATE EXTENSION azure_cdc")


_SCHEMA = sql.SQL("SELECT FROM pg_catalog.pg_namespace WHERE nspname = 'azure_cdc'")

# A trigger on a table of the extension runs with the rights of whoever writes there: its function counts too.
_OBJECTS = sql.SQL("""
    WITH place AS (
        SELECT oid, nspname, nspowner, nspacl FROM pg_catalog.pg_namespace WHERE nspname = 'azure_cdc'
    ), extension AS (
        SELECT oid, extname, extowner FROM pg_catalog.pg_extension WHERE extname = 'azure_cdc'
    ), objects (kind, name, owner, class, oid) AS (
        SELECT 'schema', nspname::text, nspowner, 'pg_catalog.pg_namespace'::regclass, oid FROM place
        UNION ALL
        SELECT 'extension', extname::text, extowner, 'pg_catalog.pg_extension'::regclass, oid FROM extension
        UNION ALL
        SELECT 'right to create', 'in it', a.grantee, NULL, NULL
        FROM place, pg_catalog.aclexplode(nspacl) a WHERE a.privilege_type = 'CREATE'
        UNION ALL
        SELECT 'function', proname::text, proowner, 'pg_catalog.pg_proc'::regclass, oid
        FROM pg_catalog.pg_proc WHERE pronamespace IN (SELECT oid FROM place)
        UNION ALL
        SELECT 'relation', relname::text, relowner, 'pg_catalog.pg_class'::regclass, oid
        FROM pg_catalog.pg_class WHERE relnamespace IN (SELECT oid FROM place) AND relkind <> 'c'
        UNION ALL
        SELECT 'type', typname::text, typowner, 'pg_catalog.pg_type'::regclass, oid
        FROM pg_catalog.pg_type t WHERE typnamespace IN (SELECT oid FROM place) AND typcategory <> 'A'
          AND NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = t.typrelid AND c.relkind <> 'c')
        UNION ALL
        SELECT 'operator', oprname::text, oprowner, 'pg_catalog.pg_operator'::regclass, oid
        FROM pg_catalog.pg_operator WHERE oprnamespace IN (SELECT oid FROM place)
        UNION ALL
        SELECT 'function', p.proname::text, p.proowner, NULL, NULL
        FROM pg_catalog.pg_trigger t
        JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid AND c.relnamespace IN (SELECT oid FROM place)
        JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid
    )
    SELECT o.kind, o.name, coalesce(r.rolname::text, 'PUBLIC') AS owner,
           EXISTS (SELECT FROM pg_catalog.pg_roles g
                   WHERE g.rolname = 'azure_pg_admin' AND pg_catalog.pg_has_role(r.oid, g.oid, 'MEMBER')
           ) AS administrators,
           o.kind IN ('function', 'relation') AND EXISTS (
               SELECT FROM pg_catalog.pg_depend d JOIN extension e ON e.oid = d.refobjid
               WHERE d.refclassid = 'pg_catalog.pg_extension'::regclass AND d.deptype = 'e'
                 AND d.classid = o.class AND d.objid = o.oid
           ) AS member
    FROM objects o LEFT JOIN pg_catalog.pg_roles r ON r.oid = o.owner
    ORDER BY o.kind <> 'schema', o.kind <> 'extension', o.kind, o.name
""")
