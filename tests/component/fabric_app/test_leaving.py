"""Connections that nothing uses any more: with the mirror that is led to another one, and with the release."""

from __future__ import annotations

import pytest

from shared.desired.server_id import ServerId
from shared.fabric import connection
from shared.fabric.credentials import Basic
from shared.records import store
from shared.records.rows import MirrorRow
from shared.steps import mirror, release
from tests.component.fabric.callers import Caller, Control, connection_body
from tests.component.fabric.source import PASSWORD, ROLE, Source

LOGIN = Basic(ROLE, PASSWORD)


@pytest.fixture
async def row(workspace: str, server: ServerId, source: Source) -> MirrorRow:
    """A database whose connection an earlier step has made and noted."""
    database, host = source.database("CREATE TABLE orders (id int PRIMARY KEY)"), source.server.address
    made = await connection.ensure(connection.name_of(server, database), host, database, LOGIN)
    return await store.update_mirror(server, database, host=host, workspace=workspace, connection=made.id)


async def another(row: MirrorRow, control: Control, name: str) -> str:
    """One more connection to the database, by a gateway."""
    gateway = control("POST", "gateways", {"displayName": name})["id"]
    called = connection.name_of(row.server, row.database, gateway)
    return (await connection.ensure(called, row.host, row.database, LOGIN, gateway=gateway)).id


def there(myself: Caller, *connections: str) -> list[bool]:
    return [myself.call("GET", f"/connections/{id}").ok for id in connections]


async def test_an_old_connection_goes_when_the_mirror_is_led_to_the_new_one(
    row: MirrorRow, control: Control, myself: Caller
) -> None:
    old, stubborn = await another(row, control, "one"), await another(row, control, "two")
    refused = {"operation": "Connections_DeleteConnection", "status": 403, "path": stubborn}
    control("POST", "faults", refused | {"code": "InsufficientPermissionsToManageConnection"})
    await store.update_mirror(row.server, row.database, superseded=(old, stubborn))
    for left in ((stubborn,), ()):  # one that can't be deleted keeps no mirror from starting, and is tried again
        await mirror.ensure_mirror(row.server, row.database, row.workspace, "Sales", (), adopt=False)
        kept = await store.read_mirror(row.server, row.database)
        assert kept
        assert (bool(kept.item), kept.superseded) == (True, left)
        assert there(myself, row.connection, old, stubborn) == [True, False, bool(left)]
    await release.release_mirror(row.server, row.database)


async def test_a_release_leaves_no_connection_behind(row: MirrorRow, control: Control, myself: Caller) -> None:
    """Neither one that the mirror was led away from, nor one that was made and could not be noted any more."""
    superseded, unrecorded = await another(row, control, "three"), await another(row, control, "four")
    await store.update_mirror(row.server, row.database, superseded=(superseded,))
    await release.release_mirror(row.server, row.database)
    assert there(myself, row.connection, superseded, unrecorded) == [False, False, False]


async def test_a_release_is_not_kept_up_by_a_connection_of_somebody_elses(
    row: MirrorRow, operator: Caller, myself: Caller
) -> None:
    """It has our name, and was shared with the app."""
    await connection.remove(row.connection)
    name = connection.name_of(row.server, row.database)
    theirs = connection_body(name, row.host, row.database, ROLE, PASSWORD)
    held = operator.call("POST", "/connections", theirs).json()["id"]
    user = {"principal": {"id": myself.object_id, "type": "ServicePrincipal"}, "role": "User"}
    assert operator.call("POST", f"/connections/{held}/roleAssignments", user).ok
    await store.update_mirror(row.server, row.database, connection="")
    await release.release_mirror(row.server, row.database)
    assert there(operator, held) == [True]
