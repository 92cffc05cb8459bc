"""What is seen of a database before the fabric role gets its rights there."""

from __future__ import annotations

from shared.decisions.rights import NOTHING
from shared.desired.takeover import TableName, Takeover
from shared.source.facts import TableReport, TableStatus
from shared.steps.holdings import Seen


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
