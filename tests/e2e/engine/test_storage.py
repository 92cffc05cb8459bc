"""What the task hub keeps in storage: a bounded history of each run, and nothing of what ended once it is pruned.

These tests come last in their stack, so that they see what lives, kills and sweeps have left.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest
import requests
from durabletask.client import OrchestrationStatus, TaskHubGrpcClient

from local.scenario import Operator, eventually

HUB = "FabricMirror"
ENDED = (OrchestrationStatus.COMPLETED, OrchestrationStatus.FAILED, OrchestrationStatus.TERMINATED)
MOST_ROWS = {
    "reconcile_server": 400,
    "mirror_database": 200,
    "wait_for_operation": 120,
    "sweep_health": 60,
    "server_mailbox": 10,
}
"""Of the history of one instance, in the lives of these tests: some five rows for each step or look."""
SHORT, LONG = 30, 500


def instances(operator: Operator) -> dict[str, dict[str, Any]]:
    """The rows of all instances by id: runs, their parts, sweeps and mailboxes."""
    return {row["PartitionKey"]: row for row in operator.rows(f"{HUB}Instances")}


def kind(instance: dict[str, Any]) -> str:
    """The orchestration's name, or the entity's."""
    return str(instance["Name"]).split("@")[1] if instance["Name"].startswith("@") else str(instance["Name"])


def rows(operator: Operator) -> Counter[str]:
    """How many rows of history each instance has."""
    return Counter(row["PartitionKey"] for row in operator.rows(f"{HUB}History"))


def blobs(operator: Operator) -> set[str]:
    """The instances of whose messages or results some are too large for a row, and so are blobs."""
    token = operator.credential.get_token("https://storage.azure.com/.default").token
    address = f"{operator.topology.storage_endpoint('blob')}/{HUB.lower()}-largemessages"
    listed = requests.get(
        f"{address}?restype=container&comp=list",
        headers={"Authorization": f"Bearer {token}", "x-ms-version": "2021-12-02"},
        timeout=30,
    )
    return {name.partition("/")[0] for name in re.findall("<Name>([^<]+)</Name>", listed.text)}


def test_many_sweeps_leave_the_history_of_one(operator: Operator) -> None:
    operator.sweep()
    first = rows(operator)["sweep_health"]
    for _ in range(3):
        operator.sweep()
    assert 0 < rows(operator)["sweep_health"] <= first


@pytest.mark.parametrize("runs", [SHORT, pytest.param(LONG, marks=pytest.mark.exhaustive)])
def test_runs_are_pruned_and_the_history_of_none_is_long(operator: Operator, runs: int) -> None:
    """The runs are of servers that there are not. The purge is that of `prune_history`, to which they are too young."""
    names = [f"pg-nowhere-{runs}-{number}" for number in range(runs)]
    stack = operator.topology
    for name in names:
        server = {"subscription": stack.subscription, "resource_group": stack.resource_group, "name": name}
        path = f"/runtime/webhooks/durabletask/orchestrators/reconcile_server/{quote(name)}"
        assert operator.call("POST", path, {"server": server}, key="durabletask_extension").status == 202
    seen = eventually(
        lambda: {name: row for name, row in instances(operator).items() if name in names},
        lambda seen: len(seen) == runs and {row["RuntimeStatus"] for row in seen.values()} == {"Completed"},
        60 + runs,
    )
    assert {row["Name"] for row in seen.values()} == {"reconcile_server"}
    there = instances(operator)
    longest: Counter[str] = Counter()
    for instance, count in rows(operator).items():
        longest[kind(there[instance])] = max(longest[kind(there[instance])], count)
    assert longest.keys() <= MOST_ROWS.keys()
    assert {kind: count for kind, count in longest.items() if count > MOST_ROWS[kind]} == {}
    operator.fire("prune_history")
    eventually(
        lambda: "Executed 'Functions.prune_history' (Succeeded" in operator.topology.log("host").read_text(), bool
    )
    address = json.loads(stack.engine_file(1).read_bytes())["address"]
    with TaskHubGrpcClient(host_address=address, metadata=[("taskhub", HUB)]) as client:
        purged = client.purge_orchestrations_by(created_time_to=datetime.now(UTC), runtime_status=list(ENDED))
    assert purged.deleted_instance_count >= runs
    left = instances(operator)
    assert not set(names) & left.keys()
    assert {row["RuntimeStatus"] for row in left.values()} <= {"Running", "Pending"}
    assert rows(operator).keys() <= left.keys()
    assert blobs(operator) <= left.keys()
