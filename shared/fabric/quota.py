"""How fast this process may call Fabric: a sliding window, shared by everybody, with two lanes.

Fabric allows an identity so many calls a minute. Preparations may use all of them, at once if they like. The
background lane (the health sweep) is paced evenly, leaves a small share alone, and lets a preparation that waits go
first, but for one call after every `TURN`.
After a 429, which other processes with the same identity may have caused, the limit drops and recovers slowly.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar

from shared.platform.errors import Unavailable

SHARE_KEPT_BACK = 0.02
LATENESS = 0.1
"""Share of the window by which the background may be late and still make up for it, at once."""
CUT = 0.75
RECOVERY_SECONDS = 300.0
YIELD_SECONDS = 0.02
TURN = 9
"""Calls of preparations after which the background may make one, though more of them wait."""
LONGEST_PAUSE = {False: 5.0, True: 60.0}
"""Seconds after a 429 that a preparation waits for here, and the background: an activity must end within minutes."""
AGAIN_SECONDS = 5.0
"""A 429 so soon after a pause goes on with it. The background, where many wait in turn, waits for the first alone."""


class Spent:
    """How many calls were made."""

    def __init__(self) -> None:
        self.calls = 0


_in_background: ContextVar[Spent | None] = ContextVar("fabric_background", default=None)


@contextmanager
def background() -> Iterator[Spent]:
    """Calls to Fabric made within, and in tasks started within, take the background lane, and are counted."""
    spent = Spent()
    token = _in_background.set(spent)
    try:
        yield spent
    finally:
        _in_background.reset(token)


def in_background() -> bool:
    """Whether calls made now take the background lane."""
    return _in_background.get() is not None


def for_background(calls: int) -> int:
    """How many calls of a quota the background lane may use."""
    return max(1, calls - max(1, round(calls * SHARE_KEPT_BACK)))


class Quota:
    """At most `calls` in any `seconds`. It belongs to one event loop, whose clock it uses."""

    def __init__(self, calls: int, seconds: float = 60.0):
        self.calls, self.window = calls, seconds
        self._under_way = 0
        self._done: deque[float] = deque()
        self._lanes = {False: asyncio.Lock(), True: asyncio.Lock()}
        self._waiting = {False: 0, True: 0}
        self._passed = 0
        self._next_background = 0.0
        self._held_until = float("-inf")
        self._held_again = False
        self._cut_at = float("-inf")
        self._cut_to = calls

    @asynccontextmanager
    async def call(self) -> AsyncIterator[None]:
        """Wait until a call may be made; the call is made within. In a lane, who came first goes first.

        A call counts from here until its answer is older than the window, since nobody knows when in between it
        arrived. Raises `Unavailable` when Fabric has asked for a longer pause, also while it waits: a durable timer, or
        the next sweep, waits that out.
        """
        spent = _in_background.get()
        lane = spent is not None
        self._waiting[lane] += 1
        try:
            async with self._lanes[lane]:
                while wait := self._wait(lane):  # noqa: ASYNC110 (it sleeps until a known moment)
                    await asyncio.sleep(wait)
                self._take(lane)
        finally:
            self._waiting[lane] -= 1
        if spent:
            spent.calls += 1
        try:
            yield
        finally:
            self._under_way -= 1
            self._done.append(asyncio.get_running_loop().time())

    def refused(self, retry_after: float) -> None:
        """The service answered 429: nobody calls for `retry_after` seconds, and then fewer than before."""
        now = asyncio.get_running_loop().time()
        if now >= self._held_until:
            self._cut_to, self._cut_at = max(1, int(self.limit(now) * CUT)), now
            self._held_again = now < self._held_until + AGAIN_SECONDS
        self._held_until = max(self._held_until, now + retry_after)

    def limit(self, now: float) -> int:
        """How many calls the window may hold now."""
        recovered = min(1.0, (now - self._cut_at) / RECOVERY_SECONDS)
        return self._cut_to + int((self.calls - self._cut_to) * recovered)

    def _allowed(self, now: float, lane: bool) -> int:
        limit = self.limit(now)
        return for_background(limit) if lane else limit

    def _take(self, lane: bool) -> None:
        self._under_way += 1
        self._passed = 0 if lane else self._passed + 1
        if lane:
            now = asyncio.get_running_loop().time()
            late = max(self._next_background, now - LATENESS * self.window)
            self._next_background = late + self.window / self._allowed(now, lane)

    def _wait(self, lane: bool) -> float:
        """Seconds until it is worth asking again; 0: the call may be made."""
        now = asyncio.get_running_loop().time()
        while self._done and self._done[0] <= now - self.window:
            self._done.popleft()
        if now < self._held_until:
            return self._held(lane, self._held_until - now)
        if lane and now < self._next_background:
            return self._next_background - now
        if self._goes_first(not lane, now):
            return YIELD_SECONDS
        over = self._under_way + len(self._done) - self._allowed(now, lane)
        if over < 0:
            return 0.0
        return self._done[over] + self.window - now if over < len(self._done) else YIELD_SECONDS

    def _held(self, lane: bool, pause: float) -> float:
        if pause <= LONGEST_PAUSE[lane] and not (lane and self._held_again):
            return pause
        raise Unavailable(
            f"Fabric asked this identity not to call for another {pause:.0f} s.", code="Throttled", retry_after=pause
        )

    def _goes_first(self, lane: bool, now: float) -> bool:
        """Whether somebody waits in that lane whose turn it is before the other's."""
        turn = self._passed >= TURN and now >= self._next_background
        return self._waiting[lane] > 0 and turn is lane
