"""The pages in a real browser: the list, filters, the page of one mirror, refreshing, and what others wrote."""

from __future__ import annotations

import re
import uuid
from datetime import timedelta

import msgspec
import pytest
from playwright.sync_api import Page, Route, expect

from local.example import Example, many
from tests.browser.conftest import Watched
from tests.seeded import Seeded

HOSTILE = """<img src=x onerror=alert(1)>'"><script>alert(2)</script>"""


def databases(page: Page) -> list[str]:
    return page.locator("tbody .name > a").all_inner_texts()


@pytest.fixture(scope="module")
def large(app: Seeded) -> str:
    """A workspace with 60 mirrors."""
    place = str(uuid.uuid4())
    app.fleet.mirrors(many(60), timedelta(hours=1), place)
    return place


def test_the_list_shows_mirrors_worst_first(app: Seeded, tab: Watched):
    page = tab.open(workspace=app.operator.topology.workspace)
    assert databases(page)[:4] == ["invoices", "products", "shipments", "tickets_2024"]
    row = page.locator("tbody tr").first
    for said in ("Unhealthy", "on pg-billing", "retains 27.0 GiB of WAL", "31 of 31", "48,210,334"):
        expect(row).to_contain_text(said)
    expect(row).to_contain_text(re.compile("for 2 h 2[4-9] min"))
    expect(row.locator("svg.spark polyline").first).to_be_attached()
    tiles = page.locator("#levels a").all_inner_texts()
    assert [re.sub(r"\s+", " ", tile).strip() for tile in tiles] == [
        "1 Unhealthy", "2 Degraded", "1 Stopped", "0 Unknown", "5 Healthy",
    ]  # fmt: skip
    assert page.title() == "1 unhealthy · Fabric mirrors"


def test_a_level_is_chosen_and_left_again(app: Seeded, tab: Watched):
    page = tab.open(workspace=app.operator.topology.workspace)
    page.locator("#level-degraded").click()
    assert databases(page) == ["products", "shipments"]
    expect(page.locator("#level-degraded")).to_have_attribute("aria-current", "true")
    page.locator("#level-degraded").click()
    expect(page.locator("tbody tr")).to_have_count(9)


def test_searching_filters_while_one_types_and_leaves_the_caret(app: Seeded, tab: Watched):
    page = tab.open(workspace=app.operator.topology.workspace)
    expect(page.locator("#show-all")).to_be_visible()
    page.get_by_label("Search").focus()
    page.keyboard.type("pg-shop pay")
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.locator("#matches")).to_contain_text("1 mirror, with “pg-shop pay”")
    expect(page.get_by_label("Search")).to_be_focused()
    assert "search=pg-shop+pay" in page.url
    assert "code=" in page.url
    page.keyboard.press("Control+A")
    page.keyboard.type("nothing like it")
    expect(page.locator(".empty")).to_contain_text("No mirror fits the filter.")
    page.locator("#all").click()
    assert len(databases(page)) > 1


def test_server_and_workspace_are_chosen(app: Seeded, tab: Watched, large: str):
    page = tab.open()
    page.get_by_label("Workspace").select_option(label=f"Workspace {large[:4]}")
    expect(page.locator("#matches")).to_contain_text("60 mirrors")
    expect(page.locator("tbody tr").first).to_contain_text(f"in workspace Workspace {large[:4]}")
    page.get_by_role("combobox", name="Server").fill("pg-0003")
    page.get_by_role("combobox", name="Server").press("Enter")
    expect(page.locator("tbody tr")).to_have_count(5)
    page.reload()
    expect(page.locator("tbody tr")).to_have_count(5)


def test_pages_are_turned(tab: Watched, large: str):
    page = tab.open(workspace=large)
    first = databases(page)
    page.get_by_role("link", name="Next").click()
    second = databases(page)
    page.get_by_role("link", name="Next").click()
    third = databases(page)
    assert len({*first, *second, *third}) == 60
    expect(page.get_by_role("link", name="Next")).to_have_count(0)
    page.get_by_role("link", name="Previous").click()
    assert databases(page) == second


def test_it_works_without_javascript(app: Seeded, plain: Watched):
    page = plain.open(workspace=app.operator.topology.workspace)
    page.get_by_label("Search").fill("pg-shop")
    page.get_by_role("button", name="Show").click()
    assert databases(page) == ["payments", "shop"]
    page.get_by_role("link", name="payments").click()
    expect(page.locator("h1")).to_have_text("payments on pg-shop")
    page.get_by_role("link", name="Fabric mirrors").click()
    assert databases(page) == ["payments", "shop"], "the filter is kept"


