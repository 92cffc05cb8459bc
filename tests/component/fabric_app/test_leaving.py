"""The release: which connections go with it, and what stays recorded when Azure does not know the server."""

from __future__ import annotations

import pytest

from shared.desired.server_id import ServerId
from shared.desired.takeover import Takeover
from shared.fabric import connection
from shared.fabric import mirror as mirrored_database
from shared.fabric.credentials import Basic
from shared.platform.errors import Unavailable
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


async def test_a_404_during_a_release_keeps_what_only_the_record_of_the_database_knows(
    row: MirrorRow, hosts: dict[ServerId, str]
) -> None:
    takeover = Takeover(ROLE)
    await store.update_mirror(row.server, row.database, takeover=takeover)
    hosts.clear()
    with pytest.raises(Unavailable):
        await release.release_database(row.server, row.database)
    kept = await store.read_mirror(row.server, row.database)
    assert kept is not None
    assert kept.takeover == takeover


async def test_a_404_at_the_end_of_a_release_takes_no_role_for_dropped(
    server: ServerId, hosts: dict[ServerId, str]
) -> None:
    """Neither the record of the role nor its password goes before the role has gone."""
    await store.update_server(server, role=ROLE)
    hosts.clear()
    with pytest.raises(Unavailable):
        await release.release_server(server)
    kept = await store.read_server(server)
    assert kept is not None
    assert kept.role == ROLE
    await store.delete_server(server)


async def test_one_404_leaves_no_mirrored_database_behind(row: MirrorRow, control: Control, myself: Caller) -> None:
    """What Fabric does not find, and lists all the same, is not taken for gone."""
    await mirror.ensure_mirror(row.server, row.database, row.workspace, "Sales", (), adopt=False)
    kept = await store.read_mirror(row.server, row.database)
    assert kept
    path = f"/workspaces/{row.workspace}/mirroredDatabases/{kept.item}"
    for operation, step in (
        ("Mirroring_GetMirroringStatus", mirrored_database.stop),
        ("Items_DeleteMirroredDatabase", mirrored_database.delete),
    ):
        control("POST", "faults", {"operation": operation, "status": 404, "code": "EntityNotFound", "path": kept.item})
        with pytest.raises(Unavailable, match="which the list"):
            await step(row.workspace, kept.item)
        assert myself.call("GET", path).ok
        await step(row.workspace, kept.item)
    assert myself.call("GET", path).status_code == 404
    await mirrored_database.delete(row.workspace, kept.item)  # by now it is gone
    await release.release_mirror(row.server, row.database)
