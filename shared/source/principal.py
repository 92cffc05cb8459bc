"""Roles that are mapped to Microsoft Entra principals, so that a principal logs in with a token.

Source: "Manage Microsoft Entra roles in Azure Database for PostgreSQL". PostgreSQL has these functions in the
maintenance database. Only a Microsoft Entra administrator may map a role; the app's identity is one.
"""

from __future__ import annotations

from psycopg import sql

from shared.platform.errors import Blocked
from shared.source.connection import Connection


async def create_mapped(connection: Connection, role: str, object_id: str) -> None:
    """Create a role that only the service principal with this object id can log in as."""
    await connection.execute(_CREATE, [role, object_id])


async def require_mapped(connection: Connection, role: str, object_id: str) -> None:
    """Raise `Blocked` with code `RoleNotMapped` unless the role is mapped to the service principal.

    The app does not change the mapping itself: the role may own tables already, so a person has to decide.
    """
    row = await (await connection.execute(_MAPPED, [role])).fetchone()
    principal = row["object_id"].lower() if row else ""
    if principal == object_id.lower():
        return
    label = sql.SQL('SECURITY LABEL FOR "pgaadauth" ON ROLE {} IS {}').format(
        sql.Identifier(role), sql.Literal(f"aadauth,oid={object_id},type=service")
    )
    raise Blocked(
        f"Role {role!r} is mapped to {f'the principal {principal}' if principal else 'no Microsoft Entra principal'}, "
        f"and Fabric has to log in as {object_id}.",
        code="RoleNotMapped",
        remedy="Name another role in FABRIC_ROLE, or run as a Microsoft Entra administrator in database postgres: "
        f"{label.as_string(connection)};",
    )


_CREATE = sql.SQL("SELECT pg_catalog.pgaadauth_create_principal_with_oid(%s, %s, 'service', false, false)")
_MAPPED = sql.SQL("""
    SELECT object_id
    FROM pg_catalog.pgaadauth_list_principals(false) AS listed (role, type, object_id, tenant, mfa, admin)
    WHERE role = %s::name
""")
