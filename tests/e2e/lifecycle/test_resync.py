"""What no event told: the hourly resync finds it, and frees the mailboxes of runs that died."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import msgspec
import pytest

from local.scenario import Operator, Server, eventually
from local.stack import SERVER_CHANGED
from tests.e2e.lifecycle.story import (
    SECONDS,
    after,
    decide,
    new_server,
    nothing_of_ours_is_left,
    put,
    waiting,
    with_shop,
)

SUBSCRIPTION = "subscriptions/server-changed"


class Unheard(msgspec.Struct, frozen=True):
    """Servers that changed while nobody heard of events, and how many runs each had before the resync."""

    tagged: Server
    untagged: Server
    changed: Server
    died: Server
    settled: Server
    runs: dict[str, int]


def runs(operator: Operator, *servers: Server) -> dict[str, int]:
    return {server.name: operator.mailbox(server)["runs"] for server in servers}


def terminate(operator: Operator, run: str) -> None:
    path = f"/runtime/webhooks/durabletask/instances/{quote(run, safe='')}/terminate?reason=test"
    assert operator.call("POST", path, key="durabletask_extension").status == 202


def resync(operator: Operator) -> None:
    fired = operator.call("POST", "/admin/functions/resync_servers", {"input": ""}, key="_master")
    assert fired.status == 202


@pytest.fixture(scope="module")
def unheard(operator: Operator) -> Iterator[Unheard]:
    """Everything is prepared, events are lost, everything changes, and then the resync comes by."""

    def untagged() -> Server:
        server, _ = with_shop(operator, "pg-quiet-off", 16)
        after(operator, server, lambda: operator.tag(server, fabric_mirror="enabled"))
        return server

    def changed() -> Server:
        server = new_server(operator, "pg-quiet-more", 17, "crm", "shop")
        for database in ("crm", "shop"):
            operator.install(server, database)
        after(operator, server, lambda: operator.tag(server, fabric_mirror="enabled", fabric_mirror_databases="shop"))
        return server

    def died() -> Server:
        server, _ = with_shop(operator, "pg-quiet-dead", 18)
        put(operator, server, {"restart": "approval"})
        waiting(operator, server)
        return server

    def settled() -> Server:
        server = new_server(operator, "pg-quiet-done", 15, "later", "shop")
        operator.install(server, "shop")
        after(operator, server, lambda: operator.tag(server, fabric_mirror="enabled"))
        return server

    makers: tuple[Callable[[], Server], ...] = (
        lambda: with_shop(operator, "pg-quiet-on", 18)[0], untagged, changed, died, settled,
    )  # fmt: skip
    with ThreadPoolExecutor(len(makers)) as pool:
        servers = list(pool.map(lambda make: make(), makers))
    on, off, more, dead, done = servers
    operator.stack.control("eventgrid", "DELETE", SUBSCRIPTION)
    try:
        operator.tag(on, fabric_mirror="enabled")
        operator.tag(off)
        operator.tag(more, fabric_mirror="enabled", fabric_mirror_databases="shop, crm")
        terminate(operator, operator.mailbox(dead)["running"])
        before = runs(operator, *servers)
        assert operator.mirroring(dead)["running"]  # so its mailbox believes
        resync(operator)
        yield Unheard(on, off, more, dead, done, before)
    finally:
        endpoint = operator.topology.webhook("server_changed")
        operator.stack.control("eventgrid", "PUT", SUBSCRIPTION, SERVER_CHANGED | {"endpoint": endpoint})


def settles(operator: Operator, server: Server, unheard: Unheard) -> dict[str, object]:
    before = unheard.runs[server.name]
    eventually(lambda: operator.mailbox(server), lambda box: box["runs"] > before and not box["running"], SECONDS)
    return operator.mirroring(server)


def test_a_tagged_server_without_a_row_is_mirrored(operator: Operator, unheard: Unheard) -> None:
    assert settles(operator, unheard.tagged, unheard)["phase"] == "Mirrored"


def test_a_mirrored_server_without_its_tag_is_released(operator: Operator, unheard: Unheard) -> None:
    assert settles(operator, unheard.untagged, unheard)["phase"] == "Released"
    nothing_of_ours_is_left(operator, unheard.untagged)


def test_a_server_of_which_something_else_is_wanted_gets_that(operator: Operator, unheard: Unheard) -> None:
    seen = settles(operator, unheard.changed, unheard)
    assert seen["phase"] == "Mirrored"
    assert [mirror["database"] for mirror in seen["mirrors"]] == ["crm", "shop"]


def test_a_run_that_died_makes_room_for_the_next(operator: Operator, unheard: Unheard) -> None:
    server, before = unheard.died, unheard.runs[unheard.died.name]
    eventually(lambda: operator.mailbox(server)["runs"], lambda found: found > before, SECONDS)
    waiting(operator, server)
    decide(operator, server, restart=True)
    assert settles(operator, server, unheard)["phase"] == "Mirrored"


def test_a_server_that_is_as_it_should_be_is_left_alone(operator: Operator, unheard: Unheard) -> None:
    for server in (unheard.tagged, unheard.untagged, unheard.changed):
        settles(operator, server, unheard)
    assert runs(operator, unheard.settled)[unheard.settled.name] == unheard.runs[unheard.settled.name]


def test_a_database_that_was_left_out_is_mirrored_when_it_has_tables(operator: Operator, unheard: Unheard) -> None:
    server, before = unheard.settled, unheard.runs[unheard.settled.name]
    assert [mirror["database"] for mirror in operator.mirroring(server)["mirrors"]] == ["shop"]
    operator.install(server, "later")
    resync(operator)
    eventually(lambda: operator.mailbox(server), lambda box: box["runs"] > before and not box["running"], SECONDS)
    seen = operator.mirroring(server)
    assert (seen["phase"], [mirror["database"] for mirror in seen["mirrors"]]) == ("Mirrored", ["later", "shop"])


def test_a_mailbox_that_waits_for_a_dead_run_is_freed_though_its_server_is_mirrored(
    operator: Operator, unheard: Unheard
) -> None:
    server = unheard.tagged
    settles(operator, server, unheard)
    fault = {"operation": "Configurations_ListByServer", "path": server.name, "delay": 5}
    operator.stack.control("arm", "POST", "faults", fault)
    before = operator.mailbox(server)["runs"]
    operator.call("PUT", operator.door(server))
    run = eventually(lambda: operator.mailbox(server)["running"], bool)
    terminate(operator, run)
    eventually(lambda: operator.durable(f"instances/{quote(run, safe='')}").body["runtimeStatus"], "Terminated".__eq__)
    assert operator.mailbox(server)["running"] == run
    resync(operator)
    eventually(lambda: operator.mailbox(server), lambda box: box["runs"] > before + 1 and not box["running"], SECONDS)
    assert operator.mirroring(server)["phase"] == "Mirrored"
