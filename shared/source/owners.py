"""The owners of tables, and the fabric role's membership in them.

A member of a table's owner may publish the table, and sees its rows past row-level security that is not forced, while
everything of the application goes on as before. So the fabric role becomes a member, unless an owner would make it
strong. From PostgreSQL 16 on the role inherits the rights, but can't SET ROLE to the owner.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from psycopg import sql

from shared.desired.takeover import Joined, TableName
from shared.platform.errors import Blocked, Unavailable
from shared.source.connection import Connection, explained
from shared.source.facts import Owner
from shared.source.membership import major


async def look(
    connection: Connection, role: str, tables: Mapping[str, Sequence[TableName]], ours: Collection[Joined] = ()
) -> tuple[Owner, ...]:
    """The owners of tables, in order of name. `tables`: the names of those that each owner has, or had.

    `ours`: the memberships that the app granted. It may end each of them, so what the role reaches only by another
    owner does not count as its own.
    """
    listed = [(owner, table) for owner, owned in tables.items() for table in owned]
    columns = {
        "owners": [owner for owner, _ in listed],
        "schemas": [table.schema for _, table in listed],
        "names": [table.name for _, table in listed],
        "role": role,
        "our_owners": [membership.owner for membership in ours],
        "our_grantors": [membership.grantor for membership in ours],
    }
    rows = await (await connection.execute(_owners(connection), columns)).fetchall()
    return tuple(
        Owner(
            name=row["name"],
            tables=row["tables"],
            example=row["example"],
            administrator=row["administrator"],
            grantable=row["grantable"],
            grantors=tuple(row["grantors"]),
            beyond=tuple(row["beyond"]),
            joined=row["joined"],
            other_tables=row["others"],
            other_databases=tuple(row["databases"]),
            owns_database=row["owns_database"],
        )
        for row in rows
    )


async def links(connection: Connection, role: str, member: str) -> tuple[str, ...]:
    """The roles that were granted `role` and that `member` is, or is a member of.

    If there is any, PostgreSQL refuses the membership the other way round.
    """
    rows = await (await connection.execute(_LINKS, [role, member])).fetchall()
    return tuple(row["link"] for row in rows)


async def administrators(connection: Connection, roles: Iterable[str]) -> frozenset[str]:
    """Those of the roles that are administrators of the server, by any way."""
    rows = await (await connection.execute(_ADMINISTRATORS, [list(set(roles))])).fetchall()
    return frozenset(row["role"] for row in rows)


async def joined(connection: Connection, role: str) -> frozenset[Joined]:
    """Every role that the fabric role is a member of, with the grantor."""
    rows = await (await connection.execute(_JOINED, [role])).fetchall()
    return frozenset(Joined(row["owner"], row["grantor"], row["owner_oid"], row["grantor_oid"]) for row in rows)


async def renamed(connection: Connection, memberships: Collection[Joined]) -> frozenset[Joined]:
    """These memberships by the names that their roles have now, whether the memberships exist or not."""
    if not memberships:
        return frozenset()
    oids = {oid for it in memberships for oid in (it.owner_oid, it.grantor_oid)}
    names = {name for it in memberships for name in (it.owner, it.grantor)}
    return by_present_names(memberships, await roles(connection, oids, names))


async def roles(connection: Connection, oids: Iterable[int], names: Iterable[str] = ()) -> dict[int, str]:
    """The names of the roles with these object ids or names, as far as there are such roles."""
    rows = await (await connection.execute(_ROLES, [list(oids), list(names)])).fetchall()
    return {row["oid"]: row["name"] for row in rows}


def by_present_names(memberships: Iterable[Joined], roles: Mapping[int, str]) -> frozenset[Joined]:
    """Memberships by the names that `roles` (object ids) have now; without those in an owner that is gone."""
    oids = {name: oid for oid, name in roles.items()}
    present: set[Joined] = set()
    for it in memberships:
        if it.owner_oid and it.owner_oid not in roles:
            continue
        owner, grantor = roles.get(it.owner_oid, it.owner), roles.get(it.grantor_oid, it.grantor)
        present.add(Joined(owner, grantor, it.owner_oid or oids.get(owner, 0), it.grantor_oid or oids.get(grantor, 0)))
    return frozenset(present)


async def plan_join(connection: Connection, role: str, owner: str) -> Joined:
    """The membership as the catalogue would show it: PostgreSQL chooses the grantor. The attempt is rolled back.

    Raises `Blocked` with code `MembershipInTheWay` where the same grantor made it, but without the owner's rights, and
    `Unavailable` where another database of the server made it just now: then it is looked at once more.
    """
    with explained(f"Making role {role!r} a member of {owner!r}"):
        async with connection.transaction(force_rollback=True):
            before = await joined(connection, role)
            await connection.execute(_grant(connection, role, owner))
            made = {membership for membership in await joined(connection, role) - before if membership.owner == owner}
    if not made and await _inherits(connection, role, owner):
        raise Unavailable(f"Role {role!r} has become a member of {owner!r} for another database.", retry_after=1)
    if not made:
        raise Blocked(
            f"Role {role!r} is a member of {owner!r}, but does not have its rights.",
            code="MembershipInTheWay",
            remedy=f"Run as who granted it: {_grant(connection, role, owner).as_string(connection)};",
        )
    return min(made)


async def _inherits(connection: Connection, role: str, owner: str) -> bool:
    """Whether the role is a member of the owner itself, and has its rights by that."""
    inherits = sql.SQL("m.inherit_option" if major(connection) >= 16 else "true")
    rows = await connection.execute(_INHERITING.format(inherits=inherits), [role, owner])
    return await rows.fetchone() is not None


async def join(connection: Connection, role: str, memberships: Iterable[Joined]) -> None:
    """Make the fabric role a member of these owners, where it is not yet."""
    for membership in sorted(set(memberships) - await joined(connection, role)):
        with explained(f"Making role {role!r} a member of {membership.owner!r}"):
            await connection.execute(_grant(connection, role, membership.owner))


async def join_all(connection: Connection, role: str, names: Iterable[str]) -> None:
    """Make the fabric role a member of all these owners, whoever granted it some of them before."""
    for name in names:
        with explained(f"Making role {role!r} a member of {name!r}"):
            await connection.execute(_grant(connection, role, name))


async def leave(connection: Connection, role: str, memberships: Iterable[Joined]) -> None:
    """End these memberships, as far as they exist. What somebody else granted stays."""
    for membership in sorted(set(memberships) & await joined(connection, role)):
        with explained(f"Ending the membership of role {role!r} in {membership.owner!r}"):
            await connection.execute(_revoke(connection, role, membership))


def revocation(connection: Connection, role: str, member: str) -> str:
    """What ends a membership."""
    names = sql.Identifier(role), sql.Identifier(member)
    return sql.SQL("REVOKE {} FROM {}").format(*names).as_string(connection) + ";"


def statement(connection: Connection, owner: str) -> str:
    """What lets the app grant the owner to the fabric role, and nothing else."""
    options = " WITH ADMIN TRUE, INHERIT FALSE, SET FALSE" if major(connection) >= 16 else " WITH ADMIN OPTION"
    names = sql.Identifier(owner), sql.Identifier(connection.info.user)
    return (sql.SQL("GRANT {} TO {}").format(*names) + sql.SQL(options)).as_string(connection) + ";"


def _grant(connection: Connection, role: str, owner: str) -> sql.Composed:
    options = sql.SQL(" WITH INHERIT TRUE, SET FALSE" if major(connection) >= 16 else "")
    return sql.SQL("GRANT {} TO {}").format(sql.Identifier(owner), sql.Identifier(role)) + options


def _revoke(connection: Connection, role: str, membership: Joined) -> sql.Composed:
    revoke = sql.SQL("REVOKE {} FROM {}").format(sql.Identifier(membership.owner), sql.Identifier(role))
    if major(connection) < 16:
        return revoke
    return revoke + sql.SQL(" GRANTED BY {}").format(sql.Identifier(membership.grantor))


def _owners(connection: Connection) -> sql.Composed:
    """The query for `look`. Before PostgreSQL 16, whoever has CREATEROLE may grant every role that is no superuser."""
    grantable = _GRANTABLE_16 if major(connection) >= 16 else _GRANTABLE_14
    bypasses = sql.SQL("false" if major(connection) >= 16 else "o.rolbypassrls")
    inherits = sql.SQL("m.inherit_option" if major(connection) >= 16 else "true")
    return _OWNERS.format(grantable=grantable, bypasses=bypasses, inherits=inherits)


_JOINED = sql.SQL("""
    SELECT o.rolname::text AS owner, g.rolname::text AS grantor, o.oid::int8 AS owner_oid, g.oid::int8 AS grantor_oid
    FROM pg_auth_members m
    JOIN pg_roles r ON r.oid = m.member JOIN pg_roles o ON o.oid = m.roleid JOIN pg_roles g ON g.oid = m.grantor
    WHERE r.rolname = %s
