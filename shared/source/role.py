"""The fabric role: the role that Fabric logs in as, and its rights in the databases that are mirrored.

Each server has one fabric role. It has a password of its own, or is mapped to a Microsoft Entra principal. The app
recognises its own role by the comment on it, or because the caller has the role on record; it never touches a role of
that name that somebody else created. From PostgreSQL 16 on, who creates a role may grant it to anybody: so a role that
others than administrators may grant was not made here, whatever its comment. The app reads each right before it grants
it. It sends a password to the server only as a SCRAM verifier, so that no server log can show the password.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, LiteralString

import msgspec
import psycopg
from psycopg import errors, sql

from shared.desired.takeover import TableName
from shared.platform.errors import Blocked
from shared.source import extension
from shared.source.connection import Connection, connect_as, explained, of_postgresql
from shared.source.facts import Missing
from shared.source.membership import acting_as, borrowed, database_owner, out_of_reach, schema_owners
from shared.source.principal import create_mapped, require_mapped
from shared.source.slots import tracked_publications

COMMENT: LiteralString = "Managed by fabric-mirror: Microsoft Fabric mirrors this server's databases with it."
CDC_ADMIN: LiteralString = "azure_cdc_admin"


async def ensure_role(connection: Connection, name: str, password: str, *, recorded: bool = False) -> None:
    """Create the role, or repair its attributes, its membership in `azure_cdc_admin` and its password.

    `recorded` says that the caller has the role on record as the app's own. Raises `Blocked` with code `RoleNotOurs`,
    `CdcAdminMissing` or `NotPermitted`.
    """
    if not await _ensure(connection, name, lambda: _create_with_password(connection, name, password), recorded):
        await ensure_password(connection, name, password)


async def ensure_password(connection: Connection, name: str, password: str) -> bool:
    """Set the role's password to this one, unless it is so already. Returns False when there is no such role.

    Raises `Blocked` with code `NotPermitted`.
    """
    if (await _role(connection, name))["oid"] is None:
        return False
    if not await opens(connection, name, password):
        with explained(f"Setting the password of role {name!r}"):
            await connection.execute(_on("ALTER ROLE {} PASSWORD ", name) + _verifier(connection, name, password))
    return True


async def ensure_principal_role(connection: Connection, name: str, object_id: str, *, recorded: bool = False) -> None:
    """Create or repair a role that a Microsoft Entra service principal (an object id) logs in as.

    `connection` leads to the maintenance database. Raises like `ensure_role`, and `Blocked` with code `RoleNotMapped`
    when the role exists and is mapped to another principal, or to none.
    """
    await _ensure(connection, name, lambda: create_mapped(connection, name, object_id), recorded)
    await require_mapped(connection, name, object_id)


async def _ensure(connection: Connection, name: str, create: Callable[[], Awaitable[None]], recorded: bool) -> bool:
    """Create the role with all it needs, or repair what it lacks. Returns whether it was created."""
    with explained(f"Preparing role {name!r}"):
        role = await _role(connection, name)
        if not role["cdc_admin_exists"]:
            raise Blocked(
                f"The server has no role {CDC_ADMIN}: the library azure_cdc is not loaded.",
                code="CdcAdminMissing",
                remedy="Load azure_cdc by shared_preload_libraries and restart the server.",
            )
        if role["oid"] is None:
            async with connection.transaction():
                await create()
                for statement in (_SET_ATTRIBUTES, _SET_COMMENT, _GRANT_CDC_ADMIN):
                    await connection.execute(_on(statement, name))
            return True
        if role["comment"] != COMMENT and not recorded:
            raise _not_ours(name)
        if role["strangers"] and not recorded:
            raise _planted(name, role["strangers"])
        for is_so, statement in (
            (role["attributes"], _SET_ATTRIBUTES),
            (role["comment"] == COMMENT, _SET_COMMENT),
            (role["cdc_admin"], _GRANT_CDC_ADMIN),
        ):
            if not is_so:
                await connection.execute(_on(statement, name))
    return False


async def opens(connection: Connection, name: str, password: str) -> bool:
    """Whether the role can log in to the connection's database with this password."""
    try:
        async with connect_as(connection.info.host, connection.info.dbname, name, password):
            return True
    except Blocked as error:
        if error.code != "LoginRefused":
            raise
        # PostgreSQL checks the password before the right to connect
        return "permission denied for database" in error.message


