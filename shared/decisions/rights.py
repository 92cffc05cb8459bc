"""How the fabric role comes to its rights on the tables of a database: the way that harms the application least. Pure.

As a *member* of the tables' owner the role may publish them, and nothing of the application changes. As the *owner* it
is what the tutorial wants, but PostgreSQL does much as a relation's owner. So ownership is the way only where the
service insists on it, or where the membership would make the role strong; and only if nothing of the application would
behave differently, or if somebody named ownership as the way.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from shared.decisions.harm import Harm
from shared.platform.reasons import Reason
from shared.platform.settings import Rights
from shared.records.rows import MirrorRow
from shared.source.facts import Owner

type Way = Literal["membership", "ownership"]
type Word = Literal["unasked", "content", "insists", "silent"]
"""What the service says of the role's rights. `unasked`: nobody has asked it yet. `silent`: it can't be asked."""

MOST_NAMED = 5


class OfOwner(msgspec.Struct, frozen=True):
    """The way to the tables of one owner, and why it is this one."""

    owner: str
    way: Way
    why: str


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The way to the tables of each owner."""

    owners: tuple[OfOwner, ...]
    problems: tuple[Reason, ...] = ()
    """Why the role can't get its rights in these ways; then nothing is changed."""

    @property
    def membership(self) -> tuple[str, ...]:
        """The owners that the role is to be a member of."""
        return tuple(it.owner for it in self.owners if it.way == "membership")

    @property
    def ownership(self) -> tuple[str, ...]:
        """The owners whose tables the role is to own."""
        return tuple(it.owner for it in self.owners if it.way == "ownership")

    @property
    def way(self) -> Way:
        """What the rights of the database are called: ownership, where it is the way to any table."""
        return "ownership" if self.ownership else "membership"

    @property
    def why(self) -> str:
        """Why the ways are these, each sentence once."""
        return " ".join(dict.fromkeys(it.why for it in self.owners))


class Elsewhere(msgspec.Struct, frozen=True):
    """What stays of the fabric role's rights in the other databases of the server."""

    joined: frozenset[str] = frozenset()
    """The owners that it is a member of there."""
    former: frozenset[str] = frozenset()
    """The former owners of tables that it owns there, which are its members; without administrators."""


NOTHING = Elsewhere()


def staying(others: Iterable[MirrorRow]) -> Elsewhere:
    """What the next look at the other databases would not change by itself, with administrators among the `former`.

    Memberships that the service does not take end there, and tables that somebody's consent took are given back when
    it is withdrawn.
    """
    records = [(row, row.takeover) for row in others if row.takeover]
    content = [record for row, record in records if row.rights and row.word not in ("insists", "silent")]
    owning = [record for row, record in records if row.rights == "ownership" and not record.consent]
    return Elsewhere(
        joined=frozenset(membership.owner for record in content for membership in record.joined),
        former=frozenset(table.owner for record in owning for table in record.tables),
    )


def choose(
    rights: Rights,
    owners: Sequence[Owner],
    word: Word,
    harms: Sequence[Harm],
    statements: Mapping[str, str],
    elsewhere: Elsewhere = NOTHING,
) -> Plan:
    """The way to the tables of each owner.

    `harms`: what would change for the application if the role owned the tables that the plan takes. `statements`: for
    each owner, the one that lets the app grant it.
    """
    ways = tuple(_way(rights, owner, word) for owner in owners)
    problems = [problem for owner in owners if (problem := _problem(rights, owner, word, statements[owner.name]))]
    plan = Plan(owners=ways)
    if rights != "ownership" and harms:
        problems.append(would_harm(harms, plan))
    elif rights == "auto" and (mixed := _mixed(owners, plan, elsewhere)):
        problems.append(mixed)
    return msgspec.structs.replace(plan, problems=tuple(problems))


def word_of(asked: bool, refused: bool) -> Word:
    """The service's word. `asked`: it told about tables. `refused`: it refuses one that the role is to reach."""
    if refused:
        return "insists"
    return "content" if asked else "silent"


def is_asked_again(word: Word, taken: bool) -> bool:
    """Whether the service is asked once more before its last word counts.

    A word for which tables were `taken` stays, so that a service that says now this and now that moves no table to and
    fro: they go back when somebody names membership. Where nothing was taken, asking again changes nothing.
    """
    return word in ("insists", "silent") and not taken


def would_harm(harms: Sequence[Harm], plan: Plan) -> Reason:
    """The reason for which ownership is not taken. It names the first findings; the report has all of them."""
    named = " ".join(f"{harm.object}: {harm.consequence}" for harm in harms[:MOST_NAMED])
    more = f" And {len(harms) - MOST_NAMED} more." if len(harms) > MOST_NAMED else ""
    cures = " ".join(dict.fromkeys(harm.cure for harm in harms[:MOST_NAMED] if harm.cure))
    return Reason(
        "OwnershipWouldHarm",
        f"{plan.why} As the owner, the fabric role would change what the application does. {named}{more}",
        f"{cures} Or name the tables to mirror without these. Or accept it: set rights to ownership.".strip(),
    )


