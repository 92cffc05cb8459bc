"""The way to the tables of each owner, and what stands in it."""

from __future__ import annotations

from typing import Any

import pytest

from shared.decisions.harm import Harm
from shared.decisions.rights import Elsewhere, Plan, Word, choose, gains, is_asked_again, staying, word_of
from shared.desired.takeover import FormerOwner, Joined, Relation, TableName, Takeover
from shared.platform.settings import Rights
from shared.records.rows import MirrorRow
from shared.source.facts import Owner
from tests.unit.facts import SERVER

HARM = Harm(TableName("s", "t"), "rule also of s.t", "It would fail.", "DROP RULE also ON s.t;")


def owner(name: str = "app", **changes: Any) -> Owner:
    facts: dict[str, Any] = {
        "name": name, "tables": 2, "example": "s.t", "administrator": False, "grantable": True, "grantors": ("boss",),
        "beyond": (), "joined": False, "other_tables": 0, "other_databases": (),
    }  # fmt: skip
    return Owner(**facts | changes)


def plan(*owners: Owner, rights: Rights = "auto", word: Word = "unasked", harms: tuple[Harm, ...] = ()) -> Plan:
    chosen = owners or (owner(),)
    return choose(rights, chosen, word, harms, {it.name: f"GRANT {it.name};" for it in chosen})


@pytest.mark.parametrize(
    ("rights", "word", "changes", "way"),
    [
        ("auto", "unasked", {}, "membership"),
        ("auto", "content", {}, "membership"),
        ("auto", "insists", {}, "ownership"),
        ("auto", "silent", {}, "ownership"),
        ("auto", "content", {"administrator": True}, "ownership"),
        ("auto", "content", {"beyond": ("pg_monitor",)}, "ownership"),
        ("membership", "silent", {}, "membership"),
        ("ownership", "content", {}, "ownership"),
    ],
)
def test_the_way(rights: Rights, word: Word, changes: dict[str, Any], way: str) -> None:
    chosen = plan(owner(**changes), rights=rights, word=word)
    assert (chosen.way, chosen.problems) == (way, ())
    assert getattr(chosen, way) == ("app",)
    assert chosen.why.endswith(".")


@pytest.mark.parametrize(
    ("rights", "word", "changes", "code"),
    [
        ("auto", "unasked", {"grantable": False}, "OwnerNotGrantable"),
        ("membership", "unasked", {"grantable": False}, "OwnerNotGrantable"),
        ("membership", "unasked", {"administrator": True}, "OwnerTooStrong"),
        ("membership", "content", {"beyond": ("pg_monitor",)}, "OwnerTooStrong"),
        ("membership", "insists", {}, "ServiceWantsOwnership"),
    ],
)
def test_what_stands_in_the_way(rights: Rights, word: Word, changes: dict[str, Any], code: str) -> None:
    [problem] = plan(owner(**changes), rights=rights, word=word).problems
    assert problem.code == code
    assert "'app'" in problem.message
    assert problem.remedy


@pytest.mark.parametrize(
    ("rights", "word", "changes"),
    [
        ("auto", "unasked", {"grantable": False, "joined": True}),
        ("auto", "insists", {"grantable": False}),
        ("ownership", "unasked", {"grantable": False, "administrator": True}),
    ],
)
def test_an_owner_that_need_not_be_granted_is_no_problem(rights: Rights, word: Word, changes: dict[str, Any]) -> None:
    assert plan(owner(**changes), rights=rights, word=word).problems == ()


def test_an_owner_that_can_not_be_granted_is_one_reason_with_one_statement() -> None:
    first, second = plan(owner(grantable=False, tables=5000), owner("crm", grantable=False, grantors=())).problems
    assert first.message == (
        "The app may not make the fabric role a member of 'app', the owner of 5000 tables such as s.t."
    )
    assert first.remedy == "Run as boss: GRANT app;"
    assert second.remedy == "Run as a superuser: GRANT crm;"


def test_ownership_that_would_harm_is_not_taken() -> None:
    [problem] = plan(word="insists", harms=(HARM,) * 7).problems
    assert problem.code == "OwnershipWouldHarm"
    assert "The service insists" in problem.message
    assert problem.message.count("rule also of s.t: It would fail.") == 5
    assert problem.message.endswith("And 2 more.")
    assert problem.remedy.startswith("DROP RULE also ON s.t; Or name the tables")


def test_ownership_that_somebody_named_is_taken_whatever_it_harms() -> None:
    assert plan(rights="ownership", harms=(HARM,)).problems == ()


def test_a_former_owner_does_not_get_the_rights_of_an_owner_that_the_role_is_a_member_of() -> None:
    strong = owner("crm", beyond=("pg_monitor",))
    [problem] = plan(owner(), strong).problems
    assert problem.code == "OwnershipWouldHarm"
    assert "'crm' would have the rights of 'app'" in problem.message


@pytest.mark.parametrize(
    ("way", "elsewhere", "message"),
    [
        ({}, Elsewhere(former=frozenset({"crm"})), "'crm' would have the rights of 'app'"),
        ({"beyond": ("g",)}, Elsewhere(joined=frozenset({"crm"})), "'app' would have the rights of 'crm'"),
        ({"beyond": ("g",)}, Elsewhere(joined=frozenset({"app"})), "a member of 'app', and for another one the other"),
    ],
)
def test_other_databases_count_as_the_fabric_role_is_the_servers(
    way: dict[str, Any], elsewhere: Elsewhere, message: str
) -> None:
    [problem] = choose("auto", [owner(**way)], "content", (), {"app": ""}, elsewhere).problems
    assert problem.code == "OwnershipWouldHarm"
    assert message in problem.message
    assert choose("ownership", [owner(**way)], "content", (), {"app": ""}, elsewhere).problems == ()


