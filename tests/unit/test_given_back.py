"""Which parameters a release gives back, whatever Azure says of them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from shared.decisions.parameters import MIRRORED, SWITCH
from shared.desired.changes import GiveBackParameter
from shared.desired.server_id import ServerId
from shared.platform.errors import MirrorError, NotAllowed, Unavailable
from shared.records.rows import ServerRow
from shared.source.parameters import Parameter
from shared.steps import decide
from tests.unit.facts import SERVER, server

ROW = ServerRow(id=SERVER, parameters=(SWITCH, MIRRORED, "wal_level"))
VALUES = {SWITCH: Parameter(name=SWITCH, value="on", default="off"), MIRRORED: Parameter(name=MIRRORED, value="shop")}


async def told(_: ServerId) -> dict[str, Parameter]:
    return VALUES


async def test_a_release_gives_back_what_the_app_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decide, "parameter_list", SimpleNamespace(parameters=told))
    given_back = await decide._given_back(server(), ROW, ["shop"])
    assert given_back == (GiveBackParameter(SWITCH, "off"), GiveBackParameter(MIRRORED, ""))
    assert await decide._given_back(server(state="Stopped"), ROW, ["shop"]) == ()


@pytest.mark.parametrize("error", [Unavailable("Busy."), NotAllowed("Not you.")])
async def test_a_release_goes_on_where_azure_does_not_tell_the_parameters(
    error: MirrorError, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(_: ServerId) -> dict[str, Parameter]:
        raise error

    monkeypatch.setattr(decide, "parameter_list", SimpleNamespace(parameters=refused))
    assert await decide._given_back(server(), ROW, ["shop"]) == ()


async def test_azure_is_not_asked_where_the_app_set_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decide, "parameter_list", None)
    assert await decide._given_back(server(), ServerRow(id=SERVER, parameters=("wal_level",)), ["shop"]) == ()
