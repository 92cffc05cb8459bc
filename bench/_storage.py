"""What was asked of Azure Storage, as the proxy in front of Azurite counts it where the Durable extension runs."""

from __future__ import annotations

from collections import Counter

from local.stack import Stack
from local.topology import EXTENSION

HUB = "fabricmirror"
"""With it the names of the task hub's tables, containers and queues begin, in whatever letter case."""


def taken(stack: Stack) -> Counter[str]:
    """The storage operations since the last time, by whose they are: the `app`'s or the task `hub`'s."""
    counted: Counter[str] = Counter()
    if stack.engine == EXTENSION:
        calls = stack.control("storage", "GET", "calls")
        stack.control("storage", "DELETE", "calls")
        assert isinstance(calls, dict)
        for call, count in calls.items():
            counted["hub" if call.rpartition(" ")[2].lower().startswith(HUB) else "app"] += count
    return counted