async def plan_database(
    connection: Connection, role: str, schemas: Iterable[str], joining: Iterable[str], owning: bool
) -> tuple[Missing, ...]:
    """The rights that `ensure_database` would not be able to grant. Nothing is changed.

    `joining`: the owners that the role will be a member of, whose rights it then has too.
    """
    exists = (await _role(connection, role))["oid"] is not None
    having = [*joining, role if exists else "public"]
    lacking = [
        right
        for right in await _rights(connection, schemas, owning)
        if not any([await _has(connection, name, right) for name in having])
    ]
    grantors = await out_of_reach(connection, [right.owner for right in lacking])
    missing = [_missing(connection, right, grantors) for right in lacking if right.owner in grantors]
    return tuple({it.statement: it for it in missing}.values())


def _missing(connection: Connection, right: _Right, grantors: Mapping[str, tuple[str, ...]]) -> Missing:
    """A right that the app may not grant: what lets the app grant it, or who can grant it.

    Nobody can grant an administrator of the server, but it can hand its database to `azure_pg_admin`, which all
    administrators and the app are members of.
    """
    if grantors[right.owner]:
        names = sql.Identifier(right.owner), sql.Identifier(connection.info.user)
        return Missing(
            right.subject,
            sql.SQL("GRANT {} TO {} WITH ADMIN OPTION").format(*names).as_string(connection) + ";",
            grantors[right.owner],
        )
    kind, name = ("SCHEMA", right.name) if right.kind == "SCHEMA" else ("DATABASE", connection.info.dbname)
    statement = sql.SQL("ALTER {} {} OWNER TO azure_pg_admin").format(sql.SQL(kind), sql.Identifier(name))
    return Missing(right.subject, statement.as_string(connection) + ";", (right.owner,))


async def ensure_database(
    connection: Connection, role: str, schemas: Iterable[str], owning: bool = True
) -> tuple[Missing, ...]:
    """Create the extension and grant the role its rights in the connection's database.

    The rights are CONNECT and CREATE on the database, and USAGE on `schemas`; CREATE on them too where the role is to
    be the tables' owner (`owning`). The extension is created where the server offers it. Returns the rights that the
    app may not grant. Raises `Blocked` with code `SchemaTaken`.
    """
    await extension.members(connection)
    missing: list[Missing] = []
    for right in await _rights(connection, schemas, owning):
        if await _holds(connection, role, right):
            continue
        statement = right.statement(role)
        try:
            with explained(f"Granting {right.subject}"):
                async with connection.transaction(), borrowed(connection, [right.owner]):
                    if right.privilege:
                        async with acting_as(connection, right.owner):
                            await connection.execute(statement)
                    else:
                        await extension.create(connection)
        except Blocked as error:
            if isinstance(error.__cause__, psycopg.Error) and not of_postgresql(error.__cause__):
                raise
        if not await _has(connection, role, right):  # a grant without the grant option is a warning, no error
            run_as = (right.owner, *(await out_of_reach(connection, [right.owner])).get(right.owner, ()))
            missing.append(Missing(right.subject, statement.as_string(connection) + ";", run_as))
    return tuple(missing)


