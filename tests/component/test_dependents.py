"""What depends on the owner of tables, on real PostgreSQL: what the analysis names breaks, and nothing else does.

Every scene has a statement of its application. A database of all scenes is looked at, then taken for the fabric role as
the app does it: exactly the scenes that the analysis names have another outcome now. In a second database the
statements that the analysis gives are run before: there nothing changes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import LiteralString

import msgspec
import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from local.application import SCHEMA_SQL
from shared.decisions import harm
from shared.source import owners
from shared.source.facts import Dependent, DependentKind
from tests.component.application import PASSWORD
from tests.component.conftest import VERSIONS, Postgres
from tests.component.scenery import Scenery, outcomes, plant, scenery
from tests.component.scenes import BROKEN, HARMLESS, Scene

OF_OWNERS = {"set role", "schema"}
"""Kinds of what is true of the owner of all scenes."""


class Told(msgspec.Struct, frozen=True):
    """What the analysis says of a database of scenes, and what they do before and after its tables were taken."""

    made: Scenery
    scenes: dict[str, Scene]
    facts: tuple[Dependent, ...]
    before: dict[str, str]
    after: dict[str, str]

    def harmed(self, scene: str) -> set[str]:
        """The kinds of what the analysis names in a scene."""
        facts = [fact for fact in self.facts if fact.table.schema == scene and fact.kind not in OF_OWNERS]
        return {fact.kind for fact in facts if harm.harms([fact], self.made.version)}


@pytest.fixture(scope="module", params=VERSIONS)
def postgres(request: pytest.FixtureRequest, postgres_server: Callable[[int], Postgres]) -> Iterator[Postgres]:
    found = postgres_server(request.param)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(found.authority))
        yield found


@pytest.fixture(scope="module")
def told(postgres: Postgres) -> Told:
    made = scenery(postgres)
    scenes = {name: scene for name, scene in (BROKEN | HARMLESS).items() if scene.exists_since <= postgres.version}
    plant(made, scenes)
    before = outcomes(made, scenes)

    async def taken() -> tuple[Dependent, ...]:
        await made.prepare()
        facts = await made.look()
        await made.take()
        return facts

    facts = asyncio.run(taken())
    return Told(made, scenes, facts, before, outcomes(made, scenes))


def test_every_scene_works_before(told: Told) -> None:
    assert {name: outcome for name, outcome in told.before.items() if not outcome.startswith(("done", "["))} == {}


def test_the_analysis_names_what_breaks_and_nothing_else(told: Told) -> None:
    version = told.made.version
    expected = {name: scene.expected(version) for name, scene in told.scenes.items()}
    assert {name: told.harmed(name) for name in told.scenes} == expected
    changed = {name: outcome for name, outcome in told.after.items() if outcome != told.before[name]}
    assert changed.keys() == {name for name, kinds in expected.items() if kinds}, changed


@pytest.fixture(scope="module")
def cured(postgres: Postgres) -> Told:
    """The scenes that break, where the statements of the analysis were run before the tables were taken."""
    made = scenery(postgres)
    scenes = {name: scene for name, scene in BROKEN.items() if scene.curable}
    plant(made, scenes)
    before = outcomes(made, scenes)

    async def taken() -> tuple[Dependent, ...]:
        await made.prepare()
        for found in harm.harms(await made.look(), made.version):
            if found.cure.startswith(("ALTER", "GRANT")):
                made.control_plane(sql.SQL(found.cure))  # type: ignore[arg-type]
        facts = await made.look()
        await made.take()
        return facts

    facts = asyncio.run(taken())
    return Told(made, scenes, facts, before, outcomes(made, scenes))


def test_what_the_analysis_advises_prevents_every_harm(cured: Told) -> None:
    facts = [fact for fact in cured.facts if fact.kind not in OF_OWNERS]
    assert harm.harms(facts, cured.made.version) == ()
    assert cured.after == cured.before


@pytest.fixture
def made(postgres: Postgres) -> Scenery:
    return scenery(postgres)


def kinds(facts: Sequence[Dependent], version: int) -> dict[str, set[str]]:
    """The subjects of the facts that are harms on a version, by their kind."""
    found: dict[str, set[str]] = {}
    for fact in facts:
        if harm.harms([fact], version):
            found.setdefault(fact.kind, set()).add(fact.subject)
    return found


def cure(made: Scenery, facts: Sequence[Dependent], kind: DependentKind) -> None:
    """Run what the analysis advises about one kind."""
    for found in harm.harms([fact for fact in facts if fact.kind == kind], made.version):
        made.control_plane(sql.SQL(found.cure))  # type: ignore[arg-type]


DEFAULTS: LiteralString = """
    CREATE SCHEMA s; CREATE SCHEMA later; GRANT USAGE ON SCHEMA s TO {reader};
    ALTER DEFAULT PRIVILEGES GRANT USAGE ON SEQUENCES TO {reader};
    ALTER DEFAULT PRIVILEGES IN SCHEMA s GRANT SELECT ON SEQUENCES TO PUBLIC;
    CREATE TABLE s.t (id serial PRIMARY KEY, v text); GRANT INSERT ON s.t TO {reader};
    CREATE TABLE s.p (id int PRIMARY KEY); INSERT INTO s.p VALUES (1); CREATE TABLE s.c (p int REFERENCES s.p)
