"""What follows from the facts about a table's owner: each kind, its words, its versions, and many facts as one harm."""

from __future__ import annotations

from typing import get_args

import msgspec
import pytest

from shared.decisions.harm import Harm, harms
from shared.desired.takeover import TableName
from shared.source.facts import Dependent, DependentKind

KINDS = get_args(DependentKind.__value__)
SINCE = {"after trigger": 18, "subscription": 16}
UNTIL = {"no inheritance": 15, "set role": 15}


def fact(kind: DependentKind, table: str = "s.c", **changes: str) -> Dependent:
    schema, _, name = table.partition(".")
    made = Dependent(
        kind=kind,
        table=TableName(schema, name),
        owner="app",
        object=f"thing of {table}",
        subject="s.subject()",
        statement="ALTER TABLE s.c DO IT;",
    )
    return msgspec.structs.replace(made, **changes)


def only(*facts: Dependent, version: int = 18) -> Harm:
    (found,) = harms(facts, version)
    return found


@pytest.mark.parametrize("version", [14, 15, 16, 17, 18])
@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_a_harm_on_its_versions(kind: DependentKind, version: int) -> None:
    is_harm = SINCE.get(kind, 14) <= version <= UNTIL.get(kind, 18)
    assert len(harms([fact(kind)], version)) == is_harm


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("statement", ["ALTER TABLE s.c DO IT;", ""])
def test_each_harm_says_what_happens_and_what_prevents_it(kind: DependentKind, statement: str) -> None:
    found = only(fact(kind, statement=statement), version=SINCE.get(kind, 15))
    assert found.table == TableName("s", "c")
    assert found.object == "thing of s.c"
    assert found.consequence.endswith(".")
    assert "{" not in found.consequence + found.cure
    assert found.cure.startswith(statement) if statement else found.cure.endswith("with their owners.")


def test_a_trigger_in_an_action() -> None:
    definer = "ALTER FUNCTION s.keep() SECURITY DEFINER;"
    found = only(fact("trigger", object="trigger keep of s.c", subject="s.keep()", statement=definer))
    assert found == Harm(
        TableName("s", "c"),
        "trigger keep of s.c",
        "It fires in ON DELETE and ON UPDATE actions of foreign keys, which run as the table's owner: s.keep() would "
        "run as the fabric role there.",
        "ALTER FUNCTION s.keep() SECURITY DEFINER; -- a SECURITY DEFINER function runs as its owner, whoever calls it: "
        "see that it sets its search_path",
    )


def test_a_rule() -> None:
    grant = "GRANT SELECT, INSERT, UPDATE, DELETE ON s.log TO fabric_user;"
    found = only(fact("rule", object="rule also of s.c", subject="s.log", statement=grant))
    assert "the fabric role lacks rights on s.log" in found.consequence
    assert found.cure == grant
    assert only(fact("rule", subject="s.log", statement="")).cure.startswith(
        "Replace the rule by a trigger, since s.log"
    )


def test_roles_are_named() -> None:
    for kind, version in (("row-level security", 18), ("other owner", 18), ("no inheritance", 15), ("set role", 15)):
        assert "tenant" in only(fact(kind, subject="tenant"), version=version).consequence


def test_many_tables_with_the_same_finding_are_one_harm() -> None:
    facts = [fact("trigger", f"s.t{number:04}") for number in range(5000)]
    found = only(*facts)
    assert found.table == TableName("s", "t0000")
    assert found.object == "thing of s.t0000, thing of s.t0001, thing of s.t0002 and 4,997 more"


@pytest.mark.parametrize(("number", "more"), [(1, ""), (3, ""), (4, " and 1 more")])
def test_three_objects_of_a_harm_are_named(number: int, more: str) -> None:
    named = ", ".join(f"thing of s.t{index}" for index in range(min(number, 3)))
    assert only(*(fact("trigger", f"s.t{index}") for index in range(number))).object == named + more


def test_a_sequence_of_many_tables_is_one_harm() -> None:
    """It can be linked to one of them only."""
    links = [f"ALTER SEQUENCE s.q OWNED BY s.t{number}.id;" for number in range(5)]
    facts = [fact("sequence", f"s.t{number}", subject="s.q", statement=link) for number, link in enumerate(links)]
    assert only(*facts).cure == links[0]


def test_one_object_that_is_found_twice_is_named_once() -> None:
    assert only(fact("index"), fact("index")).object == "thing of s.c"


def test_what_differs_is_told_apart() -> None:
    different = [
        fact("trigger"),
        fact("index"),
        fact("trigger", subject="s.other()"),
        fact("trigger", statement="GRANT EXECUTE ON FUNCTION s.subject() TO fabric_user;"),
    ]
    assert len(harms(different, 18)) == 4


def test_a_plain_application_has_none() -> None:
    assert harms([], 14) == ()
