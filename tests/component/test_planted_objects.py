"""What a user with nothing but CREATE on a database can plant there, on real PostgreSQL: none of it may run as the app.

Every planted object notes in `trap.sprung` who ran it, and makes a role if it may. The tests look at these notes.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, LiteralString

import msgspec
import psycopg
import pytest
from psycopg import sql

from shared.desired.takeover import TableName
from shared.platform.errors import Blocked, Unavailable
from shared.source import connection, extension, ownership, role, slots, tables
from shared.source.connection import Connection
from tests.component.application import IDENTITY, PASSWORD, prepare_server
from tests.component.conftest import Postgres

VERSIONS = [14, 16, 18]


class Scene(msgspec.Struct, frozen=True):
    """A database of an administrator, and a tenant who may connect to it and create schemas in it."""

    postgres: Postgres
    database: str
    tenant: str
    fabric: str

    def plant(self, *statements: LiteralString) -> None:
        """Run statements as the tenant; `{spring}` is the trap, for the body of a function in PL/pgSQL."""
        with self.connect(self.tenant) as found:
            for statement in statements:
                found.execute(sql.SQL(statement).format(spring=SPRING, mallory=sql.Identifier(self.mallory)))

    def connect(self, user: str) -> psycopg.Connection[Any]:
        found: psycopg.Connection[Any] = self.postgres.connect(self.database, user, PASSWORD)
        return found

    def control_plane(self, statement: LiteralString, *names: str) -> list[dict[str, Any]]:
        composed = sql.SQL(statement).format(*map(sql.Identifier, names))
        return self.postgres.server.execute(composed, database=self.database)

    @property
    def mallory(self) -> str:
        return f"mallory_of_{self.tenant}"

    @property
    def sprung(self) -> list[dict[str, Any]]:
        """Who ran planted code, and what; and the roles that it made."""
        notes = self.control_plane("SELECT * FROM trap.sprung")
        return notes + self.postgres.server.execute("SELECT rolname FROM pg_roles WHERE rolname = %s", (self.mallory,))


SPRING = sql.SQL("""
    INSERT INTO trap.sprung VALUES (current_user, session_user, 'planted');
""")


@pytest.fixture(params=VERSIONS)
def scene(
    request: pytest.FixtureRequest, postgres_server: Callable[[int], Postgres], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Scene]:
    postgres = postgres_server(request.param)
    prepare_server(postgres)
    monkeypatch.setenv("SSL_CERT_FILE", str(postgres.authority))
    tag = secrets.token_hex(3)
    scene = Scene(postgres, postgres.fresh_database(), f"tenant_{tag}", f"fabric_{tag}")
    names = sql.Identifier(scene.tenant), sql.Literal(PASSWORD)
    postgres.server.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(*names))
    scene.control_plane("GRANT CONNECT, CREATE ON DATABASE {} TO {}", scene.database, scene.tenant)
    scene.plant(
        "CREATE SCHEMA trap",
        "CREATE TABLE trap.sprung (run_as text, logged_in_as text, what text)",
        "GRANT USAGE ON SCHEMA trap TO PUBLIC",
        "GRANT INSERT ON trap.sprung TO PUBLIC",
    )
    yield scene
    reset(scene)
    scene.control_plane("DROP ROLE IF EXISTS {}", scene.mallory)


def reset(scene: Scene) -> None:
    """Take back what the database sets for every session, the control plane's too."""
    scene.postgres.server.execute(sql.SQL("ALTER DATABASE {} RESET ALL").format(sql.Identifier(scene.database)))


@pytest.fixture
async def found(scene: Scene) -> AsyncIterator[Connection]:
    """A session of the app."""
    async with session(scene) as found:
        yield found


def session(scene: Scene) -> Any:
    return connection.connect_as(scene.postgres.server.address, scene.database, IDENTITY, PASSWORD)


FUNCTIONS: tuple[LiteralString, ...] = (
    """CREATE FUNCTION azure_cdc.get_all_tables_mirror_status(
           OUT table_schema text, OUT table_name text, OUT mirroring_status text, OUT mirroring_data jsonb)
       RETURNS SETOF record LANGUAGE plpgsql AS $$ BEGIN {spring} CREATE ROLE {mallory}; RETURN; END $$""",
    """CREATE FUNCTION azure_cdc.stop_publication(name text) RETURNS void
       LANGUAGE plpgsql AS $$ BEGIN {spring} CREATE ROLE {mallory}; END $$""",
    """CREATE FUNCTION azure_cdc.check_prerequisites(OUT status text, OUT data jsonb)
       LANGUAGE plpgsql AS $$ BEGIN {spring} status := 'OK'; END $$""",
    """CREATE FUNCTION azure_cdc.path() RETURNS text
       LANGUAGE plpgsql AS $$ BEGIN {spring} RETURN 'here'; END $$""",
    """CREATE VIEW azure_cdc.tracked_publications AS
       SELECT oid AS publication_id, azure_cdc.path() AS destination_path, true AS active FROM pg_publication""",
    "GRANT USAGE ON SCHEMA azure_cdc TO PUBLIC",
    "GRANT ALL ON ALL TABLES IN SCHEMA azure_cdc TO PUBLIC",
)