async def verify(connection: Connection, schemas: Iterable[str], tables: Sequence[TableName]) -> tuple[str, ...]:
    """The rights that the role of this connection lacks, as PostgreSQL shows them to the role itself.

    Each right is in the form `RIGHTS OF THE OWNER OF TABLE public.orders`: PostgreSQL lets a member of the owner
    publish the table too.
    """
    names = {"schemas": [table.schema for table in tables], "names": [table.name for table in tables]}
    cursor = await connection.execute(
        _LACKING, {**names, "usable_schemas": sorted(set(schemas)), "cdc_admin": CDC_ADMIN}
    )
    return tuple(row["lacking"] for row in await cursor.fetchall())


async def release_database(connection: Connection, role: str) -> None:
    """Revoke the role's rights in the connection's database.

    Also drops the extension, if the app created it and no publication is tracked any more. Raises `Blocked` with code
    `NotPermitted` or `SchemaTaken`.
    """
    with explained(f"Revoking the rights of role {role!r} in database {connection.info.dbname!r}"):
        tracked = await tracked_publications(connection)
        owner = await database_owner(connection)
        rows = await (await connection.execute(_GRANTED, {"role": role})).fetchall()
        for row in rows:
            grantor = owner if row["grantor"] == "pg_database_owner" else row["grantor"]
            target = sql.SQL(row["kind"]) + sql.Identifier(row["name"])
            async with connection.transaction(), borrowed(connection, [grantor]), acting_as(connection, grantor):
                await connection.execute(sql.SQL("REVOKE ALL ON {} FROM {}").format(target, sql.Identifier(role)))
        if await _owns_the_extension(connection) and not tracked:
            with suppress(errors.DependentObjectsStillExist):
                async with connection.transaction():
                    await connection.execute("DROP EXTENSION azure_cdc")
                    await connection.execute("DROP SCHEMA IF EXISTS azure_cdc")


async def drop_role(connection: Connection, name: str, *, recorded: bool = False) -> None:
    """End the role's sessions and drop it, if it exists. Its tables and databases have to be released before.

    Raises `Blocked` with code `RoleNotOurs`, or with code `RoleStillInUse`, whose message names what still depends on
    the role.
    """
    role = await _role(connection, name)
    if role["oid"] is None:
        return
    if role["comment"] != COMMENT and not recorded:
        raise _not_ours(name)
    with explained(f"Dropping role {name!r}"):
        try:
            async with connection.transaction(), borrowed(connection, [name]):
                await connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", [name]
                )
            await connection.execute(_on("DROP ROLE {}", name))
        except errors.DependentObjectsStillExist as error:
            raise Blocked(
                f"Role {name!r} can't be dropped while objects depend on it: {error.diag.message_detail}",
                code="RoleStillInUse",
                remedy="Give these objects to another owner, or revoke these rights, then release again.",
            ) from error


_SET_ATTRIBUTES: LiteralString = "ALTER ROLE {} LOGIN CREATEDB CREATEROLE REPLICATION"
_SET_COMMENT: LiteralString = "COMMENT ON ROLE {} IS '" + COMMENT.replace("'", "''") + "'"
_GRANT_CDC_ADMIN: LiteralString = "GRANT " + CDC_ADMIN + " TO {}"


class _Right(msgspec.Struct, frozen=True):
    """Something that a database needs: its extension, or a privilege of the fabric role."""

    kind: LiteralString
    """`EXTENSION`, `DATABASE` or `SCHEMA`."""
    name: str
    privilege: LiteralString
    """Empty for the extension, which is created and not granted."""
    owner: str
    """The role that may create or grant it."""

    @property
    def subject(self) -> str:
        return f"{self.privilege} ON {self.kind} {self.name}" if self.privilege else f"{self.kind} {self.name}"

    def statement(self, role: str) -> sql.Composed:
        if not self.privilege:
            return sql.SQL("CREATE {} {}").format(sql.SQL(self.kind), sql.Identifier(self.name))
        return sql.SQL("GRANT {} ON {} {} TO {}").format(
            sql.SQL(self.privilege), sql.SQL(self.kind), sql.Identifier(self.name), sql.Identifier(role)
        )


