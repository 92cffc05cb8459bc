"""The rules by which the stand-in for Azure Resource Manager changes documents: identities, PATCH, tags, parameters."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.cloud.arm import tags
from local.cloud.arm.parameters import Parameter
from local.cloud.arm.servers import FlexibleServer, identity, merged
from local.cloud.web import Refusal
from local.topology import OWNERSHIP

TENANT = str(uuid.uuid4())
NAMES = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=6)
TAGS = st.dictionaries(NAMES, st.text(max_size=5), max_size=6).filter(lambda t: len({n.lower() for n in t}) == len(t))


def test_a_system_assigned_identity_is_kept_until_it_is_switched_off() -> None:
    first = identity({}, {"type": "SystemAssigned"}, TENANT)
    assert first["tenantId"] == TENANT
    assert identity(first, {"type": "SystemAssigned"}, TENANT) == first
    off = identity(first, {"type": "None"}, TENANT)
    assert off == {"type": "None"}
    assert identity(off, {"type": "SystemAssigned"}, TENANT)["principalId"] != first["principalId"]


def test_user_assigned_identities_are_added_beside_the_systems_own_and_taken_away_by_null() -> None:
    system = identity({}, {"type": "SystemAssigned"}, TENANT)
    both = identity(system, {"type": "SystemAssigned,UserAssigned", "userAssignedIdentities": {"/a": {}}}, TENANT)
    assert both["principalId"] == system["principalId"]
    assert set(both["userAssignedIdentities"]["/a"]) == {"principalId", "clientId"}
    change = {"type": "SystemAssigned,UserAssigned", "userAssignedIdentities": {"/a": None, "/b": {}}}
    assert list(identity(both, change, TENANT)["userAssignedIdentities"]) == ["/b"]


def test_a_patch_touches_only_what_it_names() -> None:
    before = {"storage": {"size": 32, "grow": "Off"}, "version": "18"}
    after = merged(before, {"storage": {"grow": "On"}, "network": {"public": True}})
    assert after == {"storage": {"size": 32, "grow": "On"}, "version": "18", "network": {"public": True}}
    assert before["storage"] == {"size": 32, "grow": "Off"}


@given(TAGS, TAGS)
def test_merging_tags_lets_the_new_value_win_without_regard_to_letter_case(
    before: dict[str, str], change: dict[str, str]
) -> None:
    after = tags.patched(before, "Merge", change)
    assert len({name.lower() for name in after}) == len(after)
    assert {name.lower(): value for name, value in after.items()} == {
        name.lower(): value for name, value in [*before.items(), *change.items()]
    }
    assert tags.patched(after, "Merge", change) == after
    assert tags.patched(before, "Delete", before) == {}


def test_refuses_tag_names_that_differ_only_in_letter_case() -> None:
    with pytest.raises(Refusal, match="'TEAM' is given twice"):
        tags.checked({"team": "a", "TEAM": "b"})


@pytest.mark.parametrize(
    ("kind", "allowed", "good", "bad"),
    [
        ("Boolean", "on,off", ["on", "OFF"], ["yes", ""]),
        ("Enumeration", "replica,logical", ["Logical"], ["minimal"]),
        ("Integer", "-1-100", ["-1", "0", "100"], ["-2", "101", "x", ""]),
        ("Numeric", "0-1e+10", ["0", "0.5"], ["-0.1", "1e11"]),
        ("Set", "a,b,c", ["", "a", "B, a"], ["d", "a;b"]),
        ("String", ".*", ["", "it's"], ["a\nb"]),
    ],
)
def test_a_parameter_takes_what_its_allowed_values_say(
    kind: str, allowed: str, good: list[str], bad: list[str]
) -> None:
    parameter = Parameter(name="p", data_type=kind, default_value="", allowed_values=allowed)
    assert [value for value in good if parameter.problem(value)] == []
    assert [value for value in bad if not parameter.problem(value)] == []


@pytest.mark.parametrize(
    ("written", "character", "types"),
    [
        ({}, "ownership", None),
        ({"Local-Azure-CDC": "membership"}, "membership", None),
        ({"local-azure-cdc": "silent", "local-azure-cdc-types": "newest"}, "silent", "newest"),
    ],
)
def test_tags_choose_the_character_of_azure_cdc_and_the_stack_where_there_are_none(
    written: dict[str, str], character: str, types: str | None
) -> None:
    server = FlexibleServer("/servers/pg", {"name": "pg", "tags": {}}, OWNERSHIP)
    server.set_tags(tags.checked(written))
    assert server.local_settings() == {"local.azure_cdc": character, "local.azure_cdc_types": types}
    assert server.document["tags"] == written


def test_refuses_a_character_that_azure_cdc_does_not_have() -> None:
    with pytest.raises(Refusal, match="'Local-Azure-CDC' is 'owner', expected one of membership, ownership, silent"):
        tags.checked({"Local-Azure-CDC": "owner"})
