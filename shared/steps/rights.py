"""Gives the fabric role its rights on the tables of a database, in the way that `decisions.rights` chooses.

What is about to be done is written to the mirror's row before it is done, so that a release undoes it whatever happens.
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from shared.decisions import harm, rights
from shared.decisions.harm import Harm
from shared.decisions.rights import Plan, Word
from shared.desired.takeover import Identity, TableName, Takeover
from shared.platform import logs
from shared.platform.brief import cut, listed
from shared.platform.errors import Blocked
from shared.platform.reasons import LONGEST
from shared.platform.settings import Rights, settings
from shared.records import store
from shared.source import dependents, event_triggers, extension, grants, identity, keepsake, owners, ownership, role
from shared.source.connection import Connection, connect
from shared.source.membership import major
from shared.steps import asking, holdings
from shared.steps.holdings import Choice, Place, Seen, keep, still_joined, still_members
from shared.steps.memberships import end_membership, leave_strong, require_apart, require_free, retreat
from shared.steps.rights_refusals import require_accepted, require_granted, require_plan, require_takeable

log = logs.logger(__name__)


async def ensure(place: Place, choice: Choice) -> None:
    """Give the role its rights on the tables. Raises `Blocked`, with statements to run, before anything is changed.

    Even then, the role's memberships in owners that have become strong are ended.
    """
    name = settings().login.role
    async with connect(place.host, place.database) as connection, event_triggers.guarded(connection):
        seen = await look(connection, place, choice)
        if await _finish_question(connection, place, choice, seen.takeover):
            seen = await look(connection, place, choice)
        plan, _ = await choose(connection, name, choice.rights, seen, seen.word)
        await leave_strong(connection, place, seen)
        require_plan(plan)
        seen = await _ensure_rights(connection, place, choice, seen, plan)
    await _verify(place, seen)


async def look(connection: Connection, place: Place, choice: Choice) -> Seen:
    """What there is. Where the service was not content, and nothing was taken for that, it is asked once more."""
    seen = await holdings.look(connection, place, choice)
    if rights.is_asked_again(seen.word, bool(seen.takeover.tables)):
        seen = msgspec.structs.replace(seen, word=await asking.rehearse(connection, seen))
    return seen


async def choose(
    connection: Connection, name: str, way: Rights, seen: Seen, word: Word
) -> tuple[Plan, tuple[Harm, ...]]:
    """The way to the tables of each owner, and what would change for the application where it is ownership."""
    statements = {owner.name: owners.statement(connection, owner.name) for owner in seen.owners}
    plan = rights.choose(way, seen.owners, word, (), statements, seen.elsewhere)
    if not plan.ownership:
        return plan, ()
    facts = await dependents.dependents(connection, name, seen.to_take(plan.ownership))
    harms = harm.harms(facts, major(connection))
    return rights.choose(way, seen.owners, word, harms, statements, seen.elsewhere), harms


async def _ensure_rights(connection: Connection, place: Place, choice: Choice, seen: Seen, plan: Plan) -> Seen:
    """Give the role its rights. Returns what there is, as the service itself reports it once the extension exists."""
    name = settings().login.role
    before = await owners.joined(connection, name)
    judged_by_service = bool(await extension.members(connection))
    record = await _join(connection, place, seen, plan, is_question=choice.rights == "auto")
    require_granted(await role.ensure_database(connection, name, seen.schemas, bool(plan.ownership)))
    try:
        if not judged_by_service:
            seen = await _look_again(connection, place, choice, seen)
        word = await asking.ask(place, seen, plan)
        if word != "unasked":
            await store.update_mirror(place.server, place.database, word=word)
        if word in ("insists", "silent"):
            plan, _ = await choose(connection, name, choice.rights, seen, word)
            require_plan(plan)
    except Blocked:
        record = await retreat(connection, place, record, before)
        if choice.rights == "auto":
            await _retake(connection, place, record)
        raise
    if word in ("insists", "silent"):
        require_granted(await role.ensure_database(connection, name, seen.schemas, bool(plan.ownership)))
    if plan.ownership:
        record = await _own(connection, place, choice, seen, plan, record)
    record = await _forget_question(connection, place, record)
    await _set_identities(connection, place, seen, record)
    await store.update_mirror(place.server, place.database, rights=plan.way, rights_why=cut(plan.why, LONGEST))
    return seen


async def _look_again(connection: Connection, place: Place, choice: Choice, seen: Seen) -> Seen:
    """What the service itself says of the tables that the app judged alone, before the extension was there.

    Raises `Blocked` with code `TableRefused` where it refuses a table that was chosen. The others are left out.
    """
    again = await holdings.look(connection, place, choice)
    if choice.chosen:
        require_accepted(again.report, place.database)
    refused = [str(table) for table in seen.eligible if table not in again.eligible]
    if refused:
        log.warning("The service refuses tables of database %r: %s.", place.database, listed(refused))
    return msgspec.structs.replace(seen, report=again.report, owned=again.owned)


async def _join(connection: Connection, place: Place, seen: Seen, plan: Plan, *, is_question: bool) -> Takeover:
    """Make the role a member of the owners that the plan says; the record as it is then.

    Tables that the role owns by an earlier plan go back to these owners first, as no role can be a member of its
    member. Where that is a question to the service (`is_question`), the record says what has to be taken again.
    """
    name = settings().login.role
    now = await owners.joined(connection, name)
    recorded = await still_joined(connection, place.server, place.database) | set(seen.takeover.joined)
    record = await _give_back(connection, place, seen.takeover, plan.membership, is_question)
    if any(not owner.joined for owner in seen.owners if owner.name in plan.membership):
        await require_apart(connection, await still_members(connection, place.server, place.database), plan.membership)
    joined = set(record.joined)
    for owner in seen.owners:
        if owner.name not in plan.membership:
            continue
        if owner.joined:
            joined |= {membership for membership in recorded & now if membership.owner == owner.name}
        else:
            await end_membership(connection, place, owner.name)
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
    recorded = record.every_identity
    new = (it for it in await identity.look(connection, names) if it.oid not in recorded)
    return tuple(sorted({*record.identities, *new}))


async def _give_back(
    connection: Connection, place: Place, record: Takeover, to: Collection[str], is_question: bool
) -> Takeover:
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
        for oid, it in record.every_identity.items()
        if oid in without_key or (oid in owned and it.identity != "DEFAULT")
    }
    record = msgspec.structs.replace(
        record,
        tables=tuple(table for table in record.tables if table not in returning),
        identities=tuple(sorted({*record.identities, *identities.values()})),
        returned=tuple(sorted({*record.returned, *owned})) if is_question else (),
    )
    await _write_down(connection, place, record)
    return record


async def _retake(connection: Connection, place: Place, record: Takeover) -> None:
    """Take the tables again that were given back to ask the service, so that their mirror goes on."""
    if not record.returned:
        return
    name = settings().login.role
    relations = await grants.relations(connection, record.returned)
    takeover = await ownership.plan_take(connection, name, [TableName(it.schema, it.name) for it in relations.values()])
    former = {table.owner for table in takeover.tables}
    await owners.leave(connection, name, [it for it in record.joined if it.owner in former])
    record = msgspec.structs.replace(record, joined=tuple(it for it in record.joined if it.owner not in former))
    record = takeover.after(record)
    await _write_down(connection, place, record)
    await ownership.apply_take(connection, record)
    await _forget_question(connection, place, record)


async def _finish_question(connection: Connection, place: Place, choice: Choice, record: Takeover) -> bool:
    """Finish a question to the service that was interrupted after its answer. Returns whether there was one.

    A question that was interrupted before its answer is asked again. Where somebody named the way in the meantime, the
    service need not be asked any more.
    """
    if not record.returned:
        return False
    is_answered = set(record.returned) <= {table.table.oid for table in record.tables}
    if choice.rights == "auto" and not is_answered:
        return False
    if choice.rights == "auto":
        await ownership.apply_take(connection, record)
    await _forget_question(connection, place, record)
    return True


async def _forget_question(connection: Connection, place: Place, record: Takeover) -> Takeover:
    """The record without `returned`: the question is over, and the tables are where the service wants them."""
    if record.returned:
        record = msgspec.structs.replace(record, returned=())
        await _write_down(connection, place, record)
    return record


async def _write_down(connection: Connection, place: Place, record: Takeover) -> None:
    """Keep a record in the app's own row and in the database."""
    await keep(place, record)
    await keepsake.write(connection, record)


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
        await require_free(connection, owner, name)
    remaining = tuple(it for it in record.joined if it.owner not in plan.ownership)
    if remaining != record.joined:
        record = msgspec.structs.replace(record, joined=remaining)
        await keep(place, record)
    if choice.rights != "ownership":
        elsewhere = await still_joined(connection, place.server, place.database)
        await require_apart(connection, plan.ownership, {it.owner for it in elsewhere})
    takeover = msgspec.structs.replace(takeover, consent=choice.consent if choice.rights == "ownership" else "")
    record = takeover.after(record)
    await _write_down(connection, place, record)
    await ownership.apply_take(connection, takeover)
    return record


async def _set_identities(connection: Connection, place: Place, seen: Seen, record: Takeover) -> None:
    """Give tables a replica identity that fits, so that no UPDATE fails once they are published."""
    changes = await identity.plan(connection, seen.eligible)
    if not changes:
        return
    recorded = record.every_identity
    new = (change.before for change in changes if change.before.oid not in recorded)
    record = msgspec.structs.replace(record, identities=tuple(sorted({*record.identities, *new})))
    await _write_down(connection, place, record)
    await identity.apply(connection, changes)


async def _verify(place: Place, seen: Seen) -> None:
    """Look at it all once more, as the fabric role itself."""
    name = settings().login.role
    async with asking.as_role(place) as connection:
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