async def _create_with_password(connection: Connection, name: str, password: str) -> None:
    await connection.execute(_on("CREATE ROLE {} PASSWORD ", name) + _verifier(connection, name, password))


def _verifier(connection: Connection, name: str, password: str) -> sql.Literal:
    """The SCRAM verifier of the password. It is computed here, so that the password itself is never sent."""
    verifier = connection.pgconn.encrypt_password(password.encode(), name.encode(), b"scram-sha-256")
    return sql.Literal(verifier.decode())


def _on(statement: LiteralString, name: str) -> sql.Composed:
    return sql.SQL(statement).format(sql.Identifier(name))


def _not_ours(name: str) -> Blocked:
    return Blocked(
        f"The server has a role {name!r} that this app did not make.",
        code="RoleNotOurs",
        remedy="Name another role in the app setting FABRIC_ROLE, or drop that role.",
    )


def _planted(name: str, strangers: Sequence[str]) -> Blocked:
    """The refusal of a role with the app's comment on it that others can give to anybody."""
    return Blocked(
        f"The server has a role {name!r} that {', '.join(map(repr, strangers))} may grant to anybody, though no "
        "administrator of the server: this app did not make it.",
        code="RoleNotOurs",
        remedy="Find out who made it and why. Then drop that role, or name another one in the app setting FABRIC_ROLE.",
    )


async def _role(connection: Connection, name: str) -> dict[str, Any]:
    row = await (await connection.execute(_ROLE, {"name": name, "cdc_admin": CDC_ADMIN})).fetchone()
    return row or {}


async def _owns_the_extension(connection: Connection) -> bool:
    query = "SELECT 1 FROM pg_extension WHERE extname = 'azure_cdc' AND pg_get_userbyid(extowner) = current_user"
    return await (await connection.execute(query)).fetchone() is not None


async def _rights(connection: Connection, schemas: Iterable[str], owning: bool) -> list[_Right]:
    owner = await database_owner(connection)
    owners = await schema_owners(connection)
    database = connection.info.dbname
    return [
        _Right("EXTENSION", "azure_cdc", "", owner),
        _Right("DATABASE", database, "CONNECT", owner),
        _Right("DATABASE", database, "CREATE", owner),
        *(
            _Right("SCHEMA", schema, privilege, owners[schema])
            for schema in sorted(set(schemas) & set(owners))
            for privilege in (_TO_OWN if owning else _TO_REACH)
        ),
    ]


_TO_REACH: tuple[LiteralString, ...] = ("USAGE",)
_TO_OWN: tuple[LiteralString, ...] = ("USAGE", "CREATE")
"""PostgreSQL demands CREATE on the schema from a new owner."""


async def _has(connection: Connection, role: str, right: _Right) -> bool:
    if right.kind == "EXTENSION":
        return await (await connection.execute(_LACKS_EXTENSION, [right.name])).fetchone() is None
    query = _HAS_DATABASE if right.kind == "DATABASE" else _HAS_SCHEMA
    row = await (await connection.execute(query, [role, right.name, right.privilege])).fetchone()
    return bool(row and row["has"])


async def _holds(connection: Connection, role: str, right: _Right) -> bool:
    """Whether the role, or everybody, was granted the right: the role may leave the roles that it is a member of."""
    if right.kind == "EXTENSION":
        return await _has(connection, role, right)
    query = _HOLDS_DATABASE if right.kind == "DATABASE" else _HOLDS_SCHEMA
    row = await (await connection.execute(query, [right.name, right.privilege, role])).fetchone()
    return row is not None


