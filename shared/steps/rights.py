"""Gives the fabric role its rights on the tables of a database, in the way that `decisions.rights` chooses.

What is about to be done is written to the mirror's row before it is done, so that a release undoes it whatever happens.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

import msgspec

from shared.decisions import harm, rights
from shared.decisions.harm import Harm
from shared.decisions.login import PasswordLogin, login_of
from shared.decisions.rights import Plan, Word
from shared.desired.takeover import Identity, Joined, Takeover
from shared.platform import logs
from shared.platform.brief import cut, listed
from shared.platform.errors import Blocked, Unavailable
from shared.platform.reasons import LONGEST, short
from shared.platform.settings import Rights, settings
from shared.records import store
from shared.source import (
    dependents,
    event_triggers,
    extension,
    identity,
    keepsake,
    owners,
    ownership,
    role,
    service,
)
from shared.source.connection import Connection, connect, connect_as, explained
from shared.source.membership import acting_as, borrowed, major
from shared.steps import credentials
from shared.steps.holdings import (
    Choice,
    Place,
    Seen,
    identities_of,
    keep,
    look,
    still_joined,
    still_members,
)
from shared.steps.rights_refusals import require_accepted, require_granted, require_plan, require_takeable

log = logs.logger(__name__)


async def ensure(place: Place, choice: Choice) -> None:
    """Give the role its rights on the tables. Raises `Blocked`, with statements to run, before anything is changed."""
    name = settings().login.role
    async with connect(place.host, place.database) as connection, event_triggers.guarded(connection):
        seen = await look(connection, place, choice)
        plan = await choose(connection, name, choice.rights, seen, seen.word)
        require_plan(plan)
        seen = await _ensure_rights(connection, place, choice, seen, plan)
    await _verify(place, seen)


async def choose(connection: Connection, name: str, way: Rights, seen: Seen, word: Word) -> Plan:
    """The way to the tables of each owner. What ownership would harm is looked for only where it is the way."""
    statements = {owner.name: owners.statement(connection, owner.name) for owner in seen.owners}
    plan = rights.choose(way, seen.owners, word, (), statements, seen.elsewhere)
    if way == "ownership" or not plan.ownership:
        return plan
    harms = await harms_of(connection, name, seen, plan.ownership)
    return rights.choose(way, seen.owners, word, harms, statements, seen.elsewhere)


async def harms_of(connection: Connection, name: str, seen: Seen, of: Collection[str]) -> tuple[Harm, ...]:
    """What would change for the application if the role owned the tables of these owners too."""
    names = [table for owner in of for table in seen.owned.get(owner, ()) if table not in seen.taken]
    facts = await dependents.dependents(connection, name, names)
    return harm.harms(facts, major(connection))


async def _ensure_rights(connection: Connection, place: Place, choice: Choice, seen: Seen, plan: Plan) -> Seen:
    """Give the role its rights; what there is by the service's own word, which counts once the extension is there."""
    name = settings().login.role
    before = await owners.joined(connection, name)
    judged_by_service = bool(await extension.members(connection))
    record = await _join(connection, place, seen, plan)
    require_granted(await role.ensure_database(connection, name, seen.schemas, bool(plan.ownership)))
    try:
        if not judged_by_service:
            seen = await _look_again(connection, place, choice, seen)
        word = await _word(place, seen, plan)
        if word != "unasked":
            await store.update_mirror(place.server, place.database, word=word)
        if word in ("insists", "silent"):
            plan = await choose(connection, name, choice.rights, seen, word)
            require_plan(plan)
    except Blocked:
        record = await _retreat(connection, place, record, before)
        if choice.rights == "auto":
            await _retake(connection, place, seen, record)
        raise
    if word in ("insists", "silent"):
        require_granted(await role.ensure_database(connection, name, seen.schemas, bool(plan.ownership)))
    if plan.ownership:
        record = await _own(connection, place, choice, seen, plan, record)
    await _set_identities(connection, place, seen, record)
    await store.update_mirror(place.server, place.database, rights=plan.way, rights_why=cut(plan.why, LONGEST))
    return seen


