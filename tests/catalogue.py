"""All that a server and a database say about roles, owners and privileges, to compare before and after."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, LiteralString


def dump(execute: Callable[[LiteralString], Iterable[Mapping[str, Any]]], version: int) -> set[str]:
    """Roles, memberships, owners, privileges, default privileges and replica identities of the server and database.

    `execute` gives the rows of a query there, `version` is PostgreSQL's major one. An owner's default privileges count
    as such, whether PostgreSQL has written them down or not.
    """
    members = _MEMBERS_16 if version >= 16 else _MEMBERS_14
    return {
        f"{name}: {' | '.join(str(value) for value in row.values())}"
        for name, query in {**_DUMP, "members": members}.items()
        for row in execute(query)
    }


_MEMBERS_16: LiteralString = """
    SELECT roleid::regrole::text, member::regrole::text, grantor::regrole::text, admin_option, inherit_option,
           set_option
    FROM pg_auth_members ORDER BY 1, 2, 3"""
_MEMBERS_14: LiteralString = """
    SELECT roleid::regrole::text, member::regrole::text, admin_option FROM pg_auth_members ORDER BY 1, 2"""
_DUMP: dict[str, LiteralString] = {
    "roles": """
        SELECT rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication, rolbypassrls
        FROM pg_roles ORDER BY 1""",
    "database": """
        SELECT datname, datdba::regrole::text, a.grantor::regrole::text, a.grantee::regrole::text, privilege_type,
               is_grantable
        FROM pg_database, aclexplode(coalesce(datacl, acldefault('d', datdba))) a
        WHERE datname = current_database() ORDER BY 1, 2, 3, 4, 5""",
    "schemas": """
        SELECT nspname, nspowner::regrole::text, a.grantor::regrole::text, a.grantee::regrole::text, privilege_type,
               is_grantable
        FROM pg_namespace, aclexplode(coalesce(nspacl, acldefault('n', nspowner))) a ORDER BY 1, 2, 3, 4, 5""",
    "relations": """
        SELECT c.oid::regclass::text, relkind, relowner::regrole::text, relreplident, t.typowner::regrole::text,
               (SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = c.oid AND indisreplident) AS index
        FROM pg_class c LEFT JOIN pg_type t ON t.oid = c.reltype
        WHERE relnamespace NOT IN ('pg_catalog'::regnamespace, 'pg_toast'::regnamespace) ORDER BY 1, 2""",
    "privileges": """
        SELECT c.oid::regclass::text, a.grantor::regrole::text, a.grantee::regrole::text, privilege_type, is_grantable
        FROM pg_class c, aclexplode(coalesce(relacl, acldefault(
            CASE relkind WHEN 'S' THEN 's'::"char" ELSE 'r' END, relowner))) a
        WHERE relkind IN ('r', 'v', 'm', 'S') AND relnamespace <> 'pg_catalog'::regnamespace ORDER BY 1, 2, 3, 4""",
    "columns": """
        SELECT attrelid::regclass::text, attname, a.grantor::regrole::text, a.grantee::regrole::text, privilege_type,
               is_grantable
        FROM pg_attribute, aclexplode(attacl) a
        WHERE attrelid NOT IN (SELECT oid FROM pg_class WHERE relnamespace = 'pg_catalog'::regnamespace)
        ORDER BY 1, 2, 3, 4, 5""",
    "default privileges": """
        SELECT defaclrole::regrole::text, defaclnamespace::regnamespace::text, defaclobjtype, defaclacl::text
        FROM pg_default_acl ORDER BY 1, 2, 3""",
    "extensions": "SELECT extname, extowner::regrole::text FROM pg_extension ORDER BY 1",
}
