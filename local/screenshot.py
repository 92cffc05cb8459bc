"""`python -m local.screenshot`: the picture of the page in the documents, taken of the app on a running stack.

The fleet is an example, but two of its servers are at work for real while the picture is taken: one is being prepared,
one waits for a restart decision.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

from local import chromium, example
from local.scenario import Operator, Server, acting_as, eventually
from local.stack import ROOT, Stack, StartFailed

PICTURE = ROOT / "docs" / "images" / "dashboard.png"
WIDTH, HEIGHT = 1280, 1240
NEVER = "0 0 0 29 2 *"
SETTINGS = {"HEALTH_SCHEDULE": NEVER, "RESYNC_SCHEDULE": NEVER}
HELD_SECONDS = 15.0


def main() -> int:
    """Take the picture; the exit status is 0 if that worked."""
    program = chromium.find()
    if program is None:
        print(chromium.NEEDED)
        return 1
    with tempfile.TemporaryDirectory(prefix="screenshot-") as folder:
        Path(folder).chmod(0o755)
        try:
            with Stack(Path(folder), settings=SETTINGS) as stack, acting_as(stack, "operator"):
                _take(stack, program)
        except StartFailed as error:
            print(f"Not started. {error}")
            return 1
    print(f"{PICTURE.relative_to(ROOT)} is written, {PICTURE.stat().st_size // 1024} KiB.")
    return 0


def _take(stack: Stack, program: str) -> None:
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
        _photograph(stack, program)
    finally:
        fleet.close()
        operator.close()


def _ask(operator: Operator, name: str, restart: str = "now", hold: bool = False) -> Server:
    """A server that is asked for. `hold`: its parameters take long to set, so that it is seen at work."""
    server = operator.create_server(name, 17, "shop")
    if hold:
        fault = {"operation": "Configurations_Update", "delay": HELD_SECONDS, "times": 10, "path": name}
        operator.stack.control("arm", "POST", "faults", fault)
    operator.call("PUT", operator.door(server), {"databases": ["shop"], "restart": restart})
    return server


def _photograph(stack: Stack, program: str) -> None:
    address = f"{stack.topology.address('host')}/api/dashboard?code={stack.topology.host_keys['default']}"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=chromium.ARGUMENTS)
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
        page.goto(address)
        time.sleep(0.2)
        PICTURE.parent.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=PICTURE, full_page=True)
        browser.close()


if __name__ == "__main__":
    sys.exit(main())