""")
_INHERITING = sql.SQL("""
    SELECT FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.member JOIN pg_roles o ON o.oid = m.roleid
    WHERE r.rolname = %s AND o.rolname = %s AND {inherits}
""")
_ROLES = sql.SQL("""
    SELECT oid::int8 AS oid, rolname::text AS name FROM pg_roles
    WHERE oid = ANY (%s::oid[]) OR rolname = ANY (%s::name[])
""")
_LINKS = sql.SQL("""
    SELECT DISTINCT l.rolname::text AS link
    FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid JOIN pg_roles l ON l.oid = m.member
    WHERE r.rolname = %s AND pg_has_role(%s::name, l.oid, 'MEMBER') ORDER BY 1
""")
_ADMINISTRATORS = sql.SQL("""
    SELECT rolname::text AS role FROM pg_roles r
    WHERE rolname = ANY (%s::name[])
      AND EXISTS (SELECT FROM pg_roles g WHERE g.rolname = 'azure_pg_admin' AND pg_has_role(r.oid, g.oid, 'MEMBER'))
""")
_GRANTABLE_16 = sql.SQL("pg_has_role(o.oid, 'MEMBER WITH ADMIN OPTION')")
_GRANTABLE_14 = sql.SQL("""
    (pg_has_role(o.oid, 'MEMBER WITH ADMIN OPTION')
     OR NOT o.rolsuper AND (SELECT rolcreaterole OR rolsuper FROM pg_roles WHERE rolname = current_user))