def plant_schema(scene: Scene) -> None:
    """A schema of the extension's name with all that the app calls, and a publication that the view tells of."""
    scene.plant("CREATE SCHEMA azure_cdc", *FUNCTIONS)
    scene.control_plane("CREATE PUBLICATION planted")


async def judge(scene: Scene, found: Connection) -> None:
    await tables.report(found, "fabric_user", 1000)


async def look_at_publications(scene: Scene, found: Connection) -> None:
    await slots.tracked_publications(found)


async def prepare(scene: Scene, found: Connection) -> None:
    await role.ensure_database(found, scene.fabric, [])


async def stop(scene: Scene, found: Connection) -> None:
    await slots.stop_publications(found, "azuresu")


async def release(scene: Scene, found: Connection) -> None:
    await role.release_database(found, scene.fabric)


STEPS = [judge, look_at_publications, prepare, stop, release]
type Step = Callable[[Scene, Connection], Awaitable[None]]


@pytest.fixture
def fabric(scene: Scene) -> str:
    """The fabric role, made by the app where the app may."""
    names = sql.Identifier(scene.fabric), sql.Literal(PASSWORD)
    scene.postgres.server.execute(sql.SQL("CREATE ROLE {} LOGIN REPLICATION PASSWORD {}").format(*names))
    scene.control_plane("GRANT azure_cdc_admin TO {}", scene.fabric)
    return scene.fabric


async def refused(step: Awaitable[None]) -> Exception | None:
    """The error of a step; the notes of the trap count first, whether it fails or not."""
    try:
        await step
    except Exception as error:  # noqa: BLE001 - the tests look at it
        return error
    return None


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.usefixtures("fabric")
async def test_a_planted_schema_blocks_each_step_before_anything_of_it_is_called(
    scene: Scene, found: Connection, step: Step
) -> None:
    plant_schema(scene)
    refusal = await refused(step(scene, found))
    assert scene.sprung == []
    assert isinstance(refusal, Blocked)
    assert refusal.code == "SchemaTaken"
    assert scene.tenant in refusal.message
    assert "ALTER SCHEMA azure_cdc RENAME" in refusal.remedy


ALONE: dict[str, tuple[LiteralString, str]] = {
    "a schema with nothing in it": ("CREATE SCHEMA azure_cdc", "schema azure_cdc"),
    "the extension itself": ("CREATE EXTENSION azure_cdc", "extension azure_cdc"),
}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("planted", ALONE)
@pytest.mark.usefixtures("fabric")
async def test_an_empty_schema_or_an_extension_of_the_tenant_is_not_used_either(
    scene: Scene, found: Connection, step: Step, planted: str
) -> None:
    """Its owner could change it a moment after the look at it."""
    statement, named = ALONE[planted]
    scene.plant(statement)
    refusal = await refused(step(scene, found))
    assert isinstance(refusal, Blocked)
    assert refusal.code == "SchemaTaken"
    assert f"the {named} of {scene.tenant!r}" in refusal.message


IN_IT: dict[str, tuple[LiteralString, ...]] = {
    "function": (
        """CREATE FUNCTION azure_cdc.worst_status(json) RETURNS text
           LANGUAGE plpgsql AS $$ BEGIN {spring} RETURN 'OK'; END $$""",
    ),
    "relation": ("CREATE VIEW azure_cdc.tracked_tables_of AS SELECT 1 AS id",),
    "type": ("CREATE TYPE azure_cdc.jsonb AS ENUM ('a')",),
    "operator": (
        """CREATE FUNCTION trap.equal(text, text) RETURNS boolean
           LANGUAGE plpgsql AS $$ BEGIN {spring} RETURN true; END $$""",
        "CREATE OPERATOR azure_cdc.= (LEFTARG = text, RIGHTARG = text, FUNCTION = trap.equal)",
    ),
}


