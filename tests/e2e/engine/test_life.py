"""The life of servers on the real Durable extension: what waits outlives the host, and storage may fail."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from local.application import TABLES
from local.scenario import Operator, Server, eventually
from local.stack import ROOT
from tests.e2e.lifecycle.story import (
    WORKSPACE,
    after,
    codes,
    decide,
    delete,
    fabric,
    nothing_of_ours_is_left,
    put,
    waiting,
    with_shop,
)

RUN_SECONDS = 240
OVERTAKE_SECONDS = 60 + 30 + 120
"""Until a second host goes on with all: the visibility timeout of host.json, the lease of a partition, and the run."""


def ended(operator: Operator, server: Server, phase: str, seconds: float = RUN_SECONDS) -> list[str]:
    seen = eventually(
        lambda: operator.mirroring(server), lambda seen: seen.get("phase") == phase and not seen["running"], seconds
    )
    return codes(seen)


@pytest.mark.usefixtures("hastened")
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
    asked_for(operator, server, operator.door(server, "mirroring/rotate-password"))
    health = looked_at(operator, server)
    assert (health["level"], health["status"], health["tables"]) == ("Healthy", "Running", len(TABLES))
    asked_for(operator, server, f"/api/mirrors/{health['workspace']}/{health['item']}/restart", {"reseed": True})
    starts = [call for call in operator.control("fabric", "calls") if call["operation"].endswith("StartMirroring")]
    assert len([call for call in starts if health["item"] in call["path"]]) == 2
    assert application.inabilities() == {}


def asked_for(operator: Operator, server: Server, door: str, body: Any = None) -> None:
    """Ask a door for something, which the next run does."""

    def ask() -> None:
        assert operator.call("POST", door, body).status == 202

    seen = after(operator, server, ask)
    assert (seen["phase"], codes(seen)) == ("Mirrored", [])


def looked_at(operator: Operator, server: Server) -> dict[str, Any]:
    """The health of the server's mirror after a sweep, which asks for the details of a mirror that is new."""
    operator.sweep()
    [row] = [row for row in operator.rows("MirrorHealth") if row["server"].lower() == server.id.lower()]
    assert row["details_at"] is not None
    return row


def changed(app: Path, file: str, line: str, before: str) -> dict[str, str]:
    """The settings of a host that serves another version of the app, which has one more line before a `line`."""
    if not app.exists():
        for part in ("functions", "shared"):
            shutil.copytree(ROOT / part, app / part)
        for name in ("function_app.py", "host.json"):
            shutil.copy(ROOT / name, app)
    code = (app / "functions" / file).read_text()
    assert code.count(line) == 1
    indent = line[: len(line) - len(line.lstrip())]
    (app / "functions" / file).write_text(code.replace(line, f"{indent}{before}\n{line}"))
    return {"FUNCTIONS_APP_DIRECTORY": str(app)}


def test_an_upgrade_ends_the_runs_that_it_does_not_replay(operator: Operator, tmp_path: Path) -> None:
    """First a part of a run that is under way gets another step, then the run that waits for a decision."""
    waits, works = (with_shop(operator, f"pg-upgrade-{name}", 17)[0] for name in ("waits", "works"))
    put(operator, waits, {"restart": "approval"})
    run, runs = waiting(operator, waits)["run"], operator.mailbox(works)["runs"]
    operator.stack.crash("ensure_connection", "before")
    put(operator, works)
    operator.stack.await_crash(RUN_SECONDS)
    a_step = "yield from call(ctx, activities.prepare_database, target)"
    part = changed(tmp_path / "app", "suborchestrations.py", f"        {a_step}\n", a_step)
    operator.stack.start_again("host", settings=part)
    try:
        assert ended(operator, works, "Mirrored") == []
        assert operator.mailbox(works)["runs"] == runs + 2
        assert operator.restarts(works) == 1
        operator.stack.kill("host")
        a_step = "yield from run.call(activities.find_pending_restart, run.of_server)"
        line = "    decision = yield from _decide(run)\n    if isinstance(decision, Prepare)"
        changed(tmp_path / "app", "orchestrations.py", line, a_step)
        operator.stack.start_again("host")
        decide(operator, waits, restart=True)
        path = f"instances/{quote(run, safe='')}"
        failed = eventually(lambda: operator.durable(path).body, lambda body: body["runtimeStatus"] == "Failed")
        assert "NonDeterminismError" in failed["output"]
        operator.fire("record_mirror_health")
        assert waiting(operator, waits)["run"] != run
        decide(operator, waits, restart=False)
        assert ended(operator, waits, "Blocked") == ["RestartRefused"]
    finally:
        operator.stack.kill("host")
        operator.stack.start_again("host", settings={"FUNCTIONS_APP_DIRECTORY": str(ROOT)})


