"""How fast this process may call Fabric: one sliding window for all calls, with two lanes.

Fabric limits the calls of an identity in a minute. Preparations may use all of these calls, even all at once. The
health sweep uses the background lane: its calls are spread evenly, leave a small share of the limit free, and let a
waiting preparation go first. After `TURN` calls of preparations, the background lane may make one call.

After a 429, the limit drops and recovers slowly, since other processes with the same identity may have caused it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar

from shared.platform.errors import Unavailable

FREE_SHARE = 0.02
"""The share of the limit that the background lane leaves to preparations."""
LATENESS = 0.1
"""The share of the window that the background lane may be late and still catch up at once."""
CUT = 0.75
"""The share of the limit that a 429 leaves."""
RECOVERY_SECONDS = 300.0
"""How long the limit takes to recover after a 429."""
YIELD_SECONDS = 0.02
"""How long a call waits before it asks again, when the time of its turn is not known."""
TURN = 9
"""Calls of preparations after which the background lane may make one call, although more preparations wait."""
LONGEST_PAUSE = {False: 5.0, True: 60.0}
"""The longest pause in seconds after a 429 that a call waits for, by lane: an activity has to end within minutes."""
AGAIN_SECONDS = 5.0
"""A 429 within this time after a pause continues the pause. The background lane waits for the first pause only, since
its calls wait one after another."""


class Spent:
    """Counts calls to Fabric."""

    def __init__(self) -> None:
        self.calls = 0


_in_background: ContextVar[Spent | None] = ContextVar("fabric_background", default=None)


@contextmanager
def background() -> Iterator[Spent]:
    """Let calls to Fabric use the background lane, and count them: all calls within, also in tasks started within."""
    spent = Spent()
    token = _in_background.set(spent)
    try:
        yield spent
    finally:
        _in_background.reset(token)


def in_background() -> bool:
    """Whether a call that is made now uses the background lane."""
    return _in_background.get() is not None


def for_background(calls: int) -> int:
    """How many calls of a quota the background lane may use."""
    return max(1, calls - max(1, round(calls * FREE_SHARE)))


class Quota:
    """At most `calls` within any `seconds`. It belongs to one event loop and uses its clock."""

    def __init__(self, calls: int, seconds: float = 60.0):
        self.calls, self.window = calls, seconds
        self._running = 0
        """Calls without an answer so far."""
        self._answered: deque[float] = deque()
        """When the answers within the window arrived, the oldest first."""
        self._lanes = {False: asyncio.Lock(), True: asyncio.Lock()}
        """The lock of preparations, and of the background lane."""
        self._waiting = {False: 0, True: 0}
        """How many calls wait in each lane."""
        self._passed = 0
        """Calls of preparations since the last call of the background lane."""
        self._next_background = 0.0
        """When the background lane may make its next call."""
        self._paused_until = float("-inf")
        """The end of the pause that the last 429 asked for."""
        self._paused_again = False
        """Whether the pause continues an earlier one."""
        self._cut_at = float("-inf")
        """When a 429 last lowered the limit."""
        self._cut_to = calls
        """The limit that the 429 left."""

    @asynccontextmanager
    async def call(self) -> AsyncIterator[None]:
        """Wait until a call may be made. The caller makes the call within. Each lane keeps the order of its calls.

        A call counts from now until its answer is older than the window, since nobody knows when the call reached
        Fabric. Raises `Unavailable`, also during the wait, when Fabric asks for a longer pause: a durable timer or the
        next sweep waits for its end.
        """
        spent = _in_background.get()
        lane = spent is not None
        self._waiting[lane] += 1
        try:
            async with self._lanes[lane]:
                while wait := self._wait(lane):  # noqa: ASYNC110 (it sleeps until a certain moment)
                    await asyncio.sleep(wait)
                self._take(lane)
        finally:
            self._waiting[lane] -= 1
        if spent:
            spent.calls += 1
        try:
            yield
        finally:
            self._running -= 1
            self._answered.append(asyncio.get_running_loop().time())

    def refused(self, retry_after: float) -> None:
        """Note that Fabric answered 429: no calls for `retry_after` seconds, and then fewer calls than before."""
        now = asyncio.get_running_loop().time()
        if now >= self._paused_until:
            self._cut_to, self._cut_at = max(1, int(self.limit(now) * CUT)), now
            self._paused_again = now < self._paused_until + AGAIN_SECONDS
        self._paused_until = max(self._paused_until, now + retry_after)

    def limit(self, now: float) -> int:
        """How many calls the window may have now."""
        recovered = min(1.0, (now - self._cut_at) / RECOVERY_SECONDS)
        return self._cut_to + int((self.calls - self._cut_to) * recovered)

    def _allowed(self, now: float, lane: bool) -> int:
        limit = self.limit(now)
        return for_background(limit) if lane else limit

    def _take(self, lane: bool) -> None:
        self._running += 1
        self._passed = 0 if lane else self._passed + 1
        if lane:
            now = asyncio.get_running_loop().time()
            late = max(self._next_background, now - LATENESS * self.window)
            self._next_background = late + self.window / self._allowed(now, lane)

    def _wait(self, lane: bool) -> float:
        """Seconds until the call should ask again; 0: it may be made."""
        now = asyncio.get_running_loop().time()
        while self._answered and self._answered[0] <= now - self.window:
            self._answered.popleft()
        if now < self._paused_until:
            return self._pause(lane, self._paused_until - now)
        if lane and now < self._next_background:
            return self._next_background - now
        if self._goes_first(not lane, now):
            return YIELD_SECONDS
        over = self._running + len(self._answered) - self._allowed(now, lane)
        if over < 0:
            return 0.0
        return self._answered[over] + self.window - now if over < len(self._answered) else YIELD_SECONDS

    def _pause(self, lane: bool, pause: float) -> float:
        """The pause, where a call of this lane waits for it. Raises `Unavailable` where it does not."""
        if pause <= LONGEST_PAUSE[lane] and not (lane and self._paused_again):
            return pause
        raise Unavailable(
            f"Fabric asked this identity not to call for another {pause:.0f} s.", code="Throttled", retry_after=pause
        )

    def _goes_first(self, lane: bool, now: float) -> bool:
        """Whether a call waits in this lane, and it is the turn of this lane."""
        turn = self._passed >= TURN and now >= self._next_background
        return self._waiting[lane] > 0 and turn is lane
