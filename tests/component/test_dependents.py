"""What depends on the owner of tables, on real PostgreSQL: what the analysis names breaks, and nothing else does.

Every scene has a statement of its application. A database of all scenes is looked at, then taken for the fabric role as
the app does it: exactly the scenes that the analysis names have another outcome now. In a second database the
statements that the analysis gives are run before: there nothing changes.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
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
        curable=False,  # the function that the operator's own calls is in its text alone
    ),
    "statistics": Scene(
        SECRET + INDEXED + "CREATE STATISTICS st ON (secret(v)) FROM t", "ANALYZE t", ("statistics",)
    ),
    "sequence": Scene(
        "CREATE SEQUENCE q; CREATE TABLE t (id int PRIMARY KEY DEFAULT nextval('{schema}.q'))",
        "ALTER SEQUENCE q OWNED BY t.id",
        ("sequence",),
    ),
}
