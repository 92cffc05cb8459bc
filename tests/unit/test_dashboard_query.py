"""Which mirrors are shown, in which order and how many: filters, search, counts and continuations."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.dashboard import query
from shared.dashboard.query import LEVELS, Query
from shared.platform.errors import InvalidInput
from shared.platform.reasons import Reason
from shared.records.glance import MirrorGlance

W1, W2 = "11111111-0000-0000-0000-000000000001", "11111111-0000-0000-0000-000000000002"
GROUP = "/subscriptions/22222222-2222-2222-2222-222222222222/resourceGroups/rg/providers/"
SERVERS = f"{GROUP}Microsoft.DBforPostgreSQL/flexibleServers/"


def mirror(server: str, database: str, level: str = "Healthy", workspace: str = W1, *reasons: Reason) -> MirrorGlance:
    return MirrorGlance(
        workspace=workspace, item=f"{server}-{database}", server=SERVERS + server, database=database, level=level,
        reasons=reasons,
    )  # fmt: skip


MIRRORS = [
    mirror("pg-b", "z"),
    mirror("pg-b", "a"),
    mirror("pg-a", "shop", "Degraded", W1, Reason("LatencyHigh", "public.orders is 1,200 s behind", "Wait")),
    mirror("pg-c", "crm", "Unhealthy", W2, Reason("SlotLost", "The server gave up WAL")),
    mirror("pg-c", "old", "Stopped", W2),
    mirror("pg-a", "new", "Invented"),
]


def names(**parameters: str) -> list[str]:
    return [f"{found.server_name}/{found.database}" for found in query.choose(query.read(parameters), MIRRORS).mirrors]


def test_worst_first_then_by_server_and_database():
    assert names() == ["pg-c/crm", "pg-a/shop", "pg-c/old", "pg-b/a", "pg-b/z", "pg-a/new"]


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"health": "degraded"}, ["pg-a/shop"]),
        ({"server": "PG-B"}, ["pg-b/a", "pg-b/z"]),
        ({"server": SERVERS.upper() + "pg-B"}, ["pg-b/a", "pg-b/z"]),
        ({"server": "pg"}, []),
        ({"workspace": W2.upper()}, ["pg-c/crm", "pg-c/old"]),
        ({"search": "latencyhigh ORDERS"}, ["pg-a/shop"]),
        ({"search": "stopped"}, ["pg-c/old"]),
        ({"search": W2}, ["pg-c/crm", "pg-c/old"]),
        ({"search": "message"}, []),
        ({"health": "Healthy", "search": "pg-b z"}, ["pg-b/z"]),
        ({"health": "", "server": " ", "search": " "}, names()),
    ],
)
def test_filters(parameters: dict[str, str], expected: list[str]):
    assert names(**parameters) == expected


def test_counts_are_of_all_levels_whatever_level_is_asked_for():
    chosen = query.choose(Query(health="Healthy", workspace=W1), MIRRORS)
    assert chosen.servers == 2
    assert chosen.counts == {"Unhealthy": 0, "Degraded": 1, "Stopped": 0, "Unknown": 0, "Healthy": 2, "Invented": 1}


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"health": "bad"}, "The parameter health is 'bad', but one of Unhealthy, Degraded, Stopped, Unknown, Healthy"),
        ({"workspace": "mine"}, "The parameter workspace is 'mine', but a GUID was expected"),
        ({"server": "/subscriptions/x"}, "'/subscriptions/x' is not the resource id of a flexible server"),
        ({"health": "x" * 5000}, "The parameter health is 'xxx"),
    ],
)
def test_what_cannot_be_understood_is_named(parameters: dict[str, str], message: str):
    with pytest.raises(InvalidInput) as refused:
        query.read(parameters)
    assert refused.value.message.startswith(message)
    assert len(refused.value.message) < 300


@pytest.mark.parametrize("text", ["0", "-1", "501", "ten", "1.5", "١", pytest.param("9" * 5000, id="long")])
def test_a_limit_is_a_number_within_bounds(text: str):
    with pytest.raises(InvalidInput, match=f"limit is '{text[:99]}.*', but a whole number from 1 to 500 was expected"):
        query.count({"limit": text}, "limit", 100, 500)


@given(
    st.lists(st.tuples(st.sampled_from(LEVELS), st.text(max_size=3), st.text(max_size=3)), unique=True, max_size=30),
    st.integers(1, 7),
    st.randoms(),
)
def test_pages_give_everything_once_even_while_mirrors_go(
    found: list[tuple[str, str, str]], limit: int, chance: random.Random
):
    mirrors = [mirror(server.replace("/", ""), database, level) for level, server, database in found]
    mirrors = list({one.item + one.level: one for one in mirrors}.values())
    seen: list[MirrorGlance] = []
    gone: list[MirrorGlance] = []
    continuation = ""
    while True:
        left = query.choose(Query(), [one for one in mirrors if one not in gone]).mirrors
        page, continuation = query.after(left, query.place, continuation, limit)
        assert len(page) <= limit
        seen += page
        if not continuation:
            break
        gone.append(chance.choice(mirrors))
    assert len({id(one) for one in seen}) == len(seen)
    assert {id(one) for one in mirrors} - {id(one) for one in seen} <= {id(one) for one in gone}


@pytest.mark.parametrize("text", ["x", "%%%", "WzFd", "bnVsbA", "WyJhIiwiYiIsImMiLCJkIiwiZSJd"])
def test_a_continuation_that_was_not_given_out_is_refused(text: str):
    with pytest.raises(InvalidInput, match="The parameter continuation is"):
        query.after(query.choose(Query(), MIRRORS).mirrors, query.place, text, 2)
