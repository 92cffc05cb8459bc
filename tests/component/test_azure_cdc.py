"""The stack's `azure_cdc` extension in real PostgreSQL 14 and 18: who may install it, and what it says of tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg
import pytest
from psycopg import sql

from local.postgres import PostgresServer
from tests.component.conftest import Postgres

TABLES = """
CREATE TABLE good (id bigserial PRIMARY KEY, at timestamptz, amount numeric(9, 2));
CREATE TABLE by_index (id integer NOT NULL UNIQUE, note text);
CREATE TABLE nullable_index (id integer UNIQUE, note text);
CREATE TABLE partial_index (id integer NOT NULL, note text);
CREATE UNIQUE INDEX ON partial_index (id) WHERE id > 0;
CREATE TABLE partly (id uuid PRIMARY KEY, document integer[]);
CREATE TABLE no_key_odd_type (document integer[]);
CREATE TABLE odd_key (at time with time zone PRIMARY KEY);
CREATE TABLE "odd name" (id integer PRIMARY KEY);
CREATE TABLE odd_column (id integer PRIMARY KEY, "a;b" text, "c d" text);
CREATE UNLOGGED TABLE unlogged (id integer PRIMARY KEY);
CREATE TABLE parts (id integer PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE part PARTITION OF parts FOR VALUES FROM (0) TO (9);
CREATE VIEW view AS SELECT 1 AS id;
"""
EXPECTED = {
    "good": ("OK", ["HAS_PRIMARY_KEY"]),
    "by_index": ("OK", ["HAS_UNIQUE_INDEX"]),
    "nullable_index": ("WARNING", ["NO_INDEX_FULL_IDENTITY"]),
    "partial_index": ("WARNING", ["NO_INDEX_FULL_IDENTITY"]),
    "partly": ("WARNING", ["UNSUPPORTED_DATA_TYPE", "HAS_PRIMARY_KEY"]),
    "no_key_odd_type": (
        "ERROR",
        ["UNSUPPORTED_DATA_TYPE", "UNSUPPORTED_TYPE_IN_REPLICA_IDENTITY", "NO_INDEX_FULL_IDENTITY"],
    ),
    "odd_key": ("ERROR", ["UNSUPPORTED_TYPE_IN_REPLICA_IDENTITY"]),
    "odd name": ("ERROR", ["FORBIDDEN_CHARS_IN_TABLE_NAME", "HAS_PRIMARY_KEY"]),
    "odd_column": ("ERROR", ["FORBIDDEN_CHARS_IN_COLUMN_NAME", "HAS_PRIMARY_KEY"]),
    "unlogged": ("ERROR", ["NOT_REGULAR_TABLE", "HAS_PRIMARY_KEY"]),
    "parts": ("ERROR", ["NOT_REGULAR_TABLE", "HAS_PRIMARY_KEY"]),
    "part": ("ERROR", ["NOT_REGULAR_TABLE", "HAS_PRIMARY_KEY"]),
    "view": ("ERROR", ["NOT_REGULAR_TABLE", "NO_INDEX_FULL_IDENTITY"]),
}


@pytest.fixture(params=[14, 18])
def postgres(request: pytest.FixtureRequest, postgres_server: Callable[[int], Postgres]) -> Postgres:
    return postgres_server(request.param)


def prepare(server: PostgresServer) -> None:
    """Allow and preload the extension."""
    if server.parameters.get("shared_preload_libraries") != "azure_cdc":
        server.set_parameters(
            {"azure.extensions": "pg_trgm, AZURE_CDC", "shared_preload_libraries": "azure_cdc", "wal_level": "logical"}
        )
        server.restart()


@pytest.fixture
def database(postgres: Postgres) -> str:
    """A database with the extension, made by the administrator."""
    prepare(postgres.server)
    name = postgres.fresh_database()
    with postgres.connect(name) as connection:
        connection.execute("CREATE EXTENSION azure_cdc")
    return name


def statuses(connection: psycopg.Connection) -> dict[str, tuple[str, list[str]]]:
    rows = connection.execute("SELECT * FROM azure_cdc.get_all_tables_mirror_status()").fetchall()
    return {name: (status, [entry["status_code"] for entry in data]) for _, name, status, data in rows}


def test_is_installed_only_where_it_is_allowed_and_preloaded(postgres: Postgres) -> None:
    server = postgres.server
    server.set_parameters({"azure.extensions": None, "shared_preload_libraries": None})
    server.restart()
    with postgres.connect(postgres.fresh_database()) as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="not allow-listed"):
            connection.execute("CREATE EXTENSION azure_cdc")
        server.set_parameters({"azure.extensions": "azure_cdc"})
    with (
        postgres.connect(postgres.fresh_database()) as connection,
        pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="shared_preload_libraries"),
    ):
        connection.execute("CREATE EXTENSION azure_cdc")


def test_says_what_the_service_says_of_each_table(postgres: Postgres, database: str) -> None:
    with postgres.connect(database) as connection:
        connection.execute(TABLES)
        assert statuses(connection) == EXPECTED
        answer = connection.execute(
            "SELECT azure_cdc.is_table_mirrorable('public', 'partly'), azure_cdc.is_table_mirrorable('public', 'part')"
        ).fetchone()
        details = connection.execute(
            "SELECT mirroring_data -> 0 -> 'details' FROM azure_cdc.get_all_tables_mirror_status()"
            " WHERE table_name IN ('partly', 'odd_column') ORDER BY table_name"
        ).fetchall()
    assert answer == (True, False)
    assert details == [(["a;b", "c d"],), ({"document": "integer[]"},)]


def test_a_role_that_owns_nothing_is_told_so(postgres: Postgres, database: str) -> None:
    role = f"other_{database}"
    with postgres.connect(database) as administrator:
        administrator.execute("CREATE TABLE theirs (id integer PRIMARY KEY)")
        administrator.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'other' IN ROLE azure_cdc_admin")
    with postgres.connect(database, role, "other") as connection:
        assert statuses(connection)["theirs"] == ("ERROR", ["NOT_TABLE_OWNER", "HAS_PRIMARY_KEY"])
        status, data = connection.execute("SELECT * FROM azure_cdc.check_prerequisites()").fetchone() or ("", [])
    assert status == "ERROR"
    assert {entry["status_code"] for entry in data} >= {"IDENTITY_NOT_CONFIGURED", "NO_CREATE_PRIVILEGE_ON_DATABASE"}


@pytest.fixture
def character(postgres: Postgres) -> Iterator[Callable[[str], None]]:
    """`character("ownership")` gives the extension that character; in the end it has its own again."""
    yield lambda chosen: postgres.server.set_parameters({"local.azure_cdc": chosen})
    postgres.server.set_parameters({"local.azure_cdc": None, "local.azure_cdc_types": None})


def test_membership_in_the_owner_counts_unless_it_insists_on_the_owner(
    postgres: Postgres, database: str, character: Callable[[str], None]
) -> None:
    role, owner = f"fabric_{database}", f"owner_{database}"
    with postgres.connect(database) as administrator:
        administrator.execute(f"CREATE ROLE {owner}")
        administrator.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'other' IN ROLE azure_cdc_admin, {owner}")
        administrator.execute("CREATE TABLE theirs (id integer PRIMARY KEY); CREATE TABLE own (id integer PRIMARY KEY)")
    for table, new in (("theirs", owner), ("own", role)):
        postgres.server.execute(
            sql.SQL("ALTER TABLE {} OWNER TO {}").format(sql.Identifier(table), sql.Identifier(new)), database=database
        )
    good = ("OK", ["HAS_PRIMARY_KEY"])
    for chosen, theirs in (
        ("membership", good),
        ("ownership", ("ERROR", ["NOT_TABLE_OWNER", "HAS_PRIMARY_KEY"])),
        ("membership", good),
    ):
        character(chosen)
        with postgres.connect(database, role, "other") as connection:
            assert statuses(connection) == {"own": good, "theirs": theirs}, chosen


def test_a_silent_preview_cannot_be_asked(postgres: Postgres, character: Callable[[str], None]) -> None:
    prepare(postgres.server)
    character("silent")
    with postgres.connect(postgres.fresh_database()) as connection:
        connection.execute("CREATE EXTENSION azure_cdc; CREATE TABLE t (id integer PRIMARY KEY)")
        for function in ("check_prerequisites", "get_all_tables_mirror_status"):
            with pytest.raises(psycopg.errors.UndefinedFunction, match=function):
                connection.execute(f"SELECT azure_cdc.{function}()")
        mirrorable = connection.execute("SELECT azure_cdc.is_table_mirrorable('public', 't')").fetchone()
    assert mirrorable == (True,)


def test_the_newest_list_of_types_has_more(postgres: Postgres, database: str, character: object) -> None:
    with postgres.connect(database) as connection:
        connection.execute("CREATE TABLE t (id inet PRIMARY KEY, document jsonb, unknown bit)")
        older = statuses(connection)["t"]
    postgres.server.set_parameters({"local.azure_cdc_types": "newest"})
    with postgres.connect(database) as connection:
        newest = statuses(connection)["t"]
    assert older == ("ERROR", ["UNSUPPORTED_DATA_TYPE", "UNSUPPORTED_TYPE_IN_REPLICA_IDENTITY"])
    assert newest == ("WARNING", ["UNSUPPORTED_DATA_TYPE", "HAS_PRIMARY_KEY"])


def test_stopping_a_publication_ends_its_slot(postgres: Postgres, database: str) -> None:
    name = f"mirror_{database}"
    with postgres.connect(database) as connection:
        connection.execute("CREATE TABLE t (id integer PRIMARY KEY)")
        connection.execute(f"CREATE PUBLICATION {name} FOR TABLE t")
        connection.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", (name,))
        postgres.server.execute(
            "INSERT INTO azure_cdc.tracked_publications (publication_id, destination_path)"
            " SELECT oid, 'landing' FROM pg_publication",
            database=database,
        )
        listed = connection.execute("SELECT azure_cdc.list_tracked_publications()").fetchall()
        connection.execute("SELECT azure_cdc.stop_publication(%s)", (name,))
        left = connection.execute(
            "SELECT (SELECT count(*) FROM pg_replication_slots), (SELECT count(*) FROM pg_publication),"
            " (SELECT count(*) FROM azure_cdc.tracked_publications)"
        ).fetchone()
        with pytest.raises(psycopg.errors.UndefinedObject, match="is not tracked"):
            connection.execute("SELECT azure_cdc.stop_publication('nothing')")
    assert listed == [(f"{name},t,t,t,f,1",)]
    assert left == (0, 0, 0)