def test_the_page_of_a_mirror(app: Seeded, tab: Watched):
    page = tab.open(workspace=app.operator.topology.workspace)
    page.get_by_role("link", name="shipments").click()
    expect(page.locator("h1")).to_have_text("shipments on pg-logistics")
    expect(page.locator("#failing")).to_contain_text("1 table fails of 18")
    expect(page.locator("#failing")).to_contain_text("ReplicaIdentityChanged")
    for name in (
        r"^Level over the last 24 hours: 1 change, now Degraded",
        r"^Latency over",
        r"^WAL retained",
        "^Rows",
    ):
        expect(page.get_by_role("img", name=re.compile(name))).to_be_visible()
    expect(page.locator(".changes")).to_contain_text(re.compile(r"UTC\s+Healthy to Degraded"))
    page.get_by_role("link", name="7 days").click()
    expect(page.get_by_role("heading", name="The last 7 days")).to_be_visible()
    expect(page.locator("#json")).to_have_attribute("href", re.compile(r"mirrors/.*hours=168"))


@pytest.mark.parametrize("page_of", ["list", "mirror"])
def test_hostile_names_and_errors_are_shown_and_do_nothing(app: Seeded, tab: Watched, page_of: str):
    bad = Example(
        server="pg-hostile", database=HOSTILE, level="Degraded", reasons=((HOSTILE, HOSTILE, HOSTILE),),
        failing=((HOSTILE, f"public.{HOSTILE}: {HOSTILE}"),), status=HOSTILE,
    )  # fmt: skip
    place = str(uuid.uuid4())
    app.fleet.mirrors([bad], timedelta(hours=2), place)
    app.fleet.server("pg-hostile", "Blocked", (HOSTILE, HOSTILE, HOSTILE))
    if page_of == "list":
        page = tab.open(workspace=place, search="%3Cscript%3E")
        expect(page.locator("tbody .name > a")).to_have_text(HOSTILE)
        expect(page.locator("#servers .blocked", has_text="pg-hostile")).to_contain_text(HOSTILE)
        expect(page.get_by_label("Search")).to_have_value("<script>")
    else:
        page = tab.open(f"/api/dashboard/{place}/{bad.item(place)}")
        expect(page.locator("h1")).to_contain_text(HOSTILE)
        expect(page.locator("#failing")).to_contain_text(f"public.{HOSTILE}: {HOSTILE}")
    assert page.locator("img").count() == 0
    assert page.locator("script").count() == 1


@pytest.mark.parametrize("anchoring", ["auto", "none"])
def test_it_refreshes_itself_and_the_reader_stays(app: Seeded, tab: Watched, large: str, anchoring: str):
    """Also in a browser that does not keep the place by itself (`overflow-anchor: none`)."""
    tab.page.clock.install()
    page = tab.open(workspace=large)
    page.evaluate(
        "value => document.querySelectorAll('html, body').forEach(e => e.style.overflowAnchor = value)", anchoring
    )
    link = page.locator("tbody .name > a").nth(12)
    link.focus()
    page.locator("tbody tr").nth(10).evaluate("e => e.scrollIntoView()")
    identity, top = link.get_attribute("id"), link.bounding_box()["y"]
    topmost = page.evaluate(
        "[...document.querySelectorAll('tbody tr')].find(e => e.getBoundingClientRect().bottom > 0).id"
    )
    page.evaluate("document.querySelectorAll('tbody tr').forEach(e => e.marked = true)")
    newcomer = f"pg-appears-{anchoring}"
    app.fleet.server(newcomer, "Blocked", ("TierNotSupported", "Burstable.", "Change it."))
    rows = {"auto": 777_777_777, "none": 888_888_888}[anchoring]
    changed = [
        msgspec.structs.replace(one, level="Unhealthy", rows=rows) if topmost.endswith(one.item(large)) else one
        for one in many(60)
    ]
    app.fleet.mirrors(changed, timedelta(0), large)
    page.clock.fast_forward(16_000)
    expect(page.locator("#servers")).to_contain_text(newcomer)
    after = page.locator(f"[id='{identity}']")
    expect(after).to_be_focused()
    assert after.bounding_box()["y"] == pytest.approx(top, abs=2), "the list did not move under the reader"
    expect(page.locator("tbody tr").first).to_contain_text(f"{rows:,}")
    assert page.locator("tbody tr").first.get_attribute("id") == topmost
    assert page.evaluate("[...document.querySelectorAll('tbody tr')].every(e => e.marked)"), "no row was put in anew"


