"""Charts and figures in words."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.dashboard import charts, words
from shared.dashboard.charts import Span

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = Span(NOW - timedelta(days=1), NOW)


def points(*values: float | None, step: float = 5) -> list[charts.Point]:
    first = len(values) - 1
    return [(NOW - timedelta(minutes=step * (first - index)), value) for index, value in enumerate(values)]


def lines(svg: str) -> list[list[tuple[float, float]]]:
    drawn = ElementTree.fromstring(svg).iter("polyline")
    return [[tuple(map(float, xy.split(","))) for xy in one.get("points", "").split()] for one in drawn]


def test_a_line_stands_where_its_figures_are():
    drawn = charts.line([(DAY.since, 0.0), (DAY.until, 10.0)], DAY, (0, 10), "Latency")
    assert lines(drawn) == [[(0, 119), (720, 1)]]
    assert ElementTree.fromstring(drawn).get("aria-label") == "Latency"


def test_it_is_broken_where_nothing_was_seen():
    values = points(*[1.0] * 12, *[None] * 12, *[1.0] * 12)
    assert len(lines(charts.sparkline(values, DAY))) == 2
    assert len(lines(charts.sparkline(points(*[1.0] * 36), DAY))) == 1
    assert len(lines(charts.sparkline(points(*[1.0] * 6, None, *[1.0] * 6), DAY))) == 1, "one miss is no gap"


def test_a_peak_is_not_lost_among_many_points():
    values = [1.0] * 20_000
    values[7_000] = 500.0
    [line] = lines(charts.sparkline(points(*values, step=0.05), DAY))
    assert len(line) <= charts.SPARK_WIDTH + 1
    assert min(y for _, y in line) == 1


def test_nothing_known_draws_nothing_and_one_point_is_seen():
    assert charts.sparkline(points(None, None), DAY) == ""
    [[first, second]] = lines(charts.sparkline(points(3.0), DAY))
    assert first[0] != second[0]


def test_figures_outside_of_the_time_are_left_out():
    assert charts.sparkline([(NOW - timedelta(days=2), 1.0)], DAY) == ""


@given(st.lists(st.one_of(st.none(), st.floats(0, 1e15)), max_size=40))
def test_every_chart_is_sound_svg_inside_its_frame(values: list[float | None]):
    drawn = charts.line(points(*values), DAY, (0, charts.highest(points(*values))), '"<&>')
    assert all(0 <= y <= charts.HEIGHT for line in lines(drawn) for _, y in line)


def test_a_band_has_a_block_for_each_stretch():
    seen = [(at, "Healthy" if index < 100 else "Degraded") for index, (at, _) in enumerate(points(*[0.0] * 200))]
    blocks = [rect.get("class") for rect in ElementTree.fromstring(charts.band(seen, DAY, "Level")).iter("rect")]
    assert blocks == ["healthy", "degraded"]


def test_a_level_that_nobody_knows_is_drawn_as_unknown_and_nothing_else():
    drawn = charts.band([(NOW, '"><script>')], DAY, "Level")
    assert 'class="unknown"' in drawn
    assert "script" not in drawn


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (None, "–"), (0, "0 s"), (0.04, "0 s"), (0.44, "0.4 s"), (5, "5 s"), (9.94, "9.9 s"), (59.4, "59 s"),
        (60, "1 min"), (3599, "59 min"), (3600, "1 h"), (7800, "2 h 10 min"), (90_000, "1 d 1 h"),
        (40 * 86_400, "40 d"),
    ],
)  # fmt: skip
def test_durations(seconds: float | None, said: str):
    assert words.duration(seconds) == said


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (None, "–"), (0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (50_000_000, "48 MiB"), (27 * 2**30, "27 GiB"),
        (2**50, "1,024 TiB"),
    ],
)  # fmt: skip
def test_sizes(count: int | None, said: str):
    assert words.size(count) == said


def test_ages_and_plurals():
    assert words.age(NOW + timedelta(minutes=1), NOW) == "just now"
    assert words.age(NOW - timedelta(minutes=4, seconds=10), NOW) == "4 min ago"
    assert words.until(NOW + timedelta(hours=3), NOW) == "in 3 h"
    assert words.until(NOW - timedelta(hours=3), NOW) == "now"
    assert [words.plural(n, "mirror") for n in (0, 1, 1200)] == ["0 mirrors", "1 mirror", "1,200 mirrors"]
    assert re.fullmatch(r"1 Mar 2026, 12:00:00 UTC", words.moment(NOW))
