"""A subscription that was taken off ALLOWED_SUBSCRIPTIONS: a run changes nothing of its servers."""

from __future__ import annotations

import uuid

from shared.decisions.answers import Refuse
from shared.desired.server_id import ServerId
from shared.records import store
from shared.steps.decide import decide


async def test_a_run_neither_asks_azure_of_such_a_server_nor_changes_its_rows() -> None:
    """Azure Resource Manager does not run here, so that a question to it would fail."""
    server = ServerId(str(uuid.uuid4()), "rg-mirrors", "pg-foreign")
    before = await store.update_server(server, phase="Mirrored", run="r:1", fingerprint="f", rotation=2, rotated=1)
    mirror = await store.update_mirror(server, "shop", phase="Running", item="i-1", reseed=True)
    decision = await decide(server, "r:2")
    assert isinstance(decision, Refuse)
    assert [reason.code for reason in decision.reasons] == ["SubscriptionNotAllowed"]
    assert (decision.asked.rotate, decision.asked.restarts) == (False, ())
    assert (await store.read_server(server), await store.list_mirrors_of(server)) == (before, [mirror])
    await store.delete_mirror(server, "shop")
    await store.delete_server(server)
