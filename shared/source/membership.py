"""Memberships that the app's identity needs for one change, and ends with it.

The identity is an administrator, but no superuser: it has to be a member of a role to change an object of that role. It
grants itself the membership inside the transaction of the change, and ends it there. So nobody else ever sees the
membership, and a failure leaves nothing behind. From PostgreSQL 16 on, a role can be granted only by who has the ADMIN
OPTION on it. Before, whoever has CREATEROLE may grant every role that is no superuser.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import msgspec
from psycopg import sql

from shared.source.connection import Connection


class Membership(msgspec.Struct, frozen=True):
    """A membership of the app's identity in a role, as the catalogue shows it."""

    grantor: str
    inherit: bool | None
    """Whether the member has the role's rights without SET ROLE; None before PostgreSQL 16."""
    set: bool | None
    """Whether the member may SET ROLE to the role; None before PostgreSQL 16."""


def major(connection: Connection) -> int:
    """The server's major version."""
    return connection.info.server_version // 10000


async def out_of_reach(connection: Connection, roles: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Those of `roles` that the app's identity can't become a member of, each with the roles that may grant it."""
    cursor = await connection.execute(_REACH_16 if major(connection) >= 16 else _REACH_14, [list(set(roles))])
    return {row["role"]: tuple(row["grantors"]) for row in await cursor.fetchall() if not row["reach"]}


@asynccontextmanager
async def borrowed(connection: Connection, roles: Iterable[str]) -> AsyncIterator[None]:
    """Have the rights of `roles` inside the open transaction, and the right to make them owners of objects.

    Raises psycopg's `InsufficientPrivilege` for a role that is `out_of_reach`.
    """
    before: dict[str, list[Membership]] = {}
    for role in sorted(set(roles)):
        if not await _is_usable(connection, role):
            before[role] = await _memberships(connection, role)
            await connection.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(_name(role)) + _options(connection))
    yield
    for role, former in before.items():
        for membership in await _memberships(connection, role):
            if membership not in former:
                await connection.execute(_undo(connection, role, membership, former))


@asynccontextmanager
async def acting_as(connection: Connection, role: str) -> AsyncIterator[None]:
    """Be a borrowed role inside the open transaction, so that it is the grantor of every grant made there.

    Otherwise PostgreSQL chooses the grantor among the roles of the app's identity that have the grant option.
    """
    await connection.execute(sql.SQL("SET LOCAL ROLE {}").format(_name(role)))
    yield
    await connection.execute("SET LOCAL ROLE NONE")


async def database_owner(connection: Connection) -> str:
    """The owner of the connection's database."""
    row = await (await connection.execute(_DATABASE_OWNER)).fetchone()
    return str(row["owner"]) if row else ""


async def schema_owners(connection: Connection) -> dict[str, str]:
    """The owner of every schema. `pg_database_owner` stands for the database's owner: nobody can join it."""
    rows = await (await connection.execute(_SCHEMA_OWNERS)).fetchall()
    return {row["schema"]: row["owner"] for row in rows}


async def _is_usable(connection: Connection, role: str) -> bool:
    """Whether the identity has the role's rights and may SET ROLE to it."""
    switch = "SET" if major(connection) >= 16 else "MEMBER"
    query = "SELECT pg_has_role(%(role)s::name, 'USAGE') AND pg_has_role(%(role)s::name, %(switch)s) AS usable"
    row = await (await connection.execute(query, {"role": role, "switch": switch})).fetchone()
    return bool(row and row["usable"])


async def _memberships(connection: Connection, role: str) -> list[Membership]:
    query = _MEMBERSHIPS_16 if major(connection) >= 16 else _MEMBERSHIPS_14
    rows = await (await connection.execute(query, [role])).fetchall()
    return [Membership(row["grantor"], row["inherit_option"], row["set_option"]) for row in rows]


def _options(connection: Connection) -> sql.Composable:
    return sql.SQL(" WITH INHERIT TRUE, SET TRUE" if major(connection) >= 16 else "")


def _undo(connection: Connection, role: str, membership: Membership, before: list[Membership]) -> sql.Composed:
    """The statement that ends the membership, or gives it the options that it had before."""
    if major(connection) < 16:
        return sql.SQL("REVOKE {} FROM CURRENT_USER").format(_name(role))
    for former in before:
        if former.grantor == membership.grantor:
            return sql.SQL("GRANT {} TO CURRENT_USER WITH INHERIT {}, SET {} GRANTED BY {}").format(
                _name(role), sql.SQL(str(former.inherit)), sql.SQL(str(former.set)), _name(membership.grantor)
            )
    return sql.SQL("REVOKE {} FROM CURRENT_USER GRANTED BY {}").format(_name(role), _name(membership.grantor))


def _name(role: str) -> sql.Identifier:
    return sql.Identifier(role)


_REACH = sql.SQL("""
    SELECT rolname::text AS role, {reach} AS reach,
           ARRAY(SELECT pg_get_userbyid(member)::text FROM pg_auth_members WHERE roleid = r.oid AND admin_option
                 ORDER BY 1) AS grantors
    FROM pg_roles r WHERE rolname = ANY (%s::name[])
""")
_REACH_16 = _REACH.format(
    reach=sql.SQL("""
        (pg_has_role(oid, 'USAGE') AND pg_has_role(oid, 'SET')) OR pg_has_role(oid, 'MEMBER WITH ADMIN OPTION')
    """)
)
_REACH_14 = _REACH.format(
    reach=sql.SQL("""
        pg_has_role(oid, 'USAGE') OR pg_has_role(oid, 'MEMBER WITH ADMIN OPTION')
        OR NOT rolsuper AND (SELECT rolcreaterole FROM pg_roles WHERE rolname = current_user)
    """)
)
_MEMBERSHIPS_16 = sql.SQL("""
    SELECT pg_get_userbyid(grantor)::text AS grantor, inherit_option, set_option FROM pg_auth_members
    WHERE roleid = (SELECT oid FROM pg_roles WHERE rolname = %s) AND pg_get_userbyid(member) = current_user
""")
_MEMBERSHIPS_14 = sql.SQL("""
    SELECT pg_get_userbyid(grantor)::text AS grantor, NULL AS inherit_option, NULL AS set_option FROM pg_auth_members
    WHERE roleid = (SELECT oid FROM pg_roles WHERE rolname = %s) AND pg_get_userbyid(member) = current_user
""")
_DATABASE_OWNER = sql.SQL("""
    SELECT pg_get_userbyid(datdba)::text AS owner FROM pg_database WHERE datname = current_database()
""")
_SCHEMA_OWNERS = sql.SQL("""
    SELECT n.nspname::text AS schema, pg_get_userbyid(CASE WHEN o.rolname = 'pg_database_owner' THEN d.datdba
                                                           ELSE n.nspowner END)::text AS owner
    FROM pg_namespace n JOIN pg_roles o ON o.oid = n.nspowner JOIN pg_database d ON d.datname = current_database()
""")
