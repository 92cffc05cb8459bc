"""The quota: never more than the window allows, preparations first, slower after a refusal."""

import asyncio
import time

import pytest

from shared.fabric.quota import CUT, RECOVERY_SECONDS, Quota, background
from shared.platform.errors import Unavailable


async def take(quota: Quota, times: list[float]) -> None:
    async with quota.call():
        times.append(time.monotonic())


@pytest.fixture
def times() -> list[float]:
    return []


def fullest(times: list[float], seconds: float) -> int:
    """The most calls in any window of that length."""
    return max(sum(start <= moment < start + seconds for moment in times) for start in times)


async def test_all_at_once_up_to_the_limit_and_then_no_faster(times: list[float]) -> None:
    quota = Quota(20, seconds=0.3)
    started = time.monotonic()
    await asyncio.gather(*(take(quota, times) for _ in range(60)))
    assert times[19] - started < 0.15
    assert fullest(times, 0.3) <= 20
    assert 0.6 <= time.monotonic() - started < 0.9


async def test_calls_under_way_count_until_their_answer_is_old(times: list[float]) -> None:
    quota = Quota(1, seconds=0.1)

    async def slow() -> None:
        async with quota.call():
            await asyncio.sleep(0.3)

    started = time.monotonic()
    first = asyncio.create_task(slow())
    await asyncio.sleep(0)
    await take(quota, times)
    assert 0.39 <= times[0] - started < 0.6
    await first


async def test_the_background_is_paced_and_leaves_a_share(times: list[float]) -> None:
    quota = Quota(50, seconds=0.5)
    with background():
        sweep = [asyncio.create_task(take(quota, times)) for _ in range(75)]
    await asyncio.gather(*sweep)
    assert fullest(times, 0.5) <= 50
    assert fullest(times, 0.1) <= 16  # a fifth of the window, and what may be made up for at once
    assert 0.7 <= times[-1] - times[0] < 1.0


async def test_a_background_that_was_held_up_makes_up_for_it(times: list[float]) -> None:
    quota = Quota(100, seconds=1.0)
    started = time.monotonic()
    with background() as spent:
        for number in range(90):
            await take(quota, times)
            if number % 30 == 29:
                time.sleep(0.08)  # as whoever computes does to an event loop
    assert time.monotonic() - started < 90 / 98 + 0.08
    assert spent.calls == 90


async def test_a_preparation_passes_the_background(times: list[float]) -> None:
    quota = Quota(20, seconds=0.4)
    urgent: list[float] = []
    with background():
        sweep = [asyncio.create_task(take(quota, times)) for _ in range(40)]
    await asyncio.sleep(0.5)
    asked = time.monotonic()
    await asyncio.gather(*(take(quota, urgent) for _ in range(10)))
    assert max(urgent) - asked < 0.45
    await asyncio.gather(*sweep)
    assert fullest(sorted(times + urgent), 0.4) <= 20


async def test_after_a_refusal_nobody_calls_and_then_fewer(times: list[float]) -> None:
    quota = Quota(100, seconds=60)
    loop = asyncio.get_running_loop()
    quota.refused(0.2)
    quota.refused(0.1)
    started = time.monotonic()
    await take(quota, times)
    assert 0.19 <= times[0] - started < 0.4
    assert quota.limit(loop.time()) == int(100 * CUT)
    assert quota.limit(loop.time() + RECOVERY_SECONDS / 2) in (87, 88)
    assert quota.limit(loop.time() + RECOVERY_SECONDS) == 100


async def test_a_long_pause_is_left_to_the_caller_but_not_by_the_background() -> None:
    quota = Quota(100)
    quota.refused(30)
    with pytest.raises(Unavailable, match="not to call for another 30 s") as waiting:
        await take(quota, [])
    assert 29 < (waiting.value.retry_after or 0) <= 30
    with background(), pytest.raises(TimeoutError):
        await asyncio.wait_for(take(quota, []), 0.05)


async def test_refused_again_and_again_it_never_stops_for_good() -> None:
    quota = Quota(2, seconds=0.05)
    for _ in range(20):
        quota.refused(0)
        await asyncio.sleep(0)
    assert quota.limit(asyncio.get_running_loop().time()) == 1
    await asyncio.wait_for(take(quota, []), 1)
