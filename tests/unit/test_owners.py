"""The memberships that the app recorded, by the names that their roles have now."""

from __future__ import annotations

import pytest

from shared.desired.takeover import Joined
from shared.source.owners import by_present_names

ROLES = {1: "app", 2: "boss"}


@pytest.mark.parametrize(
    ("record", "present"),
    [
        (Joined("app", "boss", 1, 2), Joined("app", "boss", 1, 2)),
        (Joined("old_app", "boss", 1, 2), Joined("app", "boss", 1, 2)),
        (Joined("app", "old_boss", 1, 2), Joined("app", "boss", 1, 2)),
        (Joined("app", "boss"), Joined("app", "boss", 1, 2)),
    ],
    ids=["as it was", "an owner with another name", "a grantor with another name", "a record of version 0.1"],
)
def test_a_role_is_known_by_its_object_id(record: Joined, present: Joined) -> None:
    assert by_present_names([record], ROLES) == {present}


def test_a_new_role_under_the_name_of_one_that_is_gone_is_another_one() -> None:
    assert by_present_names([Joined("app", "boss", 9, 2)], ROLES) == frozenset()


def test_a_membership_whose_roles_are_not_to_be_seen_stays_recorded() -> None:
    assert by_present_names([Joined("gone", "boss")], ROLES) == {Joined("gone", "boss", 0, 2)}
    assert by_present_names([Joined("app", "gone", 1, 9)], ROLES) == {Joined("app", "gone", 1, 9)}
