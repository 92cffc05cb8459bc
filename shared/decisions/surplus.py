"""What the fabric role has in a database by an earlier choice of tables, and does not need any more. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import msgspec

from shared.desired.takeover import FormerOwner, Identity, Joined, TableName, Takeover


class Surplus(msgspec.Struct, frozen=True):
    """What is undone."""

    tables: tuple[FormerOwner, ...] = ()
    """The taken tables that are given back."""
    joined: frozenset[Joined] = frozenset()
    """The memberships that end."""
    identities: tuple[Identity, ...] = ()
    """The replica identities that are given back."""

    def __bool__(self) -> bool:
        """Whether there is anything to undo."""
        return bool(self.tables or self.joined or self.identities)


def surplus(record: Takeover, chosen: Collection[TableName], owners: Collection[str]) -> Surplus:
    """The surplus in the record of a database. `chosen`: the tables to mirror; none: all of them, so that no table is
    surplus. `owners`: the owners that have tables to mirror; the role leaves all others."""
    left_out = [it for it in record.every_identity.values() if chosen and TableName(it.schema, it.name) not in chosen]
    return Surplus(
        tables=tuple(former for former in record.tables if chosen and former.name not in chosen),
        joined=frozenset(membership for membership in record.joined if membership.owner not in owners),
        identities=tuple(left_out),
    )


def without(record: Takeover, undone: Surplus, waiting: Iterable[Identity]) -> Takeover:
    """The record after the surplus is undone. `waiting`: the replica identities of the surplus that stay for now, as
    Fabric still publishes their tables."""
    return msgspec.structs.replace(
        record,
        tables=tuple(former for former in record.tables if former not in undone.tables),
        joined=tuple(membership for membership in record.joined if membership not in undone.joined),
        identities=tuple(sorted({*(it for it in record.identities if it not in undone.identities), *waiting})),
    )
