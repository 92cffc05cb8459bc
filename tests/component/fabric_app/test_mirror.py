"""Mirrored databases: one for each database, defined as wanted, started once, and seen as they are."""

import asyncio
import contextlib
import uuid
from collections.abc import Awaitable, Callable

import pytest

from local.topology import Topology
from shared.desired.server_id import ServerId
from shared.fabric import client, connection, mirror
from shared.fabric.credentials import Basic
from shared.fabric.definition import Definition, definition
from shared.platform import errors
from tests.component.fabric.callers import Caller, Control
from tests.component.fabric.callers import definition as by_hand
from tests.component.fabric.source import PASSWORD, ROLE, Source

TABLES = "CREATE TABLE orders (id int PRIMARY KEY); CREATE TABLE lines (id int PRIMARY KEY);"


@pytest.fixture(scope="module")
def database(source: Source) -> str:
    return source.database(TABLES + "INSERT INTO orders SELECT generate_series(1, 7)")


@pytest.fixture
def mark(server: ServerId, database: str) -> str:
    return connection.name_of(server, database)


@pytest.fixture
async def link(source: Source, database: str, mark: str) -> str:
    """A connection to the database."""
    return (await connection.ensure(mark, source.server.address, database, Basic(ROLE, PASSWORD))).id


async def until[T](look: Callable[[], Awaitable[T]], wanted: Callable[[T], bool]) -> T:
    async with asyncio.timeout(15):
        while not wanted(seen := await look()):
            await asyncio.sleep(0.1)
    return seen


async def test_created_once_and_left_alone(
    workspace: str, link: str, database: str, mark: str, calls: Callable[..., list[str]]
) -> None:
    wanted = definition(link, database, retention_days=7)
    first = await mirror.ensure(workspace, wanted, name="shop", mark=mark)
    assert (first.name, first.change) == ("shop", "created")
    recorded = await mirror.ensure(workspace, wanted, name="shop", mark=mark, recorded=first.id)
    forgotten = await mirror.ensure(workspace, wanted, name="shop", mark=mark)
    assert recorded == forgotten == mirror.MirrorResult(first.id, "shop", "unchanged")
    assert calls(writes=True).count("Items_CreateMirroredDatabase") == 1
    assert "Items_UpdateMirroredDatabaseDefinition" not in calls()


async def test_updated_when_tables_or_retention_change(workspace: str, link: str, database: str, mark: str) -> None:
    first = await mirror.ensure(workspace, definition(link, database), name="shop", mark=mark)
    for wanted in (
        definition(link, database, [("public", "orders")]),
        definition(link, database, [("public", "orders"), ("public", "lines")]),
        definition(link, database, retention_days=3),
    ):
        updated = await mirror.ensure(workspace, wanted, name="shop", mark=mark, recorded=first.id)
        assert (updated.id, updated.change) == (first.id, "updated")
        settled = await mirror.ensure(workspace, wanted, name="shop", mark=mark, recorded=first.id)
        assert settled.change == "unchanged"


async def test_a_retention_set_by_hand_survives_a_change_of_tables(
    workspace: str, link: str, database: str, mark: str
) -> None:
    first = await mirror.ensure(workspace, definition(link, database), name="shop", mark=mark)
    by_hand = definition(link, database, retention_days=9)
    await mirror.ensure(workspace, by_hand, name="shop", mark=mark, recorded=first.id)
    chosen = [("public", "orders")]
    await mirror.ensure(workspace, definition(link, database, chosen), name="shop", mark=mark, recorded=first.id)
    kept = definition(link, database, chosen, retention_days=9)
    assert (await mirror.ensure(workspace, kept, name="shop", mark=mark)).change == "unchanged"


