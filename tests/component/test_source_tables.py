"""What the app says of tables, with and without the extension, on real PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from shared.desired.takeover import TableName
from shared.source import connection, tables
from shared.source.connection import Connection
from shared.source.facts import TableReport, TableStatus
from tests.component.application import IDENTITY, PASSWORD, prepare_server
from tests.component.conftest import VERSIONS, Postgres
from tests.component.test_azure_cdc import EXPECTED, TABLES

LIMIT = 1000


@pytest.fixture(params=VERSIONS)
async def found(
    request: pytest.FixtureRequest, postgres_server: Callable[[int], Postgres], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Connection]:
    postgres = postgres_server(request.param)
    prepare_server(postgres)
    monkeypatch.setenv("SSL_CERT_FILE", str(postgres.authority))
    database = postgres.fresh_database(IDENTITY)
    async with connection.connect_as(postgres.server.address, database, IDENTITY, PASSWORD) as found:
        await found.execute("CREATE SCHEMA app")
        yield found


async def create(found: Connection, statements: str) -> None:
    await found.execute("SET search_path = app, pg_catalog")
    await found.execute(statements)  # type: ignore[arg-type]
    await found.execute("RESET search_path")


def codes(report: TableReport) -> dict[str, tuple[str, set[str]]]:
    return {table.name: (table.status, set(table.codes)) for table in report.tables}


@pytest.mark.parametrize("extension", [False, True])
async def test_gives_the_services_codes_with_and_without_the_extension(found: Connection, extension: bool) -> None:
    await create(found, TABLES)
    if extension:
        await found.execute("CREATE EXTENSION azure_cdc")
    report = await tables.report(found, "fabric_user", LIMIT)
    expected = {name: status for name, (status, _) in EXPECTED.items() if name != "view"}
    assert {name: status for name, (status, _) in codes(report).items()} == expected
    for name, (_, found_codes) in codes(report).items():
        listed = set(EXPECTED[name][1])
        assert found_codes == listed if "NOT_REGULAR_TABLE" not in listed else "NOT_REGULAR_TABLE" in found_codes
    assert {table.name for table in report.tables if not table.message} == {"good", "by_index"}
    assert {table.owner for table in report.tables} == {IDENTITY}
    assert {table.name for table in report.eligible} == {
        "good", "by_index", "nullable_index", "partial_index", "partly"
    }  # fmt: skip


async def test_a_level_that_the_service_has_only_since_counts_as_a_warning(
    found: Connection, postgres_server: Callable[[int], Postgres]
) -> None:
    await found.execute("CREATE TABLE app.good (id int PRIMARY KEY)")
    await found.execute("CREATE EXTENSION azure_cdc")
    server = postgres_server(found.info.server_version // 10000).server
    server.execute(
        """CREATE OR REPLACE FUNCTION azure_cdc.get_all_tables_mirror_status(
               OUT table_schema text, OUT table_name text, OUT mirroring_status text, OUT mirroring_data jsonb)
           RETURNS SETOF record LANGUAGE sql AS $$
               SELECT 'app', 'good', 'INFO', '[{"status": "INFO", "status_code": "NEWS"}]'::jsonb $$""",
        database=found.info.dbname,
    )
    report = await tables.report(found, "fabric_user", LIMIT)
    assert codes(report) == {"good": ("WARNING", {"NEWS"})}
    assert report.eligible == (TableName("app", "good"),)


async def test_messages_name_the_columns(found: Connection) -> None:
    await create(found, TABLES)
    messages = {table.name: table.message for table in (await tables.report(found, "fabric_user", LIMIT)).tables}
    assert "document" in messages["partly"]
    assert "a;b, c d" in messages["odd_column"]


async def test_a_selection_tells_what_is_missing_and_leaves_out_the_rest(found: Connection) -> None:
    await create(found, TABLES)
    wanted = [
        TableName("nowhere", "good"),
        TableName("app", "Good"),
        TableName("app", "good"),
        TableName("app", "view"),
    ]
    report = await tables.report(found, "fabric_user", LIMIT, wanted)
    assert {(table.schema, table.name): table.codes for table in report.tables} == {
        ("app", "Good"): ("TABLE_DOES_NOT_EXIST",),
        ("app", "good"): ("HAS_PRIMARY_KEY",),
        ("app", "view"): ("NOT_REGULAR_TABLE",),
        ("nowhere", "good"): ("SCHEMA_DOES_NOT_EXIST",),
    }
    assert report.eligible == (TableName("app", "good"),)


async def test_of_too_many_tables_the_first_by_schema_and_name_are_mirrored(found: Connection) -> None:
    for name in ("b", "c", "d"):
        await create(found, f"CREATE TABLE {name} (id int PRIMARY KEY)")
    await create(found, "CREATE TABLE a (a integer[])")
    report = await tables.report(found, "fabric_user", 2)
    assert [table.name for table in report.eligible] == ["b", "c"]
    assert [(table.name, table.codes) for table in report.tables[3:]] == [("d", ("TABLE_LIMIT_EXCEEDED",))]
    assert "at most 2 tables" in report.tables[3].message


async def test_row_security_that_is_forced_hides_rows_until_a_statement_of_the_remedy_was_run(
    found: Connection,
) -> None:
    role = f"fabric_{found.info.dbname}"
    await create(
        found,
        """
        CREATE TABLE calm (id int PRIMARY KEY); ALTER TABLE calm ENABLE ROW LEVEL SECURITY;
        CREATE TABLE idle (id int PRIMARY KEY); ALTER TABLE idle FORCE ROW LEVEL SECURITY;
        CREATE TABLE "For ced" (id int PRIMARY KEY);
        CREATE TABLE open (id int PRIMARY KEY);
        CREATE TABLE partly (id int PRIMARY KEY);
        CREATE POLICY everybody ON open USING (true);
        CREATE POLICY rest ON partly USING (id > 1);
        CREATE POLICY others ON "For ced" TO azure_pg_admin USING (true);
        ALTER TABLE "For ced" ENABLE ROW LEVEL SECURITY; ALTER TABLE "For ced" FORCE ROW LEVEL SECURITY;
        ALTER TABLE open ENABLE ROW LEVEL SECURITY; ALTER TABLE open FORCE ROW LEVEL SECURITY;
        ALTER TABLE partly ENABLE ROW LEVEL SECURITY; ALTER TABLE partly FORCE ROW LEVEL SECURITY;
        """,
    )

    async def hidden() -> dict[str, TableStatus]:
        report = await tables.report(found, role, LIMIT)
        return {table.name: table for table in report.tables if "ROW_SECURITY_FORCED" in table.codes}

    assert set(await hidden()) == {"For ced", "partly"}
    report = codes(await tables.report(found, role, LIMIT))
    assert report["calm"] == ("OK", {"HAS_PRIMARY_KEY", "ROW_SECURITY"})
    assert report["idle"] == ("OK", {"HAS_PRIMARY_KEY"})
    assert report["partly"][0] == "WARNING"
    assert "CREATE POLICY" not in (await hidden())["partly"].remedy  # nobody can name a role that is not there
    await found.execute(f'CREATE ROLE "{role}"')  # type: ignore[arg-type]
    try:
        for name, which in (("partly", "ALTER TABLE "), ("For ced", "CREATE POLICY ")):
            remedy = (await hidden())[name].remedy.removeprefix(f"Run as {IDENTITY}: ")
            [statement] = [it for it in remedy.split(" Or: ") if it.startswith(which)]
            await found.execute(statement)  # type: ignore[arg-type]
        assert not await hidden()
        await create(
            found,
            f"""
            ALTER TABLE "For ced" NO FORCE ROW LEVEL SECURITY; INSERT INTO "For ced" VALUES (1);
            ALTER TABLE "For ced" FORCE ROW LEVEL SECURITY;
            GRANT "{role}" TO CURRENT_USER; GRANT USAGE ON SCHEMA app TO "{role}"; GRANT ALL ON "For ced" TO "{role}";
            """,
        )
        await found.execute(f'SET ROLE "{role}"')  # type: ignore[arg-type]
        assert len(await (await found.execute('SELECT FROM app."For ced"')).fetchall()) == 1
    finally:
        await found.execute("RESET ROLE")
        await found.execute(f'DROP OWNED BY "{role}"')  # type: ignore[arg-type]
        await found.execute(f'DROP ROLE "{role}"')  # type: ignore[arg-type]


@pytest.mark.parametrize("extension", [False, True])
async def test_the_app_adds_what_the_service_does_not_look_at(found: Connection, extension: bool) -> None:
    await create(
        found,
        """
        CREATE TABLE loose (id int PRIMARY KEY, exact numeric(9, 2), whole numeric(9), anything numeric);
        CREATE TABLE by_generated (id int NOT NULL, twice int GENERATED ALWAYS AS (id * 2) STORED PRIMARY KEY);
        CREATE TABLE by_both (id int NOT NULL UNIQUE, twice int GENERATED ALWAYS AS (id * 2) STORED PRIMARY KEY);
        CREATE TABLE keyless (id int, twice int GENERATED ALWAYS AS (id * 2) STORED);
        CREATE SCHEMA _timescaledb_internal;
        CREATE TABLE measured (at timestamptz PRIMARY KEY);
        CREATE TABLE _timescaledb_internal._hyper_1_1_chunk (PRIMARY KEY (at)) INHERITS (measured);
        CREATE TABLE soon_measured (at timestamptz PRIMARY KEY);
        CREATE FUNCTION blocker() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
        CREATE TRIGGER ts_insert_blocker BEFORE INSERT ON soon_measured FOR EACH ROW EXECUTE FUNCTION blocker();
        """,
    )
    if extension:
        await found.execute("CREATE EXTENSION azure_cdc")
    report = codes(await tables.report(found, "fabric_user", LIMIT))
    newest = found.info.server_version >= 180000
    assert report["loose"] == ("WARNING", {"HAS_PRIMARY_KEY", "NUMERIC_WITHOUT_PRECISION"})
    assert report["by_generated"] == (
        "ERROR" if newest else "WARNING", {"HAS_PRIMARY_KEY", "GENERATED_REPLICA_IDENTITY"}
    )  # fmt: skip
    assert report["by_both"] == ("OK", {"HAS_PRIMARY_KEY"})
    alone = {"NO_INDEX_FULL_IDENTITY"}
    assert report["keyless"] == ("ERROR", alone | {"GENERATED_REPLICA_IDENTITY"}) if newest else ("WARNING", alone)
    assert report["measured"] == report["soon_measured"] == ("ERROR", {"HAS_PRIMARY_KEY", "HYPERTABLE"})
    assert "_hyper_1_1_chunk" not in report
    messages = {table.name: table.message for table in (await tables.report(found, "fabric_user", LIMIT)).tables}
    assert "Columns anything are numeric" in messages["loose"]


async def test_without_the_service_the_newest_list_of_types_counts(found: Connection) -> None:
    await create(found, "CREATE TABLE t (id inet PRIMARY KEY, document jsonb, at interval, place point, flags bit(3))")
    [table] = (await tables.report(found, "fabric_user", LIMIT)).tables
    assert "Columns flags are left out" in table.message
