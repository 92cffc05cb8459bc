"""What is seen of a database before the fabric role gets its rights there."""

from __future__ import annotations

import msgspec

from shared.decisions.rights import NOTHING
from shared.desired.takeover import Joined, TableName, Takeover
from shared.source.facts import TableReport, TableStatus
from shared.steps.holdings import Seen
from tests.unit.test_rights import owner


def table(name: str, owner: str) -> TableStatus:
    return TableStatus(schema="s", name=name, status="OK", codes=(), message="", owner=owner)


def seen(*tables: TableStatus, **owned: tuple[TableName, ...]) -> Seen:
    return Seen(
        report=TableReport(tables, 1000),
        owners=(),
        owned=owned,
        takeover=Takeover("fabric"),
        word="unasked",
        elsewhere=NOTHING,
    )


def test_the_tables_to_take_are_those_of_the_owners_that_the_role_does_not_own_yet() -> None:
    old, new, other = TableName("s", "old"), TableName("s", "new"), TableName("s", "other")
    found = seen(table("old", "fabric"), table("new", "app"), table("other", "web"), app=(old, new), web=(other,))
    assert found.to_take(["app"]) == [new]
    assert found.to_take(["app", "web"]) == [new, other]
    assert found.to_take(["gone"]) == []


def test_a_table_that_was_given_back_to_ask_the_service_counts_as_the_roles() -> None:
    asked = msgspec.structs.replace(
        seen(table("old", "app"), app=(TableName("s", "old"),)), returned=frozenset({TableName("s", "old")})
    )
    assert asked.to_take(["app"]) == []


def test_strong_owners_are_left_where_the_app_made_the_role_a_member() -> None:
    boss, app = Joined("boss", "admin", 1, 9), Joined("app", "admin", 2, 9)
    owners = (owner("boss", administrator=True), owner("app"), owner("far", beyond=("pg_monitor",)))
    found = msgspec.structs.replace(seen(), owners=owners, granted=frozenset({boss, app}))
    assert (found.strong_owners, found.strong) == ({"boss"}, {boss})