@pytest.mark.parametrize("kind", IN_IT)
@pytest.mark.usefixtures("fabric")
async def test_an_object_among_those_of_the_extension_blocks_too(scene: Scene, found: Connection, kind: str) -> None:
    await role.ensure_database(found, scene.fabric, [])
    assert "get_all_tables_mirror_status" in await extension.members(found)
    scene.control_plane("GRANT CREATE, USAGE ON SCHEMA azure_cdc TO {}", scene.tenant)
    scene.plant(*IN_IT[kind])
    for step in STEPS:
        refusal = await refused(step(scene, found))
        assert scene.sprung == []
        assert isinstance(refusal, Blocked)
        assert refusal.code == "SchemaTaken"
        assert f"the {kind} " in refusal.message
        assert "REVOKE CREATE ON SCHEMA azure_cdc" in refusal.remedy


async def test_a_trigger_on_a_table_of_the_extension_is_not_sprung(scene: Scene, found: Connection) -> None:
    """`stop_publication` deletes from that table as the extension's owner."""
    await role.ensure_database(found, IDENTITY, [])
    scene.plant(
        """CREATE FUNCTION trap.spring() RETURNS trigger
           LANGUAGE plpgsql AS $$ BEGIN {spring} RETURN OLD; END $$"""
    )
    scene.control_plane("GRANT USAGE ON SCHEMA azure_cdc TO {}", scene.tenant)
    scene.control_plane("GRANT TRIGGER ON azure_cdc.tracked_publications TO {}", scene.tenant)
    scene.plant(
        """CREATE TRIGGER planted BEFORE DELETE ON azure_cdc.tracked_publications
           FOR EACH ROW EXECUTE FUNCTION trap.spring()"""
    )
    scene.control_plane("CREATE PUBLICATION planted")
    scene.control_plane(
        "INSERT INTO azure_cdc.tracked_publications (publication_id, destination_path)"
        " SELECT oid, 'landing' FROM pg_publication"
    )
    refusal = await refused(stop(scene, found))
    assert scene.sprung == []
    assert isinstance(refusal, Blocked)
    assert "the function spring of" in refusal.message


async def test_a_schema_that_is_being_made_holds_up_the_extension(scene: Scene, found: Connection) -> None:
    """The tenant's transaction began before the app's look, and ends after it."""
    with scene.connect(scene.tenant) as tenant:
        with tenant.transaction():
            tenant.execute("CREATE SCHEMA azure_cdc")
            with pytest.raises(Unavailable), connection.explained("Creating the extension"):
                async with found.transaction():
                    await extension.create(found)
        with pytest.raises(Blocked, match=scene.tenant):
            await extension.members(found)


async def test_while_the_extension_is_made_nobody_makes_its_schema(scene: Scene, found: Connection) -> None:
    def plant() -> None:
        with pytest.raises((psycopg.errors.UniqueViolation, psycopg.errors.DuplicateSchema)):
            scene.plant("CREATE SCHEMA azure_cdc")

    async with found.transaction():
        await extension.create(found)
        planting = asyncio.create_task(asyncio.to_thread(plant))
        await asyncio.sleep(0.3)
        assert not planting.done()
    await planting
    assert "tracked_publications" in await extension.members(found)


SHADOWS: tuple[LiteralString, ...] = (
    """CREATE FUNCTION trap.same(name, name) RETURNS boolean
       LANGUAGE plpgsql AS $$ BEGIN {spring} RETURN true; END $$""",
    "CREATE OPERATOR trap.= (LEFTARG = name, RIGHTARG = name, FUNCTION = trap.same)",
    """CREATE FUNCTION trap.differ(name, name) RETURNS boolean
       LANGUAGE plpgsql AS $$ BEGIN {spring} RETURN true; END $$""",
    "CREATE OPERATOR trap.<> (LEFTARG = name, RIGHTARG = name, FUNCTION = trap.differ)",
    """CREATE FUNCTION trap.pg_get_userbyid(oid) RETURNS name
       LANGUAGE plpgsql AS $$ BEGIN {spring} RETURN 'me'; END $$""",
    """CREATE FUNCTION trap.has_schema_privilege(name, text, text) RETURNS boolean
       LANGUAGE plpgsql AS $$ BEGIN {spring} RETURN true; END $$""",
    """CREATE FUNCTION trap.pg_has_role(name, text) RETURNS boolean
       LANGUAGE plpgsql AS $$ BEGIN {spring} RETURN true; END $$""",
    """CREATE FUNCTION trap.spring() RETURNS oid
       LANGUAGE plpgsql AS $$ BEGIN {spring} RETURN 1; END $$""",
    "CREATE VIEW trap.pg_roles AS SELECT trap.spring() AS oid, r.rolname, true AS rolsuper FROM pg_catalog.pg_roles r",
    "CREATE VIEW trap.pg_namespace AS SELECT trap.spring() AS oid, nspname, nspowner FROM pg_catalog.pg_namespace",
    "CREATE VIEW trap.pg_class AS SELECT trap.spring() AS relowner, oid, relname FROM pg_catalog.pg_class",
    "CREATE DOMAIN trap.regclass AS text CHECK (trap.spring() = 1)",
    "GRANT SELECT ON ALL TABLES IN SCHEMA trap TO PUBLIC",
)
SETTINGS: dict[LiteralString, LiteralString] = {
    "search_path": "trap, pg_catalog",
    "role": "{fabric}",
    "local_preload_libraries": "nothing_there",
    "standard_conforming_strings": "off",
    "default_transaction_isolation": "'serializable'",
    "default_transaction_read_only": "on",
    "default_transaction_deferrable": "on",
    "statement_timeout": "'1ms'",
    "lock_timeout": "'1ms'",
    "idle_session_timeout": "'1ms'",
    "idle_in_transaction_session_timeout": "'1ms'",
    "client_encoding": "'LATIN1'",
    "datestyle": "'SQL, DMY'",
}
SETTINGS_17: dict[LiteralString, LiteralString] = {"transaction_timeout": "'50ms'"}
"""From PostgreSQL 17 on."""