def gains(owners: Sequence[Owner], plan: Plan) -> str:
    """What the role reaches as a member besides the tables to mirror, in a sentence; empty: nothing."""
    parts = []
    for owner in owners:
        if owner.name not in plan.membership:
            continue
        if owner.other_tables:
            parts.append(f"{owner.other_tables} other tables and views of {owner.name!r}")
        if owner.other_databases:
            parts.append(f"what {owner.name!r} has in {', '.join(owner.other_databases)}")
        if owner.owns_database:
            parts.append(f"the database itself, which {owner.name!r} owns and may drop")
    if not parts:
        return ""
    return f"As a member the fabric role also reaches {', '.join(parts)}. Who wants less sets rights to ownership."


def _way(rights: Rights, owner: Owner, word: Word) -> OfOwner:
    if rights == "ownership":
        return OfOwner(owner.name, "ownership", "The rights are set to ownership.")
    if rights == "membership":
        return OfOwner(owner.name, "membership", "The rights are set to membership.")
    if owner.strong:
        return OfOwner(owner.name, "ownership", f"{_strength(owner)} The fabric role must not become a member of it.")
    match word:
        case "insists":
            why = "The service insists that the fabric role owns the tables."
        case "silent":
            why = "The service can't be asked whether membership in the tables' owner is enough."
        case _:
            return OfOwner(owner.name, "membership", "Membership changes nothing of the application.")
    return OfOwner(owner.name, "ownership", why)


def _strength(owner: Owner) -> str:
    if owner.is_built_in:
        return f"Role {owner.name!r} is one of PostgreSQL's own."
    if owner.administrator:
        return f"Role {owner.name!r} is an administrator of the server."
    beyond = ", ".join(map(repr, owner.beyond[:MOST_NAMED]))
    return f"Role {owner.name!r} is a member of {beyond}, which reach beyond its application."


def _problem(rights: Rights, owner: Owner, word: Word, statement: str) -> Reason | None:
    """Why the tables of this owner can't be reached in the way that the rights allow."""
    subject = f"{_tables(owner)} of {owner.name!r}"
    if owner.is_built_in:
        return Reason(
            "OwnerTooStrong",
            f"{_strength(owner)} The app neither makes the fabric role a member of it nor takes {subject}.",
            "Give them to a role of the application: ALTER TABLE … OWNER TO …;",
        )
    if rights == "membership" and owner.strong:
        return Reason(
            "OwnerTooStrong",
            f"{_strength(owner)} As a member of it, the fabric role would have its rights too, so it can't get its "
            f"rights on {subject} by membership.",
            f"Hand all that {owner.name!r} owns in this database to a role that can't log in and is no administrator: "
            f"CREATE ROLE …; REASSIGN OWNED BY … TO …; Or set rights to auto or ownership.",
        )
    if rights == "membership" and word == "insists":
        return Reason(
            "ServiceWantsOwnership",
            f"The service refuses {subject}: it insists that the fabric role owns them (NOT_TABLE_OWNER).",
            "Set rights to auto or ownership.",
        )
    if _way(rights, owner, word).way == "membership" and not (owner.grantable or owner.joined):
        return Reason(
            "OwnerNotGrantable",
            f"The app may not make the fabric role a member of {owner.name!r}, the owner of {_tables(owner)}.",
            f"Run as {' or '.join(owner.grantors) or 'a superuser'}: {statement}",
        )
    return None


def _mixed(owners: Sequence[Owner], plan: Plan, elsewhere: Elsewhere) -> Reason | None:
    """Owners of taken tables join the fabric role, and so get the rights of the owners that the role is a member of.

    The role and its memberships are those of the whole server. What other databases have by themselves is not named.
    """
    joining = {owner.name for owner in owners if owner.name in plan.ownership and not owner.administrator}
    reaching = set(plan.membership)
    gaining, reached = joining | elsewhere.former, reaching | elsewhere.joined
    if not ((joining and reached) or (reaching and gaining)):
        return None
    named = ", ".join(map(repr, sorted(gaining)))
    others = ", ".join(map(repr, sorted(reached - gaining)))
    return Reason(
        "OwnershipWouldHarm",
        f"{plan.why} The fabric role is one for all databases of the server, and former owners of tables are members "
        f"of it. So {named} would have the rights of {others}, which the fabric role is a member of."
        if others
        else f"{plan.why} For one database the fabric role would be a member of {named}, and for another one the other "
        "way round, which PostgreSQL does not take.",
        "Name databases and tables of one of these owners only. Or accept it: set rights to ownership.",
    )


def _tables(owner: Owner) -> str:
    if owner.tables == 1:
        return f"table {owner.example}"
    return f"{owner.tables} tables such as {owner.example}"
