"""The fabric role and its rights, on real PostgreSQL."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import AsyncIterator, Callable

import pytest
from psycopg import sql
from psycopg.types.json import Jsonb

from shared.platform.errors import Blocked, Unavailable
from shared.source import connection, role, slots
from shared.source.connection import Connection
from shared.source.facts import MAINTENANCE_DATABASE
from shared.source.parameters import Used
from tests.component.application import IDENTITY, PASSWORD, prepare_server
from tests.component.conftest import VERSIONS, Postgres

PRINCIPAL = str(uuid.uuid4())
FIRST, SECOND = secrets.token_urlsafe(30), secrets.token_urlsafe(30)


@pytest.fixture(params=VERSIONS)
def postgres(
    request: pytest.FixtureRequest, postgres_server: Callable[[int], Postgres], monkeypatch: pytest.MonkeyPatch
) -> Postgres:
    postgres = postgres_server(request.param)
    prepare_server(postgres)
    monkeypatch.setenv("SSL_CERT_FILE", str(postgres.authority))
    return postgres


@pytest.fixture
async def found(postgres: Postgres) -> AsyncIterator[Connection]:
    """A connection of who may create the role (see `local.postgres` about 14), to a fresh database."""
    who = (IDENTITY, PASSWORD) if postgres.version >= 16 else (postgres.administrator, postgres.password)
    async with connection.connect_as(postgres.server.address, postgres.fresh_database(), *who) as found:
        yield found


@pytest.fixture
def name() -> str:
    return f'Fabric "{secrets.token_hex(3)}'


def state(postgres: Postgres, name: str) -> list[str]:
    """Which transaction last wrote the role, its memberships, its comment and its label: nothing else changes these."""
    rows = postgres.server.execute(
        """
        SELECT xmin::text FROM pg_authid WHERE rolname = %(name)s
        UNION ALL SELECT xmin::text FROM pg_auth_members WHERE member = to_regrole(quote_ident(%(name)s))
        UNION ALL SELECT xmin::text FROM pg_shdescription WHERE objoid = to_regrole(quote_ident(%(name)s))
        """,
        {"name": name},
    )
    return sorted(row["xmin"] for row in rows)


async def test_creates_the_role_once_and_repairs_what_differs(postgres: Postgres, found: Connection, name: str) -> None:
    await role.ensure_role(found, name, FIRST)
    created = state(postgres, name)
    await role.ensure_role(found, name, FIRST)
    assert len(created) == 3
    assert state(postgres, name) == created
    query = (
        "SELECT rolcanlogin, rolcreatedb, rolcreaterole, rolreplication, rolsuper,"
        " pg_has_role(oid, 'azure_cdc_admin', 'MEMBER') AS admin FROM pg_roles WHERE rolname = %s"
    )
    (row,) = postgres.server.execute(query, (name,))
    assert list(row.values()) == [True, True, True, True, False, True]
    postgres.server.execute(sql.SQL("ALTER ROLE {} NOREPLICATION").format(sql.Identifier(name)))
    postgres.server.execute(sql.SQL("REVOKE azure_cdc_admin FROM {} CASCADE").format(sql.Identifier(name)))
    await role.ensure_role(found, name, FIRST)
    assert postgres.server.execute(query, (name,)) == [row]


@pytest.fixture
async def administrator(postgres: Postgres) -> AsyncIterator[Connection]:
    """A Microsoft Entra administrator in the maintenance database. `PRINCIPAL`'s token is `FIRST`."""
    who = (IDENTITY, PASSWORD) if postgres.version >= 16 else (postgres.administrator, postgres.password)
    own = str(uuid.uuid4())
    postgres.server.execute("SELECT azure_entra.renew(%s)", (Jsonb({PRINCIPAL: FIRST, own: who[1]}),))
    postgres.server.execute("SELECT azure_entra.label(%s, %s, 'service', true)", (who[0], own))
    async with connection.connect_as(postgres.server.address, MAINTENANCE_DATABASE, *who) as found:
        yield found
    postgres.server.execute("DELETE FROM azure_entra.labels WHERE role = %s", (who[0],))


async def test_a_role_that_a_principal_logs_in_as(postgres: Postgres, administrator: Connection, name: str) -> None:
    found, somebody = administrator, str(uuid.uuid4())
    await role.ensure_principal_role(found, name, PRINCIPAL)
    created = state(postgres, name)
    await role.ensure_principal_role(found, name, PRINCIPAL.upper())
    assert state(postgres, name) == created
    assert await role.opens(found, name, FIRST)  # which here is the principal's token
    postgres.server.execute(sql.SQL("ALTER ROLE {} NOREPLICATION").format(sql.Identifier(name)))
    await role.ensure_principal_role(found, name, PRINCIPAL)
    assert postgres.server.execute("SELECT rolreplication AS may FROM pg_roles WHERE rolname = %s", (name,)) == [
        {"may": True}
    ]
    with pytest.raises(Blocked, match=f"is mapped to the principal {PRINCIPAL}, and .* {somebody}") as caught:
        await role.ensure_principal_role(found, name, somebody)
    assert caught.value.code == "RoleNotMapped"
    label = f"""SECURITY LABEL FOR "pgaadauth" ON ROLE {sql.Identifier(name).as_string(found)} IS """
    assert f"{label}'aadauth,oid={somebody},type=service';" in caught.value.remedy
    await role.drop_role(found, name)
    await role.ensure_role(found, name, SECOND)
    postgres.server.execute("DELETE FROM azure_entra.labels WHERE role = %s", (name,))
    with pytest.raises(Blocked, match="is mapped to no Microsoft Entra principal"):
        await role.ensure_principal_role(found, name, PRINCIPAL)


