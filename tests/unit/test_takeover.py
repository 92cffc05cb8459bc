"""The record of what was done for the fabric role, which undoes it."""

from __future__ import annotations

import msgspec
import pytest

from shared.desired.takeover import FormerOwner, Grant, Identity, Joined, Relation, Takeover


def former(oid: int, name: str) -> FormerOwner:
    return FormerOwner(table=Relation(oid, "r", "s", name, "app", ()))


@pytest.mark.parametrize(
    "record",
    [
        Takeover("f", tables=(former(1, "t"),)),
        Takeover("f", joined=(Joined("app", "boss"),)),
        Takeover("f", identities=(Identity(1, "s", "t", "FULL"),)),
        Takeover("f", returned=(1,)),
    ],
)
def test_a_record_stays_as_long_as_there_is_anything_to_undo(record: Takeover) -> None:
    assert record
    assert not Takeover("f", consent="tag")


def test_a_plan_goes_on_with_what_was_done_before() -> None:
    earlier = Takeover(
        "f", (former(1, "b"),), joined=(Joined("app", "boss"),), consent="tag",
        identities=(Identity(1, "s", "b", "FULL"),), returned=(2,),
    )  # fmt: skip
    joined = Takeover("f", (former(1, "b"), former(2, "a")), joined=(Joined("web", "boss"),)).after(earlier)
    assert [it.name.name for it in joined.tables] == ["a", "b"]
    assert [it.owner for it in joined.joined] == ["app", "web"]
    assert (joined.consent, joined.identities, joined.returned) == ("tag", earlier.identities, (2,))
    assert joined.after(None) == joined


def test_records_of_earlier_versions_are_read() -> None:
    text = '{"role": "f", "joined": [{"owner": "app", "grantor": "boss"}]}'
    assert msgspec.json.decode(text, type=Takeover) == Takeover("f", joined=(Joined("app", "boss"),))


def test_a_former_owner_that_was_renamed_is_known_by_its_new_name() -> None:
    grants = (Grant("app", "app", "arwd"), Grant("reader", "app", "r"))
    table = FormerOwner(
        table=Relation(1, "r", "s", "t", "app", grants), sequences=(Relation(2, "S", "s", "q", "app", grants),)
    )
    gone = FormerOwner(table=Relation(3, "r", "s", "u", "left", ()))
    record = Takeover("f", tables=(table, gone), owners=((16, "app"), (17, "left")))
    present = record.by_present_names({16: "app_2", 18: "app"})
    renamed = (Grant("app_2", "app_2", "arwd"), Grant("reader", "app_2", "r"))
    assert [it.owner for it in present.tables] == ["app_2", "left"]
    assert present.tables[0].table.grants == present.tables[0].sequences[0].grants == renamed
    assert present.owners == ((16, "app_2"), (17, "left"))
    assert record.by_present_names({16: "app", 17: "left"}) == record
