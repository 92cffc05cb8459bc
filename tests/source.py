"""The app's own source, read as text and as syntax: what tests hold documents and templates against."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_FUNCTION = re.compile(r"^@blueprint\.(?:.*\n)+?(?:async def|def|class) (\w+)", re.MULTILINE)
_SCHEDULE = re.compile(r'schedule="%(\w+)%"')


def functions() -> set[str]:
    """The names of the app's functions, as their decorated definitions say."""
    return {name for path in ROOT.glob("functions/*.py") for name in _FUNCTION.findall(path.read_text())}


def schedules() -> set[str]:
    """The app settings that timers name as their schedules."""
    return {name for path in ROOT.glob("functions/*.py") for name in _SCHEDULE.findall(path.read_text())}


def make_targets() -> set[str]:
    return set(re.findall(r"^\.PHONY: ([a-z-]+)$", (ROOT / "Makefile").read_text(), re.MULTILINE))