async def test_one_made_by_hand_is_adopted_for_good(
    workspace: str, link: str, database: str, mark: str, source: Source, myself: Caller, control: Control
) -> None:
    """It is found again by its mark, when its connection is another one after a release."""
    items = f"/workspaces/{workspace}/mirroredDatabases"
    for name, which, words in (("bare", "bare", ""), ("other", "elsewhere", ""), ("mine", database, "Sales. " * 36)):
        body = {"displayName": name, "description": words, "definition": by_hand(link, which)}
        made = myself.call("POST", items, body).json()["id"]
        if name == "bare":
            without = {"status": 400, "code": "OperationNotSupportedForItem", "path": made}
            control("POST", "faults", {"operation": "Items_GetMirroredDatabaseDefinition", **without})
    found = await mirror.ensure(workspace, definition(link, database), name="shop", mark=mark)
    assert (found.id, found.name, found.change) == (made, "mine", "unchanged")
    described = myself.call("GET", f"{items}/{made}").json()["description"]
    assert (described[:20], described.endswith(f" {mark}"), len(described)) == ("Sales. Sales. Sales.", True, 256)
    await connection.remove(link)
    anew = (await connection.ensure(mark, source.server.address, database, Basic(ROLE, PASSWORD))).id
    again = await mirror.ensure(workspace, definition(anew, database), name="shop", mark=mark)
    assert (again.id, again.change) == (made, "updated")


async def test_a_mark_that_somebody_overwrote_is_put_back(
    workspace: str, link: str, database: str, mark: str, myself: Caller, calls: Callable[..., list[str]]
) -> None:
    wanted = definition(link, database)
    first = await mirror.ensure(workspace, wanted, name="shop", mark=mark)
    item = f"/workspaces/{workspace}/mirroredDatabases/{first.id}"
    myself.call("PATCH", item, {"description": "Ask Ann."})
    for _ in range(2):
        await mirror.ensure(workspace, wanted, name="shop", mark=mark, recorded=first.id)
    assert myself.call("GET", item).json()["description"] == f"Ask Ann. {mark}"
    assert calls(writes=True).count("Items_UpdateMirroredDatabase") == 2  # Ann's and ours
    assert await mirror.ensure(workspace, wanted, name="shop", mark=mark) == mirror.MirrorResult(
        first.id, "shop", "unchanged"
    )


async def test_a_definition_that_can_not_be_read_is_not_written_over(
    workspace: str, link: str, database: str, mark: str, control: Control, calls: Callable[..., list[str]]
) -> None:
    unreadable = {"operation": "Items_GetMirroredDatabaseDefinition", "fail_operation": True, "times": 2}
    first = await mirror.ensure(workspace, definition(link, database, retention_days=9), name="shop", mark=mark)
    control("POST", "faults", unreadable)
    for recorded in (first.id, ""):
        with pytest.raises(errors.Blocked, match="was ordered to fail"):
            await mirror.ensure(workspace, definition(link, database), name="shop", mark=mark, recorded=recorded)
    assert "Items_UpdateMirroredDatabaseDefinition" not in calls()
    assert calls().count("Items_CreateMirroredDatabase") == 1


async def test_what_others_keep_from_the_app_stops_nothing(
    workspace: str,
    link: str,
    database: str,
    mark: str,
    myself: Caller,
    control: Control,
    caplog: pytest.LogCaptureFixture,
) -> None:
    items = f"/workspaces/{workspace}/mirroredDatabases"
    myself.call("POST", items, {"displayName": "theirs", "definition": by_hand(link, "elsewhere")})
    asked = {"operation": "Items_GetMirroredDatabaseDefinition"}
    control("POST", "faults", asked | {"status": 503, "retry_after": 60})
    with pytest.raises(errors.Unavailable):
        await mirror.ensure(workspace, definition(link, database), name="shop", mark=mark)
    control("POST", "faults", asked | {"status": 403, "code": "ItemHasProtectedLabel"})
    made = await mirror.ensure(workspace, definition(link, database), name="shop", mark=mark)
    assert (made.name, made.change) == ("shop", "created")
    assert f"'theirs' of workspace {workspace}: Fabric refused" in caplog.text