async def whole_way(scene: Scene, table: TableName) -> None:
    """What the app does in a database from the first look to the release."""
    async with session(scene) as found:
        report = await tables.report(found, "fabric_user", 1000, [table])
        assert report.eligible == (table,)
        await slots.tracked_publications(found)
        await slots.slots_by_database(found)
        await slots.slots_in_use(found, scene.fabric, [])
        takeover = await ownership.plan_take(found, scene.fabric, report.eligible)
        assert [former.name for former in takeover.tables] == [table]
        assert await role.ensure_database(found, scene.fabric, ["shop"]) == ()
        await tables.report(found, "fabric_user", 1000)
        await ownership.apply_take(found, takeover)
        async with connection.connect_as(found.info.host, scene.database, scene.fabric, PASSWORD) as fabric:
            assert await role.verify(fabric, ["shop"], report.eligible) == ()
        await slots.stop_publications(found, scene.fabric)
        await ownership.give_back(found, takeover)
        await role.release_database(found, scene.fabric)


def shop(scene: Scene) -> TableName:
    """A table of the tenant in a schema of its own, within reach of the app."""
    scene.plant("CREATE SCHEMA shop", "CREATE TABLE shop.orders (id int PRIMARY KEY)")
    scene.control_plane("GRANT {} TO azure_pg_admin WITH ADMIN OPTION", scene.tenant)
    scene.control_plane("GRANT {} TO azure_pg_admin WITH ADMIN OPTION", scene.fabric)
    return TableName("shop", "orders")


@pytest.mark.usefixtures("fabric")
async def test_nothing_that_shadows_the_catalogue_runs_whatever_the_database_sets(scene: Scene) -> None:
    """The owner of a database may set all this for every session in it."""
    table = shop(scene)
    scene.plant(*SHADOWS)
    settings = SETTINGS | (SETTINGS_17 if scene.postgres.version >= 17 else {})
    for name, value in settings.items():
        setting = sql.SQL("ALTER DATABASE {} SET {} = ").format(sql.Identifier(scene.database), sql.SQL(name))
        scene.postgres.server.execute(setting + sql.SQL(value).format(fabric=sql.Identifier(scene.fabric)))
    async with session(scene) as found:
        for name, value in settings.items():
            row = await (await found.execute("SELECT current_setting(%s) AS value", [name])).fetchone()
            assert row is not None
            assert row["value"] != value.strip("'"), name
        row = await (await found.execute("SELECT current_user::text AS me")).fetchone()
        assert row == {"me": IDENTITY}
    await whole_way(scene, table)
    reset(scene)
    assert scene.sprung == []


@pytest.mark.usefixtures("fabric")
async def test_a_read_only_server_can_be_released(scene: Scene) -> None:
    """As Azure makes a server whose storage is nearly full: SQLSTATE 25006 is what others get."""
    table = shop(scene)
    scene.postgres.server.set_parameters({"default_transaction_read_only": "on"})
    try:
        with scene.connect(IDENTITY) as other, pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            other.execute("CREATE SCHEMA refused")
        await whole_way(scene, table)
        async with session(scene) as found:
            await role.drop_role(found, scene.fabric, recorded=True)
        assert not scene.postgres.server.execute("SELECT FROM pg_roles WHERE rolname = %s", (scene.fabric,))
    finally:
        scene.postgres.server.set_parameters({"default_transaction_read_only": None})
