"""Runs one command and takes it down with its parent, whatever becomes of the parent.

    python -m local.guard [--signal NAME] -- COMMAND …

The parent holds the other end of this process's standard input. When that ends (the parent closed it, or
died, even by SIGKILL), the command is asked to stop and, after a grace period, killed. Should the guard itself
be killed, the kernel asks the command to stop (on Linux).
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading

GRACE_SECONDS = 8.0
PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> int:
    options, command = arguments[: arguments.index("--")], arguments[arguments.index("--") + 1 :]
    stop = signal.Signals[options[1]] if options else signal.SIGTERM
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        close_fds=False,
        preexec_fn=lambda: end_with_parent(stop),  # noqa: PLW1509 - this process has no threads yet
    )

    def take_down(*_: object) -> None:
        if child.poll() is None:
            child.send_signal(stop)
            threading.Timer(GRACE_SECONDS, child.kill).start()

    def watch() -> None:
        while os.read(0, 4096):
            pass
        take_down()

    signal.signal(signal.SIGTERM, take_down)
    signal.signal(signal.SIGINT, take_down)
    threading.Thread(target=watch, daemon=True).start()
    status = child.wait()
    os._exit(status if status >= 0 else 128 - status)


def end_with_parent(stop: signal.Signals) -> None:
    """Have the kernel send this process a signal when its parent ends, however it ends. Linux alone can do that."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, stop)


if __name__ == "__main__":
    main(sys.argv[1:])
