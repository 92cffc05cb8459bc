"""A sweep of 300 mirrors with Fabric's quota enforced: none is refused, and it is cheap.

`make bench` measures a thousand of them, and that the sweep takes no longer than the quota makes it, where nothing else
keeps the machine busy.
"""

from __future__ import annotations

import pytest

from bench import sweep
from bench.sweep import MOST_MIB, Result
from local.stack import PARTS
from tests import real_parts

MIRRORS = 300


@pytest.fixture(scope="module")
def result() -> Result:
    """Quota and time are scaled together, so that a minute of the quota takes ten seconds."""
    real_parts.used_stack(PARTS)
    return sweep.measure(MIRRORS, window=10)


def test_every_mirror_is_looked_at_with_one_call(result: Result) -> None:
    assert result.levels == {"Healthy": MIRRORS}
    assert result.calls == MIRRORS


def test_fabric_refuses_none_of_them(result: Result) -> None:
    assert result.refused == 0


def test_a_sweep_that_is_due_meanwhile_is_left_out_with_a_note(result: Result) -> None:
    assert result.left_out == 1
    assert result.written == 2 * MIRRORS


def test_a_transaction_writes_a_hundred_rows(result: Result) -> None:
    assert result.writes <= result.written / 100
    assert result.transactions <= result.written / 100 + 10, "reading takes a few requests, however many mirrors"


def test_the_host_stays_small(result: Result) -> None:
    assert 0 < result.mib < MOST_MIB
