"""Which server parameters count as set by the app, whatever Azure answers."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from shared.desired.changes import EnableSystemIdentity, GiveBackParameter, Progress, SetParameter
from shared.desired.server_id import ServerId
from shared.platform.errors import Blocked, MirrorError, Unavailable
from shared.steps import operation
from tests.unit.facts import SERVER


class Answered(Exception):
    """What the SDK raised: an answer with this status; None: there was no answer."""

    def __init__(self, status: int | None):
        super().__init__()
        self.status_code = status


@pytest.mark.parametrize(
    ("error", "status", "before", "after"),
    [
        (None, None, set(), {"wal_level"}),
        (Blocked("Not this value."), 400, set(), set()),
        (Blocked("Not this value."), 400, {"wal_level"}, {"wal_level"}),
        (Unavailable("Cut."), None, set(), {"wal_level"}),
        (Unavailable("It failed."), 500, set(), {"wal_level"}),
    ],
    ids=["done", "refused", "refused later", "answer lost", "error of the service"],
)
async def test_a_parameter_is_noted_before_it_is_set(
    error: MirrorError | None, status: int | None, before: set[str], after: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = set(before)

    async def note_parameter(_: ServerId, name: str, is_set: bool) -> bool:
        changed = (name in names) != is_set
        (names.add if is_set else names.discard)(name)
        return changed

    async def begin(_: ServerId, change: object) -> str:
        if isinstance(change, SetParameter):
            assert change.name in names
        if error:
            raise error from Answered(status)
        return "token"

    monkeypatch.setattr(operation, "store", SimpleNamespace(note_parameter=note_parameter))
    monkeypatch.setattr(operation, "server", SimpleNamespace(begin=begin))
    if error is None:
        assert await operation.begin(SERVER, SetParameter("wal_level", "logical")) == "token"
        assert await operation.begin(SERVER, EnableSystemIdentity()) == "token"
    else:
        with pytest.raises(type(error)):
            await operation.begin(SERVER, SetParameter("wal_level", "logical"))
    assert names == after


@pytest.mark.parametrize("done", [True, False])
async def test_a_parameter_counts_as_the_apps_until_it_is_set_back(done: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {"azure.mirror_databases", "wal_level"}

    async def note_parameter(_: ServerId, name: str, is_set: bool) -> bool:
        (names.add if is_set else names.discard)(name)
        return True

    async def poll(_: ServerId, change: object, token: str) -> Progress:
        return Progress(done, token, 1)

    monkeypatch.setattr(operation, "store", SimpleNamespace(note_parameter=note_parameter))
    monkeypatch.setattr(operation, "server", SimpleNamespace(poll=poll))
    await operation.poll(SERVER, GiveBackParameter("azure.mirror_databases", ""), "token")
    assert ("azure.mirror_databases" in names) is not done
    await operation.poll(SERVER, SetParameter("wal_level", "logical"), "token")
    assert "wal_level" in names
