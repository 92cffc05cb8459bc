"""How the fabric role came to its rights on the tables of a database, and all that is needed to undo it."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec


class TableName(msgspec.Struct, frozen=True, order=True):
    """A table of the database at hand, by its names as the catalogue has them (unquoted)."""

    schema: str
    name: str

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


_LETTER = re.compile(r"[A-Za-z]\*?")


class Grant(msgspec.Struct, frozen=True, order=True, array_like=True):
    """What `grantor` gave `grantee` (empty: PUBLIC) on one object.

    `privileges` are PostgreSQL's letters for them ("ACL Privilege Abbreviations" in its manual), each followed by `*`
    when it came with GRANT OPTION. Short, and written as a list, because there are many of them in a mirror's row.
    """

    grantee: str
    grantor: str
    privileges: str

    @property
    def letters(self) -> set[str]:
        """The privileges one by one: `r`, `w*`."""
        return set(_LETTER.findall(self.privileges))


class Relation(msgspec.Struct, frozen=True, array_like=True):
    """A table or sequence (`kind` as in `pg_class.relkind`) and the privileges on it, the owner's own included."""

    oid: int
    kind: str
    schema: str
    name: str
    owner: str
    grants: tuple[Grant, ...]

    def of(self, grantee: str) -> set[str]:
        """The privileges that `grantee` itself has been given."""
        return {letter for grant in self.grants if grant.grantee == grantee for letter in grant.letters}

    def renamed(self, names: Mapping[str, str]) -> Relation:
        """The same by other names of its roles; `names` has the new name of each role that has one."""
        grants = tuple(
            Grant(names.get(grant.grantee, grant.grantee), names.get(grant.grantor, grant.grantor), grant.privileges)
            for grant in self.grants
        )
        return Relation(self.oid, self.kind, self.schema, self.name, names.get(self.owner, self.owner), grants)


class FormerOwner(msgspec.Struct, frozen=True, kw_only=True):
    """A table and what belongs to its owner, as they were before they were taken. Object ids outlive renames."""

    table: Relation
    sequences: tuple[Relation, ...] = ()
    member: bool = False
    """Somebody else made the owner a member of the fabric role: it stays one."""
    replica_identity: str = "DEFAULT"
    """What followed REPLICA IDENTITY: DEFAULT, NOTHING, FULL, or an index's name behind `USING INDEX `."""

    @property
    def owner(self) -> str:
        return self.table.owner

    @property
    def name(self) -> TableName:
        return TableName(self.table.schema, self.table.name)


class NotTakeable(msgspec.Struct, frozen=True):
    """A table that the app may not take: what has to be run first, and by which roles it can be.

    A role that somebody created can be granted to the app by its creator. Nobody can grant the server's own
    administrators, but they can hand what they own to a role that is no administrator.
    """

    schema: str
    table: str
    owner: str
    statement: str
    run_as: tuple[str, ...]


class Joined(msgspec.Struct, frozen=True, order=True):
    """An owner of tables that the app made the fabric role a member of, and the `grantor` by the catalogue.

    Roles can be renamed: their object ids stay. 0: an earlier version recorded the names alone.
    """

    owner: str
    grantor: str
    owner_oid: int = 0
    grantor_oid: int = 0


class Identity(msgspec.Struct, frozen=True, order=True, array_like=True):
    """The replica identity that a table had before it was mirrored.

    The app changes one that does not fit, and Fabric that of a table without a key.
    """

    oid: int
    schema: str
    name: str
    identity: str
    """What followed REPLICA IDENTITY: DEFAULT, NOTHING, FULL, or an index's name behind `USING INDEX `."""


class Takeover(msgspec.Struct, frozen=True):
    """What the app did, or is about to do, for the fabric role `role` in one database."""

    role: str
    tables: tuple[FormerOwner, ...] = ()
    """The tables that the role became the owner of."""
    not_takeable: tuple[NotTakeable, ...] = ()
    joined: tuple[Joined, ...] = ()
    """The owners that the role became a member of."""
    consent: str = ""
    """Where somebody named ownership as the way, although it changes the application; empty: nobody had to."""
    identities: tuple[Identity, ...] = ()
    """The replica identities of tables that the role does not own: those without a primary key, and those that the app
    has changed."""
    returned: tuple[int, ...] = ()
    """The object ids of tables that were given back to ask the service whether that is enough for it. If it is not,
    they are taken again. Empty: no question is open."""
    owners: tuple[tuple[int, str], ...] = ()
    """The object ids and names of former owners: roles can be renamed. An earlier version recorded none."""

    def __bool__(self) -> bool:
        """Whether there is anything to undo."""
        return bool(self.tables or self.joined or self.identities or self.returned)

    @property
    def every_identity(self) -> dict[int, Identity]:
        """The recorded replica identities by the table's object id, those of the role's own tables too."""
        tables = [(former.table, former.replica_identity) for former in self.tables]
        owned = {table.oid: Identity(table.oid, table.schema, table.name, before) for table, before in tables}
        return owned | {identity.oid: identity for identity in self.identities}

    def after(self, earlier: Takeover | None) -> Takeover:
        """This plan joined with the recorded plan of an earlier run, which may be carried out already."""
        if earlier is None:
            return self
        tables = {former.table.oid: former for former in (*earlier.tables, *self.tables)}
        return Takeover(
            self.role,
            tuple(sorted(tables.values(), key=lambda former: former.name)),
            self.not_takeable,
            tuple(sorted({*earlier.joined, *self.joined})),
            self.consent or earlier.consent,
            tuple(sorted({*earlier.identities, *self.identities})),
            tuple(sorted({*earlier.returned, *self.returned})),
            tuple(sorted({*earlier.owners, *self.owners})),
        )

    def by_present_names(self, roles: Mapping[int, str]) -> Takeover:
        """The same by the names that former owners have now. `roles` has the name of each object id that there is.

        A former owner that is gone keeps its name, under which somebody may make it again.
        """
        names = {name: roles[oid] for oid, name in self.owners if oid in roles}
        tables = tuple(
            msgspec.structs.replace(
                former,
                table=former.table.renamed(names),
                sequences=tuple(sequence.renamed(names) for sequence in former.sequences),
            )
            for former in self.tables
        )
        owners = tuple(sorted({(oid, roles.get(oid, name)) for oid, name in self.owners}))
        return msgspec.structs.replace(self, tables=tables, owners=owners)
