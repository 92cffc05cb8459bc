"""What depends on the owner of tables, on real PostgreSQL: what the analysis names breaks, and nothing else does.

Every scene has a statement of its application. A database of all scenes is looked at, then taken for the fabric role as
the app does it: exactly the scenes that the analysis names have another outcome now. In a second database the
statements that the analysis gives are run before: there nothing changes.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, LiteralString

import msgspec
import psycopg
import pytest
from psycopg import sql

from shared.decisions import harm
from shared.desired.takeover import TableName
from shared.source import connection, ownership, role
from shared.source.connection import Connection
from shared.source.dependents import dependents
from shared.source.facts import Dependent, DependentKind
from tests.component.application import IDENTITY, PASSWORD, prepare_server
from tests.component.conftest import Postgres

VERSIONS = [16, *(pytest.param(version, marks=pytest.mark.exhaustive) for version in (14, 15, 17, 18))]


class Scene(msgspec.Struct, frozen=True):
    """Objects in a schema of their own (the search path), and a statement that uses them."""

    plant: LiteralString
    act: LiteralString
    names: tuple[DependentKind, ...] = ()
    """What the analysis has to name, on the versions `since` to `until`; nothing on others."""
    since: int = 14
    until: int = 18
    curable: bool = True
    """There is a statement that prevents it."""
    as_reader: bool = False
    """Another role than the owner runs the statement."""
    exists_since: int = 14

    def expected(self, version: int) -> set[DependentKind]:
        return set(self.names) if self.since <= version <= self.until else set()


# A function that only its owner's rights let succeed, written as an application would: a look at a settings table.
SECRET: LiteralString = """
    CREATE TABLE settings (at timestamptz DEFAULT now(), v text) PARTITION BY RANGE (at);
    CREATE TABLE settings_d PARTITION OF settings DEFAULT; INSERT INTO settings (v) VALUES ('secret');
    CREATE FUNCTION secret(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS
        'BEGIN PERFORM FROM {schema}.settings; RETURN lower($1); END';
    CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN INSERT INTO {schema}.settings (v) VALUES (''kept''); RETURN coalesce(NEW, OLD); END';
"""
DELETED: LiteralString = """
    CREATE TABLE p (id int PRIMARY KEY); CREATE TABLE c (id int PRIMARY KEY, p int REFERENCES p ON DELETE CASCADE);
    INSERT INTO p VALUES (1), (2); INSERT INTO c VALUES (1, 1), (2, 2);
"""
UPDATED: LiteralString = """
    CREATE TABLE p (id text PRIMARY KEY);
    CREATE TABLE c (id int PRIMARY KEY, v text DEFAULT 'v', p text REFERENCES p ON UPDATE CASCADE ON DELETE SET NULL);
    INSERT INTO p VALUES ('a'), ('b'); INSERT INTO c VALUES (1, 'v', 'a'), (2, 'v', 'b');
"""
INDEXED: LiteralString = """
    CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT g, 'V' || g FROM generate_series(1, 50) g;
"""

BROKEN: dict[str, Scene] = {
    "before_trigger": Scene(
        SECRET + DELETED + "CREATE TRIGGER keep BEFORE DELETE ON c FOR EACH ROW EXECUTE FUNCTION keep()",
        "DELETE FROM p WHERE id = 1",
        ("trigger",),
    ),
    "statement_trigger": Scene(
        SECRET + DELETED + "CREATE TRIGGER keep BEFORE DELETE ON c EXECUTE FUNCTION keep()",
        "DELETE FROM p WHERE id = 1",
        ("trigger",),
    ),
    "after_trigger": Scene(
        SECRET + DELETED + "CREATE TRIGGER keep AFTER DELETE ON c FOR EACH ROW EXECUTE FUNCTION keep()",
        "DELETE FROM p WHERE id = 1",
        ("after trigger",),
        since=18,
    ),
    "trigger_of_a_column": Scene(
        SECRET + UPDATED + "CREATE TRIGGER keep BEFORE UPDATE OF p ON c FOR EACH ROW EXECUTE FUNCTION keep()",
        "UPDATE p SET id = 'x' WHERE id = 'a'",
        ("trigger",),
    ),
    "set_null_with_trigger": Scene(
        SECRET + UPDATED + "CREATE TRIGGER keep BEFORE UPDATE ON c FOR EACH ROW EXECUTE FUNCTION keep()",
        "DELETE FROM p WHERE id = 'a'",
        ("trigger",),
    ),
    "when_of_trigger": Scene(
        SECRET
        + DELETED
        + """ALTER FUNCTION keep() SECURITY DEFINER; CREATE TRIGGER keep BEFORE DELETE ON c FOR EACH ROW
             WHEN (secret(OLD.id::text) IS NOT NULL) EXECUTE FUNCTION keep()""",
        "DELETE FROM p WHERE id = 1",
        ("trigger",),
    ),
    "chain": Scene(
        SECRET
        + DELETED
        + """CREATE TABLE d (id int PRIMARY KEY, c int REFERENCES c ON DELETE CASCADE); INSERT INTO d VALUES (1, 1);
             CREATE TRIGGER keep BEFORE DELETE ON d FOR EACH ROW EXECUTE FUNCTION keep()""",
        "DELETE FROM p WHERE id = 1",
        ("trigger",),
    ),
    "check_constraint": Scene(
        SECRET + UPDATED + "ALTER TABLE c ADD CHECK (secret(v) <> '')",
        "UPDATE p SET id = 'x' WHERE id = 'a'",
        ("check constraint",),
    ),
    "generated_column": Scene(
        SECRET + UPDATED + "ALTER TABLE c ADD COLUMN g text GENERATED ALWAYS AS (secret(p)) STORED",
        "UPDATE p SET id = 'x' WHERE id = 'a'",
        ("generated column",),
    ),
    "set_default": Scene(
        SECRET
        + """CREATE TABLE p (id text PRIMARY KEY); INSERT INTO p VALUES ('a'), ('b');
             CREATE TABLE c (id int PRIMARY KEY, p text DEFAULT secret('A') REFERENCES p ON DELETE SET DEFAULT);
             INSERT INTO c VALUES (1, 'b')""",
        "DELETE FROM p WHERE id = 'b'",
        ("default",),
    ),
    "domain": Scene(
        SECRET
        + """CREATE DOMAIN inner_code AS text CHECK (secret(VALUE) <> ''); CREATE DOMAIN code AS inner_code;
             CREATE TABLE p (id text PRIMARY KEY); INSERT INTO p VALUES ('a');
             CREATE TABLE c (id int PRIMARY KEY, p code REFERENCES p ON UPDATE CASCADE); INSERT INTO c VALUES (1, 'a')""",
        "UPDATE p SET id = 'x'",
        ("domain",),
    ),
    "rule": Scene(
        SECRET
        + "CREATE TABLE t (id int PRIMARY KEY); CREATE RULE also AS ON INSERT TO t DO ALSO INSERT INTO settings (v) "
        "VALUES ('x')",
        "INSERT INTO t VALUES (1)",
        ("rule",),
    ),
    "rule_of_a_condition": Scene(
        SECRET
        + """CREATE TABLE t (id int PRIMARY KEY);
             CREATE RULE never AS ON INSERT TO t WHERE EXISTS (SELECT FROM settings WHERE v = 'none') DO INSTEAD NOTHING""",
        "INSERT INTO t VALUES (1)",
        ("rule",),
    ),
    "rule_under_row_level_security": Scene(
        SECRET
        + """CREATE TABLE t (id int PRIMARY KEY); ALTER TABLE settings ENABLE ROW LEVEL SECURITY;
             CREATE RULE also AS ON INSERT TO t DO ALSO INSERT INTO settings (v) VALUES ('x')""",
        "INSERT INTO t VALUES (1)",
        ("rule",),
        curable=False,
    ),
    "index": Scene(SECRET + INDEXED + "CREATE INDEX ON t (secret(v))", "ANALYZE t", ("index",)),
    "index_without_execute": Scene(
        INDEXED
        + """CREATE FUNCTION norm(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN lower($1); END';
             REVOKE EXECUTE ON FUNCTION norm(text) FROM PUBLIC; CREATE INDEX ON t (norm(v))""",
        "REINDEX TABLE t",
        ("index",),
    ),
    "partial_index": Scene(
        SECRET + INDEXED + "CREATE INDEX ON t (v) WHERE secret(v) <> ''", "REINDEX TABLE t", ("index",)
    ),
    "index_of_an_operator": Scene(
        SECRET
        + INDEXED
        + """CREATE FUNCTION same(text, text) RETURNS boolean LANGUAGE sql IMMUTABLE AS
                 'SELECT {schema}.secret($1) = $2';
             CREATE OPERATOR === (FUNCTION = same, LEFTARG = text, RIGHTARG = text);
             CREATE INDEX ON t ((v OPERATOR({schema}.===) 'x'))""",
        "REINDEX TABLE t",
        ("index",),
    ),
    "statistics": Scene(SECRET + INDEXED + "CREATE STATISTICS st ON (secret(v)) FROM t", "ANALYZE t", ("statistics",)),
    "sequence": Scene(
        "CREATE SEQUENCE q; CREATE TABLE t (id int PRIMARY KEY DEFAULT nextval('{schema}.q'))",
        "ALTER SEQUENCE q OWNED BY t.id",
        ("sequence",),
    ),
}

HARMLESS: dict[str, Scene] = {
    "trigger_of_its_definer": Scene(
        SECRET
        + DELETED
        + """ALTER FUNCTION keep() SECURITY DEFINER;
             CREATE TRIGGER keep BEFORE DELETE ON c FOR EACH ROW EXECUTE FUNCTION keep()""",
        "DELETE FROM p WHERE id = 1",
    ),
    "trigger_of_the_referenced_table": Scene(
        SECRET + DELETED + "CREATE TRIGGER keep BEFORE DELETE ON p FOR EACH ROW EXECUTE FUNCTION keep()",
        "DELETE FROM p WHERE id = 1",
    ),
    "trigger_without_an_action": Scene(
        SECRET
        + """CREATE TABLE p (id int PRIMARY KEY); CREATE TABLE c (id int PRIMARY KEY, p int REFERENCES p);
             INSERT INTO p VALUES (1);
             CREATE TRIGGER keep BEFORE INSERT OR DELETE ON c FOR EACH ROW EXECUTE FUNCTION keep()""",
        "INSERT INTO c VALUES (1, 1); DELETE FROM c; DELETE FROM p",
    ),
    "trigger_of_another_event": Scene(
        SECRET
        + DELETED
        + """CREATE TRIGGER keep BEFORE INSERT OR UPDATE ON c FOR EACH ROW EXECUTE FUNCTION keep();
             CREATE TRIGGER off BEFORE DELETE ON c FOR EACH ROW EXECUTE FUNCTION keep();
             CREATE TRIGGER far BEFORE DELETE ON c FOR EACH ROW EXECUTE FUNCTION keep();
             ALTER TABLE c DISABLE TRIGGER off; ALTER TABLE c ENABLE REPLICA TRIGGER far""",
        "INSERT INTO c VALUES (3, 1); UPDATE c SET p = 2; DELETE FROM p",
    ),
    "trigger_of_another_column": Scene(
        SECRET + UPDATED + "CREATE TRIGGER keep BEFORE UPDATE OF v ON c FOR EACH ROW EXECUTE FUNCTION keep()",
        "UPDATE p SET id = 'x' WHERE id = 'a'; UPDATE c SET v = 'y'",
    ),
    "built_in_trigger": Scene(
        DELETED
        + "CREATE TRIGGER z BEFORE DELETE ON c FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "UPDATE c SET p = 2",
    ),
    "check_in_a_delete": Scene(
        SECRET + DELETED + "ALTER TABLE c ADD CHECK (secret(id::text) <> ''), ADD COLUMN v text DEFAULT secret('v')",
        "DELETE FROM p WHERE id = 1; INSERT INTO c VALUES (3, 2)",
    ),
    "rule_within_the_mirror": Scene(
        """CREATE TABLE log (id int PRIMARY KEY); CREATE TABLE t (id int PRIMARY KEY);
           CREATE RULE also AS ON INSERT TO t DO ALSO INSERT INTO log VALUES (NEW.id);
           CREATE RULE kept AS ON DELETE TO log DO INSTEAD NOTHING; GRANT INSERT ON t TO {reader}""",
        "INSERT INTO t VALUES (1); DELETE FROM log",
    ),
    "rule_that_calls_a_function": Scene(
        SECRET
        + """CREATE TABLE log (v text PRIMARY KEY); CREATE TABLE t (id int PRIMARY KEY);
             CREATE RULE also AS ON INSERT TO t DO ALSO INSERT INTO log VALUES (secret('x'))""",
        "INSERT INTO t VALUES (1)",
    ),
    "built_in_functions": Scene(
        INDEXED
        + """CREATE INDEX ON t (lower(v)) WHERE length(v) > 0; CREATE STATISTICS st ON (upper(v)), id FROM t;
             ALTER TABLE t ADD CHECK (length(v) < 99), ADD COLUMN g text GENERATED ALWAYS AS (md5(v)) STORED;
             ALTER TABLE t ADD EXCLUDE (id WITH =)""",
        "ANALYZE t; REINDEX TABLE t; CLUSTER t USING t_pkey; CREATE INDEX ON t (upper(v))",
    ),
    "extensions": Scene(
        """CREATE TABLE p (id ext.citext PRIMARY KEY, v text, EXCLUDE USING gist (v WITH =));
           INSERT INTO p VALUES ('A', 'a'); CREATE INDEX ON p USING gin (v ext.gin_trgm_ops);
           CREATE TABLE c (id int PRIMARY KEY, p ext.citext REFERENCES p ON UPDATE CASCADE)""",
        "INSERT INTO c VALUES (1, 'a'); UPDATE p SET id = 'b'; ANALYZE p; REINDEX TABLE p",
    ),
    "enums_and_plain_domains": Scene(
        """CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE DOMAIN code AS text CHECK (length(VALUE) < 9);
           CREATE TABLE p (m mood, d code, PRIMARY KEY (m, d)); INSERT INTO p VALUES ('ok', 'a');
           CREATE TABLE c (id int PRIMARY KEY, m mood, d code, FOREIGN KEY (m, d) REFERENCES p ON UPDATE CASCADE)""",
        "INSERT INTO c VALUES (1, 'ok', 'a'); UPDATE p SET m = 'sad', d = 'b'",
    ),
    "serial_and_identity_columns": Scene(
        """CREATE TABLE t (id serial PRIMARY KEY, n int GENERATED ALWAYS AS IDENTITY); GRANT INSERT ON t TO {reader};
           GRANT USAGE ON SEQUENCE t_id_seq TO {reader}""",
        """INSERT INTO t DEFAULT VALUES; SELECT setval('{schema}.t_id_seq', 9);
           ALTER TABLE t ADD COLUMN s serial, ADD COLUMN i bigint GENERATED BY DEFAULT AS IDENTITY;
           GRANT USAGE ON SEQUENCE t_s_seq TO {reader}; INSERT INTO t DEFAULT VALUES; TRUNCATE t RESTART IDENTITY;
           ALTER SEQUENCE t_s_seq OWNED BY NONE; SELECT nextval('{schema}.t_s_seq')""",
    ),
    "what_readers_do": Scene(
        """CREATE TABLE t (id serial PRIMARY KEY, v text); GRANT INSERT, SELECT, UPDATE ON t TO {reader};
           GRANT USAGE ON SEQUENCE t_id_seq TO {reader}; CREATE VIEW w AS SELECT * FROM t; GRANT SELECT ON w TO {reader}""",
        "INSERT INTO t (v) VALUES ('x'); UPDATE t SET v = 'y'; SELECT v FROM w",
        as_reader=True,
    ),
    "views_and_functions_of_the_owner": Scene(
        """CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a'), (2, 'b');
           ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON t USING (v = 'a');
           CREATE VIEW w AS SELECT * FROM t; CREATE MATERIALIZED VIEW m AS SELECT * FROM t;
           GRANT SELECT ON w TO {reader}; GRANT USAGE ON SCHEMA {schema} TO {reader};
           CREATE FUNCTION grow() RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
               REFRESH MATERIALIZED VIEW {schema}.m; ALTER TABLE {schema}.t ADD COLUMN g int;
               RETURN (SELECT count(*) FROM {schema}.m); END $$""",
        "SELECT grow(); SELECT count(*) FROM w",
        as_reader=True,
    ),
    "view_of_the_invoker": Scene(
        """CREATE TABLE t (id int PRIMARY KEY); GRANT SELECT ON t TO {reader}; INSERT INTO t VALUES (1);
           CREATE VIEW w WITH (security_invoker = true) AS SELECT * FROM t; GRANT SELECT ON w TO {reader}""",
        "SELECT count(*) FROM w",
        as_reader=True,
        exists_since=15,
    ),
    "row_level_security": Scene(
        """CREATE TABLE t (id int PRIMARY KEY, v name); INSERT INTO t VALUES (1, '{reader}'), (2, 'x');
           ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON t USING (v = 'x'); GRANT SELECT ON t TO {reader};
           CREATE TABLE f (id int PRIMARY KEY); INSERT INTO f VALUES (1); ALTER TABLE f ENABLE ROW LEVEL SECURITY;
           ALTER TABLE f FORCE ROW LEVEL SECURITY; CREATE POLICY p ON f TO {owner} USING (true)""",
        "SELECT (SELECT count(*) FROM t) * 10 + (SELECT count(*) FROM f)",
    ),
    "row_level_security_for_a_reader": Scene(
        """CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1), (2); GRANT SELECT ON t TO {reader};
           ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON t TO {reader} USING (id = 1)""",
        "SELECT count(*) FROM t",
        as_reader=True,
    ),
    "changes_of_the_owner": Scene(
        """CREATE TABLE t (id int PRIMARY KEY, v text); CREATE TABLE u (id int PRIMARY KEY REFERENCES t);
           CREATE TABLE parent (id int, v text) PARTITION BY LIST (id); CREATE PUBLICATION {name} FOR TABLE u;
           CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'""",
        """ALTER TABLE t ADD COLUMN n int, ADD UNIQUE (v); CREATE INDEX ON t (v); CREATE STATISTICS st ON id, v FROM t;
           COMMENT ON TABLE t IS 'x'; CREATE TRIGGER n BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION nothing();
           CREATE RULE r AS ON DELETE TO t DO INSTEAD NOTHING; CREATE POLICY p ON t; LOCK TABLE t;
           CREATE TABLE n (id int PRIMARY KEY, t int REFERENCES t ON DELETE CASCADE); CREATE TABLE k () INHERITS (u);
           INSERT INTO t VALUES (1); INSERT INTO n VALUES (1, 1); ALTER TABLE u RENAME TO u2; ALTER TABLE t DROP COLUMN n;
           ALTER TABLE t ENABLE ROW LEVEL SECURITY; ALTER TABLE t DISABLE TRIGGER n; GRANT SELECT ON t TO {reader};
           ALTER PUBLICATION {name} ADD TABLE t; TRUNCATE t CASCADE; ALTER TABLE u2 REPLICA IDENTITY FULL;
           ALTER TABLE k NO INHERIT u2; DROP TABLE n, k""",
    ),
    "partitions_and_children": Scene(
        """CREATE TABLE t (id int PRIMARY KEY, v text); CREATE TABLE parent (id int NOT NULL, v text) PARTITION BY LIST (id);
           CREATE TABLE child () INHERITS (t)""",
        """ALTER TABLE t ADD COLUMN n int; INSERT INTO child VALUES (1, 'x', 2); SELECT * FROM t; ALTER TABLE t DROP COLUMN n;
           ALTER TABLE child NO INHERIT t; ALTER TABLE parent ATTACH PARTITION t DEFAULT; INSERT INTO parent VALUES (2);
           ALTER TABLE parent ADD COLUMN m int""",
    ),
    "transfer_to_the_owner": Scene(
        "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)",
        "ALTER TABLE t OWNER TO {owner}; SELECT * FROM t; DROP TABLE t",
    ),
}


