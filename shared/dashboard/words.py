"""Figures in words, as a person reads them. Pure."""

from __future__ import annotations

from datetime import datetime

UNKNOWN = "–"
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"))


def duration(seconds: float | None) -> str:
    """`0.4 s`, `12 s`, `5 min`, `2 h 10 min`, `3 d 4 h`: two units at most."""
    if seconds is None:
        return UNKNOWN
    if seconds < 60:
        exact = 0.05 <= seconds < 9.95 and seconds != int(seconds)
        return f"{seconds:.1f} s" if exact else f"{seconds:.0f} s"
    for (size, unit), (smaller, smaller_unit) in zip(_UNITS, (*_UNITS[1:], (1, "")), strict=True):
        if seconds >= size:
            whole, rest = int(seconds // size), int(seconds % size // smaller)
            return f"{whole} {unit} {rest} {smaller_unit}" if rest and smaller_unit else f"{whole} {unit}"
    raise AssertionError(seconds)


def age(moment: datetime, now: datetime) -> str:
    """The time since a moment: `just now`, `4 min ago`. A moment in the near future is `just now`, too."""
    seconds = (now - moment).total_seconds()
    return "just now" if seconds < 5 else f"{duration(int(seconds))} ago"


def until(moment: datetime, now: datetime) -> str:
    """The time until a moment: `in 3 h`, `now`."""
    seconds = (moment - now).total_seconds()
    return f"in {duration(int(seconds))}" if seconds >= 1 else "now"


def size(count: float | None) -> str:
    """Bytes in binary units, as Azure shows storage: `512 B`, `3.4 MiB`, `12 GiB`."""
    if count is None:
        return UNKNOWN
    if count < 1024:
        return f"{count:.0f} B"
    power = next(power for power in (1, 2, 3, 4) if count / 1024**power < 999.5 or power == 4)
    value, unit = count / 1024**power, ("KiB", "MiB", "GiB", "TiB")[power - 1]
    return f"{value:.1f} {unit}" if value < 9.95 else f"{value:,.0f} {unit}"


def number(count: float | None) -> str:
    """`1,234,567`."""
    return UNKNOWN if count is None else f"{count:,.0f}"


def moment(at: datetime) -> str:
    """`22 Nov 2026, 21:05:33 UTC`."""
    return f"{at.day} {at:%b %Y, %H:%M:%S} UTC"


def plural(count: int, noun: str, nouns: str = "") -> str:
    """A number with its noun: `1 mirror`, `1,200 mirrors`."""
    return f"{count:,} {noun if count == 1 else nouns or noun + 's'}"