async def test_over_a_new_connection_there_is_nothing_to_adopt(
    workspace: str, link: str, database: str, mark: str, myself: Caller, calls: Callable[..., list[str]]
) -> None:
    items = f"/workspaces/{workspace}/mirroredDatabases"
    myself.call("POST", items, {"displayName": "theirs", "definition": by_hand(link, "elsewhere")})
    made = await mirror.ensure(workspace, definition(link, database), name="shop", mark=mark, adopt=False)
    assert made.change == "created"
    assert "Items_GetMirroredDatabaseDefinition" not in calls()


async def test_one_that_runs_keeps_the_default_schema_that_it_has(
    workspace: str, link: str, database: str, mark: str, myself: Caller, calls: Callable[..., list[str]]
) -> None:
    """Changing it would mean to stop it, and to copy every table again."""
    items = f"/workspaces/{workspace}/mirroredDatabases"
    theirs = myself.call("POST", items, {"displayName": "theirs", "definition": by_hand(link, database)}).json()["id"]
    await mirror.start(workspace, theirs)
    found = await mirror.ensure(workspace, definition(link, database), name="shop", mark=mark)
    assert (found.id, found.change) == (theirs, "unchanged")
    assert "Mirroring_StopMirroring" not in calls()
    await mirror.delete(workspace, theirs)


async def test_names_are_made_unique(workspace: str, link: str, database: str, mark: str, myself: Caller) -> None:
    items = f"/workspaces/{workspace}/mirroredDatabases"
    for name in ("Shop", "shop-2", "x", "y"):
        myself.call("POST", items, {"displayName": name, "definition": by_hand(link, "elsewhere")})
    made = await mirror.ensure(workspace, definition(link, database), name="shop", mark=mark)
    assert (made.name, made.change) == ("shop-3", "created")


async def test_two_tries_at_once_make_one(
    workspace: str, link: str, database: str, mark: str, calls: Callable[..., list[str]]
) -> None:
    """Durable Functions may deliver a step again while its first try runs."""

    async def ensure() -> mirror.MirrorResult:
        return await mirror.ensure(workspace, definition(link, database), name="shop", mark=mark)

    tries = await asyncio.gather(*(ensure() for _ in range(3)), return_exceptions=True)
    made = [one for one in tries if isinstance(one, mirror.MirrorResult) and one.change == "created"]
    assert [one.name for one in made] == ["shop"]
    assert {type(one) for one in tries} <= {mirror.MirrorResult, errors.Unavailable}
    assert await ensure() == mirror.MirrorResult(made[0].id, "shop", "unchanged")


async def test_a_name_taken_by_what_the_list_does_not_show_yet_is_waited_for(
    workspace: str, link: str, database: str, mark: str, control: Control
) -> None:
    fault = {"operation": "Items_CreateMirroredDatabase", "status": 409, "code": "ItemDisplayNameAlreadyInUse"}
    control("POST", "faults", fault)
    with pytest.raises(errors.Unavailable, match=f"item in the workspace {workspace} has the name 'shop'") as waiting:
        await mirror.ensure(workspace, definition(link, database), name="shop", mark=mark)
    told = waiting.value
    assert (told.code, told.retry_after, told.patience) == (
        mirror.NAME_TAKEN,
        mirror.SETTLE_SECONDS,
        mirror.NAME_SECONDS,
    )
    assert "set MIRROR_NAME" in told.remedy
    assert (await mirror.ensure(workspace, definition(link, database), name="shop", mark=mark)).name == "shop"