type Run = Callable[..., str]


class Scenery(msgspec.Struct, frozen=True):
    """A database of scenes, one schema for each, and the roles of its application."""

    postgres: Postgres
    database: str
    owner: str
    reader: str
    fabric: str

    @property
    def version(self) -> int:
        return self.postgres.version

    @contextmanager
    def application(self) -> Iterator[Run]:
        """`run(schema, statement)` as the owner: what the last statement returns, or the error.

        `reader=True`: as the reader; `rollback=True`: nothing remains.
        """
        roles = {name: sql.Identifier(getattr(self, name)) for name in ("owner", "reader", "fabric")}
        with (
            self.postgres.connect(self.database, self.owner, PASSWORD) as of_owner,
            self.postgres.connect(self.database, self.reader, PASSWORD) as of_reader,
        ):

            def run(schema: str, statement: LiteralString, *, reader: bool = False, rollback: bool = False) -> str:
                names = {"schema": sql.Identifier(schema), "name": sql.Identifier(f"of_{schema}"), **roles}
                found = of_reader if reader else of_owner
                found.execute(sql.SQL("SET search_path = {}, ext").format(sql.Identifier(schema)))
                try:
                    with found.transaction(force_rollback=rollback):
                        cursor = found.execute(sql.SQL(statement).format(**names))
                        while cursor.nextset():
                            pass
                        return str(cursor.fetchall()) if cursor.description else "done"
                except psycopg.Error as error:
                    return str(error).partition("\n")[0]

            yield run

    def control_plane(self, statement: Any) -> list[dict[str, Any]]:
        return self.postgres.server.execute(statement, None, self.database)

    @property
    def tables(self) -> list[TableName]:
        """The tables that can be mirrored."""
        rows = self.control_plane(
            "SELECT schemaname, tablename FROM pg_tables t JOIN pg_class c ON c.relname = tablename AND"
            " c.relnamespace::regnamespace::text = quote_ident(schemaname) AND relkind = 'r' AND NOT relispartition"
            " WHERE schemaname NOT IN ('pg_catalog', 'information_schema', 'azure_cdc')"
        )
        return [TableName(row["schemaname"], row["tablename"]) for row in rows]

    @asynccontextmanager
    async def session(self, *, creator: bool = False) -> AsyncIterator[Connection]:
        """A session of the app's identity; of a superuser to create roles with REPLICATION on 14 and 15."""
        user, password = IDENTITY, PASSWORD
        if creator and self.version < 16:
            user, password = self.postgres.administrator, self.postgres.password
        async with connection.connect_as(self.postgres.server.address, self.database, user, password) as found:
            yield found

    async def prepare(self) -> None:
        """Make the fabric role and give it its rights on the schemas, as the app does before it takes tables."""
        async with self.session(creator=True) as found:
            await role.ensure_role(found, self.fabric, PASSWORD)
        async with self.session() as found:
            assert await role.ensure_database(found, self.fabric, sorted({table.schema for table in self.tables})) == ()

    async def look(self) -> tuple[Dependent, ...]:
        async with self.session() as found:
            return await dependents(found, self.fabric, self.tables)

    async def take(self) -> None:
        async with self.session() as found:
            takeover = await ownership.plan_take(found, self.fabric, self.tables)
            assert takeover.not_takeable == ()
            await ownership.apply_take(found, takeover)


