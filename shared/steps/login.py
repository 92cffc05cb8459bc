"""What Fabric logs in to a server with: the fabric role, what opens it, and the connections that have to know it.

A password is in Key Vault first, then on the server, then in the connections: a mirror whose session ends in between
can't come back.
"""

from __future__ import annotations

from collections.abc import Collection

from shared.desired.server_id import ServerId
from shared.fabric import connection as fabric_connection
from shared.platform import secrets
from shared.platform.errors import MirrorError, NotFound
from shared.platform.secrets import Secret
from shared.platform.settings import settings
from shared.records import store
from shared.records.rows import ServerRow
from shared.source import role
from shared.source.connection import MAINTENANCE_DATABASE, connect
from shared.steps import credentials


async def ensure_role(id: ServerId, host: str, workspace: str, rotation: int) -> None:
    """Make sure of the fabric role and of what opens it: a password, or the principal that Fabric logs in as to mirror
    into `workspace`. `rotation`: the last one that was asked for."""
    name = settings().login.role
    row = await store.read_server(id)
    recorded = row is not None and row.role == name
    if (principal := await credentials.principal(workspace)) is not None:
        async with connect(host, MAINTENANCE_DATABASE) as connection:
            await role.ensure_principal_role(connection, name, principal, recorded=recorded)
    else:
        password = await _password(id, rotation)
        async with connect(host, MAINTENANCE_DATABASE) as connection:
            await role.ensure_role(connection, name, password.value, recorded=recorded)
    await store.update_server(id, role=name)


async def rotate(id: ServerId, host: str, rotation: int, databases: Collection[str]) -> None:
    """Carry out the rotation that was asked for: a new password for the role, and for the connections to `databases`.

    Where the role was dropped by hand, nothing opens it; the connections follow when `ensure_role` has made it anew.
    """
    if settings().login.credentials == "Basic":
        password = await _password(id, rotation)
        async with connect(host, MAINTENANCE_DATABASE) as connection:
            if not await role.ensure_password(connection, settings().login.role, password.value):
                databases = ()
    await _renew(id, host, rotation, databases)
    await store.update_server(id, rotated=rotation)


def is_rotation_due(row: ServerRow | None) -> bool:
    """Whether a new password was asked for and is not everywhere yet."""
    return row is not None and row.role == settings().login.role and row.rotation > row.rotated


def mark(login: credentials.Login, rotation: int) -> str:
    """What tells whether a connection has this login: another version, or another rotation, is another one."""
    return f"{rotation} {login.version}"


async def _password(id: ServerId, rotation: int) -> Secret:
    row = await store.read_server(id)
    outstanding = rotation if row and row.rotated < rotation else 0
    tags = {"server": str(id), "role": settings().login.role}
    return await secrets.ensure(credentials.secret_name(id), tags, outstanding)


async def _renew(id: ServerId, host: str, rotation: int, databases: Collection[str]) -> None:
    """Give the connections that have another login the present one: all that accept it, before an error is raised."""
    login = await credentials.for_fabric(id)
    refused: list[MirrorError] = []
    for row in await store.list_mirrors_of(id):
        if row.database not in databases or row.login == mark(login, rotation):
            continue
        found = [await _give(link, login, host) for link in (row.connection, *row.superseded) if link]
        refused += filter(None, found)
        if not any(found):
            await store.update_mirror(id, row.database, login=mark(login, rotation))
    if refused:
        raise min(refused, key=lambda error: not error.retryable)  # what waiting may help, before what it does not


async def _give(link: str, login: credentials.Login, host: str) -> MirrorError | None:
    try:
        await fabric_connection.update_credentials(link, login.credentials, host=host)
    except NotFound:
        return None  # one that is used is made anew, with this login, when its database is prepared
    except MirrorError as error:
        return error
    return None
