"""What of the application would behave differently if its tables belonged to the fabric role. Pure.

The facts come from the catalogue (`shared/source/dependents.py`). Each harm says in one sentence what would happen, and
how to prevent it: by a statement wherever there is one. Facts that say the same are one harm, however many tables they
are about.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from shared.desired.takeover import TableName
from shared.platform.brief import listed
from shared.source.facts import Dependent, DependentKind

NAMED = 3
"""How many objects of one harm are named."""
OTHERWISE = "Otherwise choose the rights `membership`, which leave the tables with their owners."


class Harm(msgspec.Struct, frozen=True):
    """One thing that would behave differently, for one table or for many."""

    table: TableName
    """The table; the first of many."""
    object: str
    """What is concerned, in words: `trigger keep of s.c and 12 more`."""
    consequence: str
    cure: str
    """What prevents it: SQL that works as it stands, where there is any; otherwise a sentence."""


class _Rule(msgspec.Struct, frozen=True):
    """What follows from one kind of facts, on the major versions `since` to `until`.

    `{subject}` and `{statement}` stand for the fact's own; `without` is the cure where the fact has no statement.
    """

    consequence: str
    cure: str = "{statement}"
    without: str = OTHERWISE
    since: int = 0
    until: int = 99


def harms(dependents: Sequence[Dependent], version: int) -> tuple[Harm, ...]:
    """The harms on a major version of PostgreSQL, in the order of the facts."""
    groups: dict[tuple[DependentKind, str, str], list[Dependent]] = {}
    for dependent in dependents:
        rule = _RULES[dependent.kind]
        if rule.since <= version <= rule.until:
            groups.setdefault((dependent.kind, dependent.subject, _shared(dependent)), []).append(dependent)
    return tuple(_harm(group) for group in groups.values())


def _shared(dependent: Dependent) -> str:
    """The statement, if it cures all facts about the same subject: that of a sequence is about one table."""
    return "" if dependent.kind == "sequence" else dependent.statement


def _harm(group: Sequence[Dependent]) -> Harm:
    first, rule = group[0], _RULES[group[0].kind]
    cure = rule.cure if first.statement else rule.without
    note = _DEFINER if "SECURITY DEFINER;" in first.statement else ""
    objects = list(dict.fromkeys(dependent.object for dependent in group))
    return Harm(
        first.table,
        listed(objects, most=NAMED),
        rule.consequence.format(subject=first.subject),
        cure.format(subject=first.subject, statement=first.statement) + note,
    )


_ACTION = "ON DELETE and ON UPDATE actions of foreign keys, which run as the table's owner"
_DEFINER = " -- a SECURITY DEFINER function runs as its owner, whoever calls it: see that it sets its search_path"

_RULES: dict[DependentKind, _Rule] = {
    "trigger": _Rule(f"It fires in {_ACTION}: {{subject}} would run as the fabric role there."),
    "after trigger": _Rule(
        f"It fires in {_ACTION}: from PostgreSQL 18 on, {{subject}} would run as the fabric role there.",
        since=18,
    ),
    "rule": _Rule(
        "PostgreSQL checks the rights for a rule's actions on the table's owner. So statements that fire the rule "
        "would fail, since the fabric role lacks rights on {subject}.",
        without="Replace the rule by a trigger, since {subject} has row-level security. " + OTHERWISE,
    ),
    "foreign key": _Rule(
        "The check of a foreign key runs as a table's owner: the fabric role would call {subject} there."
    ),
    "index": _Rule(
        "ANALYZE, autovacuum, REINDEX, CLUSTER and CREATE INDEX call the functions of an index as the table's owner: "
        "{subject} would run as the fabric role.",
    ),
    "statistics": _Rule(
        "ANALYZE and autovacuum call the functions of extended statistics as the table's owner: {subject} would run as "
        "the fabric role.",
    ),
    "range type": _Rule(
        "ANALYZE and autovacuum call the subtype_diff function of a range type as the table's owner: {subject} would "
        "run as the fabric role."
    ),
    "check constraint": _Rule(f"It is checked in {_ACTION}: {{subject}} would run as the fabric role there."),
    "generated column": _Rule(f"It is computed in {_ACTION}: {{subject}} would run as the fabric role there."),
    "default": _Rule(f"It is computed in {_ACTION}: {{subject}} would run as the fabric role there."),
    "domain": _Rule(f"It is checked in {_ACTION}: {{subject}} would run as the fabric role there."),
    "sequence": _Rule(
        "PostgreSQL links a sequence only to a table of the same owner. So ALTER SEQUENCE … OWNED BY would fail for "
        "{subject}."
    ),
    "schema": _Rule(
        "The checks of foreign keys run as a table's owner. So they would fail once a table was moved to the schema "
        "{subject}, which the fabric role may not use."
    ),
    "default privileges": _Rule(
        "A sequence of a serial or identity column that comes later would belong to the fabric role. So the default "
        "privileges of {subject} would not give anybody rights on it."
    ),
    "subscription": _Rule(
        "Its apply worker has to SET ROLE to the table's owner, which {subject} may not for the fabric role. So the "
        "worker would stop, and the publisher would retain WAL.",
        "{statement} -- the worker then runs as {subject}, who needs the rights on the table",
        since=16,
    ),
    "event trigger": _Rule(
        "It runs {subject} for the ALTER TABLE, GRANT and REVOKE of a change of owner, and may refuse them.",
        "{statement} -- until the tables are taken, and again for the release",
    ),
    "row-level security": _Rule(
        "Members of a table's owner are exempt from its policies. As members of the fabric role {subject} would see "
        "and change all rows.",
        without="Give all tables of the database one owner. " + OTHERWISE,
    ),
    "other owner": _Rule(
        "All former owners become members of the fabric role. So {subject} would have all rights of an owner there.",
        without="Give all tables of the database one owner. " + OTHERWISE,
    ),
    "no inheritance": _Rule(
        "{subject} is NOINHERIT, so it would not have the rights of an owner any more: ALTER TABLE, GRANT and TRUNCATE "
        "… RESTART IDENTITY would fail, and policies of row-level security would hide rows from it.",
        until=15,
    ),
    "set role": _Rule(
        "Before PostgreSQL 16, every member of a role may SET ROLE to it. So {subject} and its members could become "
        "the fabric role, which has CREATEROLE, CREATEDB, REPLICATION and azure_cdc_admin.",
        without="Upgrade the server to PostgreSQL 16 or later. " + OTHERWISE,
        until=15,
    ),
}