"""
FORBIDS: LiteralString = """
    CREATE FUNCTION public.forbid() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''no DDL''; END';
    CREATE EVENT TRIGGER forbid ON ddl_command_start WHEN TAG IN ('ALTER TABLE') EXECUTE FUNCTION public.forbid();
    CREATE EVENT TRIGGER others ON ddl_command_end WHEN TAG IN ('DROP TABLE') EXECUTE FUNCTION public.forbid()
"""
MOVES: LiteralString = "ALTER TABLE s.p SET SCHEMA later; INSERT INTO s.c VALUES (1)"
WRITES: LiteralString = "INSERT INTO s.t (v) VALUES ('x')"
ADDS: LiteralString = "ALTER TABLE s.t ADD COLUMN {name} serial"


async def test_what_comes_later_depends_on_the_owner_too(made: Scenery) -> None:
    """Default privileges, another schema and an event trigger."""
    with made.application() as run:
        assert run("s", DEFAULTS) == "done"
        no_role_yet = kinds(await made.look(), 16)
        assert no_role_yet == {"default privileges": {made.owner}, "schema": {"later"}}
        await made.prepare()
        made.control_plane(FORBIDS)
        facts = await made.look()
        assert kinds(facts, 16) == no_role_yet | {"event trigger": {"public.forbid()"}}
        with pytest.raises(psycopg.errors.RaiseException, match="no DDL"):
            await made.take()
        cure(made, facts, "event trigger")

        def writes() -> str:
            return run("s", WRITES, reader=True, rollback=True)

        assert (run("s", MOVES, rollback=True), run("one", ADDS), writes()) == ("done", "done", "done")
        await made.take()
        assert run("s", MOVES, rollback=True) == "permission denied for schema later"
        cure(made, facts, "schema")
        assert run("s", MOVES, rollback=True) == "done"
        assert (run("two", ADDS), writes()) == ("done", "permission denied for sequence t_of_two_seq")
        assert run("two", "ALTER TABLE s.t DROP COLUMN {name}") == "done"
        cure(made, facts, "default privileges")
        assert (run("three", ADDS), writes()) == ("done", "done")
        assert run("s", "SELECT * FROM s.t_of_three_seq", reader=True).startswith("[")


TENANTS: LiteralString = """
    CREATE SCHEMA s; GRANT USAGE, CREATE ON SCHEMA s TO {reader};
    CREATE TABLE s.docs (id int PRIMARY KEY, tenant text); INSERT INTO s.docs VALUES (1, 'tenant'), (2, 'another');
    ALTER TABLE s.docs ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON s.docs USING (tenant = 'tenant');
    GRANT SELECT, UPDATE ON s.docs TO {reader}; CREATE TABLE s.secret (id int PRIMARY KEY)
