"""Resource ids and names of servers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.desired.server_id import ServerId, from_key, of, parse
from shared.platform.errors import InvalidInput

SUBSCRIPTION = "00000000-0000-0000-0000-0000000000a1"


@given(
    st.from_regex(r"[a-z0-9][a-z0-9-]{1,30}[a-z0-9]", fullmatch=True), st.from_regex(r"[\w()-]{1,30}", fullmatch=True)
)
def test_what_is_printed_is_parsed_again(name: str, group: str) -> None:
    server = of(SUBSCRIPTION, group, name)
    assert parse(str(server)) == server
    assert parse(str(server).upper().replace(SUBSCRIPTION.upper(), SUBSCRIPTION)) in (
        server,
        parse(str(server).upper()),
    )
    assert from_key(server.key) == server


def test_letter_case_carries_no_meaning() -> None:
    assert of(SUBSCRIPTION.upper(), "RG", "PG-Shop") == ServerId(SUBSCRIPTION, "rg", "pg-shop")


@pytest.mark.parametrize(("group", "server"), [("g", "pgs"), ("g" * 90, "s" * 63)])
def test_the_shortest_and_the_longest_names(group: str, server: str) -> None:
    assert of(SUBSCRIPTION, group, server) == ServerId(SUBSCRIPTION, group, server)


@pytest.mark.parametrize(("group", "server"), [("", "pgs"), ("g" * 91, "pgs"), ("g", "pg"), ("g", "s" * 64)])
def test_names_that_are_too_short_or_too_long(group: str, server: str) -> None:
    with pytest.raises(InvalidInput, match="is not a valid name"):
        of(SUBSCRIPTION, group, server)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (("x", "rg", "pg-shop"), "Subscription 'x' is not a GUID."),
        ((SUBSCRIPTION, "rg.", "pg-shop"), "Resource group 'rg.' is not a valid name"),
        ((SUBSCRIPTION, "r/g", "pg-shop"), "Resource group 'r/g' is not a valid name"),
        ((SUBSCRIPTION, "rg", "pg"), "Server 'pg' is not a valid name"),
        ((SUBSCRIPTION, "rg", "pg_shop"), "Server 'pg_shop' is not a valid name"),
        ((SUBSCRIPTION, "rg", "-shop"), "Server '-shop' is not a valid name"),
    ],
)
def test_names_that_no_server_can_have(parts: tuple[str, str, str], message: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        of(*parts)
    assert raised.value.message.startswith(message)


@pytest.mark.parametrize("text", ["", "pg-shop", f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg"])
def test_ids_of_something_else(text: str) -> None:
    with pytest.raises(InvalidInput, match="is not the resource id of a flexible server"):
        parse(text)