def test_the_page_of_a_mirror_does_not_move_under_the_reader_either(app: Seeded, tab: Watched):
    tab.page.clock.install()
    place, one = str(uuid.uuid4()), Example(server="pg-moving", database="orders")
    app.fleet.mirrors([one], timedelta(hours=2), place)
    page = tab.open(f"/api/dashboard/{place}/{one.item(place)}")
    page.evaluate("document.querySelectorAll('html, body').forEach(e => e.style.overflowAnchor = 'none')")
    page.set_viewport_size({"width": 1280, "height": 400})
    facts = page.locator("#facts")
    facts.scroll_into_view_if_needed()
    top = facts.bounding_box()["y"]
    reasons = (("LatencyHigh", "public.orders is 1,200 s behind.", ""),)
    app.fleet.mirrors([msgspec.structs.replace(one, level="Degraded", reasons=reasons)], timedelta(0), place)
    page.clock.fast_forward(16_000)
    expect(page.locator("#reasons")).to_contain_text("public.orders is 1,200 s behind.")
    assert facts.bounding_box()["y"] == pytest.approx(top, abs=2)


def test_what_was_opened_stays_open(app: Seeded, tab: Watched):
    """Something to open is put into the app's answer on its way to the page."""
    tab.page.clock.install()
    page = tab.page

    answers = iter(range(100))
    place = '<div id="list" data-live>'

    def with_details(route: Route) -> None:
        details = f'<details id="d-1"><summary>How</summary>{next(answers)}</details>'
        answer = route.fetch()
        route.fulfill(response=answer, body=answer.text().replace(place, place + details))

    page.route("**/api/dashboard?*", with_details)
    tab.open()
    page.get_by_text("How", exact=True).click()
    page.clock.fast_forward(16_000)
    expect(page.locator("#d-1")).to_contain_text("1")
    expect(page.locator("#d-1")).to_have_attribute("open", "")


def test_when_it_cannot_refresh_it_says_so_and_recovers(app: Seeded, tab: Watched):
    """Where it is seen; also when an answer never comes. (The browser's time limit is let go by the page's clock.)"""
    tab.page.clock.install()
    tab.page.add_init_script(
        "AbortSignal.timeout = ms => { const limit = new AbortController();"
        " setTimeout(() => limit.abort(new DOMException('too late', 'TimeoutError')), ms); return limit.signal; }"
    )
    page = tab.open()
    page.route("**/api/dashboard?*", lambda route: route.fulfill(status=503, body="busy"))
    page.clock.fast_forward(16_000)
    expect(page.locator("#state")).to_have_text("Not up to date: the app answered 503. The page tries again.")
    expect(page.locator("#state")).to_be_in_viewport(ratio=1)
    page.unroute("**/api/dashboard?*")
    page.clock.fast_forward(16_000)
    expect(page.locator("#state")).to_have_text("")
    page.route("**/api/dashboard?*", lambda route: None)
    with page.expect_request("**/api/dashboard?*"):
        page.clock.fast_forward(16_000)
    page.clock.fast_forward(31_000)
    expect(page.locator("#state")).to_have_text("Not up to date: too late. The page tries again.")
    page.unroute("**/api/dashboard?*")
    page.clock.fast_forward(16_000)
    expect(page.locator("#state")).to_have_text("")
    assert all("503" in complaint for complaint in tab.complaints)
    tab.complaints.clear()


def test_selected_text_holds_the_page_up_for_two_minutes_at_most(tab: Watched):
    tab.page.clock.install()
    page = tab.open()
    page.locator("tbody .name > a").first.select_text()
    before = len(tab.requests)
    for _ in range(7):
        page.clock.fast_forward(15_000)
    expect(page.locator("#state")).to_have_text("Paused while text is selected.")
    assert len(tab.requests) == before
    with page.expect_response("**/api/dashboard?*"):
        page.clock.fast_forward(15_000)
    expect(page.locator("#state")).to_have_text("")


