"""Which servers the resync has looked at: those that are not as they should be, and no others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from shared.decisions.resync import why_look
from shared.desired import intent as desired
from shared.desired.intent import Wish
from shared.records.rows import ServerRow
from tests.unit.facts import OTHER_WORKSPACE, SERVER, settings

ENABLED = {"fabric-mirror": "enabled"}
DISABLED = {"fabric-mirror": "disabled"}
SETTINGS = settings()


def fingerprint(tags: Mapping[str, str], request: Wish | None = None) -> str:
    return desired.combine(desired.read_tags(tags, "fabric-mirror"), request, SETTINGS).fingerprint


def known(phase: str, tags: Mapping[str, str] = ENABLED, request: Wish | None = None, **more: Any) -> ServerRow:
    """A row as the last run left it, when the tags and the request were these."""
    return ServerRow(id=SERVER, phase=phase, request=request, fingerprint=fingerprint(tags, request), **more)


@pytest.mark.parametrize(
    ("tags", "row"),
    [
        ({}, None),
        ({"team": "sales"}, None),
        (DISABLED, None),
        (ENABLED, known("Mirrored")),
        ({}, known("Mirrored", {}, Wish(databases=("shop",)))),
        ({}, known("Released", {})),
        (DISABLED, known("Released", DISABLED)),
        (DISABLED, known("New", DISABLED)),
        ({}, known("Deleted", {})),
        (None, None),
        (None, known("Deleted", {})),
        ({"fabric-mirror": "perhaps"}, known("Blocked")),
    ],
)
def test_a_server_that_is_as_it_should_be_is_left_alone(tags: Mapping[str, str] | None, row: ServerRow | None) -> None:
    assert not why_look(tags, row, SETTINGS)


@pytest.mark.parametrize(
    ("tags", "row"),
    [
        pytest.param(ENABLED, None, id="tagged, and nobody was told"),
        pytest.param({"fabric-mirror": "perhaps"}, None, id="a tag that can't be read, and nobody was told"),
        pytest.param({"fabric-mirror": "perhaps"}, known("Mirrored"), id="a tag that can't be read any more"),
        pytest.param({}, known("Mirrored"), id="the tag is gone"),
        pytest.param(DISABLED, known("Mirrored"), id="opted out"),
        pytest.param(DISABLED, known("Mirrored", {}, Wish()), id="the tag forbids what was requested"),
        pytest.param({}, known("Blocked", {}), id="a release that was refused"),
        pytest.param({}, known("Releasing", {}), id="a release that was cut off"),
        pytest.param({}, known("Waiting"), id="opted out while it waited"),
        pytest.param(ENABLED, known("Blocked"), id="blocked"),
        pytest.param(ENABLED, known("Preparing"), id="a run that died"),
        pytest.param(ENABLED, known("Waiting"), id="waiting for a decision"),
        pytest.param(ENABLED, known("Released"), id="wanted again"),
        pytest.param(ENABLED, known("Deleted"), id="a namesake of a server that was deleted"),
        pytest.param(ENABLED | {"fabric-mirror-databases": "crm"}, known("Mirrored"), id="other databases"),
        pytest.param(ENABLED | {"fabric-mirror-workspace": OTHER_WORKSPACE}, known("Mirrored"), id="another workspace"),
        pytest.param(ENABLED | {"fabric-mirror-restart": "window"}, known("Mirrored"), id="another policy"),
        pytest.param(ENABLED, known("Mirrored", rotation=2, rotated=1), id="a new password that was not made"),
        pytest.param(None, known("Mirrored"), id="deleted"),
        pytest.param(None, known("Blocked"), id="deleted while it was blocked"),
    ],
)
def test_a_server_that_is_not_as_it_should_be_is_looked_at(
    tags: Mapping[str, str] | None, row: ServerRow | None
) -> None:
    assert why_look(tags, row, SETTINGS)


def test_another_default_workspace_is_another_wish() -> None:
    assert why_look(ENABLED, known("Mirrored"), settings(DEFAULT_WORKSPACE=OTHER_WORKSPACE))