""")
# Former owners are members of the fabric role: that way leads nowhere. A role counts as beyond its own application if
# it is PostgreSQL's or Azure's own, can do more than own objects, or has objects or privileges in other databases.
# `pg_shdepend` lists both, in every database of the server.
_OWNERS = sql.SQL("""
    WITH RECURSIVE wanted AS (
        SELECT o.oid AS owner, w.schema::text AS schema, w.name::text AS name
        FROM unnest(%(owners)s::name[], %(schemas)s::name[], %(names)s::name[]) w (owner, schema, name)
        JOIN pg_roles o ON o.rolname = w.owner
    ), reached (owner, role) AS (
        SELECT DISTINCT owner, owner FROM wanted
        UNION
        SELECT r.owner, m.roleid FROM reached r JOIN pg_auth_members m ON m.member = r.role
        WHERE pg_get_userbyid(m.roleid) <> %(role)s
    ), places AS (
        SELECT DISTINCT r.owner, r.role, d.datname::text AS database
        FROM reached r
        JOIN pg_shdepend s ON s.refclassid = 'pg_authid'::regclass AND s.refobjid = r.role
        JOIN pg_database d ON d.oid = s.dbid OR (s.classid = 'pg_database'::regclass AND d.oid = s.objid)
        WHERE d.datname <> current_database()
    ), strong AS (
        SELECT r.owner, g.rolname::text AS role
        FROM reached r JOIN pg_roles g ON g.oid = r.role
        WHERE r.role = r.owner AND g.oid < 16384 AND NOT g.rolsuper OR r.role <> r.owner AND (
            g.oid < 16384 OR g.rolsuper OR g.rolcreaterole OR g.rolcreatedb OR g.rolreplication OR g.rolbypassrls
            OR EXISTS (SELECT FROM places p WHERE p.owner = r.owner AND p.role = r.role))
    )
    SELECT o.rolname::text AS name, count(*)::int8 AS tables,
           (array_agg(w.schema || '.' || w.name ORDER BY w.schema, w.name))[1] AS example,
           o.rolsuper OR {bypasses} OR EXISTS (
               SELECT FROM reached r JOIN pg_roles g ON g.oid = r.role
               WHERE r.owner = o.oid AND (g.rolname = 'azure_pg_admin' OR g.rolsuper)) AS administrator,
           {grantable} AS grantable,
           ARRAY(SELECT pg_get_userbyid(member)::text FROM pg_auth_members WHERE roleid = o.oid AND admin_option
                 ORDER BY 1) AS grantors,
           ARRAY(SELECT DISTINCT role FROM strong s WHERE s.owner = o.oid ORDER BY 1) AS beyond,
           EXISTS (
               SELECT FROM pg_auth_members m JOIN pg_roles f ON f.oid = m.member
               WHERE f.rolname = %(role)s AND {inherits} AND (
                   m.roleid = o.oid OR pg_has_role(m.roleid, o.oid, 'USAGE')
                   AND (pg_get_userbyid(m.roleid), pg_get_userbyid(m.grantor)) NOT IN (
                       SELECT * FROM unnest(%(our_owners)s::name[], %(our_grantors)s::name[])))) AS joined,
           (SELECT count(*)::int8 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname !~ '^pg_'
              AND c.relowner IN (SELECT r.role FROM reached r WHERE r.owner = o.oid)
              AND (n.nspname, c.relname) NOT IN (SELECT schema, name FROM wanted)) AS others,
           ARRAY(SELECT DISTINCT database FROM places p WHERE p.owner = o.oid ORDER BY 1) AS databases,
           EXISTS (SELECT FROM reached r JOIN pg_database d ON d.datdba = r.role
                   WHERE r.owner = o.oid AND d.datname = current_database()) AS owns_database
    FROM wanted w JOIN pg_roles o ON o.oid = w.owner
    GROUP BY o.oid, o.rolname, o.rolsuper, o.rolbypassrls ORDER BY 1
""")
