"""What tags and requests mean, and what is said when they can't be understood."""

import msgspec
import pytest

from shared.desired.intent import (
    RESTART_POLICIES,
    TableName,
    TagWish,
    Wish,
    check_request,
    combine,
    read_body,
    read_tags,
)
from shared.platform.errors import Conflict, InvalidInput
from tests.unit.facts import OTHER_WORKSPACE, WORKSPACE, settings

PREFIX = "fabric-mirror"


@pytest.mark.parametrize("text", ["enabled", "Enabled", "TRUE", "on", "yes", " enabled "])
def test_words_that_opt_in(text: str) -> None:
    assert read_tags({PREFIX: text}, PREFIX).state is True


@pytest.mark.parametrize("text", ["disabled", "False", "OFF", "no"])
def test_words_that_opt_out(text: str) -> None:
    assert read_tags({PREFIX: text}, PREFIX).state is False


def test_tag_names_have_no_letter_case() -> None:
    tags = read_tags({"Fabric-Mirror": "on", "FABRIC-MIRROR-DATABASES": "shop, crm ,", "other": "x"}, PREFIX)
    assert tags == TagWish(True, Wish(databases=("shop", "crm")))


def test_no_tag_says_nothing() -> None:
    assert read_tags({"fabric": "enabled", "owner": "me"}, PREFIX) == TagWish(None, Wish())


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({PREFIX: "maybe"}, "Tag fabric-mirror is 'maybe', but enabled or disabled was expected."),
        (
            {PREFIX: "on", f"{PREFIX}-workspace": "sales"},
            "Tag fabric-mirror-workspace is 'sales', but the GUID of a Fabric workspace was expected.",
        ),
        (
            {PREFIX: "on", f"{PREFIX}-restart": "soon"},
            "Tag fabric-mirror-restart is 'soon', but one of auto, now, window, approval was expected.",
        ),
        (
            {PREFIX: "on", f"{PREFIX}-databases": "x" * 64},
            f"Tag fabric-mirror-databases is '{'x' * 64}', but names of 1 to 63 bytes were expected.",
        ),
        (
            {PREFIX: "on", f"{PREFIX}-databases": " , ,"},
            "Tag fabric-mirror-databases is ', ,', but a list of at least one name was expected.",
        ),
    ],
)
def test_a_malformed_tag_names_itself(tags: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        read_tags(tags, PREFIX)
    assert raised.value.message == message
    assert raised.value.code == "InvalidTag"


def test_all_wrong_tags_are_told_at_once_as_they_are_written() -> None:
    tags = {
        "Fabric-Mirror": "Perhaps", "FABRIC-mirror-Workspace": "Sales", f"{PREFIX}-restart": "Soon",
        f"{PREFIX}-rights": "All", f"{PREFIX}-databases": f"shop,{'x' * 64}",
    }  # fmt: skip
    with pytest.raises(InvalidInput) as raised:
        read_tags(tags, PREFIX)
    assert raised.value.message == (
        "Tag Fabric-Mirror is 'Perhaps', but enabled or disabled was expected. "
        f"Tag fabric-mirror-databases is '{'x' * 64}', but names of 1 to 63 bytes were expected. "
        "Tag FABRIC-mirror-Workspace is 'Sales', but the GUID of a Fabric workspace was expected. "
        "Tag fabric-mirror-restart is 'Soon', but one of auto, now, window, approval was expected. "
        "Tag fabric-mirror-rights is 'All', but one of auto, membership, ownership was expected."
    )


def test_a_server_that_is_opted_out_may_have_other_tags_malformed() -> None:
    assert read_tags({PREFIX: "off", f"{PREFIX}-restart": "soon"}, PREFIX) == TagWish(False, Wish())


def test_an_empty_body_wishes_the_defaults() -> None:
    assert read_body(b"") == Wish() == read_body(b" {} ")


def test_a_full_body() -> None:
    body = b"""{"databases": ["shop"], "workspace": "%s", "restart": "now",
               "tables": [{"database": "shop", "schema": "public", "table": "Orders"}]}"""
    assert read_body(body % WORKSPACE.upper().encode()) == Wish(
        ("shop",), (TableName("shop", "public", "Orders"),), WORKSPACE, "now"
    )


@pytest.mark.parametrize("policy", RESTART_POLICIES)
def test_every_policy_can_be_asked_for(policy: str) -> None:
    assert read_body(b'{"restart": "%s"}' % policy.encode()).restart == policy
    assert read_tags({PREFIX: "on", f"{PREFIX}-restart": policy.upper()}, PREFIX).wish.restart == policy


@pytest.mark.parametrize(
    ("body", "part"),
    [
        (b"[]", "not a JSON object"),
        (b"{", "not a JSON object"),
        (b"\xff", "not a JSON object"),
        (
            b'{"database": ["shop"]}',
            "unknown members: 'database'. Known are databases, tables, workspace, restart, gateway",
        ),
        (b'{"databases": "shop"}', "Databases is 'shop', but a list of at least one name was expected."),
        (b'{"databases": []}', "Databases is [], but a list of at least one name was expected."),
        (b'{"databases": {}}', "Databases is {}, but a list of at least one name was expected."),
        (b'{"tables": []}', "Tables is [], but a list of at least one name was expected."),
        (b'{"databases": [""]}', "names of 1 to 63 bytes"),
        (b'{"databases": ["a\\u0000b"]}', "names of 1 to 63 bytes"),
        (b'{"workspace": "x"}', "Workspace is 'x', but the GUID of a Fabric workspace was expected."),
        (b'{"tables": [{"database": "a", "schema": "", "table": "t"}]}', "names of 1 to 63 bytes"),
        (
            msgspec.json.encode({"databases": ["a"], "tables": [TableName("c", "s", "t"), TableName("b", "s", "t")]}),
            "Tables is 'b'",
        ),
        (b'{"gateway": "x"}', "Gateway is 'x', but the GUID of a virtual network data gateway was expected."),
        (b'{"e": 1, "c": 1, "a": 1, "d": 1, "b": 1}', "unknown members: 'a', 'b', 'c', 'd', 'e'."),
        (b'{"restart": true}', "Restart is True, but one of auto, now, window, approval was expected."),
        (b'{"tables": [{"schema": "s", "table": "t"}]}', "missing required field `database`"),
        (
            b'{"databases": ["a"], "tables": [{"database": "b", "schema": "s", "table": "t"}]}',
            "tables of the chosen databases (a) were expected",
        ),
    ],
)
def test_a_malformed_body_is_told_what_was_expected(body: bytes, part: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        read_body(body)
    assert part in raised.value.message
    assert raised.value.code == "InvalidBody"


def test_the_tag_wins_over_the_request_and_the_request_over_the_defaults() -> None:
    tags = TagWish(True, Wish(databases=("shop",)))
    request = Wish(databases=("crm",), workspace=OTHER_WORKSPACE)
    intent = combine(tags, request, settings())
    assert (intent.wanted, intent.source) == (True, "tag")
    assert intent.databases == ("shop",)
    assert intent.workspace == OTHER_WORKSPACE
    assert intent.restart == "auto"


def test_the_tag_names_the_workspace_where_both_do() -> None:
    tags = TagWish(True, Wish(workspace=WORKSPACE, restart="window"))
    intent = combine(tags, Wish(workspace=OTHER_WORKSPACE, restart="now"), settings(DEFAULT_WORKSPACE=OTHER_WORKSPACE))
    assert (intent.workspace, intent.restart) == (WORKSPACE, "window")


def test_a_name_has_63_bytes_at_most() -> None:
    longest = "é" * 31 + "x"
    assert read_body(msgspec.json.encode({"databases": [longest]})).databases == (longest,)
    with pytest.raises(InvalidInput, match="names of 1 to 63 bytes"):
        read_body(msgspec.json.encode({"databases": ["é" * 32]}))


def test_a_name_that_is_repeated_contradicts_nothing() -> None:
    check_request(Wish(databases=("a", "a")), TagWish(True, Wish(databases=("a",))), PREFIX)


def test_who_wants_it() -> None:
    assert not combine(TagWish(), None, settings()).wanted
    assert combine(TagWish(), Wish(), settings()).source == "request"
    assert not combine(TagWish(False), Wish(), settings()).wanted


def test_the_fingerprint_follows_what_is_wanted_and_not_its_order() -> None:
    def fingerprint(*databases: str, **more: str) -> str:
        return combine(TagWish(True, Wish(databases=databases)), None, settings(**more)).fingerprint

    assert fingerprint("a", "b") == fingerprint("b", "a", "b")
    assert fingerprint("a") != fingerprint("a", "b")
    assert fingerprint("a") != fingerprint("a", DEFAULT_WORKSPACE=OTHER_WORKSPACE)
    assert fingerprint("a") != fingerprint("a", RESTART_POLICY="window")


def test_a_request_against_a_tag_that_forbids() -> None:
    with pytest.raises(Conflict) as raised:
        check_request(Wish(), TagWish(False), PREFIX)
    assert raised.value.code == "ForbiddenByTag"
    assert "fabric-mirror=disabled" in raised.value.message


def test_a_request_that_contradicts_a_tag() -> None:
    tags = TagWish(True, Wish(databases=("b", "a"), restart="window"))
    check_request(Wish(databases=("a", "b"), workspace=WORKSPACE, restart="window"), tags, PREFIX)
    check_request(Wish(), tags, PREFIX)
    with pytest.raises(Conflict) as raised:
        check_request(Wish(databases=("c",)), tags, PREFIX)
    assert raised.value.message == "The request wants databases c, but the tag fabric-mirror-databases says a, b."
    with pytest.raises(Conflict, match="the tag fabric-mirror-restart says window"):
        check_request(Wish(restart="now"), tags, PREFIX)
