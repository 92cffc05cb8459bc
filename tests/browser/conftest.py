"""A real Chromium that looks at the pages of the real app, over rows that the tests write."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import datetime
from itertools import chain, repeat
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, Route, sync_playwright

from local import chromium
from local.example import FLEET
from tests import real_parts
from tests.conftest import StackFactory
from tests.pages import waiting_for_a_decision
from tests.seeded import Seeded, seeded

SERVERS = re.compile(r'<section id="servers".*?</section>', re.DOTALL)
AXE = Path(__file__).resolve().parents[2] / "node_modules" / "axe-core" / "axe.min.js"


@pytest.fixture(scope="package")
def app(stack_factory: StackFactory) -> Iterator[Seeded]:
    with seeded(stack_factory) as found:
        found.fleet.mirrors(FLEET)
        yield found


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    program = chromium.find()
    if program is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(chromium.NEEDED)
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=program, args=chromium.ARGUMENTS)
        real_parts.used("Chromium", found.version)
        yield found
        found.close()


class Watched:
    """A tab that remembers what went wrong in it. `open` opens a page of the app with a key in its address."""

    def __init__(self, app: Seeded, context: BrowserContext):
        self.app, self.page = app, context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.complaints.append(dialog.message), dialog.dismiss()))
        self.page.on("request", self._asked)

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def _asked(self, request: Request) -> None:
        if not request.url.startswith("data:"):
            self.requests.append(request.url)

    def open(self, path: str = "/api/dashboard", **query: str) -> Page:
        topology = self.app.operator.topology
        said = "".join(f"&{name}={value}" for name, value in query.items())
        self.page.goto(f"{topology.address('host')}{path}?code={topology.host_keys['default']}{said}")
        return self.page

    def with_a_decision(self, *waiting_since: datetime) -> None:
        """Let a server wait for a restart decision: its section of the page is put into the app's answers on their way.

        In each answer since the next of these moments, at last since the last one.
        """
        moments = chain(waiting_since, repeat(waiting_since[-1]))

        def put(route: Route) -> None:
            answer = route.fetch()
            [section] = SERVERS.findall(waiting_for_a_decision(next(moments)))
            route.fulfill(response=answer, body=SERVERS.sub(lambda _: section, answer.text()))

        self.page.route("**/api/dashboard?*", put)

    def open_everything(self) -> int:
        """Open what can be opened; how much there was."""
        opened: int = self.page.evaluate("[...document.querySelectorAll('details')].filter(e => e.open = true).length")
        return opened

    def strangers(self) -> list[str]:
        """What was asked of anybody but the app."""
        home = urlsplit(self.app.operator.topology.address("host")).netloc
        return [url for url in self.requests if urlsplit(url).netloc != home]


@pytest.fixture
def tab(app: Seeded, browser: Browser) -> Iterator[Watched]:
    """A wide tab. Whatever it does, the page complains of nothing and asks nobody else."""
    yield from watched(app, browser, {"viewport": {"width": 1280, "height": 800}})


@pytest.fixture
def phone(app: Seeded, browser: Browser) -> Iterator[Watched]:
    """A dark phone."""
    yield from watched(app, browser, {"viewport": {"width": 360, "height": 740}, "color_scheme": "dark"})


@pytest.fixture
def plain(app: Seeded, browser: Browser) -> Iterator[Watched]:
    """A wide tab without JavaScript."""
    yield from watched(app, browser, {"viewport": {"width": 1280, "height": 800}, "java_script_enabled": False})


def watched(app: Seeded, browser: Browser, options: dict) -> Iterator[Watched]:
    context = browser.new_context(**options)
    context.set_default_timeout(10_000)
    found = Watched(app, context)
    yield found
    context.close()
    assert found.complaints == []
    assert found.strangers() == []
