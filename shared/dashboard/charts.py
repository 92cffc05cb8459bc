"""Charts as SVG: a sparkline, a line over time, a band of levels. Pure.

A chart has no text and no style of its own: the page writes the labels as HTML, and its style sheet has the colours. A
large chart also says in words what it shows (`aria-label`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from statistics import median

import msgspec
from markupsafe import Markup

from shared.dashboard.query import LEVELS

type Point = tuple[datetime, float | None]
"""A moment and a figure; None: the figure was unknown then."""

WIDTH, HEIGHT = 720, 120
SPARK_WIDTH, SPARK_HEIGHT = 96, 24
LONGEST_GAP = 3.5
"""The line has a gap where two observations are further apart than this many times their usual distance."""


class Span(msgspec.Struct, frozen=True):
    """The time that a chart shows."""

    since: datetime
    until: datetime

    def share(self, at: datetime) -> float:
        """The place of a moment in the span: 0 at the beginning, 1 at the end."""
        return min(1.0, max(0.0, (at - self.since) / (self.until - self.since)))

    def ticks(self, count: int) -> list[datetime]:
        """Moments at equal distances, from the beginning to the end."""
        return [self.since + (self.until - self.since) * n / (count - 1) for n in range(count)]


def sparkline(points: Sequence[Point], span: Span) -> Markup:
    """A small line without axes, from zero to its highest point. Empty where no figure is known."""
    lines = _lines(points, span, SPARK_WIDTH, SPARK_HEIGHT, (0, highest(points)))
    return _svg("spark", SPARK_WIDTH, SPARK_HEIGHT, _polylines(lines)) if lines else Markup("")


def line(points: Sequence[Point], span: Span, scale: tuple[float, float], label: str) -> Markup:
    """A line over an area, as wide as its place on the page. `scale` has the figures at its foot and at its top."""
    lines = _lines(points, span, WIDTH, HEIGHT, scale)
    areas = (f'<polygon points="{part[0][0]:g},{HEIGHT} {_join(part)} {part[-1][0]:g},{HEIGHT}"/>' for part in lines)
    grid = f'<path class="grid" d="M0 0.5H{WIDTH}M0 {HEIGHT / 2:g}H{WIDTH}M0 {HEIGHT - 0.5:g}H{WIDTH}"/>'
    return _svg("line", WIDTH, HEIGHT, grid + "".join(areas) + _polylines(lines), label)


def band(levels: Sequence[tuple[datetime, str]], span: Span, label: str) -> Markup:
    """A band with one block for each stretch of the same level. `levels` are in the order of time."""
    usual = _usual_gap([at for at, _ in levels])
    blocks = []
    for begin, end, level in _stretches(levels, usual * LONGEST_GAP):
        left, right = span.share(begin) * WIDTH, span.share(end + usual) * WIDTH
        shade = level.lower() if level in LEVELS else "unknown"
        blocks.append(f'<rect class="{shade}" x="{left:.1f}" width="{max(1.0, right - left):.1f}" height="16"/>')
    return _svg("band", WIDTH, 16, "".join(blocks), label)


def highest(points: Iterable[Point]) -> float:
    """The highest figure; 0 where no figure is known."""
    return max((value for _, value in points if value is not None), default=0.0)


def _lines(
    points: Sequence[Point], span: Span, width: int, height: int, scale: tuple[float, float]
) -> list[list[tuple[float, float]]]:
    """The parts of the line between its gaps, as x and y. Of several points with the same x, the highest stays."""
    lines: list[list[tuple[float, float]]] = []
    figures = sorted((at, value) for at, value in points if value is not None and span.since <= at <= span.until)
    gap = _usual_gap([at for at, _ in figures]) * LONGEST_GAP
    foot, reach = scale[0], (scale[1] - scale[0]) or 1.0
    before = None
    for at, value in figures:
        x, y = round(span.share(at) * width, 1), round(height - 1 - (value - foot) / reach * (height - 2), 1)
        if before is None or at - before > gap:
            lines.append([])
        if lines[-1] and int(lines[-1][-1][0]) == int(x):
            lines[-1][-1] = (lines[-1][-1][0], min(y, lines[-1][-1][1]))
        else:
            lines[-1].append((x, y))
        before = at
    return lines


def _usual_gap(moments: Sequence[datetime]) -> timedelta:
    gaps = [(later - earlier).total_seconds() for earlier, later in pairwise(moments)]
    return timedelta(seconds=median(gaps) if gaps else 0)


def _stretches(levels: Sequence[tuple[datetime, str]], gap: timedelta) -> Iterator[tuple[datetime, datetime, str]]:
    """Beginning, last observation and level of each stretch of the same level."""
    begin: datetime | None = None
    for (at, level), following in zip(levels, (*levels[1:], None), strict=False):
        begin = begin or at
        if following is None or following[1] != level or following[0] - at > gap:
            yield begin, at, level
            begin = None


def _polylines(lines: Iterable[Sequence[tuple[float, float]]]) -> str:
    """The parts of a line. A single point becomes a short stroke, so that it is visible."""
    return "".join(
        f'<polyline points="{_join(part if len(part) > 1 else (*part, (part[0][0] + 1, part[0][1])))}"/>'
        for part in lines
    )


def _join(points: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in points)


def _svg(kind: str, width: int, height: int, content: str, label: str = "") -> Markup:
    """The SVG element. `content` has only numbers and names of levels in it; the label is escaped."""
    described = Markup('role="img" aria-label="{}"').format(label) if label else Markup('aria-hidden="true"')
    frame = Markup('<svg class="{}" viewBox="0 0 {} {}" preserveAspectRatio="none" focusable="false" {}>{}</svg>')
    return frame.format(kind, width, height, described, Markup(content))  # noqa: S704 - see above
