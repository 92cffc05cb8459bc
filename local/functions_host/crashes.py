"""Lets the host's process die at a chosen point of a chosen function, as a machine may at any.

A file in the stack's folder orders the point, since the process that is to die may not run yet. Each order is for one
crash.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import Literal

import msgspec

from local.topology import Topology, instance

NAME = "crash.json"
DURING_SECONDS = 0.01

type Moment = Literal["before", "during", "after"]


class Crash(msgspec.Struct, frozen=True):
    """Die before the function is called, while it runs, or when it has ended and nobody knows its answer.

    `host`: the Durable extension dies too, as with its whole host. Otherwise the worker alone dies.
    """

    function: str
    when: Moment
    host: bool = False


class Crashes:
    """The crash that was ordered, if there is one."""

    def __init__(self, stack: Topology):
        self.stack = stack

    def reach(self, function: str, when: Moment) -> None:
        """Die if a crash is ordered for this point of this function."""
        file = self.stack.file(NAME)
        if not file.exists():
            return
        crash = msgspec.json.decode(file.read_bytes(), type=Crash)
        if (crash.function, crash.when) != (function, when):
            return
        file.unlink()
        if when == "during":
            asyncio.get_running_loop().call_later(DURING_SECONDS, self._die, crash.host)
        else:
            self._die(crash.host)

    def _die(self, host: bool) -> None:
        if host:
            engine = msgspec.json.decode(self.stack.engine_file(instance()).read_bytes())["process"]
            with contextlib.suppress(ProcessLookupError):
                os.kill(engine, signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)
