"""Notices to the Event Grid stand-in, and what is remembered of them in Azurite: once for a change, and never lost."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from local.stack import Stack
from shared.decisions import announce as deciding
from shared.decisions.outcome import Outcome, OutcomePhase
from shared.desired.server_id import ServerId
from shared.platform import errors
from shared.platform.reasons import Reason
from shared.records import store, topic
from shared.steps import announce, record, restart, sweep
from tests import source
from tests.component.app import app_environment
from tests.component.notices.watched import NOW, WORKSPACE, Mirror, mirror
from tests.pages import wait_for

INFRA = source.ROOT / "infra"


def topic_fails(stack: Stack, times: int) -> None:
    stack.control("eventgrid", "POST", "faults", {"operation": "Events_Publish", "status": 503, "times": times})


async def ended(id: ServerId, phase: OutcomePhase, *codes: str, run: int = 1, fingerprint: str = "f1") -> None:
    """The end of a run, as the run itself records it."""
    await store.update_server(id, run=f"{id.key}:{run}", fingerprint=fingerprint)
    await record.outcome(id, Outcome(phase, tuple(Reason(code, "m", "r") for code in codes)))


async def test_a_notice_is_a_cloud_event_of_the_documented_form(
    server: ServerId, told: Callable[[], list[dict[str, Any]]]
) -> None:
    watched = Mirror(server)
    for status in ("Running", "Stopped", "Stopped"):
        row = await watched.seen(status)
    [event] = told()
    assert {name: event[name] for name in ("specversion", "type", "source", "subject", "datacontenttype")} == {
        "specversion": "1.0",
        "type": "FabricMirror.HealthChanged",
        "source": "/fabric-mirror",
        "subject": f"{server}/databases/shop",
        "datacontenttype": "application/json",
    }
    assert event["data"] == {
        "server": str(server),
        "database": "shop",
        "workspace": WORKSPACE,
        "mirror": watched.row.item,
        "level": "Stopped",
        "previous": "Healthy",
        "since": msgspec.to_builtins(row.since),
        "reasons": [
            {"code": "MirrorStopped", "message": "The mirror is Stopped.", "remedy": "Start it, or release it."}
        ],
    }
    assert row.announced == "Stopped"


async def test_a_level_that_stays_is_told_once_and_each_change_anew(
    server: ServerId, told: Callable[[], list[dict[str, Any]]]
) -> None:
    watched = Mirror(server)
    for status in ("Running", *("Stopped",) * 4, *("Running",) * 3, *("Stopped",) * 3):
        await watched.seen(status)
    assert [event["data"]["level"] for event in told()] == ["Stopped", "Healthy", "Stopped"]
    assert len({event["id"] for event in told()}) == 3


async def test_a_new_mirror_is_told_of_only_when_it_stays_unhealthy(
    server: ServerId, told: Callable[[], list[dict[str, Any]]]
) -> None:
    await Mirror(server).seen("Running")
    assert told() == []
    new = Mirror(server)
    first = await new.seen("Paused")
    assert (first.level, first.pending, told()) == ("Healthy", 1, [])
    second = await new.seen("Paused")
    assert (second.level, second.since) == ("Unhealthy", first.updated_at)
    assert [event["data"]["level"] for event in told()] == ["Unhealthy"]


@pytest.mark.parametrize("how", [{"phase": "Releasing"}, {"item": "another"}, None], ids=["going", "led away", "gone"])
async def test_of_a_mirror_that_was_released_meanwhile_nothing_is_told_or_kept(
    server: ServerId, told: Callable[[], list[dict[str, Any]]], how: dict[str, Any] | None
) -> None:
    watched = Mirror(server)
    healthy = await watched.seen("Running")
    if how is None:
        await store.delete_mirror(server, "shop")
    else:
        await watched.note(**how)
    for _ in range(3):
        assert await watched.seen("Stopped") == healthy
    assert told() == []


async def test_a_slot_that_endangers_its_server_is_warned_of_in_each_sweep_whatever_was_told(
    server: ServerId, told: Callable[[], list[dict[str, Any]]], caplog: pytest.LogCaptureFixture
) -> None:
    """A mirror that is paused is Unhealthy at once; the disk fills later, and nothing changes its level then."""
    [pattern] = re.findall(r'extract\(@"(.*)", 1, message\)', (INFRA / "queries/wal_retained.kql").read_text())

    async def warned() -> list[dict[str, Any]]:
        caplog.clear()
        await sweep.conclude(NOW, 1, 0)
        lines = [line.getMessage() for line in caplog.records if line.getMessage().startswith("Slot at risk")]
        found = [json.loads(match[1]) for line in lines if (match := re.search(pattern, line))]
        return [one for one in found if one["server"] == str(server)]

    watched = Mirror(server)
    for _ in range(2):
        await watched.seen("Paused")
    assert (len(told()), await warned()) == (1, [])
    await watched.seen("Paused", retained_gib=30)
    for _ in range(2):
        [warning] = await warned()
        assert (warning["database"], "WalRetained" in {r["code"] for r in warning["reasons"]}) == ("shop", True)
    assert len(told()) == 1
    await watched.seen("Paused")
    assert await warned() == []


async def test_what_a_topic_did_not_take_is_told_with_the_next_look(
    stack: Stack, server: ServerId, told: Callable[[], list[dict[str, Any]]]
) -> None:
    watched = Mirror(server)
    await watched.seen("Running")
    await watched.seen("Paused")
    topic_fails(stack, 20)
    kept = await watched.seen("Paused")
    assert (kept.level, kept.announced) == ("Unhealthy", "Healthy")
    assert told() == []
    stack.control("eventgrid", "DELETE", "faults")
    await watched.seen("Paused")
    await watched.seen("Paused")
    assert [event["data"]["level"] for event in told()] == ["Unhealthy"]


async def test_a_crash_between_telling_and_noting_gives_the_same_id_again(
    server: ServerId, told: Callable[[], list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Mirror(server)
    await watched.seen("Running")
    await watched.seen("Paused")
    with monkeypatch.context() as crash:

        async def die(_: object) -> None:
            raise errors.Unavailable("Table Storage is out of reach.")

        crash.setattr(store, "write_latest", die)
        with pytest.raises(errors.Unavailable):
            await watched.seen("Paused")
    await watched.seen("Paused")
    first, second = told()
    assert first["id"] == second["id"]


async def test_phases_of_a_server_are_told_once(server: ServerId, told: Callable[[], list[dict[str, Any]]]) -> None:
    made = mirror(server)
    await store.update_mirror(server, "shop", workspace=made.workspace, item=made.item)
    for run, (phase, *codes) in enumerate(
        [
            ("Blocked", "ServerTier"), ("Blocked", "ServerTier"), ("Blocked", "Network", "ServerTier"),
            ("Mirrored",), ("Mirrored",), ("Blocked", "ServerTier"), ("Mirrored",), ("Released",),
        ]
    ):  # fmt: skip
        await ended(server, phase, *codes, run=run)
    names = [event["type"].removeprefix("FabricMirror.") for event in told()]
    assert names == [
        "PreparationBlocked", "PreparationBlocked", "ServerPrepared", "PreparationBlocked", "ServerPrepared",
        "ServerReleased",
    ]  # fmt: skip
    assert len({event["id"] for event in told()}) == len(names)
    assert {event["subject"] for event in told()} == {str(server)}
    prepared = told()[2]["data"]
    assert prepared["mirrors"] == [{"database": "shop", "workspace": WORKSPACE, "mirror": made.item}]
    assert prepared["run"] == f"{server.key}:3"
    assert [reason["code"] for reason in told()[1]["data"]["reasons"]] == ["Network", "ServerTier"]


async def test_another_wish_that_is_fulfilled_is_told(
    server: ServerId, told: Callable[[], list[dict[str, Any]]]
) -> None:
    await ended(server, "Mirrored", fingerprint="one")
    await ended(server, "Mirrored", fingerprint="two", run=2)
    assert [event["type"] for event in told()] == ["FabricMirror.ServerPrepared"] * 2


async def test_a_restart_decision_is_asked_for_once_a_run(
    server: ServerId, told: Callable[[], list[dict[str, Any]]]
) -> None:
    verdict = wait_for("restart-decision", NOW, NOW + timedelta(hours=72))
    for run in (1, 1, 2):
        await store.update_server(server, run=f"{server.key}:{run}")
        await restart.record_waiting(server, verdict)
    await restart.record_waiting(server, wait_for("maintenance-window", NOW, NOW))
    assert [event["type"] for event in told()] == ["FabricMirror.RestartApprovalRequired"] * 2
    [reason] = told()[0]["data"]["reasons"]
    assert (
        f"POST /api/servers/{server.subscription}/{server.resource_group}/{server.name}/mirroring" in reason["remedy"]
    )
    assert (NOW + timedelta(hours=72)).isoformat() in reason["remedy"]


async def test_a_run_ends_even_if_the_topic_is_out_of_reach_and_the_sweep_tells_later(
    stack: Stack,
    server: ServerId,
    told: Callable[[], list[dict[str, Any]]],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    topic_fails(stack, 20)
    await ended(server, "Mirrored")
    row = await store.read_server(server)
    assert row is not None
    assert (row.phase, row.announced) == ("Mirrored", "")
    assert "did not take 1 notices; they are told again" in caplog.text
    stack.control("eventgrid", "DELETE", "faults")
    await announce.tell_overdue()
    assert told() == []  # its own run may still be telling it
    monkeypatch.setattr(deciding, "SETTLED", timedelta(0))
    await announce.tell_overdue()
    await announce.tell_overdue()
    assert [event["type"] for event in told() if event["subject"] == str(server)] == ["FabricMirror.ServerPrepared"]


@pytest.mark.parametrize("fault", [{"delay": 60}, {"status": 503, "retry_after": 60}], ids=["late", "to come later"])
async def test_a_topic_keeps_nobody_waiting(
    stack: Stack,
    server: ServerId,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    fault: dict[str, Any],
) -> None:
    monkeypatch.setattr(topic, "LONGEST_SENDING", 0.5)
    monkeypatch.setattr(deciding, "SETTLED", timedelta(0))
    stack.control("eventgrid", "POST", "faults", {"operation": "Events_Publish", "times": 50, **fault})
    for name in ("pg-late-1", "pg-late-2"):
        late = msgspec.structs.replace(server, name=name)
        await store.update_server(late, run=f"{late.key}:1", fingerprint="f1", phase="Mirrored")
    watched = Mirror(server)
    async with asyncio.timeout(30):
        for status in ("Running", "Paused", "Paused"):
            kept = await watched.seen(status)
        assert (kept.level, kept.announced) == ("Unhealthy", "Healthy")
        caplog.clear()
        await announce.tell_overdue()
    told = caplog.text.count("did not take 1 notices; they are told again: It did not within 0.5 s.")
    assert told == 1  # the others are not tried any more


async def test_without_a_topic_they_are_logged(
    stack: Stack, server: ServerId, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    app_environment(stack.topology, monkeypatch, NOTICE_TOPIC_ENDPOINT="")
    caplog.set_level(logging.INFO)
    await ended(server, "Blocked", "ServerTier")
    row = await store.read_server(server)
    assert row is not None
    assert row.announced == deciding.change_of(row)
    assert f"FabricMirror.PreparationBlocked {server}: " in caplog.text
    assert '"code":"ServerTier"' in caplog.text