"""
READS: LiteralString = "SELECT count(*) FROM s.docs"
READS_SECRETS: LiteralString = "SELECT count(*) FROM s.secret"


async def test_two_owners_would_have_the_rights_of_each_other(made: Scenery) -> None:
    with made.application() as run:
        assert run("s", TENANTS) == "done"
        await made.prepare()
        assert kinds(await made.look(), 16) == {}
        assert run("s", "CREATE TABLE s.scratch (id int PRIMARY KEY)", reader=True) == "done"
        facts = await made.look()
        of_both = {made.owner, made.reader}
        assert kinds(facts, 16) == {"row-level security": {made.reader}, "other owner": of_both}
        assert kinds(facts, 15) == kinds(facts, 16) | {"set role": of_both}
        assert run("s", READS, reader=True) == "[(1,)]"
        assert run("s", READS_SECRETS, reader=True) == "permission denied for table secret"
        await made.take()
        assert await made.look() == ()
        assert (run("s", READS, reader=True), run("s", READS_SECRETS, reader=True)) == ("[(2,)]", "[(0,)]")


async def test_an_owner_that_comes_later_gets_what_the_fabric_role_has_already(made: Scenery) -> None:
    with made.application() as run:
        assert run("s", TENANTS) == "done"
        await made.prepare()
        await made.take()
        assert run("s", "CREATE TABLE s.later (id int PRIMARY KEY)") == "done"
        assert kinds(await made.look(), 16) == {}
        assert run("s", "CREATE TABLE s.scratch (id int PRIMARY KEY)", reader=True) == "done"
        told = {(fact.subject, fact.object) for fact in await made.look() if fact.kind == "other owner"}
        assert told == {
            (made.owner, f"the tables of {made.reader}"),
            (made.reader, f"the tables of {made.owner}"),
            (made.reader, "the tables that the fabric role owns already"),
        }


async def test_an_owner_without_inheritance_and_a_plain_application(postgres: Postgres) -> None:
    """From 16 on there is nothing to say: the memberships that the app grants are inherited by all."""
    made = scenery(postgres, "NOINHERIT")
    with made.application() as run:
        assert run("sales", SCHEMA_SQL) == "done"
        assert run("sales", "ALTER TABLE orders ENABLE ROW LEVEL SECURITY") == "done"
        await made.prepare()
        facts = await made.look()
        of_owner = {made.owner}
        old = made.version < 16
        assert kinds(facts, made.version) == ({"no inheritance": of_owner, "set role": of_owner} if old else {})
        await made.take()
        for healed in (False, True):
            broken = old and not healed
            assert (run("sales", "SELECT count(*) FROM orders") == "[(0,)]") == broken
            altered = run("sales", "ALTER TABLE orders ADD COLUMN n int", rollback=True)
            assert altered == ("must be owner of table orders" if broken else "done")
            became = run(
                "sales", "SET LOCAL ROLE {fabric}; SELECT rolcreaterole FROM pg_roles WHERE rolname = current_role"
            )
            assert (became == "[(True,)]") == old
            cure(made, facts, "no inheritance")


# Before 16, an apply worker runs as the owner of its subscription.
@pytest.mark.parametrize(
    "postgres", [18, *(pytest.param(version, marks=pytest.mark.exhaustive) for version in (16, 17))], indirect=True
)
async def test_a_subscription_goes_on_for_a_member_of_the_owner_and_with_the_advice_for_another_owner(
    made: Scenery,
) -> None:
    source, slot = made.postgres.fresh_database(), f"of_{made.fabric}"
    login = made.postgres.connection(source) | {"sslmode": "require"}
    del login["sslrootcert"]
    made.control_plane(sql.SQL("GRANT pg_create_subscription TO {}").format(sql.Identifier(made.owner)))
    with (
        made.postgres.connect(source) as publisher,
        made.postgres.connect(made.database, made.owner, PASSWORD) as owner,
    ):
        publisher.execute("CREATE SCHEMA r; CREATE TABLE r.items (id int PRIMARY KEY)")
        publisher.execute("CREATE PUBLICATION up FOR TABLE r.items")
        publisher.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [slot])
        owner.execute("CREATE SCHEMA r; CREATE TABLE r.items (id int PRIMARY KEY)")
        owner.execute(
            sql.SQL(
                "CREATE SUBSCRIPTION {name} CONNECTION {login} PUBLICATION up"
                " WITH (create_slot = false, slot_name = {name}, copy_data = false)"
            ).format(name=sql.Identifier(slot), login=sql.Literal(make_conninfo(**login)))
        )

        async def arrives(row: int) -> bool:
            publisher.execute("INSERT INTO r.items VALUES (%s)", [row])
            for _ in range(100):
                if owner.execute("SELECT FROM r.items WHERE id = %s", [row]).fetchone() is not None:
                    return True
                stopped = "SELECT FROM pg_stat_subscription_stats WHERE subname = %s AND apply_error_count > 0"
                if owner.execute(stopped, [slot]).fetchone() is not None:
                    return False
                await asyncio.sleep(0.1)
            raise AssertionError("nothing arrived, and the worker did not stop")

        try:
            assert await arrives(1)
            await made.prepare()
            async with made.session() as link:
                membership = await owners.plan_join(link, made.fabric, made.owner)
                await owners.join(link, made.fabric, [membership])
                with made.postgres.connect(made.database, made.fabric, PASSWORD) as fabric:
                    fabric.execute("CREATE PUBLICATION up FOR TABLE r.items")
                    assert await arrives(2)
                    fabric.execute("DROP PUBLICATION up")
                await owners.leave(link, made.fabric, [membership])
            facts = await made.look()
            assert kinds(facts, 16) == {"subscription": {made.owner}}
            assert kinds(facts, 15).keys() == {"set role"}
            await made.take()
            assert not await arrives(3)
            cure(made, facts, "subscription")
            assert await made.look() == ()
            made.control_plane("SELECT pg_stat_reset_subscription_stats(NULL)")
            assert await arrives(4)
        finally:
            name = sql.Identifier(slot)
            owner.execute(sql.SQL("ALTER SUBSCRIPTION {} DISABLE").format(name))
            owner.execute(sql.SQL("ALTER SUBSCRIPTION {} SET (slot_name = NONE)").format(name))
            owner.execute(sql.SQL("DROP SUBSCRIPTION {}").format(name))
            for _ in range(100):
                if not publisher.execute(
                    "SELECT FROM pg_replication_slots WHERE slot_name = %s AND active", [slot]
                ).rowcount:
                    break
                await asyncio.sleep(0.1)
            publisher.execute("SELECT pg_drop_replication_slot(%s)", [slot])
