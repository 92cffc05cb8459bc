"""The life of servers on the real Durable extension: what waits outlives the host, and storage may fail."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import pytest

from local.scenario import Operator, Server, eventually
from tests.e2e.lifecycle.story import codes, decide, delete, nothing_of_ours_is_left, put, waiting, with_shop

RUN_SECONDS = 240
OVERTAKE_SECONDS = 60 + 30 + 120
"""Until a second host goes on with all: the visibility timeout of host.json, the lease of a partition, and the run."""


def ended(operator: Operator, server: Server, phase: str, seconds: float = RUN_SECONDS) -> list[str]:
    seen = eventually(
        lambda: operator.mirroring(server), lambda seen: seen.get("phase") == phase and not seen["running"], seconds
    )
    return codes(seen)


def test_a_wait_for_approval_outlives_the_host(operator: Operator) -> None:
    server, application = with_shop(operator, "pg-approved", 17)
    put(operator, server, {"restart": "approval"})
    run = waiting(operator, server)["run"]
    operator.stack.kill("host", "engine")
    operator.stack.start_again("host", "engine")
    assert waiting(operator, server)["run"] == run
    decide(operator, server, restart=True)
    assert ended(operator, server, "Mirrored") == []
    assert operator.mirroring(server)["run"] == run
    assert operator.restarts(server) == 1
    late = operator.call("POST", operator.door(server, "mirroring/restart-decision"), {"restart": True})
    assert (late.status, late.body["code"]) == (409, "NothingToDecide")
    rotation = operator.call("POST", operator.door(server, "mirroring/rotate-password"))
    assert rotation.status == 202
    operator.quiet(server)
    assert ended(operator, server, "Mirrored") == []
    assert application.inabilities() == {}


def test_an_event_for_a_run_that_has_ended_is_no_failure(operator: Operator) -> None:
    """Somebody ended the run. Its status still says that it waits, and its mailbox that it is under way."""
    server, _ = with_shop(operator, "pg-ended", 16)
    put(operator, server, {"restart": "approval"})
    run = quote(waiting(operator, server)["run"], safe="")
    path = f"/runtime/webhooks/durabletask/instances/{run}/terminate?reason=test"
    assert operator.call("POST", path, key="durabletask_extension").status == 202
    eventually(lambda: operator.durable(f"instances/{run}").body, lambda body: body["runtimeStatus"] == "Terminated")
    assert operator.call("POST", path, key="durabletask_extension").status == 410
    refused = operator.call("POST", operator.door(server, "mirroring/restart-decision"), {"restart": True})
    assert (refused.status, refused.body["code"]) == (409, "NothingToDecide")
    put(operator, server, {"restart": "now"})
    operator.fire("resync_servers")
    assert ended(operator, server, "Mirrored") == []


def test_a_storm_of_requests_is_at_most_two_runs_more(operator: Operator) -> None:
    server, _ = with_shop(operator, "pg-storm", 18)
    put(operator, server)
    before = operator.mailbox(server)["runs"]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: put(operator, server), range(40)))
    assert ended(operator, server, "Mirrored") == []
    operator.quiet(server, seconds=RUN_SECONDS)
    box = operator.mailbox(server)
    # The server's own changes raise events too, each of which may ask for one more look.
    assert before <= box["runs"] <= before + 4
    assert (box["running"], box["again"]) == ("", False)


def test_a_run_bears_that_each_message_is_delivered_twice(operator: Operator) -> None:
    server, application = with_shop(operator, "pg-twice", 17)
    operator.stack.control("storage", "POST", "faults", {"kind": "duplicate"})
    try:
        put(operator, server)
        assert ended(operator, server, "Mirrored") == []
        assert operator.restarts(server) == 1
        assert application.inabilities() == {}
        delete(operator, server)
        assert ended(operator, server, "Released") == ["ParametersLeft"]
        nothing_of_ours_is_left(operator, server)
    finally:
        operator.stack.control("storage", "DELETE", "faults")


@pytest.mark.parametrize(
    ("kind", "seconds"),
    [("refuse", 15), pytest.param("refuse", 60, marks=pytest.mark.exhaustive), ("cut", 5)],
)
def test_a_run_goes_on_after_storage_was_out_of_order(
    operator: Operator, kind: str, seconds: float, pause: Callable[[float], None]
) -> None:
    server, _ = with_shop(operator, f"pg-storage-{kind}-{seconds}", 16)
    put(operator, server)
    eventually(lambda: operator.mirroring(server), lambda seen: seen.get("running"))
    operator.stack.control("storage", "POST", "faults", {"kind": kind})
    pause(seconds)
    operator.stack.control("storage", "DELETE", "faults")
    assert ended(operator, server, "Mirrored", RUN_SECONDS + 120) == []
    assert operator.restarts(server) == 1


@pytest.mark.exhaustive
def test_a_second_host_goes_on_with_what_the_other_had_in_hand(
    operator: Operator, pause: Callable[[float], None]
) -> None:
    operator.stack.start_second_host()
    pause(60)  # the partitions are spread over both hosts only after some time
    servers = [with_shop(operator, f"pg-two-hosts-{n}", 16)[0] for n in range(3)]
    for server in servers:
        put(operator, server)
    eventually(
        lambda: [operator.mirroring(server) for server in servers], lambda seen: all(one.get("running") for one in seen)
    )
    pause(5)
    operator.stack.kill("host_2", "engine_2")
    for server in servers:
        assert ended(operator, server, "Mirrored", OVERTAKE_SECONDS) == []