async def test_a_run_cut_between_key_vault_and_the_server_heals(found: Connection, name: str) -> None:
    await role.ensure_role(found, name, FIRST)
    await role.ensure_role(found, name, SECOND)
    assert await role.opens(found, name, SECOND)
    assert not await role.opens(found, name, FIRST)
    with pytest.raises(Blocked) as caught:
        async with connection.connect_as(found.info.host, found.info.dbname, name, FIRST):
            pass
    assert caught.value.code == "LoginRefused"
    assert name in caught.value.message
    assert FIRST not in f"{caught.value.message} {caught.value.remedy} {caught.value.__cause__}"


async def test_a_role_of_somebody_else_is_left_alone_unless_it_is_on_record(
    postgres: Postgres, found: Connection, name: str
) -> None:
    with postgres.connect() as administrator:
        administrator.execute(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(name), sql.Literal(FIRST))
        )
        administrator.execute(sql.SQL("GRANT {} TO azure_pg_admin WITH ADMIN OPTION").format(sql.Identifier(name)))
    for refused in (role.ensure_role(found, name, SECOND), role.drop_role(found, name)):
        with pytest.raises(Blocked, match="did not make") as caught:
            await refused
        assert caught.value.code == "RoleNotOurs"
        assert caught.value.remedy
    assert await role.opens(found, name, FIRST)
    await role.ensure_role(found, name, FIRST, recorded=True)
    await role.ensure_role(found, name, FIRST)  # from now on the comment says that the app may


async def test_a_role_with_the_comment_of_the_app_that_others_may_grant_was_planted(
    postgres: Postgres, found: Connection, name: str
) -> None:
    """From PostgreSQL 16 on, who has CREATEROLE keeps the ADMIN OPTION on every role that it creates."""
    planter = f"planter_{secrets.token_hex(3)}"
    with postgres.connect() as administrator:
        names = sql.Identifier(planter), sql.Literal(PASSWORD)
        administrator.execute(sql.SQL("CREATE ROLE {} LOGIN CREATEROLE PASSWORD {}").format(*names))
    with postgres.connect("postgres", planter, PASSWORD) as link:
        for statement in (
            "CREATE ROLE {}", "COMMENT ON ROLE {} IS {comment}", "GRANT {} TO azure_pg_admin WITH ADMIN OPTION",
            "GRANT {} TO {planter} WITH ADMIN OPTION",
        ):  # fmt: skip
            if postgres.version < 16 or "planter" not in statement:
                others = {"comment": sql.Literal(role.COMMENT), "planter": sql.Identifier(planter)}
                link.execute(sql.SQL(statement).format(sql.Identifier(name), **others))
    with pytest.raises(Blocked, match=planter) as caught:
        await role.ensure_role(found, name, FIRST)
    assert caught.value.code == "RoleNotOurs"
    assert "drop that role" in caught.value.remedy


async def test_no_server_log_ever_shows_the_password(postgres: Postgres, found: Connection, name: str) -> None:
    postgres.server.execute("ALTER SYSTEM SET log_statement = 'all'")
    postgres.server.execute("SELECT pg_reload_conf()")
    try:
        await role.ensure_role(found, name, FIRST)
        assert await role.ensure_password(found, name, SECOND)
    finally:
        postgres.server.execute("ALTER SYSTEM RESET log_statement")
        postgres.server.execute("SELECT pg_reload_conf()")
    log = postgres.server.log.read_text()
    assert FIRST not in log
    assert SECOND not in log


