"""The PostgreSQL side of a preparation: each database's rights and tables; and the server's own place in Fabric."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager

import msgspec

from shared.decisions.login import PasswordLogin, login_of
from shared.desired.server_id import ServerId
from shared.desired.takeover import NotTakeable, TableName, Takeover
from shared.fabric import workspace as fabric_workspace
from shared.platform.errors import Blocked, NotFound, Unavailable
from shared.platform.settings import settings
from shared.records import store
from shared.source import ownership, role, tables
from shared.source import server as flexible_server
from shared.source.connection import Connection, connect, connect_as, explained
from shared.source.membership import acting_as, borrowed
from shared.source.role import Missing
from shared.steps import credentials

MOST_NAMED = 5


async def ensure_workspace_access(id: ServerId, workspace: str) -> None:
    """Give the server's own identity the role Contributor in the workspace."""
    facts = await flexible_server.observe(id)
    if facts is None:
        raise NotFound(f"Server {id.name!r} was deleted.", code="ServerNotFound")
    if not facts.principal_id:
        raise Unavailable(f"The system-assigned identity of server {id.name!r} has no principal yet.")
    await fabric_workspace.ensure_member(workspace, facts.principal_id)


async def prepare_database(id: ServerId, database: str, host: str, chosen: Sequence[TableName]) -> None:
    """Rights of the fabric role in one database, and ownership of the tables to mirror.

    What the tables were like is kept before the first of them is taken. Raises `Blocked` with the exact statements
    where the app may not do something itself.
    """
    name = settings().login.role
    async with connect(host, database) as connection:
        eligible = (await tables.report(connection, chosen or None)).eligible
        schemas = {table.schema for table in eligible}
        takeover = await ownership.plan_take(connection, name, eligible)
        _require_takeable(takeover.not_takeable)
        await _keep(id, database, host, takeover)
        _require_granted(await role.ensure_database(connection, name, schemas))
        await ownership.apply_take(connection, takeover)
    await _verify(id, database, host, schemas, eligible)


async def give_back_surplus(id: ServerId, database: str, host: str, chosen: Sequence[TableName]) -> None:
    """Give back the tables that were taken for an earlier choice and are not chosen any more."""
    row = await store.read_mirror(id, database)
    if row is None or row.takeover is None or not chosen:
        return
    taken = row.takeover
    surplus = tuple(former for former in taken.tables if former.name not in chosen)
    if not surplus:
        return
    remaining = msgspec.structs.replace(taken, tables=tuple(former for former in taken.tables if former not in surplus))
    still = await still_members(id, database) | {former.owner for former in remaining.tables}
    async with connect(host, database) as connection:
        await ownership.give_back(connection, msgspec.structs.replace(taken, tables=surplus), still)
    await store.update_mirror(id, database, takeover=remaining if remaining.tables else None)


async def still_members(id: ServerId, leaving: str) -> set[str]:
    """The former owners of tables that are taken in other databases of the server than `leaving`."""
    others = [row.takeover for row in await store.list_mirrors_of(id) if row.database != leaving and row.takeover]
    return {former.owner for takeover in others for former in takeover.tables}


async def _keep(id: ServerId, database: str, host: str, takeover: Takeover) -> None:
    """Write down what is about to be taken, joined with what was taken earlier."""
    row = await store.read_mirror(id, database)
    earlier = row.takeover if row else None
    remaining = takeover.after(earlier) if takeover.tables or earlier else None
    phase = row.phase if row and row.phase in ("Running", "Starting") else "Preparing"
    secret = login_of(settings()).secret_of(id)
    await store.update_mirror(id, database, host=host, secret=secret, takeover=remaining, phase=phase)


async def _verify(id: ServerId, database: str, host: str, schemas: set[str], eligible: tuple[TableName, ...]) -> None:
    """Look at it all once more, as the fabric role itself."""
    name = settings().login.role
    async with _as_role(id, database, host) as connection:
        lacking = await role.verify(connection, schemas, eligible)
    if lacking:
        raise Blocked(
            f"Role {name!r} still lacks in database {database!r}: {', '.join(lacking)}.",
            code="RightsMissing",
            remedy="Somebody, or a policy, takes these rights away again: stop that, then look at the server again.",
        )


@asynccontextmanager
async def _as_role(id: ServerId, database: str, host: str) -> AsyncIterator[Connection]:
    """Be the fabric role: with its password, or where only a principal can log in as it, as somebody that may be it."""
    login = login_of(settings())
    name = login.role
    if isinstance(login, PasswordLogin):
        password = await credentials.password(id)
        async with connect_as(host, database, name, password.value) as connection:
            yield connection
        return
    async with connect(host, database) as connection:
        with explained(f"Looking at database {database!r} as role {name!r}"):
            async with connection.transaction(), borrowed(connection, [name]), acting_as(connection, name):
                yield connection


def _require_takeable(refused: tuple[NotTakeable, ...]) -> None:
    if refused:
        names = ", ".join(f"{table.schema}.{table.table} of {table.owner!r}" for table in refused[:MOST_NAMED])
        raise Blocked(
            f"The app may not take {len(refused)} tables, such as {names}.",
            code="TableNotTakeable",
            remedy=statements((table.statement, table.run_as) for table in refused),
        )


def _require_granted(missing: tuple[Missing, ...]) -> None:
    if missing:
        raise Blocked(
            "The app may not grant the fabric role what it needs: " + ", ".join(lack.subject for lack in missing) + ".",
            code="GrantNotPermitted",
            remedy=statements((lack.statement, lack.run_as) for lack in missing),
        )


def statements(lacking: Iterable[tuple[str, tuple[str, ...]]]) -> str:
    """What somebody else has to run, each statement once, and as whom."""
    lines = dict.fromkeys(f"{statement} (as {' or '.join(run_as) or 'a superuser'})" for statement, run_as in lacking)
    return "Run: " + " ".join(lines)