def test_out_of_sight_the_title_is_kept_up_to_date(app: Seeded, tab: Watched):
    tab.page.clock.install()
    place, one = str(uuid.uuid4()), Example(server="pg-hidden", database="orders")
    app.fleet.mirrors([one], timedelta(hours=1), place)
    page = tab.open(workspace=place)
    assert page.title() == "Fabric mirrors"
    page.evaluate("Object.defineProperty(document, 'hidden', { value: true })")
    with page.expect_response("**/api/dashboard?*"):
        page.clock.fast_forward(16_000)
    app.fleet.mirrors([msgspec.structs.replace(one, level="Unhealthy")], timedelta(0), place)
    before = len(tab.requests)
    page.clock.fast_forward(16_000)
    assert len(tab.requests) == before
    page.clock.fast_forward(45_000)
    expect(page).to_have_title("1 unhealthy · Fabric mirrors")


def test_a_new_version_of_the_page_is_loaded_as_a_whole(tab: Watched):
    """What the page gets when it refreshes has another style sheet."""
    tab.page.clock.install()
    page = tab.open()

    def put(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, body=answer.text().replace("</style>", ".new { color: red }</style>"))

    page.route("**/api/dashboard?*", put, times=1)
    with page.expect_navigation():
        page.clock.fast_forward(16_000)
    expect(page.locator("tbody tr").first).to_be_visible()
    assert all("style-src" in complaint for complaint in tab.complaints), "it is not let in, and only looked at"
    tab.complaints.clear()


def test_a_style_that_an_extension_puts_in_is_no_new_version(app: Seeded, tab: Watched):
    tab.page.clock.install()
    place, one = str(uuid.uuid4()), Example(server="pg-dark", database="orders")
    app.fleet.mirrors([one], timedelta(hours=1), place)

    def put(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, body=answer.text().replace("<head>", "<head><style></style>"))

    tab.page.route("**/api/dashboard?*", put, times=1)
    page = tab.open(workspace=place)
    page.evaluate("window.loaded = 1")
    app.fleet.mirrors([msgspec.structs.replace(one, level="Unhealthy")], timedelta(0), place)
    page.clock.fast_forward(16_000)
    expect(page).to_have_title("1 unhealthy · Fabric mirrors")
    assert page.evaluate("window.loaded") == 1
    assert all("style-src" in complaint for complaint in tab.complaints), "an extension's is let in, this one is not"
    tab.complaints.clear()


def test_a_filter_that_is_wrong_is_told_why_and_not_tried_again(app: Seeded, tab: Watched):
    tab.page.clock.install()
    page = tab.open(workspace=app.operator.topology.workspace)
    server = page.get_by_role("combobox", name="Server")
    server.fill("/subscriptions/mine")
    server.press("Enter")
    expect(page.locator("#matches")).to_contain_text(
        "'/subscriptions/mine' is not the resource id of a flexible server"
    )
    expect(page.locator("#state")).to_have_text("Not up to date: the filter can't be understood.")
    asked = len(tab.requests)
    page.clock.fast_forward(16_000)
    server.fill("pg-shop")
    server.press("Tab")
    expect(page.locator("#matches")).to_have_text("2 mirrors, of server pg-shop")
    expect(page.locator("#state")).to_have_text("")
    assert len(tab.requests) == asked + 1
    assert all("400" in complaint for complaint in tab.complaints)
    tab.complaints.clear()


def test_the_key_goes_to_no_other_place(app: Seeded, tab: Watched):
    page = tab.open()
    key = app.operator.topology.host_keys["default"]
    assert page.evaluate("document.referrer") == ""
    page.locator("tbody .name > a").first.click()
    assert page.evaluate("document.referrer") == ""
    assert key not in page.evaluate("JSON.stringify([localStorage, sessionStorage, document.cookie])")
    assert key not in page.locator("body").inner_text()
    outside = page.evaluate("[...document.links].filter(link => link.host !== location.host).length")
    assert outside == 0


def test_an_address_that_is_wrong_says_how_in_words(tab: Watched):
    page = tab.open(health="ill")
    expect(page.locator("h1")).to_have_text("The request can't be understood")
    expect(page.locator("main")).to_contain_text("one of Unhealthy, Degraded, Stopped, Unknown, Healthy was expected")
    assert all("400" in complaint for complaint in tab.complaints)
    tab.complaints.clear()
    page.get_by_role("link", name="Fabric mirrors").click()
    expect(page.locator("tbody tr").first).to_be_visible()