def scenery(postgres: Postgres, owner_options: LiteralString = "") -> Scenery:
    prepare_server(postgres)
    tag = secrets.token_hex(3)
    made = Scenery(postgres, postgres.fresh_database(), f"owner {tag}", f"reader_{tag}", f"fabric_{tag}")
    for name, options in ((made.owner, owner_options), (made.reader, "")):
        create_role(made, name, options)
    made.control_plane(
        sql.SQL("GRANT CREATE ON DATABASE {} TO {}").format(*map(sql.Identifier, (made.database, made.owner)))
    )
    for statement in ("CREATE SCHEMA ext", "GRANT USAGE ON SCHEMA ext TO PUBLIC"):
        made.control_plane(statement)
    for extension in ("citext", "pg_trgm", "btree_gist"):
        made.control_plane(sql.SQL("CREATE EXTENSION {} SCHEMA ext").format(sql.Identifier(extension)))
    return made


def create_role(made: Scenery, name: str, options: LiteralString = "") -> None:
    role_name, password = sql.Identifier(name), sql.Literal(PASSWORD)
    made.control_plane(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {} ").format(role_name, password) + sql.SQL(options))
    made.control_plane(sql.SQL("GRANT {} TO azure_pg_admin WITH ADMIN OPTION").format(role_name))


def plant(made: Scenery, scenes: dict[str, Scene]) -> None:
    with made.application() as run:
        for name, scene in scenes.items():
            run(name, "CREATE SCHEMA {schema}; GRANT USAGE ON SCHEMA {schema} TO {reader}")
            assert run(name, scene.plant) == "done", name


def outcomes(made: Scenery, scenes: dict[str, Scene]) -> dict[str, str]:
    with made.application() as run:
        return {name: run(name, scene.act, reader=scene.as_reader, rollback=True) for name, scene in scenes.items()}


class Told(msgspec.Struct, frozen=True):
    """What the analysis says of a database of scenes, and what they do before and after its tables were taken."""

    made: Scenery
    scenes: dict[str, Scene]
    facts: tuple[Dependent, ...]
    before: dict[str, str]
    after: dict[str, str]

    def of(self, scene: str) -> list[Dependent]:
        return [fact for fact in self.facts if fact.table.schema == scene and fact.kind != "set role"]


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


@pytest.mark.parametrize("scene", [*BROKEN, *HARMLESS])
def test_the_analysis_names_what_breaks_and_nothing_else(told: Told, scene: str) -> None:
    if scene not in told.scenes:
        pytest.skip("this version has no such thing")
    expected = told.scenes[scene].expected(told.made.version)
    version = told.made.version
    assert {fact.kind for fact in told.of(scene) if harm.harms([fact], version)} == expected
    assert (told.after[scene] != told.before[scene]) == bool(expected), told.after[scene]
