"""Follows servers while the app prepares them: a bar each as it happens, and how long each step took."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from local.scenario import ENDED, Operator, Server

LOOK_SECONDS = 0.15
PATIENCE_SECONDS = 180
QUEUED = "queued"


class Course(msgspec.Struct):
    """How a preparation went. `seconds`: by step, in order; `queued` is the time until a run began."""

    phase: str = ""
    reasons: list[dict[str, str]] = []
    seconds: dict[str, float] = {}
    step: str = QUEUED
    since: float = 0

    def go_to(self, step: str) -> None:
        now = time.monotonic()
        self.seconds[self.step] = self.seconds.get(self.step, 0) + now - self.since
        self.step, self.since = step, now

    @property
    def ended(self) -> bool:
        return self.phase in ENDED


class View(Protocol):
    def show(self, server: str, percent: int, message: str) -> None:
        """Show how far a server is."""


def follow(operator: Operator, servers: Sequence[Server], console: Console) -> dict[str, Course]:
    """Watch until the preparation of every server has ended, well or not. The key is the server's name."""
    courses = {server.name: Course(since=time.monotonic()) for server in servers}
    end = time.monotonic() + PATIENCE_SECONDS
    with _view(console, list(courses)) as view:
        while not all(course.ended for course in courses.values()):
            for server in servers:
                if not courses[server.name].ended:
                    _look(courses[server.name], operator.mirroring(server), server.name, view)
            if time.monotonic() > end:
                waiting = ", ".join(f"{name} ({c.step})" for name, c in courses.items() if not c.ended)
                raise TimeoutError(f"Not prepared after {PATIENCE_SECONDS} s: {waiting}.")
            time.sleep(LOOK_SECONDS)
    return courses


def _look(course: Course, seen: dict[str, Any], name: str, view: View) -> None:
    progress = seen.get("progress")
    if progress:
        if progress["step"] not in (course.step, "done"):
            course.go_to(progress["step"])
        view.show(name, progress["percent"], progress["message"])
    elif seen.get("phase") in ENDED and not seen["running"]:
        course.go_to("")
        course.phase, course.reasons = seen["phase"], seen["reasons"]
        last = "Every database is mirrored" if course.phase == "Mirrored" else course.phase
        view.show(name, 100 if course.phase == "Mirrored" else 0, last)


@contextmanager
def _view(console: Console, names: list[str]) -> Iterator[View]:
    """Bars that move on a terminal; elsewhere (a pipe, a log) a line whenever something changes."""
    if not console.is_terminal:
        yield _Lines(console)
        return
    columns = (TextColumn("{task.fields[server]}"), BarColumn(30), TextColumn("{task.percentage:>3.0f} %"))
    with Progress(*columns, TimeElapsedColumn(), TextColumn("{task.description}"), console=console) as progress:
        tasks = {name: progress.add_task("Waiting for the run to begin", total=100, server=name) for name in names}
        yield _Bars(progress, tasks)


class _Bars:
    def __init__(self, progress: Progress, tasks: dict[str, Any]):
        self.progress, self.tasks = progress, tasks

    def show(self, server: str, percent: int, message: str) -> None:
        self.progress.update(self.tasks[server], completed=percent, description=message)


class _Lines:
    def __init__(self, console: Console):
        self.console, self.shown = console, dict[str, str]()

    def show(self, server: str, percent: int, message: str) -> None:
        if self.shown.get(server) != message:
            self.shown[server] = message
            self.console.print(f"  {server:10} {percent:3} %  {message}", markup=False, soft_wrap=True)
