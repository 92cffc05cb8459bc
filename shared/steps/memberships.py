"""The fabric role's memberships in the owners of tables: what stands in their way, and the ways back."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from shared.desired.server_id import ServerId
from shared.desired.takeover import Joined, Takeover
from shared.platform import logs
from shared.platform.errors import Blocked, Unavailable
from shared.platform.settings import settings
from shared.records import store
from shared.source import event_triggers, owners, ownership
from shared.source import server as flexible_server
from shared.source.connection import Connection, connect
from shared.steps.holdings import Choice, Place, Seen, keep, look, still_joined, still_members

log = logs.logger(__name__)


async def leave_strong_owners(id: ServerId, database: str) -> None:
    """End the memberships that the app granted in owners of a database's tables that have become strong since."""
    place = Place(id, database, (await flexible_server.glance(id)).host)
    async with connect(place.host, database) as connection, event_triggers.guarded(connection):
        await leave_strong(connection, place, await look(connection, place, Choice((), "membership", "")))


async def leave_strong(connection: Connection, place: Place, seen: Seen) -> None:
    """End the memberships of `seen.strong`, even those that other databases of the server need: with any of them the
    fabric role would be strong."""
    if not seen.strong:
        return
    log.warning("The fabric role leaves %s, which have become strong.", ", ".join(sorted(seen.strong_owners)))
    await owners.leave(connection, settings().login.role, seen.strong)
    remaining = tuple(it for it in seen.takeover.joined if it not in seen.strong)
    await keep(place, msgspec.structs.replace(seen.takeover, joined=remaining))


async def end_membership(connection: Connection, place: Place, owner: str) -> None:
    """End the membership of an owner in the fabric role, so that the role can become a member of the owner."""
    name = settings().login.role
    if owner in await still_members(connection, place.server, place.database):
        raise Unavailable(f"Other databases of the server have to give tables back to role {owner!r} first.")
    await ownership.leave(connection, name, [owner])
    await require_free(connection, name, owner)


async def require_apart(connection: Connection, former: Collection[str], joined: Collection[str]) -> None:
    """Raise `Unavailable` while former owners of tables, members of the role, would get the rights of other owners."""
    gaining = set(former) - await owners.administrators(connection, former)
    if gaining and joined:
        raise Unavailable(
            f"The fabric role must not have the members {', '.join(map(repr, sorted(gaining)))} while it is a member "
            f"of {', '.join(map(repr, sorted(joined)))}: other databases of the server have to change first."
        )


async def require_free(connection: Connection, role: str, member: str) -> None:
    """Raise `Blocked` where `member` is a member of `role`, so that the role can't become a member of `member`."""
    if links := await owners.links(connection, role, member):
        by = "" if links == (member,) else f" by {', '.join(map(repr, links))}"
        raise Blocked(
            f"Role {member!r} is a member of {role!r}{by}, so {role!r} can't become a member of {member!r}.",
            code="MembershipInTheWay",
            remedy="Run as who granted it: " + " ".join(owners.revocation(connection, role, link) for link in links),
        )


async def retreat(connection: Connection, place: Place, record: Takeover, before: Collection[Joined]) -> Takeover:
    """End the memberships that were not there before; the record as it is then.

    Nothing of a first preparation stays, even of an earlier call that was cut off.
    """
    row = await store.read_mirror(place.server, place.database)
    added = {it for it in record.joined if it not in before or not (row and row.rights)}
    needed = await still_joined(connection, place.server, place.database)
    await owners.leave(connection, settings().login.role, added - needed)
    record = msgspec.structs.replace(record, joined=tuple(it for it in record.joined if it not in added))
    await keep(place, record)
    return record
