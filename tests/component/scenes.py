"""Small applications, each with a statement that a change of the owner of its tables breaks, or leaves as it is."""

from __future__ import annotations

from typing import LiteralString

import msgspec

from shared.source.facts import DependentKind


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
    "deferred_trigger": Scene(
        SECRET
        + DELETED
        + """CREATE CONSTRAINT TRIGGER keep AFTER DELETE ON c DEFERRABLE INITIALLY DEFERRED
             FOR EACH ROW EXECUTE FUNCTION keep()""",
        "DELETE FROM p WHERE id = 1; SET CONSTRAINTS ALL IMMEDIATE",
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
             CREATE TABLE c (id int PRIMARY KEY, p code REFERENCES p ON UPDATE CASCADE);
             INSERT INTO c VALUES (1, 'a')""",
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
             CREATE RULE never AS ON INSERT TO t WHERE EXISTS (SELECT FROM settings WHERE v = 'x')
                 DO INSTEAD NOTHING""",
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
    "rule_under_forced_row_level_security": Scene(
        """CREATE TABLE log (v text); CREATE TABLE t (id int PRIMARY KEY); ALTER TABLE log ENABLE ROW LEVEL SECURITY;
           ALTER TABLE log FORCE ROW LEVEL SECURITY; CREATE POLICY p ON log TO {owner} USING (true);
           CREATE RULE also AS ON INSERT TO t DO ALSO INSERT INTO log VALUES ('x')""",
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
    "range_type": Scene(
        SECRET
        + """CREATE FUNCTION distance(float8, float8) RETURNS float8 LANGUAGE plpgsql IMMUTABLE AS
                 'BEGIN PERFORM FROM {schema}.settings; RETURN $1 - $2; END';
             CREATE TYPE span AS RANGE (subtype = float8, subtype_diff = distance); CREATE DOMAIN short AS span;
             CREATE TABLE t (id int PRIMARY KEY, r short);
             INSERT INTO t SELECT g, span(g, g + 1) FROM generate_series(1, 9) g""",
        "ANALYZE t",
        ("range type",),
    ),
    "extension_out_of_reach": Scene(
        """CREATE TABLE p (id hidden.ltree PRIMARY KEY); INSERT INTO p VALUES ('a');
           CREATE TABLE c (id int PRIMARY KEY, p hidden.ltree REFERENCES p)""",
        "INSERT INTO c VALUES (1, 'a')",
        ("foreign key",),
    ),
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
    "what_a_schema_out_of_reach_has": Scene(
        """CREATE SCHEMA {name}; CREATE TYPE {name}.mood AS ENUM ('sad', 'ok'); CREATE DOMAIN {name}.code AS text;
           CREATE COLLATION {name}.c FROM "C"; CREATE TEXT SEARCH CONFIGURATION {name}.search (PARSER = "default");
           CREATE TABLE p (m {name}.mood, d {name}.code, v text COLLATE {name}.c, PRIMARY KEY (m, d, v));
           CREATE TABLE c (id int PRIMARY KEY, m {name}.mood, d {name}.code, v text COLLATE {name}.c,
               FOREIGN KEY (m, d, v) REFERENCES p ON UPDATE CASCADE ON DELETE CASCADE);
           CREATE INDEX ON p (to_tsvector('{name}.search', v)); INSERT INTO p VALUES ('ok', 'a', 'b')""",
        """INSERT INTO c VALUES (1, 'ok', 'a', 'b'); UPDATE p SET m = 'sad', d = 'x'; ANALYZE p; REINDEX TABLE p;
           DELETE FROM p""",
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
           GRANT USAGE ON SEQUENCE t_id_seq TO {reader}; CREATE VIEW w AS SELECT * FROM t;
           GRANT SELECT ON w TO {reader}""",
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
           INSERT INTO t VALUES (1); INSERT INTO n VALUES (1, 1); ALTER TABLE u RENAME TO u2;
           ALTER TABLE t DROP COLUMN n; ALTER TABLE t ENABLE ROW LEVEL SECURITY; ALTER TABLE t DISABLE TRIGGER n;
           GRANT SELECT ON t TO {reader};
           ALTER PUBLICATION {name} ADD TABLE t; TRUNCATE t CASCADE; ALTER TABLE u2 REPLICA IDENTITY FULL;
           ALTER TABLE k NO INHERIT u2; DROP TABLE n, k""",
    ),
    "partitions_and_children": Scene(
        """CREATE TABLE t (id int PRIMARY KEY, v text); CREATE TABLE child () INHERITS (t);
           CREATE TABLE parent (id int NOT NULL, v text) PARTITION BY LIST (id)""",
        """ALTER TABLE t ADD COLUMN n int; INSERT INTO child VALUES (1, 'x', 2); SELECT * FROM t;
           ALTER TABLE t DROP COLUMN n; ALTER TABLE child NO INHERIT t;
           ALTER TABLE parent ATTACH PARTITION t DEFAULT; INSERT INTO parent VALUES (2);
           ALTER TABLE parent ADD COLUMN m int""",
    ),
    "transfer_to_the_owner": Scene(
        "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)",
        "ALTER TABLE t OWNER TO {owner}; SELECT * FROM t; DROP TABLE t",
    ),
}
