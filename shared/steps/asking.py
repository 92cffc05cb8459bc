"""What the service says of the fabric role's rights, asked as that role: for real, or in a rehearsal."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg

from shared.decisions import rights
from shared.decisions.login import PasswordLogin, login_of
from shared.decisions.rights import Plan, Word
from shared.platform.errors import MirrorError
from shared.platform.reasons import short
from shared.platform.settings import settings
from shared.records import store
from shared.source import extension, owners, service
from shared.source.connection import Connection, connect, connect_as, explained
from shared.source.membership import acting_as, borrowed
from shared.steps import credentials
from shared.steps.holdings import Place, Seen


async def ask(place: Place, seen: Seen, plan: Plan) -> Word:
    """What the service says of tables whose owners the role is a member of; and whether anything else is missing."""
    async with as_role(place) as connection:
        answer = await service.ask(connection, seen.eligible)
        mirrored = await service.is_mirrored(connection)
    prerequisites = [it for it in answer.prerequisites if not (mirrored and it.code == service.LIMIT_REACHED)]
    await store.update_mirror(place.server, place.database, prerequisites=short(prerequisites))
    reached = {table for owner in plan.membership for table in seen.owned.get(owner, ())}
    if not reached:
        return "unasked"
    return rights.word_of(answer.asked, bool(reached & set(answer.not_owned)))


async def rehearse(connection: Connection, seen: Seen) -> Word:
    """What the service would say if the role were a member of the tables' owners.

    It is asked in a transaction that is rolled back, so that nobody else ever sees the memberships. Where that can't be
    done, its recorded word stays. The word of an extension that is gone says nothing of the next one.
    """
    name, members = settings().login.role, [owner.name for owner in seen.owners if not owner.strong]
    reached = {table for owner in members for table in seen.owned.get(owner, ())}
    if not await extension.members(connection):
        return "unasked"
    if not reached:
        return seen.word
    try:
        async with connection.transaction(force_rollback=True):
            await owners.join_all(connection, name, members)
            async with borrowed(connection, [name]), acting_as(connection, name):
                answer = await service.ask(connection, seen.eligible)
    except (MirrorError, psycopg.Error):
        return seen.word
    return rights.word_of(answer.asked, bool(reached & set(answer.not_owned)))


@asynccontextmanager
async def as_role(place: Place) -> AsyncIterator[Connection]:
    """Be the fabric role: with its password, or where only a principal can log in as it, as somebody that may be it."""
    login = login_of(settings())
    name = login.role
    if isinstance(login, PasswordLogin):
        password = await credentials.password(place.server)
        async with connect_as(place.host, place.database, name, password.value) as connection:
            yield connection
        return
    async with connect(place.host, place.database) as connection:
        with explained(f"Looking at database {place.database!r} as role {name!r}"):
            async with connection.transaction(), borrowed(connection, [name]), acting_as(connection, name):
                yield connection
