"""Mirrors of the Fabric stand-in on real PostgreSQL: what starts, what is counted, what fails and how it is mended."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from psycopg import sql

from tests.component.fabric.callers import Caller, Control, definition, eventually
from tests.component.fabric.source import ORDERS, PASSWORD, ROLE, Mirror, Source
from tests.component.fabric.test_api import refused


@pytest.mark.parametrize("version", [14, 18])
def test_mirror_from_start_to_stop(
    mirror_of: Callable[..., Mirror], source_of: Callable[[int], Source], version: int
) -> None:
    source = source_of(version)
    database = source.database(ORDERS)
    mirror = mirror_of(source, database)
    assert mirror.tables() == {}
    mirror.start()
    mirror.until("Running")

    (slot,) = source.slots(database)
    assert slot["active"]
    assert source.publications(database) == [slot["slot_name"]]
    with source.connect(database) as administrator:
        tracked = administrator.execute(
            "SELECT active, snapshot_done, generation_id, destination_path FROM azure_cdc.tracked_publications"
        ).fetchall()
    assert [row[:3] for row in tracked] == [(True, True, 1)]
    assert mirror.path.rpartition("/")[2] in tracked[0][3]

    snapshot = mirror.tables()["orders"]
    assert (snapshot["status"], snapshot["metrics"]["processedRows"]) == ("Replicating", 100)
    assert "lastSyncLatencyInSeconds" not in snapshot["metrics"]
    with source.connect(database, ROLE, PASSWORD) as application:
        application.execute("UPDATE orders SET note = 'changed' WHERE id <= 10")
        application.execute("DELETE FROM orders WHERE id > 95")
        application.execute("INSERT INTO orders VALUES (1000, 'new')")
    eventually(lambda: mirror.rows("orders"), lambda rows: rows == 100 + 10 + 5 + 1)
    changed = mirror.tables()["orders"]["metrics"]
    assert changed["processedBytes"] > snapshot["metrics"]["processedBytes"]
    assert changed["lastSyncDateTime"] > snapshot["metrics"]["lastSyncDateTime"]
    assert 0 <= changed["lastSyncLatencyInSeconds"] <= 2
    batches = (
        "SELECT completed_batch_id, last_written_lsn <= pg_current_wal_lsn() AS past FROM azure_cdc.tracked_batches"
    )
    eventually(lambda: source.server.execute(batches, database=database), bool)
    assert source.server.execute(batches, database=database)[0] == {"completed_batch_id": 1, "past": True}

    mirror.post("stopMirroring")
    mirror.until("Stopped")
    assert mirror.tables()["orders"]["status"] == "Stopped"
    assert source.slots(database) == []
    assert source.publications(database) == []


def test_wal_is_let_go_of(mirror_of: Callable[..., Mirror], source: Source) -> None:
    database = source.database(ORDERS)
    mirror = mirror_of(source, database)
    mirror.start()
    mirror.until("Running")
    with source.connect(database, ROLE, PASSWORD) as application:
        application.execute("UPDATE orders SET note = repeat('x', 1000)")
    lag = "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn) AS bytes FROM pg_replication_slots"
    eventually(lambda: source.server.execute(lag)[0]["bytes"], lambda behind: behind < 10_000)


def test_starting_again_seeds_again(mirror_of: Callable[..., Mirror], source: Source) -> None:
    database = source.database(ORDERS)
    mirror = mirror_of(source, database)
    mirror.start()
    mirror.until("Running")
    with source.connect(database, ROLE, PASSWORD) as application:
        application.execute("DELETE FROM orders WHERE id > 40")
    eventually(lambda: mirror.rows("orders"), lambda rows: rows == 160)
    mirror.start()
    eventually(lambda: mirror.rows("orders"), lambda rows: rows == 40)
    mirror.until("Running")
    assert len(source.slots(database)) == 1


def test_chosen_tables_and_no_others(mirror_of: Callable[..., Mirror], source: Source) -> None:
    database = source.database(ORDERS + "CREATE TABLE other (id int PRIMARY KEY);")
    mirror = mirror_of(source, database, [("public", "orders"), ("public", "nowhere")])
    mirror.start()
    mirror.until("Running", error=False)
    tables = mirror.tables()
    assert (tables["orders"]["status"], tables["nowhere"]["status"]) == ("Replicating", "Failed")
    assert tables["nowhere"]["error"]["errorCode"] == "TABLE_DOES_NOT_EXIST"
    assert "other" not in tables
    mirror.post("updateDefinition", {"definition": definition(mirror.connection, database, [("public", "other")])})
    eventually(lambda: mirror.rows("other"), lambda rows: rows == 0)
    published = "SELECT tablename FROM pg_publication_tables"
    eventually(
        lambda: [row["tablename"] for row in source.server.execute(published, database=database)],
        lambda names: names == ["other"],
    )
    assert list(mirror.tables()) == ["other"]


def test_new_gone_and_spoilt_tables(mirror_of: Callable[..., Mirror], source: Source) -> None:
    database = source.database(ORDERS)
    mirror = mirror_of(source, database)
    mirror.start()
    mirror.until("Running")
    with source.connect(database, ROLE, PASSWORD) as application:
        application.execute("CREATE TABLE later (id int PRIMARY KEY)")
        application.execute("INSERT INTO later SELECT generate_series(1, 7)")
        eventually(lambda: mirror.rows("later"), lambda rows: rows == 7)
        application.execute("INSERT INTO later SELECT generate_series(8, 10)")
        eventually(lambda: mirror.rows("later"), lambda rows: rows == 10)
        application.execute('ALTER TABLE later ADD "two words" text')
        spoilt = eventually(lambda: mirror.tables()["later"], lambda table: table["status"] == "Failed")
        assert spoilt["error"]["errorCode"] == "FORBIDDEN_CHARS_IN_COLUMN_NAME"
        assert "two words" in spoilt["error"]["message"]
        application.execute('ALTER TABLE later DROP "two words"')
        eventually(lambda: mirror.tables()["later"], lambda table: "error" not in table)
        application.execute("DROP TABLE later")
        gone = eventually(lambda: mirror.tables()["later"], lambda table: table["status"] == "Failed")
        assert gone["error"]["errorCode"] == "TABLE_DOES_NOT_EXIST"
    mirror.until("Running")


def test_new_table_of_another_owner_fails_alone(mirror_of: Callable[..., Mirror], source: Source) -> None:
    database = source.database(ORDERS)
    mirror = mirror_of(source, database)
    mirror.start()
    mirror.until("Running")
    with source.connect(database) as administrator:
        administrator.execute("CREATE TABLE theirs (id int PRIMARY KEY)")
        eventually(lambda: mirror.tables().get("theirs", {}), lambda table: table.get("status") == "Failed")
        assert mirror.tables()["theirs"]["error"]["errorCode"] == "NOT_TABLE_OWNER"
        assert mirror.status() == {"status": "Running"}
        administrator.execute(f"ALTER TABLE theirs OWNER TO {ROLE}")
    eventually(lambda: mirror.rows("theirs"), lambda rows: rows == 0)


def test_tables_without_a_key_stay_writable(mirror_of: Callable[..., Mirror], source: Source) -> None:
    database = source.database(
        "CREATE TABLE bare (note text); CREATE TABLE by_index (id int NOT NULL UNIQUE, note text);"
    )
    mirror = mirror_of(source, database)
    mirror.start()
    mirror.until("Running")
    with source.connect(database, ROLE, PASSWORD) as application:
        for table in ("bare (note) VALUES ('a')", "by_index VALUES (1, 'a')"):
            application.execute(f"INSERT INTO {table}")
        application.execute("UPDATE bare SET note = 'b'")
        application.execute("UPDATE by_index SET note = 'b'")
    eventually(lambda: (mirror.rows("bare"), mirror.rows("by_index")), lambda rows: rows == (2, 2))


def test_odd_names(mirror_of: Callable[..., Mirror], source: Source) -> None:
    database = source.database('CREATE SCHEMA "Ünï-\'x"; CREATE TABLE "Ünï-\'x"."Tä""ble;" (id int PRIMARY KEY);')
    mirror = mirror_of(source, database)
    mirror.start()
    failed = mirror.until("Stopped", error=True)
    assert failed["error"]["message"] == "Internal error"
    with source.connect(database, ROLE, PASSWORD) as application:
        application.execute('CREATE TABLE "Ünï-\'x"."Tä""ble%s" (id int PRIMARY KEY)')
    mirror.start()
    mirror.until("Running")
    assert mirror.tables()['Tä"ble%s']["status"] == "Replicating"
    assert mirror.tables()['Tä"ble;']["error"]["errorCode"] == "FORBIDDEN_CHARS_IN_TABLE_NAME"


@pytest.mark.parametrize(
    ("spoil", "cause"),
    [
        ("REVOKE azure_cdc_admin FROM fabric_user", "azure_cdc_admin"),
        ("ALTER ROLE fabric_user NOREPLICATION", "REPLICATION"),
        ("REVOKE CREATE ON DATABASE {} FROM fabric_user", "CREATE"),
        ("ALTER TABLE orders OWNER TO pgadmin", "must be owner of table orders"),
    ],
)
def test_what_is_missing_fails_the_start_and_leaves_nothing(
    mirror_of: Callable[..., Mirror], source: Source, spoil: str, cause: str
) -> None:
    database = source.database(ORDERS)
    mirror = mirror_of(source, database)
    with source.connect(database) as administrator:
        administrator.execute(sql.SQL(spoil).format(sql.Identifier(database)))  # type: ignore[arg-type]
        try:
            mirror.start()
            error = mirror.until("Stopped", error=True)["error"]
        finally:
            administrator.execute("GRANT azure_cdc_admin TO fabric_user")
            administrator.execute("ALTER ROLE fabric_user REPLICATION")
    assert error["message"] == "Internal error"
    assert cause in error["moreDetails"][0]["message"]
    assert source.slots(database) == []
    assert source.publications(database) == []


def test_database_without_tables_does_not_come_up(mirror_of: Callable[..., Mirror], source: Source) -> None:
    mirror = mirror_of(source, source.database("CREATE VIEW nothing AS SELECT 1 AS id"))
    mirror.start()
    error = mirror.until("Stopped", error=True)["error"]
    assert "no table" in error["moreDetails"][0]["message"]


def test_restart_of_the_server_interrupts_and_no_change_is_lost(
    mirror_of: Callable[..., Mirror], source: Source
) -> None:
    database = source.database(ORDERS)
    mirror = mirror_of(source, database)
    mirror.start()
    mirror.until("Running")
    source.server.stop()
    try:
        interrupted = mirror.until("Running", error=True)["error"]
    finally:
        source.server.start()
    assert interrupted["isRetriable"]
    with source.connect(database, ROLE, PASSWORD) as application:
        application.execute("DELETE FROM orders")
    mirror.until("Running")
    eventually(lambda: mirror.rows("orders"), lambda rows: rows == 200)


def test_rotated_password_heals_with_the_connection(
    app: Caller, mirror_of: Callable[..., Mirror], source: Source
) -> None:
    database = source.database(ORDERS)
    mirror = mirror_of(source, database)
    mirror.start()
    mirror.until("Running")
    source.server.execute("ALTER ROLE fabric_user PASSWORD 'rotated'")
    try:
        source.server.execute(
            "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE database = %s", (database,)
        )
        failing = eventually(mirror.status, lambda s: s.get("error", {}).get("errorCode") == "IncorrectCredentials")
        assert failing["status"] == "Running"
        change: dict[str, Any] = {"credentials": {"credentialType": "Basic", "username": ROLE, "password": "rotated"}}
        change = {"connectivityType": "ShareableCloud", "credentialDetails": change | {"connectionEncryption": "Any"}}
        assert app.call("PATCH", f"/connections/{mirror.connection}", change).status_code == 200
        mirror.until("Running")
    finally:
        source.server.execute(sql.SQL("ALTER ROLE fabric_user PASSWORD {}").format(sql.Literal(PASSWORD)))


def test_lost_slot_stops_the_mirror_until_it_is_started_again(mirror_of: Callable[..., Mirror], source: Source) -> None:
    database = source.database(ORDERS)
    mirror = mirror_of(source, database)
    mirror.start()
    mirror.until("Running")
    with source.connect(database) as administrator:
        (name,) = source.publications(database)
        administrator.execute("SELECT azure_cdc.stop_publication(%s)", (name,))
    error = mirror.until("Stopped", error=True)["error"]
    assert error["errorCode"] == "ReplicationSlotLost"
    table = mirror.tables()["orders"]
    assert (table["status"], table["error"]["errorCode"]) == ("Failed", "ReplicationSlotLost")
    mirror.start()
    mirror.until("Running")
    assert mirror.rows("orders") == 100


def test_deleted_connection_stops_the_start(app: Caller, mirror_of: Callable[..., Mirror], source: Source) -> None:
    mirror = mirror_of(source, source.database(ORDERS))
    assert app.call("DELETE", f"/connections/{mirror.connection}").status_code == 200
    mirror.start()
    assert mirror.until("Stopped", error=True)["error"]["errorCode"] == "ConnectionNotFound"


def test_paused_capacity_pauses_and_resuming_does_not_resume(
    app: Caller, mirror_of: Callable[..., Mirror], source: Source, control: Control
) -> None:
    database = source.database(ORDERS)
    mirror = mirror_of(source, database)
    mirror.start()
    mirror.until("Running")
    capacity = f"capacities/{source.topology.capacity}"
    control("PUT", capacity, {"state": "Inactive"})
    mirror.until("Paused")
    eventually(lambda: source.slots(database)[0]["active"], lambda active: not active)
    refused(app.call("POST", f"{mirror.path}/startMirroring"), 403, "CapacityNotActive")
    control("PUT", capacity, {"state": "Active"})
    time.sleep(0.5)
    assert mirror.status() == {"status": "Paused"}
    refused(app.call("POST", f"{mirror.path}/startMirroring"), 400, "MirroringNotReady", "Stop it")
    mirror.post("stopMirroring")
    mirror.until("Stopped")
    mirror.start()
    mirror.until("Running")


def test_where_it_leads_is_changed_at_rest_alone(app: Caller, mirror_of: Callable[..., Mirror], source: Source) -> None:
    mirror = mirror_of(source, source.database(ORDERS))

    def change(database: str = mirror.database, **target: Any) -> Any:
        return app.call(
            "POST", f"{mirror.path}/updateDefinition", {"definition": definition(mirror.connection, database, **target)}
        )

    assert change(defaultSchema="lake").status_code == 200
    mirror.start()
    mirror.until("Running")
    for wanted in ({"database": "other", "defaultSchema": "lake"}, {"defaultSchema": "public"}):
        refused(
            change(**wanted), 400, "MirroringNotReady", "default schema can't be changed while the status is Running"
        )
    assert change(defaultSchema="lake", retentionInDays=2).status_code == 200
    mirror.post("stopMirroring")
    mirror.until("Stopped")
    assert change().status_code == 200


def test_deletion_cleans_the_source(app: Caller, mirror_of: Callable[..., Mirror], source: Source) -> None:
    database = source.database(ORDERS)
    mirror = mirror_of(source, database)
    mirror.start()
    mirror.until("Running")
    assert app.call("DELETE", mirror.path).status_code == 200
    assert source.slots(database) == []
    assert source.publications(database) == []
    refused(app.call("GET", mirror.path), 404, "ItemNotFound")


def test_deletion_works_without_the_server(app: Caller, mirror_of: Callable[..., Mirror], source: Source) -> None:
    database = source.database(ORDERS)
    mirror = mirror_of(source, database)
    mirror.start()
    mirror.until("Running")
    source.server.stop()
    try:
        assert app.call("DELETE", mirror.path).status_code == 200
    finally:
        source.server.start()
    assert len(source.slots(database)) == 1
    source.server.execute("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots")


def test_tables_are_paged_up_to_the_limit(
    app: Caller, mirror_of: Callable[..., Mirror], source: Source, control: Control
) -> None:
    database = source.database("".join(f"CREATE TABLE t{number:04} (id int);" for number in range(1003)))
    mirror = mirror_of(source, database)
    mirror.start()
    mirror.until("Running")
    control("PUT", "behaviour", {"pageSize": 200, "initializingSeconds": 0})
    names: list[str] = []
    token = ""
    while token is not None:
        query = {"continuationToken": token} if token else {}
        page = app.call("POST", f"{mirror.path}/getTablesMirroringStatus", **query).json()
        assert len(page["data"]) <= 200
        names += [row["sourceTableName"] for row in page["data"]]
        token = page.get("continuationToken")
    assert names == [f"t{number:04}" for number in range(1000)]


def test_official_client_follows_a_mirror(app: Caller, mirror_of: Callable[..., Mirror], source: Source) -> None:
    mirror = mirror_of(source, source.database(ORDERS))
    workspace, item = source.topology.workspace, mirror.path.rpartition("/")[2]
    mirroring = app.client.mirroreddatabase.mirroring
    mirroring.start_mirroring(workspace, item)
    eventually(lambda: mirroring.get_mirroring_status(workspace, item).status, lambda status: status == "Running")
    (table,) = mirroring.get_tables_mirroring_status(workspace, item)
    assert (table.source_schema_name, table.source_table_name, table.status) == ("public", "orders", "Replicating")
    assert table.metrics.processed_rows == 100
    mirroring.stop_mirroring(workspace, item)
    eventually(lambda: mirroring.get_mirroring_status(workspace, item).status, lambda status: status == "Stopped")