async def test_operations_are_waited_for(
    workspace: str, link: str, database: str, mark: str, control: Control, calls: Callable[..., list[str]]
) -> None:
    made = await mirror.ensure(workspace, definition(link, database), name="shop", mark=mark)
    names = ["Items_UpdateMirroredDatabaseDefinition", "Items_GetMirroredDatabaseDefinition"]
    control("PUT", "behaviour", {"longRunning": names})
    wanted = definition(link, database, [("public", "orders")])
    changed = await mirror.ensure(workspace, wanted, name="shop", mark=mark)
    assert (changed.id, changed.change) == (made.id, "updated")
    assert calls().count("LongRunningOperations_GetOperationState") >= 2
    settled = await mirror.ensure(workspace, wanted, name="shop", mark=mark)
    assert settled.change == "unchanged"


async def test_an_operation_that_takes_long_is_left_to_the_caller(
    workspace: str, link: str, database: str, mark: str, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    await mirror.ensure(workspace, definition(link, database), name="shop", mark=mark)
    monkeypatch.setattr(client, "OPERATION_SECONDS", 0.5)
    update = {"longRunning": ["Items_UpdateMirroredDatabaseDefinition"], "operationSeconds": 60}
    control("PUT", "behaviour", update)
    with pytest.raises(errors.Unavailable, match=r"Fabric is still working on .*/updateDefinition") as waiting:
        await mirror.ensure(workspace, definition(link, database, retention_days=2), name="shop", mark=mark)
    assert (waiting.value.code, waiting.value.retry_after) == ("OperationNotOver", 1)


async def test_a_failed_operation_says_why(
    workspace: str, link: str, database: str, mark: str, control: Control
) -> None:
    await mirror.ensure(workspace, definition(link, database), name="shop", mark=mark)
    control("POST", "faults", {"operation": "Items_UpdateMirroredDatabaseDefinition", "fail_operation": True})
    operation = r"failed: .* was ordered to fail\. \(InjectedFault, operation [0-9a-f-]{36}, request [0-9a-f-]{36}\)"
    with pytest.raises(errors.Blocked, match=operation) as failed:
        await mirror.ensure(workspace, definition(link, database, retention_days=2), name="shop", mark=mark)
    assert failed.value.code == "InjectedFault"
    assert "Fabric portal" in failed.value.remedy


async def test_start_and_change_wait_for_initializing(
    workspace: str, link: str, database: str, mark: str, control: Control
) -> None:
    control("PUT", "behaviour", {"initializingSeconds": 60})
    made = await mirror.ensure(workspace, definition(link, database), name="shop", mark=mark)
    with pytest.raises(errors.Unavailable, match="is Initializing; it can be started when that is over") as waiting:
        await mirror.start(workspace, made.id)
    assert waiting.value.code == "MirrorNotReady"
    elsewhere = Definition(link, database, default_schema="lake")
    with pytest.raises(errors.Unavailable, match="is Initializing; it can be changed when that is over") as waiting:
        await mirror.ensure(workspace, elsewhere, name="shop", mark=mark, recorded=made.id)
    assert (waiting.value.code, waiting.value.retry_after) == ("MirrorNotReady", mirror.SETTLE_SECONDS)


async def test_life_of_a_mirror(
    stack: Topology,
    workspace: str,
    link: str,
    database: str,
    mark: str,
    source: Source,
    control: Control,
    operator: Caller,
    calls: Callable[..., list[str]],
) -> None:
    item = (await mirror.ensure(workspace, definition(link, database), name="shop", mark=mark)).id
    assert await mirror.status(workspace, item) == mirror.MirrorStatus("Initialized")
    await mirror.stop(workspace, item)
    assert await mirror.start(workspace, item)
    assert not await mirror.start(workspace, item)
    await until(lambda: mirror.status(workspace, item), lambda seen: seen.status == "Running")
    assert calls().count("Mirroring_StartMirroring") == 1

    tables = {table.name: table for table in await mirror.tables_status(workspace, item)}
    assert {(t.schema, t.status, t.error) for t in tables.values()} == {("public", "Replicating", None)}
    assert tables["orders"].rows == 7
    assert tables["orders"].last_sync_at is not None

    control("PUT", f"capacities/{stack.capacity}", {"state": "Inactive"})
    await until(lambda: mirror.status(workspace, item), lambda seen: seen.status == "Paused")
    control("PUT", f"capacities/{stack.capacity}", {"state": "Active"})
    with pytest.raises(errors.Unavailable, match="is Paused"):
        await mirror.start(workspace, item)
    await until(lambda: mirror.status(workspace, item), lambda seen: seen.status == "Stopped")
    assert await mirror.start(workspace, item)
    await until(lambda: mirror.status(workspace, item), lambda seen: seen.status == "Running")

    await mirror.stop(workspace, item)
    await until(lambda: mirror.status(workspace, item), lambda seen: seen.status == "Stopped")
    assert source.slots(database) == []
    await mirror.delete(workspace, item)
    await mirror.delete(workspace, item)
    await mirror.stop(workspace, item)
    assert calls().count("Mirroring_StopMirroring") == 1
    with pytest.raises(errors.NotFound) as gone:
        await mirror.status(workspace, item)
    assert gone.value.code == "ItemNotFound"


async def test_a_running_mirror_is_stopped_before_it_is_led_elsewhere(
    workspace: str, link: str, database: str, mark: str, source: Source, calls: Callable[..., list[str]]
) -> None:
    item = (await mirror.ensure(workspace, definition(link, database), name="shop", mark=mark)).id
    other = (await connection.ensure(f"{mark} 2", source.server.address, database, Basic(ROLE, PASSWORD))).id
    for times, wanted in enumerate((definition(other, database), Definition(other, database, default_schema="lake"))):
        await mirror.start(workspace, item)
        await until(lambda: mirror.status(workspace, item), lambda seen: seen.status == "Running")

        async def led(wanted: Definition = wanted) -> mirror.MirrorResult | None:
            with contextlib.suppress(errors.Unavailable):
                return await mirror.ensure(workspace, wanted, name="shop", mark=mark, recorded=item)
            return None

        assert await until(led, lambda seen: seen is not None) == mirror.MirrorResult(item, "shop", "updated")
        assert (await mirror.status(workspace, item)).status == "Stopped"
        assert calls().count("Mirroring_StopMirroring") == times + 1
    await mirror.start(workspace, item)
    await until(lambda: mirror.status(workspace, item), lambda seen: seen.status == "Running")
    every = Definition(other, database, default_schema="lake", retention_days=2)
    assert (await mirror.ensure(workspace, every, name="shop", mark=mark, recorded=item)).change == "updated"
    assert (await mirror.status(workspace, item)).status == "Running"
    await mirror.delete(workspace, item)


async def test_a_start_that_fails_shows_fabrics_error(
    workspace: str, server: ServerId, source: Source, control: Control
) -> None:
    theirs = source.database(TABLES, owner="pgadmin")
    name = connection.name_of(server, theirs)
    link = (await connection.ensure(name, source.server.address, theirs, Basic(ROLE, PASSWORD))).id
    item = (await mirror.ensure(workspace, definition(link, theirs), name="theirs", mark=name)).id
    await mirror.start(workspace, item)
    tables = await until(
        lambda: mirror.tables_status(workspace, item), lambda seen: len(seen) == 2 and all(t.error for t in seen)
    )
    assert {table.status for table in tables} == {"Failed"}
    assert all(table.error and table.error.code and table.error.message for table in tables)
    await mirror.delete(workspace, item)


async def test_paused_capacity_refuses_a_new_mirror(
    stack: Topology, workspace: str, link: str, database: str, mark: str, control: Control
) -> None:
    control("PUT", f"capacities/{stack.capacity}", {"state": "Inactive"})
    with pytest.raises(errors.MirrorError, match="is currently paused") as refused:
        await mirror.ensure(workspace, definition(link, database), name="shop", mark=mark)
    assert refused.value.code == "CapacityNotActive"


async def test_unknown_item() -> None:
    nothing = str(uuid.uuid4())
    with pytest.raises(errors.NotFound, match=nothing):
        await mirror.status(nothing, nothing)
