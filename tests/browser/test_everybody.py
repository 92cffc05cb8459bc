"""The pages for everybody: keyboard, screen reader (by axe's rules), dark mode, a phone, large letters."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from playwright.sync_api import expect

from local.example import FLEET
from tests.browser.conftest import AXE, Watched
from tests.pages import NOW
from tests.seeded import Seeded

RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}


def findings(tab: Watched) -> list[str]:
    """What axe finds that is serious or critical, with the elements. It runs beside the page, not within its policy."""
    page = tab.page
    page.context.new_cdp_session(page).send("Page.setBypassCSP", {"enabled": True})
    page.reload()
    tab.open_everything()
    page.add_script_tag(path=AXE)
    found: Any = page.evaluate("rules => axe.run(document, rules)", RULES)
    assert found["passes"], "axe looked at nothing"
    return [
        f"{one['id']}: {node['target']} {node['failureSummary']}"
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


def of(app: Seeded, name: str) -> str:
    workspace = app.operator.topology.workspace
    paths = {"list": "", "mirror": f"/{workspace}/{FLEET[1].item(workspace)}"}
    return f"/api/dashboard{paths[name]}"


@pytest.fixture(autouse=True)
def servers(app: Seeded) -> None:
    """One that is blocked stands on the page, one that is new does not."""
    app.fleet.server("pg-reports", "Blocked", ("TierNotSupported", "The tier is Burstable.", "Change it."), age=3)
    app.fleet.server("pg-new", "New")


@pytest.mark.parametrize("name", ["list", "mirror"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(app: Seeded, tab: Watched, name: str, scheme: Any):
    tab.page.emulate_media(color_scheme=scheme)
    tab.with_a_decision(NOW)
    tab.open(of(app, name))
    assert findings(tab) == []


@pytest.mark.parametrize("name", ["list", "mirror"])
def test_a_dark_phone_shows_it_all_without_scrolling_sideways(app: Seeded, phone: Watched, name: str):
    phone.with_a_decision(NOW)
    page = phone.open(of(app, name))
    assert findings(phone) == []
    assert phone.open_everything() == {"list": 1, "mirror": 0}[name]
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert max(map(int, background.removeprefix("rgb(").removesuffix(")").split(","))) < 60
    outside = page.evaluate(
        "[...document.querySelectorAll('main *:not(.unseen, .unseen *, thead, thead *, option, pre *)')]"
        ".filter(e => e.getClientRects().length && e.getBoundingClientRect().right > innerWidth + 1)"
        ".map(e => e.outerHTML.slice(0, 80))"
    )
    assert outside == []


def test_a_table_is_still_one_on_a_phone(app: Seeded, phone: Watched):
    page = phone.open(of(app, "list"))
    assert page.get_by_role("table").get_by_role("row").count() > 5
    expect(page.get_by_role("rowheader").first).to_contain_text("invoices")


def test_letters_twice_as_large_fit(app: Seeded, tab: Watched):
    tab.with_a_decision(NOW)
    page = tab.open(of(app, "list"))
    page.set_viewport_size({"width": 640, "height": 800})
    assert tab.open_everything() == 1
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_it_is_used_with_the_keyboard_alone(app: Seeded, tab: Watched):
    page = tab.open(of(app, "list"), workspace=app.operator.topology.workspace)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    expect(page.get_by_role("link", name="Skip to the content")).to_be_in_viewport()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.locator("#level-unhealthy")).to_be_focused()
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("tbody tr")).to_have_count(2)
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.closest('th')"):
            break
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("products on pg-catalog")


def test_what_is_opened_and_focused_by_keyboard_stays_so_while_the_page_refreshes(app: Seeded, tab: Watched):
    """Refreshed with the same first, and then with something else beside it."""
    tab.page.clock.install()
    tab.with_a_decision(NOW, NOW, NOW - timedelta(hours=3))
    page = tab.open(of(app, "list"))
    page.locator("summary").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    command = page.get_by_role("group", name="The command")
    expect(command).to_be_focused()
    command.evaluate("e => { e.marked = true }")
    for since in ("12:00:00", "09:00:00"):
        with page.expect_response("**/api/dashboard?*"):
            page.clock.fast_forward(16_000)
        expect(page.locator("#servers")).to_contain_text(f"Waiting since 1 Mar 2026, {since} UTC")
        expect(page.locator("#servers details")).to_have_attribute("open", "")
        expect(command).to_be_focused()
        assert command.evaluate("e => Boolean(e.marked)"), "only what has changed is touched"
    page.keyboard.press("Shift+Tab")
    expect(page.locator("summary")).to_be_focused()


def test_a_level_is_told_by_word_and_shape_not_by_colour_alone(app: Seeded, tab: Watched):
    page = tab.open(of(app, "list"), workspace=app.operator.topology.workspace)
    shapes = page.evaluate(
        "Object.fromEntries([...document.querySelectorAll('tbody .level')]"
        ".map(e => [e.innerText.trim(), e.querySelector('use').getAttribute('href')]))"
    )
    assert set(shapes) >= {"Unhealthy", "Degraded", "Stopped", "Healthy"}
    assert len(set(shapes.values())) == len(shapes)
