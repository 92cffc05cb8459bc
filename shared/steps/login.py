"""The fabric role, what opens it, and the connections that need its password.

A password is in Key Vault first, then on the server, then in the connections: a mirror whose session ends in between
can't come back.
"""

from __future__ import annotations

from collections.abc import Collection

from shared.decisions import login as deciding
from shared.decisions.login import PasswordLogin, login_of, mark, password_name
from shared.desired.server_id import ServerId
from shared.fabric import connection as fabric_connection
from shared.platform import secrets
from shared.platform.errors import MirrorError, NotFound
from shared.platform.secrets import Secret
from shared.platform.settings import settings
from shared.records import store
from shared.source import role
from shared.source.connection import connect
from shared.source.facts import MAINTENANCE_DATABASE
from shared.steps import credentials
from shared.steps.credentials import Given


async def ensure_role(id: ServerId, host: str, workspace: str, rotation: int) -> None:
    """Make sure of the fabric role and of what opens it: a password, or the principal that Fabric logs in as to mirror
    into `workspace`. `rotation`: the last one that was asked for."""
    name = login_of(settings()).role
    row = await store.read_server(id)
    recorded = row is not None and row.role == name
    if (principal := await credentials.principal(workspace)) is not None:
        async with connect(host, MAINTENANCE_DATABASE) as connection:
            await role.ensure_principal_role(connection, name, principal, recorded=recorded)
    else:
        password = await _password(id, name, rotation)
        async with connect(host, MAINTENANCE_DATABASE) as connection:
            await role.ensure_role(connection, name, password.value, recorded=recorded)
    await store.update_server(id, role=name)


async def rotate(id: ServerId, host: str, rotation: int, databases: Collection[str]) -> None:
    """Carry out the rotation that was asked for: a new password for the role, and for the connections to `databases`.

    Where the role was dropped by hand, nothing opens it; the connections follow when `ensure_role` has made it again.
    """
    login = login_of(settings())
    if isinstance(login, PasswordLogin):
        password = await _password(id, login.role, rotation)
        async with connect(host, MAINTENANCE_DATABASE) as connection:
            if not await role.ensure_password(connection, login.role, password.value):
                databases = ()
    await _renew(id, host, rotation, databases)
    await store.update_server(id, rotated=rotation)


async def _password(id: ServerId, name: str, rotation: int) -> Secret:
    row = await store.read_server(id)
    tags = {"server": str(id), "role": name}
    return await secrets.ensure(password_name(id), tags, deciding.outstanding(row, rotation))


async def _renew(id: ServerId, host: str, rotation: int, databases: Collection[str]) -> None:
    """Give the connections that have another login the present one: all that accept it, before an error is raised."""
    given = await credentials.for_fabric(id)
    present = mark(rotation, given.version)
    refusals: list[MirrorError] = []
    for row in deciding.out_of_date(await store.list_mirrors_of(id), databases, present):
        answers = [await _give(link, given, host) for link in (row.connection, *row.superseded) if link]
        refusals += filter(None, answers)
        if not any(answers):
            await store.update_mirror(id, row.database, login=present)
    if refusals:
        raise min(refusals, key=lambda error: not error.retryable)  # what waiting may help, before what it does not


async def _give(link: str, given: Given, host: str) -> MirrorError | None:
    try:
        await fabric_connection.update_credentials(link, given.credentials, host=host)
    except NotFound:
        return None  # a connection in use is made again, with this login, when its database is prepared
    except MirrorError as error:
        return error
    return None
