"""What the app sees of a mirror: what errors and silence say of it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from shared.decisions.observation import FabricSide, not_ready, refused
from shared.fabric.facts import MirrorStatus, TableStatus
from shared.platform import errors
from shared.platform.errors import MirrorError
from shared.platform.reasons import Reason
from tests.unit.facts import SERVER

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DOWN = Reason("Unavailable", "down")


@pytest.mark.parametrize(
    ("error", "gone"),
    [
        (errors.NotFound("gone", code="ItemNotFound"), True),
        (errors.NotFound("gone", code="EntityNotFound"), True),
        (errors.NotFound("gone", code="WorkspaceNotFound"), False),
        (errors.Blocked("odd", code="ItemNotFound"), False),
    ],
)
def test_only_an_item_that_is_not_found_is_gone(error: MirrorError, gone: bool) -> None:
    expected = FabricSide(gone=True) if gone else Reason(error.code, error.message, error.remedy)
    assert refused(error) == expected


@pytest.mark.parametrize(
    ("state", "code"), [("", "Unavailable"), ("Ready", "Unavailable"), ("Stopped", "ServerNotReady")]
)
def test_the_state_of_a_server_explains_why_it_does_not_answer(state: str, code: str) -> None:
    why = not_ready(SERVER, state, DOWN)
    assert why.code == code
    assert code == "Unavailable" or why.message == f"Server 'pg-shop' is {state}."


def table(status: str) -> TableStatus:
    return TableStatus(schema="public", name="t", status=status)


@pytest.mark.parametrize(
    ("side", "runs"),
    [
        (FabricSide(MirrorStatus("Running")), True),
        (FabricSide(MirrorStatus("Stopped")), False),
        (FabricSide(), True),
        (FabricSide(gone=True), False),
        (FabricSide(tables=(table("Stopped"),)), True),
        (FabricSide(tables=(table("Stopped"),), unseen=DOWN), False),
        (FabricSide(tables=(table("Stopped"), table("Failed")), unseen=DOWN), True),
        (FabricSide(unseen=DOWN), False),
    ],
)
def test_whether_a_mirror_runs_as_far_as_the_app_knows(side: FabricSide, runs: bool) -> None:
    assert side.runs is runs
