"""How many calls an identity may make: a sliding window for each caller, as Fabric's throttling page describes it."""

from __future__ import annotations

import math
import time
from collections import defaultdict, deque
from typing import Any

import msgspec

from local.cloud.fabric.protocol import timestamp
from local.cloud.web import Answer, Call, Handler, Refusal


class Limit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """So many calls in so many seconds."""

    calls: int = 200
    seconds: float = 60.0


class Quota:
    """Counts every call by its caller's object id. A refused call does not use up any of the quota."""

    def __init__(self) -> None:
        self.limit = Limit()
        self._recent: defaultdict[str, deque[float]] = defaultdict(deque)
        self._taken: defaultdict[str, int] = defaultdict(int)
        self._refused: defaultdict[str, int] = defaultdict(int)

    def guard(self, handler: Handler) -> Handler:
        """The `handler`, which is called while the quota allows it."""

        async def guarded(call: Call) -> Answer:
            self.take(call.claims["oid"])
            return await handler(call)

        return guarded

    def take(self, caller: str) -> None:
        """Count one call, or refuse it with 429 and the whole seconds until the next one is possible."""
        now, recent = time.monotonic(), self._recent[caller]
        while recent and recent[0] <= now - self.limit.seconds:
            recent.popleft()
        if len(recent) < self.limit.calls:
            recent.append(now)
            self._taken[caller] += 1
            return
        self._refused[caller] += 1
        free = recent[len(recent) - self.limit.calls] + self.limit.seconds if self.limit.calls else now + 60
        message = f"Request is blocked by the upstream service until: {timestamp(time.time() + free - now)} (UTC)"
        raise Refusal(429, "RequestBlocked", message, {"Retry-After": str(max(1, math.ceil(free - now)))})

    def report(self) -> dict[str, Any]:
        """The limit, and for each caller how many calls were taken and how many refused."""
        callers = {caller: {"taken": taken, "refused": self._refused[caller]} for caller, taken in self._taken.items()}
        return {"calls": self.limit.calls, "seconds": self.limit.seconds, "callers": callers}
