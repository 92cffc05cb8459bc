"""What the app says of tables, with and without the extension, on real PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from shared.desired.takeover import TableName
from shared.source import connection, tables
from shared.source.connection import Connection
from shared.source.facts import TABLE_LIMIT, TableReport
from tests.component.application import IDENTITY, PASSWORD, prepare_server
from tests.component.conftest import VERSIONS, Postgres
from tests.component.test_azure_cdc import EXPECTED, TABLES


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
    report = await tables.report(found, "fabric_user")
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
    report = await tables.report(found, "fabric_user")
    assert codes(report) == {"good": ("WARNING", {"NEWS"})}
    assert report.eligible == (TableName("app", "good"),)


async def test_messages_name_the_columns(found: Connection) -> None:
    await create(found, TABLES)
    messages = {table.name: table.message for table in (await tables.report(found, "fabric_user")).tables}
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
    report = await tables.report(found, "fabric_user", wanted)
    assert {(table.schema, table.name): table.codes for table in report.tables} == {
        ("app", "Good"): ("TABLE_DOES_NOT_EXIST",),
        ("app", "good"): ("HAS_PRIMARY_KEY",),
        ("app", "view"): ("NOT_REGULAR_TABLE",),
        ("nowhere", "good"): ("SCHEMA_DOES_NOT_EXIST",),
    }
    assert report.eligible == (TableName("app", "good"),)


async def test_of_more_than_500_tables_the_first_by_schema_and_name_are_mirrored(found: Connection) -> None:
    await found.execute(
        "DO $$BEGIN FOR i IN 1..502 LOOP"
        " EXECUTE format('CREATE TABLE app.t%s (id int PRIMARY KEY)', lpad(i::text, 3, '0')); END LOOP; END$$"
    )
    await found.execute("CREATE TABLE app.t000 (a json)")
    report = await tables.report(found, "fabric_user")
    assert len(report.eligible) == TABLE_LIMIT
    exceeded = [table for table in report.tables if "TABLE_LIMIT_EXCEEDED" in table.codes]
    assert [table.name for table in exceeded] == ["t501", "t502"]
    assert "500" in exceeded[0].message
