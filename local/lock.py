"""One stack a folder. The lock is the kernel's: it ends with the process that holds it, however that ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


class Taken(Exception):
    """Another process holds the folder; `process` is its id."""

    def __init__(self, folder: Path, process: int):
        super().__init__(f"A stack is running in {folder} already (process {process}). Use it, or stop it first.")
        self.process = process


@contextlib.contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Hold `folder`, and make it where it is missing. Raises `Taken`."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise Taken(folder, int(lock.read() or 0)) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def holder(folder: Path) -> int | None:
    """The id of the process that holds `folder`, or None."""
    if not (folder / "lock").exists():
        return None
    try:
        with hold(folder):
            return None
    except Taken as taken:
        return taken.process