async def _look_again(connection: Connection, place: Place, choice: Choice, seen: Seen) -> Seen:
    """What the service itself says of the tables that the app judged alone, before the extension was there.

    Raises `Blocked` with code `TableRefused` where it refuses a table that was chosen. The others are left out.
    """
    again = await look(connection, place, choice)
    if choice.chosen:
        require_accepted(again.report, place.database)
    refused = [str(table) for table in seen.eligible if table not in again.eligible]
    if refused:
        log.warning("The service refuses tables of database %r: %s.", place.database, listed(refused))
    return msgspec.structs.replace(seen, report=again.report, owned=again.owned)


async def _join(connection: Connection, place: Place, seen: Seen, plan: Plan) -> Takeover:
    """Make the role a member of the owners that the plan says; the record as it is then.

    Tables that the role owns by an earlier plan go back to these owners first, as no role can be a member of its
    member.
    """
    name = settings().login.role
    now = await owners.joined(connection, name)
    recorded = await still_joined(place.server, place.database) | set(seen.takeover.joined)
    record = await _give_back(connection, place, seen.takeover, plan.membership)
    if any(not owner.joined for owner in seen.owners if owner.name in plan.membership):
        await _require_apart(connection, await still_members(place.server, place.database), plan.membership)
    joined = set(record.joined)
    for owner in seen.owners:
        if owner.name not in plan.membership:
            continue
        if owner.joined:
            joined |= {membership for membership in recorded & now if membership.owner == owner.name}
        else:
            await _end_membership(connection, place, owner.name)
            joined.add(await owners.plan_join(connection, name, owner.name))
    record = msgspec.structs.replace(
        record, joined=tuple(sorted(joined)), identities=await _identities(connection, record, seen, plan)
    )
    await keep(place, record)
    await owners.join(connection, name, (it for it in joined if it.owner in plan.membership))
    return record


async def _identities(connection: Connection, record: Takeover, seen: Seen, plan: Plan) -> tuple[Identity, ...]:
    """The replica identities to record: Fabric changes those of tables without a key when it publishes them."""
    names = [table for owner in plan.membership for table in seen.owned.get(owner, ())]
    recorded = identities_of(record)
    new = (it for it in await identity.look(connection, names) if it.oid not in recorded)
    return tuple(sorted({*record.identities, *new}))


async def _give_back(connection: Connection, place: Place, record: Takeover, to: Collection[str]) -> Takeover:
    """Give taken tables back to owners that the role is to be a member of; the record as it is then."""
    returning = tuple(table for table in record.tables if table.owner in to)
    if not returning:
        return record
    former = {table.owner for table in returning}
    await ownership.give_back(connection, Takeover(record.role, returning), former)
    without_key = {it.oid for it in await identity.look(connection, [table.name for table in returning])}
    owned = {table.table.oid for table in returning}
    identities = {
        oid: it
        for oid, it in identities_of(record).items()
        if oid in without_key or (oid in owned and it.identity != "DEFAULT")
    }
    record = msgspec.structs.replace(
        record,
        tables=tuple(table for table in record.tables if table not in returning),
        identities=tuple(sorted({*record.identities, *identities.values()})),
    )
    await keep(place, record)
    await keepsake.write(connection, record)
    return record


async def _end_membership(connection: Connection, place: Place, owner: str) -> None:
    """End the membership of an owner in the fabric role, which stands in the way of the other direction."""
    name = settings().login.role
    if owner in await still_members(place.server, place.database):
        raise Unavailable(f"Other databases of the server have to give tables back to role {owner!r} first.")
    await ownership.leave(connection, name, [owner])
    await _require_free(connection, name, owner)


async def _require_apart(connection: Connection, former: Collection[str], joined: Collection[str]) -> None:
    """Raise `Unavailable` while former owners of tables, members of the role, would get the rights of other owners."""
    gaining = set(former) - await owners.administrators(connection, former)
    if gaining and joined:
        raise Unavailable(
            f"The fabric role must not have the members {', '.join(map(repr, sorted(gaining)))} while it is a member "
            f"of {', '.join(map(repr, sorted(joined)))}: other databases of the server have to change first."
        )


async def _require_free(connection: Connection, role: str, member: str) -> None:
    """Raise `Blocked` where `member` is a member of `role`, so that the role can't become a member of `member`."""
    if links := await owners.links(connection, role, member):
        by = "" if links == (member,) else f" by {', '.join(map(repr, links))}"
        raise Blocked(
            f"Role {member!r} is a member of {role!r}{by}, so {role!r} can't become a member of {member!r}.",
            code="MembershipInTheWay",
            remedy="Run as who granted it: " + " ".join(owners.revocation(connection, role, link) for link in links),
        )