async def test_rights_in_a_database_are_granted_once_and_taken_back(
    postgres: Postgres, found: Connection, name: str
) -> None:
    await role.ensure_role(found, name, FIRST)
    await found.execute("CREATE SCHEMA sales")
    assert await role.ensure_database(found, name, ["sales", "no such schema"]) == ()
    rights = "SELECT xmin::text, nspacl::text FROM pg_namespace UNION ALL SELECT xmin::text, extname FROM pg_extension"
    granted = await (await found.execute(rights)).fetchall()
    assert "azure_cdc" in {row["nspacl"] for row in granted}
    assert await role.ensure_database(found, name, ["sales"]) == ()
    assert await (await found.execute(rights)).fetchall() == granted
    async with connection.connect_as(found.info.host, found.info.dbname, name, FIRST) as fabric:
        assert await role.verify(fabric, ["sales"], []) == ()
    await role.release_database(found, name)
    await role.release_database(found, name)
    async with connection.connect_as(found.info.host, found.info.dbname, name, FIRST) as fabric:
        lacking = await role.verify(fabric, ["sales"], [])
        assert lacking == (f"CREATE ON DATABASE {found.info.dbname}", "USAGE ON SCHEMA sales")
    await role.drop_role(found, name)
    await role.drop_role(found, name)
    assert state(postgres, name) == []
    assert not await role.ensure_password(found, name, SECOND)


async def test_a_role_that_still_owns_something_is_not_dropped(found: Connection, name: str) -> None:
    await role.ensure_role(found, name, FIRST)
    await role.ensure_database(found, name, [])
    async with connection.connect_as(found.info.host, found.info.dbname, name, FIRST) as fabric:
        await fabric.execute("CREATE SCHEMA left_over")
    with pytest.raises(Blocked, match="left_over") as caught:
        await role.drop_role(found, name)
    assert caught.value.code == "RoleStillInUse"


async def test_counts_slots_of_others_and_stops_our_publications(
    postgres: Postgres, found: Connection, name: str
) -> None:
    if postgres.server.parameters.get("wal_level") != "logical":
        postgres.server.set_parameters({"wal_level": "logical"})
        postgres.server.restart()
    await role.ensure_role(found, name, FIRST)
    await role.ensure_database(found, name, [])
    base = await slots.slots_in_use(found, name, [])
    stream = f"mirror_{secrets.token_hex(3)}"
    async with connection.connect_as(found.info.host, found.info.dbname, name, FIRST) as fabric:
        await fabric.execute(sql.SQL("CREATE PUBLICATION {}").format(sql.Identifier(stream)))
        for slot in (stream, stream + "_of_others"):
            await fabric.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [slot])
        await fabric.execute(
            "INSERT INTO azure_cdc.tracked_publications (publication_id, destination_path)"
            " SELECT oid, 'https://onelake' FROM pg_publication WHERE pubname = %s", [stream],
        )  # fmt: skip
    assert await slots.slots_in_use(found, name, []) == Used(base.slots + 2, base.slots + 2)
    assert await slots.slots_in_use(found, name, [found.info.dbname]) == Used(base.slots + 1, base.slots + 1)
    (publication,) = await slots.tracked_publications(found)
    assert (publication.name, publication.owner, publication.active) == (stream, name, True)
    both = (await slots.slots_by_database(found))[found.info.dbname]
    assert [slot.name for slot in both] == [stream, stream + "_of_others"]
    assert all(slot.wal_status == "reserved" and slot.retained_bytes >= 0 for slot in both)
    await slots.stop_publications(found, IDENTITY)
    assert await slots.tracked_publications(found) == (publication,)
    await slots.stop_publications(found, name)
    await slots.stop_publications(found, name)
    assert await slots.tracked_publications(found) == ()
    (left,) = (await slots.slots_by_database(found))[found.info.dbname]
    assert left.name == stream + "_of_others"
    postgres.server.execute("SELECT pg_drop_replication_slot(%s)", (stream + "_of_others",))


async def test_a_server_that_does_not_answer_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "CONNECT_SECONDS", 2)
    with pytest.raises(Unavailable, match=r"127\.0\.0\.254") as caught:
        async with connection.connect_as("127.0.0.254", "postgres", "me", FIRST):
            pass
    assert FIRST not in str(caught.value)


async def test_a_server_with_another_certificate_is_not_trusted(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(Blocked) as caught:
        async with connection.connect_as(postgres.server.address, "postgres", IDENTITY, PASSWORD):
            pass
    assert caught.value.code == "CertificateNotTrusted"


async def test_a_right_password_is_known_where_the_role_may_not_connect(
    postgres: Postgres, found: Connection, name: str
) -> None:
    database = sql.Identifier(found.info.dbname)
    postgres.server.execute(sql.SQL("REVOKE CONNECT ON DATABASE {} FROM PUBLIC").format(database))
    await role.ensure_role(found, name, FIRST)
    created = state(postgres, name)
    await role.ensure_role(found, name, FIRST)
    assert state(postgres, name) == created
    assert await role.ensure_database(found, name, []) == ()
    async with connection.connect_as(found.info.host, found.info.dbname, name, FIRST):
        pass


async def test_a_connection_that_is_cut_is_unavailable(postgres: Postgres) -> None:
    async def cut() -> None:
        async with connection.connect_as(postgres.server.address, "postgres", IDENTITY, PASSWORD) as victim:
            postgres.server.execute("SELECT pg_terminate_backend(%s)", (victim.info.backend_pid,))
            await victim.execute("SELECT 1")

    with pytest.raises(Unavailable, match="was lost"):
        await cut()