_HOLDS_DATABASE = sql.SQL("""
    SELECT FROM pg_database d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
    WHERE d.datname = %s AND a.privilege_type = %s AND (a.grantee = 0 OR pg_get_userbyid(a.grantee) = %s)
""")
_HOLDS_SCHEMA = sql.SQL("""
    SELECT FROM pg_namespace n, aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a
    WHERE n.nspname = %s AND a.privilege_type = %s AND (a.grantee = 0 OR pg_get_userbyid(a.grantee) = %s)
""")
_LACKS_EXTENSION = sql.SQL("SELECT 1 FROM pg_available_extensions WHERE name = %s AND installed_version IS NULL")
_HAS_DATABASE = sql.SQL("SELECT has_database_privilege(%s::name, %s, %s) AS has")
_HAS_SCHEMA = sql.SQL("SELECT has_schema_privilege(%s::name, %s, %s) AS has")
_ROLE = sql.SQL("""
    SELECT r.oid::int8 AS oid, shobj_description(r.oid, 'pg_authid') AS comment,
           r.rolcanlogin AND r.rolcreatedb AND r.rolcreaterole AND r.rolreplication AS attributes,
           cdc.oid IS NOT NULL AS cdc_admin_exists,
           r.oid IS NOT NULL AND cdc.oid IS NOT NULL AND pg_has_role(r.oid, cdc.oid, 'USAGE') AS cdc_admin,
           ARRAY(SELECT m.rolname::text FROM pg_auth_members a JOIN pg_roles m ON m.oid = a.member
                 WHERE a.roleid = r.oid AND a.admin_option AND NOT m.rolsuper AND NOT EXISTS (
                     SELECT FROM pg_roles WHERE rolname = 'azure_pg_admin' AND pg_has_role(m.oid, oid, 'MEMBER'))
                 ORDER BY 1) AS strangers
    FROM (VALUES (%(name)s::name)) AS fabric_role (name)
    LEFT JOIN pg_roles r ON r.rolname = fabric_role.name LEFT JOIN pg_roles cdc ON cdc.rolname = %(cdc_admin)s
""")
_GRANTED = sql.SQL("""
    SELECT DISTINCT object.kind, object.name, pg_get_userbyid(a.grantor)::text AS grantor
    FROM (SELECT 'SCHEMA ', nspname::text, nspacl FROM pg_namespace UNION ALL
          SELECT 'DATABASE ', datname::text, datacl FROM pg_database WHERE datname = current_database()
    ) object (kind, name, acl), aclexplode(object.acl) a
    WHERE pg_get_userbyid(a.grantee) = %(role)s
""")
_LACKING = sql.SQL("""
    SELECT lacking FROM (
        SELECT 1, 'REPLICATION' FROM pg_roles WHERE rolname = current_user AND NOT (rolreplication OR rolsuper)
        UNION ALL
        SELECT 2, 'MEMBERSHIP IN ' || rolname FROM pg_roles
        WHERE rolname = %(cdc_admin)s AND NOT pg_has_role(oid, 'USAGE')
        UNION ALL
        SELECT 3, 'CREATE ON DATABASE ' || current_database()
        WHERE NOT has_database_privilege(current_database(), 'CREATE')
        UNION ALL
        SELECT 4, 'USAGE ON SCHEMA ' || nspname FROM pg_namespace
        WHERE nspname = ANY (%(usable_schemas)s::name[]) AND NOT has_schema_privilege(oid, 'USAGE')
        UNION ALL
        SELECT 5, 'RIGHTS OF THE OWNER OF TABLE ' || n.nspname || '.' || c.relname
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE (n.nspname, c.relname) IN (SELECT * FROM unnest(%(schemas)s::name[], %(names)s::name[]))
          AND NOT pg_has_role(c.relowner, 'USAGE')
        UNION ALL
        SELECT 6, 'SELECT ON TABLE ' || n.nspname || '.' || c.relname
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE (n.nspname, c.relname) IN (SELECT * FROM unnest(%(schemas)s::name[], %(names)s::name[]))
          AND NOT has_table_privilege(c.oid, 'SELECT')
    ) rights (position, lacking) ORDER BY position, lacking
""")