async def _retreat(connection: Connection, place: Place, record: Takeover, before: Collection[Joined]) -> Takeover:
    """End the memberships that were not there before; the record as it is then.

    Nothing of a first preparation stays, even of an earlier call that was cut off.
    """
    row = await store.read_mirror(place.server, place.database)
    added = {it for it in record.joined if it not in before or not (row and row.rights)}
    await owners.leave(connection, settings().login.role, added - await still_joined(place.server, place.database))
    record = msgspec.structs.replace(record, joined=tuple(it for it in record.joined if it not in added))
    await keep(place, record)
    return record


async def _retake(connection: Connection, place: Place, seen: Seen, record: Takeover) -> None:
    """Take the tables again that the role owned before, so that their mirror goes on."""
    if seen.takeover.tables:
        record = msgspec.structs.replace(seen.takeover, joined=record.joined)
        await keep(place, record)
        await keepsake.write(connection, record)
        await ownership.apply_take(connection, record)


async def _own(
    connection: Connection, place: Place, choice: Choice, seen: Seen, plan: Plan, record: Takeover
) -> Takeover:
    """Make the role the owner of the tables of the owners that the plan says; the record as it is then."""
    name = settings().login.role
    names = [table for owner in plan.ownership for table in seen.owned.get(owner, ())]
    takeover = await ownership.plan_take(connection, name, names)
    require_takeable(takeover.not_takeable)
    for owner in plan.ownership:
        await owners.leave(connection, name, [it for it in record.joined if it.owner == owner])
        await _require_free(connection, owner, name)
    remaining = tuple(it for it in record.joined if it.owner not in plan.ownership)
    if remaining != record.joined:
        record = msgspec.structs.replace(record, joined=remaining)
        await keep(place, record)
    if choice.rights != "ownership":
        elsewhere = await still_joined(place.server, place.database)
        await _require_apart(connection, plan.ownership, {it.owner for it in elsewhere})
    takeover = msgspec.structs.replace(takeover, consent=choice.consent if choice.rights == "ownership" else "")
    record = takeover.after(record)
    await keep(place, record)
    await keepsake.write(connection, record)
    await ownership.apply_take(connection, takeover)
    return record


async def _set_identities(connection: Connection, place: Place, seen: Seen, record: Takeover) -> None:
    """Give tables a replica identity that fits, so that no UPDATE fails once they are published."""
    changes = await identity.plan(connection, seen.eligible)
    if not changes:
        return
    recorded = identities_of(record)
    new = (change.before for change in changes if change.before.oid not in recorded)
    record = msgspec.structs.replace(record, identities=tuple(sorted({*record.identities, *new})))
    await keep(place, record)
    await keepsake.write(connection, record)
    await identity.apply(connection, changes)


async def _word(place: Place, seen: Seen, plan: Plan) -> Word:
    """What the service says of tables whose owners the role is a member of; and whether anything else is missing."""
    async with as_role(place) as connection:
        answer = await service.ask(connection, seen.eligible)
        mirrored = await service.is_mirrored(connection)
    prerequisites = [it for it in answer.prerequisites if not (mirrored and it.code == service.LIMIT_REACHED)]
    await store.update_mirror(place.server, place.database, prerequisites=short(prerequisites))
    reached = {table for owner in plan.membership for table in seen.owned.get(owner, ())}
    if not reached:
        return "unasked"
    word: Word = "content" if answer.asked else "silent"
    if reached & set(answer.not_owned):
        word = "insists"
    return word


async def _verify(place: Place, seen: Seen) -> None:
    """Look at it all once more, as the fabric role itself."""
    name = settings().login.role
    async with as_role(place) as connection:
        lacking = await role.verify(connection, seen.schemas, seen.eligible)
    if lacking:
        raise Blocked(
            f"Role {name!r} still lacks in database {place.database!r}: {listed(lacking)}.",
            code="RightsMissing",
            remedy="Somebody, or a policy, takes these rights away again: stop that, then look at the server again.",
        )
    row = await store.read_mirror(place.server, place.database)
    if row and row.prerequisites:
        first = row.prerequisites[0]
        raise Blocked(
            f"Database {place.database!r} can't be mirrored yet. {' '.join(it.message for it in row.prerequisites)}",
            code=first.code,
            remedy=first.remedy,
        )


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
