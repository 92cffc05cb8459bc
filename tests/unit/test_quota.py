"""The quota: never more than the window allows, preparations first, slower after a refusal."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from shared.fabric.quota import CUT, LONGEST_PAUSE, RECOVERY_SECONDS, TURN, Quota, background
from shared.platform.errors import Unavailable
from tests.virtual_time import in_virtual_time, now


async def take(quota: Quota, times: list[float]) -> None:
    async with quota.call():
        times.append(now())


def soon(call: Coroutine[Any, Any, None], behind: bool = False) -> asyncio.Task[None]:
    """The call, begun; in the background lane if it is one `behind`."""
    if not behind:
        return asyncio.create_task(call)
    with background():
        return asyncio.create_task(call)


@pytest.fixture
def times() -> list[float]:
    return []


def fullest(times: list[float], seconds: float) -> int:
    """The most calls in any window of that length."""
    return max(sum(start <= moment < start + seconds for moment in times) for start in times)


@in_virtual_time
async def test_all_at_once_up_to_the_limit_and_then_no_faster(times: list[float]) -> None:
    quota = Quota(20)
    await asyncio.gather(*(take(quota, times) for _ in range(60)))
    assert (times[19], times[20]) == (0, 60)
    assert fullest(times, 60) == 20
    assert 120 <= now() < 121


@in_virtual_time
async def test_calls_under_way_count_until_their_answer_is_old(times: list[float]) -> None:
    quota = Quota(1)

    async def slow() -> None:
        async with quota.call():
            await asyncio.sleep(30)

    first = soon(slow())
    await asyncio.sleep(0)
    await take(quota, times)
    assert round(times[0]) == 90
    await first


@in_virtual_time
async def test_the_background_is_paced_and_leaves_a_share(times: list[float]) -> None:
    quota = Quota(50)
    await asyncio.gather(*(soon(take(quota, times), behind=True) for _ in range(75)))
    assert fullest(times, 60) <= 50
    assert fullest(times, 12) <= 16  # a fifth of the window, and what may be made up for at once
    assert 84 <= times[-1] - times[0] < 120


@in_virtual_time
async def test_a_background_that_was_held_up_makes_up_for_it(times: list[float]) -> None:
    quota = Quota(100)
    with background() as spent:
        for number in range(90):
            await take(quota, times)
            if number % 30 == 29:
                asyncio.get_running_loop().now += 5  # as whoever computes does to an event loop
    assert now() < 60 * 90 / 98 + 5
    assert spent.calls == 90


@in_virtual_time
async def test_a_preparation_passes_the_background_but_for_its_turn() -> None:
    """When a full window becomes free all at once, those that prepare go first, though the sweep waited before them."""
    quota = Quota(30)
    order: list[str] = []

    async def called(by: str) -> None:
        async with quota.call():
            order.append(by)

    await asyncio.gather(*(called("before") for _ in range(30)))
    sweep = [soon(called("sweep"), behind=True) for _ in range(5)]
    await asyncio.sleep(1)
    await asyncio.gather(*(called("preparation") for _ in range(60)))
    await asyncio.gather(*sweep)
    assert order[30:80] == ["sweep", *["preparation"] * TURN] * 5


@in_virtual_time
async def test_where_calls_are_free_no_preparation_waits_for_the_turn_of_the_background(times: list[float]) -> None:
    quota = Quota(100)
    sweep = [soon(take(quota, []), behind=True) for _ in range(20)]
    await asyncio.sleep(0.1)
    await asyncio.gather(*(take(quota, times) for _ in range(3 * TURN)))
    assert set(times) == {0.1}, "the sweep is paced, and none of it may go yet"
    await asyncio.gather(*sweep)


@in_virtual_time
async def test_preparations_without_end_do_not_starve_the_background() -> None:
    quota = Quota(20)
    seen: list[float] = []

    async def prepare() -> None:
        while now() < 600:
            async with quota.call():
                await asyncio.sleep(1)

    async def sweep() -> None:
        while now() < 600:
            await take(quota, seen)

    preparing = [soon(prepare()) for _ in range(20)]
    await soon(sweep(), behind=True)
    await asyncio.gather(*preparing)
    assert len(seen) >= 20 * 10 / (TURN + 1) * 0.8


@in_virtual_time
async def test_after_a_refusal_nobody_calls_and_then_fewer(times: list[float]) -> None:
    quota = Quota(100)
    quota.refused(4)
    quota.refused(2)
    await take(quota, times)
    assert 4 <= times[0] < 5
    assert quota.limit(now()) == int(100 * CUT)
    assert quota.limit(RECOVERY_SECONDS / 2) in (87, 88)
    assert quota.limit(RECOVERY_SECONDS) == 100


@pytest.mark.parametrize("behind", [False, True])
def test_a_long_pause_is_left_to_the_caller(behind: bool, times: list[float]) -> None:
    @in_virtual_time
    async def run() -> None:
        quota = Quota(100)
        longest = LONGEST_PAUSE[behind]
        quota.refused(longest)
        await soon(take(quota, times), behind)
        assert longest <= times[0] < longest + 1
        quota.refused(longest + 30)
        with pytest.raises(Unavailable, match=f"not to call for another {longest + 30:.0f} s") as waiting:
            await soon(take(quota, times), behind)
        assert waiting.value.retry_after == longest + 30

    run()


@in_virtual_time
async def test_who_waits_already_does_not_sleep_through_a_long_pause(times: list[float]) -> None:
    quota = Quota(1)
    await take(quota, times)
    waiting = [soon(take(quota, times)), soon(take(quota, times), behind=True)]
    await asyncio.sleep(1)
    quota.refused(600)
    refused = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(error) for error in refused] == [Unavailable, Unavailable]
    assert now() <= 61


@in_virtual_time
async def test_a_sweep_ends_within_minutes_though_every_call_is_refused() -> None:
    quota = Quota(200)

    async def look() -> None:
        async with quota.call():
            quota.refused(55)

    looks = [soon(look(), behind=True) for _ in range(100)]
    seen = await asyncio.gather(*looks, return_exceptions=True)
    assert [type(error) for error in seen].count(Unavailable) == 98
    assert now() < 60
    await asyncio.sleep(120)
    quota.refused(20)
    await soon(take(quota, []), behind=True)  # as once before: that was another time
    assert 195 <= now() < 200


@in_virtual_time
async def test_refused_again_and_again_it_never_stops_for_good() -> None:
    quota = Quota(2)
    for _ in range(20):
        quota.refused(0)
        await asyncio.sleep(0)
    assert quota.limit(now()) == 1
    await asyncio.wait_for(take(quota, []), 1)
