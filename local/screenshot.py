"""`python -m local.screenshot`: the pictures of the page in the documents, taken of the app on running stacks.

One shows what the demo leaves. The other shows an example fleet, of which two servers are at work for real while the
picture is taken: one is being prepared, one waits for a restart decision.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import sync_playwright

from local import chromium, demo, example
from local.scenario import Operator, Server, acting_as, eventually
from local.stack import ROOT, Stack, StartFailed

PICTURES = ROOT / "docs" / "images"
WIDTH, HEIGHT = 1280, 400
NEVER = "0 0 0 29 2 *"
SETTINGS = {"HEALTH_SCHEDULE": NEVER, "RESYNC_SCHEDULE": NEVER}
HELD_SECONDS = 15.0


def main() -> int:
    """Take the pictures; the exit status is 0 if that worked."""
    program = chromium.find()
    if program is None:
        print(chromium.NEEDED)
        return 1
    for name, scene in (("demo", _demo), ("dashboard", _fleet)):
        with tempfile.TemporaryDirectory(prefix="screenshot-") as folder:
            Path(folder).chmod(0o755)
            try:
                with Stack(Path(folder), settings=SETTINGS) as stack, acting_as(stack, "operator"), scene(stack):
                    _photograph(stack, program, PICTURES / f"{name}.png")
            except StartFailed as error:
                print(f"Not started. {error}")
                return 1
    return 0


@contextmanager
def _demo(stack: Stack) -> Iterator[None]:
    """What `make demo` tells, when it has ended."""
    operator = Operator(stack)
    demo.play(operator)
    yield
    operator.close()


@contextmanager
def _fleet(stack: Stack) -> Iterator[None]:
    operator = Operator(stack)
    fleet = example.Fleet(stack.topology, operator.credential)
    try:
        waiting = _ask(operator, "pg-orders", restart="approval")
        working = _ask(operator, "pg-loyalty", hold=True)
        eventually(lambda: operator.mirroring(waiting).get("phase"), lambda phase: phase == "Waiting")
        eventually(
            lambda: (operator.mirroring(working).get("progress") or {}).get("step"), lambda step: step == "parameters"
        )
        fleet.mirrors(example.FLEET)
        for name in sorted({one.server for one in example.FLEET}):
            fleet.server(name, "Mirrored")
        yield
    finally:
        fleet.close()
        operator.close()


def _ask(operator: Operator, name: str, restart: str = "now", hold: bool = False) -> Server:
    """A server that the picture shows. `hold`: its parameters take long to set, so that it is seen at work."""
    server = operator.create_server(name, 17, "shop")
    if hold:
        fault = {"operation": "Configurations_Update", "delay": HELD_SECONDS, "times": 10, "path": name}
        operator.stack.control("arm", "POST", "faults", fault)
    operator.call("PUT", operator.door(server), {"databases": ["shop"], "restart": restart})
    return server


def _photograph(stack: Stack, program: str, picture: Path) -> None:
    address = f"{stack.topology.address('host')}/api/dashboard?code={stack.topology.host_keys['default']}"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=chromium.ARGUMENTS)
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
        page.goto(address)
        time.sleep(0.2)
        page.screenshot(path=picture, full_page=True)
        browser.close()
    print(f"{picture.relative_to(ROOT)} is written, {picture.stat().st_size // 1024} KiB.")


if __name__ == "__main__":
    sys.exit(main())