@pytest.mark.parametrize(
    "elsewhere", [Elsewhere(former=frozenset({"crm"})), Elsewhere(joined=frozenset({"crm"}))], ids=["former", "joined"]
)
def test_administrators_gain_nothing_and_one_way_for_all_databases_mixes_nothing(elsewhere: Elsewhere) -> None:
    way = {"administrator": True} if elsewhere.joined else {"beyond": ("g",)}
    assert choose("auto", [owner(**way)], "content", (), {"app": ""}, elsewhere).problems == ()


@pytest.mark.parametrize("rights", ["auto", "membership", "ownership"])
def test_tables_of_one_of_postgresqls_own_roles_are_not_touched(rights: Rights) -> None:
    [problem] = plan(owner("pg_database_owner", beyond=("pg_database_owner",)), rights=rights).problems
    assert problem.code == "OwnerTooStrong"
    assert "one of PostgreSQL's own" in problem.message
    assert plan(owner(), owner("dba", administrator=True)).problems == (), "it has them anyway"


def test_what_the_role_gains_as_a_member() -> None:
    wide = owner(other_tables=3, other_databases=("crm", "hr"))
    assert gains([wide], plan(wide)) == (
        "As a member the fabric role also reaches 3 other tables and views of 'app', what 'app' has in crm, hr. "
        "Who wants less sets rights to ownership."
    )
    assert gains([wide], plan(wide, rights="ownership")) == ""
    assert gains([owner()], plan()) == ""


@pytest.mark.parametrize(
    ("asked", "refused", "word"),
    [(True, False, "content"), (True, True, "insists"), (False, False, "silent"), (False, True, "insists")],
)
def test_the_word_of_the_service(asked: bool, refused: bool, word: Word) -> None:
    assert word_of(asked, refused) == word


@pytest.mark.parametrize(
    ("word", "taken", "again"),
    [
        ("insists", False, True),
        ("silent", False, True),
        ("insists", True, False),
        ("silent", True, False),
        ("content", False, False),
        ("unasked", False, False),
    ],
)
def test_the_service_is_asked_again_as_long_as_nothing_was_taken_for_its_word(
    word: Word, taken: bool, again: bool
) -> None:
    assert is_asked_again(word, taken) is again


def test_what_makes_an_owner_strong_is_said() -> None:
    strong = {
        "is an administrator of the server": {"administrator": True},
        "is a member of 'pg_monitor', 'dba', which reach beyond": {"beyond": ("pg_monitor", "dba")},
    }
    for words, changes in strong.items():
        assert words in plan(owner(**changes)).why
        assert words in plan(owner(**changes), rights="membership").problems[0].message


@pytest.mark.parametrize(("tables", "words"), [(1, "of table s.t."), (2, "of 2 tables such as s.t.")])
def test_the_tables_of_an_owner_are_counted(tables: int, words: str) -> None:
    [problem] = plan(owner(tables=tables, grantable=False)).problems
    assert words in problem.message


def harmful(number: int, cure: str = "DO IT;") -> Harm:
    return Harm(TableName("s", "t"), f"thing {number}", "It fails.", cure)


@pytest.mark.parametrize(("number", "more"), [(1, ""), (5, ""), (6, "And 1 more."), (9, "And 4 more.")])
def test_the_first_harms_are_named_and_the_others_counted(number: int, more: str) -> None:
    [problem] = plan(word="insists", harms=tuple(map(harmful, range(number)))).problems
    assert problem.message.endswith(f"thing {min(number, 5) - 1}: It fails. {more}".strip())


def test_a_harm_without_a_cure_leaves_no_gap() -> None:
    harms = (harmful(1, "ONE;"), harmful(2, ""), harmful(3, "TWO;"), harmful(4, "ONE;"))
    [problem] = plan(word="insists", harms=harms).problems
    assert problem.remedy.startswith("ONE; TWO; Or name")


@pytest.mark.parametrize(
    ("changes", "consent", "joined", "former"),
    [
        ({"rights": "membership", "word": "content"}, "", {"web"}, set()),
        ({"rights": "membership", "word": "unasked"}, "", {"web"}, set()),
        ({"rights": "membership", "word": "insists"}, "", set(), set()),
        ({"rights": "membership", "word": "silent"}, "", set(), set()),
        ({"rights": "", "word": "content"}, "", set(), set()),
        ({"rights": "ownership", "word": "insists"}, "", set(), {"app"}),
        ({"rights": "ownership", "word": "insists"}, "tag", set(), set()),
    ],
)
def test_what_stays_of_the_rights_in_other_databases(
    changes: dict[str, Any], consent: str, joined: set[str], former: set[str]
) -> None:
    """What the next look would end, or give back, does not count."""
    table = FormerOwner(table=Relation(1, "r", "s", "t", "app", ()))
    record = Takeover("f", (table,), joined=(Joined("web", "boss"),), consent=consent)
    other = MirrorRow(server=SERVER, database="other", takeover=record, **changes)
    empty = MirrorRow(server=SERVER, database="empty", rights="ownership", word="content")
    assert staying([other, empty]) == Elsewhere(frozenset(joined), frozenset(former))
