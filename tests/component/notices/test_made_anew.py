"""What becomes of a mirror's row when the mirror is made anew: its recovery is told, and nothing that is no more."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from shared.desired.server_id import ServerId
from shared.platform import errors
from shared.records import store
from shared.records.rows import HealthRow
from shared.steps import sweep
from tests.component.notices.watched import NOW, WORKSPACE, Mirror


@pytest.mark.parametrize("workspace", [WORKSPACE, "00000000-0000-0000-0000-0000000000b2"], ids=["anew", "elsewhere"])
async def test_the_recovery_of_a_mirror_that_was_made_anew_is_told(
    server: ServerId, told: Callable[[], list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch, workspace: str
) -> None:
    watched = Mirror(server)
    for status in ("Running", "Paused", "Paused"):
        unhealthy = await watched.seen(status)
    old = watched.row
    watched.row = msgspec.structs.replace(old, workspace=workspace, item=str(uuid4()))
    await watched.note()
    with monkeypatch.context() as crash:

        async def die(*_: object) -> None:
            raise errors.Unavailable("Table Storage is out of reach.")

        crash.setattr(store, "delete_health", die)
        with pytest.raises(errors.Unavailable):
            await sweep.plan()
    for _ in range(2):
        await sweep.plan()
        assert await store.read_health(old.workspace, old.item) is None
    kept = (await watched.latest())[watched.row.item]
    assert (kept.level, kept.announced, kept.since) == ("Unhealthy", "Unhealthy", unhealthy.since)
    assert (kept.reasons, kept.status, kept.pending) == (unhealthy.reasons, "", 0)
    for _ in range(3):
        await watched.seen("Running")
    assert [event["data"]["level"] for event in told()] == ["Unhealthy", "Healthy"]
    assert told()[1]["data"]["mirror"] == watched.row.item
    await store.delete_mirror(server, "shop")
    await sweep.plan()
    assert await watched.latest() == {}


@pytest.mark.parametrize("found_again", [False, True], ids=["anew", "found again"])
@pytest.mark.parametrize(
    ("before", "after", "levels"),
    [
        ("Paused", "Running", ["Unhealthy", "Healthy"]),
        ("Paused", "Paused", ["Unhealthy"]),
        ("Running", "Running", []),
        ("Running", "Stopped", ["Stopped"]),
    ],
)
async def test_a_mirror_that_is_being_made_is_unknown_and_then_held_against_what_was_told(
    server: ServerId,
    told: Callable[[], list[dict[str, Any]]],
    before: str,
    after: str,
    levels: list[str],
    found_again: bool,
) -> None:
    watched = Mirror(server)
    for status in ("Running", before, before):
        seen = await watched.seen(status, retained_gib=1)
    await watched.note(item="")
    waits = []
    for _ in range(2):
        await sweep.plan()
        waits += (await watched.latest()).values()
    first, second = waits
    for row in waits:
        assert (row.level, [reason.code for reason in row.reasons]) == ("Unknown", ["MirrorPending"])
        assert (row.announced, row.status, row.slot, row.retained_wal_bytes) == (seen.announced, "", "", None)
    assert first.since == second.since == first.updated_at < second.updated_at  # it is no old figure
    if not found_again:
        watched.row = msgspec.structs.replace(watched.row, item=str(uuid4()))
    await watched.note()
    await sweep.plan()
    for _ in range(3):
        await watched.seen(after)
    assert [event["data"]["level"] for event in told()] == levels
    await watched.note(item="", phase="Releasing")
    await sweep.plan()
    assert await watched.latest() == {}


@pytest.mark.parametrize("made", [False, True], ids=["being made", "made"])
async def test_a_mirror_begins_as_the_last_of_those_before_it(server: ServerId, made: bool) -> None:
    older, newer = (
        HealthRow(
            workspace=WORKSPACE, item=f"{number}-{uuid4()}", server=server, database="shop", level=level,
            announced=level, updated_at=NOW + timedelta(minutes=number),
        )
        for number, level in enumerate(("Degraded", "Unhealthy"))
    )  # fmt: skip
    await store.write_latest([older, newer])
    watched = Mirror(server)
    await watched.note(**{} if made else {"item": ""})
    await sweep.plan()
    assert await store.read_health(WORKSPACE, older.item) is None
    heir = await store.read_health(WORKSPACE, watched.row.item if made else newer.item)
    assert heir is not None
    assert (heir.level, heir.announced) == ("Unhealthy" if made else "Unknown", "Unhealthy")