@pytest.mark.usefixtures("hastened")
def test_a_storm_of_requests_after_a_run_that_somebody_ended(operator: Operator) -> None:
    """The run's status still says that it waits, and its mailbox that it is under way. It takes no decision any more;
    forty requests are at most two runs more; and the extension, which dies alone meanwhile, is found again."""
    server, _ = with_shop(operator, "pg-storm", 18)
    put(operator, server, {"restart": "approval"})
    run = quote(waiting(operator, server)["run"], safe="")
    path = f"/runtime/webhooks/durabletask/instances/{run}/terminate?reason=test"
    assert operator.call("POST", path, key="durabletask_extension").status == 202
    eventually(lambda: operator.durable(f"instances/{run}").body, lambda body: body["runtimeStatus"] == "Terminated")
    assert operator.call("POST", path, key="durabletask_extension").status == 410
    refused = operator.call("POST", operator.door(server, "mirroring/restart-decision"), {"restart": True})
    assert (refused.status, refused.body["code"]) == (409, "NothingToDecide")
    before = operator.mailbox(server)["runs"]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: put(operator, server, {"restart": "now"}), range(40)))
    operator.stack.kill("engine")
    operator.stack.start_again("engine")
    operator.quiet(server, after=before, seconds=RUN_SECONDS)
    assert ended(operator, server, "Mirrored") == []
    box = operator.mailbox(server)
    # The server's own changes raise events too, each of which may ask for one more look.
    assert box["runs"] <= before + 5
    assert (box["running"], box["again"]) == ("", False)


@pytest.mark.exhaustive
def test_what_a_run_that_somebody_ended_had_begun_does_no_harm(operator: Operator) -> None:
    """The extension ends a run without its sub-orchestrations: they go on while the next run does the same work."""
    server, application = with_shop(operator, "pg-orphaned", 17)
    slow = {"operation": "Items_CreateMirroredDatabase", "delay": 15}
    operator.stack.control("fabric", "POST", "faults", slow)
    put(operator, server)
    eventually(lambda: operator.control("fabric", "faults"), lambda faults: faults == [], RUN_SECONDS)
    run = quote(operator.mirroring(server)["run"], safe="")
    path = f"/runtime/webhooks/durabletask/instances/{run}/terminate?reason=test"
    assert operator.call("POST", path, key="durabletask_extension").status == 202
    put(operator, server)
    operator.quiet(server, seconds=RUN_SECONDS)
    assert ended(operator, server, "Mirrored") == []
    assert operator.mirroring(server)["run"] != run
    names = [connection["displayName"] for connection in fabric(operator, "GET", "/connections")["value"]]
    assert len([name for name in names if server.name in name]) == 1
    items = fabric(operator, "GET", f"/workspaces/{WORKSPACE}/mirroredDatabases")["value"]
    assert len([item for item in items if item["displayName"].startswith(server.name)]) == 1
    assert operator.restarts(server) == 1
    assert application.inabilities() == {}


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


@pytest.mark.parametrize("seconds", [15, pytest.param(60, marks=pytest.mark.exhaustive)])
def test_a_run_goes_on_after_storage_was_out_of_order(
    operator: Operator, seconds: float, pause: Callable[[float], None]
) -> None:
    """First it answers nobody, then everybody is cut off from what it did."""
    server, _ = with_shop(operator, f"pg-storage-{seconds}", 16)
    put(operator, server)
    eventually(lambda: operator.mirroring(server), lambda seen: seen.get("running"))
    for kind, lasts in (("refuse", seconds), ("cut", 5)):
        operator.stack.control("storage", "POST", "faults", {"kind": kind})
        pause(lasts)
        operator.stack.control("storage", "DELETE", "faults")
        pause(2)
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
