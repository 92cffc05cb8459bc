"""What an earlier choice of tables has left in a database, and what of it is undone."""

from __future__ import annotations

import pytest

from shared.decisions.surplus import Surplus, surplus, without
from shared.desired.takeover import FormerOwner, Identity, Joined, Relation, TableName, Takeover

APP, WEB = Joined("app", "boss"), Joined("web", "boss")
OLD_NAME, NEW_NAME = TableName("s", "old"), TableName("s", "new")


def former(oid: int, name: str, identity: str = "DEFAULT") -> FormerOwner:
    return FormerOwner(table=Relation(oid, "r", "s", name, "app", ()), replica_identity=identity)


OLD, NEW = former(1, "old", "FULL"), former(2, "new")
OF_OLD, OF_OTHER = Identity(1, "s", "old", "FULL"), Identity(3, "s", "other", "NOTHING")
RECORD = Takeover("f", (OLD, NEW), joined=(APP, WEB), consent="tag", identities=(OF_OTHER,))


def test_tables_that_are_chosen_no_more_are_surplus_with_their_identities() -> None:
    assert surplus(RECORD, [NEW_NAME], ["app", "web"]) == Surplus(tables=(OLD,), identities=(OF_OLD, OF_OTHER))


def test_no_table_is_surplus_where_all_are_mirrored() -> None:
    assert surplus(RECORD, [], ["app", "web"]) == Surplus()


def test_the_role_leaves_owners_without_a_table_to_mirror() -> None:
    assert surplus(RECORD, [], ["app"]) == Surplus(joined=frozenset({WEB}))


@pytest.mark.parametrize(
    ("undone", "anything"),
    [
        (Surplus(), False),
        (Surplus(tables=(OLD,)), True),
        (Surplus(joined=frozenset({APP})), True),
        (Surplus(identities=(OF_OLD,)), True),
    ],
)
def test_each_part_of_it_is_something_to_undo(undone: Surplus, anything: bool) -> None:
    assert bool(undone) is anything


def test_the_record_keeps_the_rest_and_what_waits_for_fabric() -> None:
    undone = Surplus((OLD,), frozenset({WEB}), (OF_OLD, OF_OTHER))
    assert without(RECORD, undone, []) == Takeover("f", (NEW,), joined=(APP,), consent="tag")
    assert without(RECORD, undone, [OF_OLD]).identities == (OF_OLD,)
    kept = without(RECORD, Surplus(identities=(OF_OLD,)), [OF_OLD])
    assert kept == Takeover("f", (OLD, NEW), joined=(APP, WEB), consent="tag", identities=(OF_OLD, OF_OTHER))


def test_the_identities_of_taken_tables_are_recorded_with_the_tables() -> None:
    assert RECORD.every_identity == {1: OF_OLD, 2: Identity(2, "s", "new", "DEFAULT"), 3: OF_OTHER}
