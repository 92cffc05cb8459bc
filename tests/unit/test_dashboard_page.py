"""The pages as HTML: what they say, that everything is escaped, where they link to, and their headers."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape

import pytest

from shared.dashboard import detail, links, page
from shared.dashboard.overview import AT_WORK
from shared.decisions import progress
from shared.decisions.outcome import Outcome
from shared.platform.errors import InvalidInput
from shared.platform.reasons import Reason
from shared.records.glance import Observation
from shared.records.rows import HealthRow, MirrorRow
from tests.pages import API, HOSTILE, NOW, SERVER, row, server, shown, wait_for, waiting_for_a_decision


def text(html: str) -> str:
    """What a reader sees, with single spaces."""
    body = re.sub(r"<(style|script|svg)\b.*?</\1>", " ", html, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", body)).split())


def test_a_mirror_is_told_in_words():
    reason = Reason("LatencyHigh", "public.orders is 1,200 s behind.", "Look at Fabric's capacity.")
    said = text(shown(row(level="Degraded", reasons=(reason,), tables_replicating=2, workspace_name="Sales")))
    assert "in workspace Sales" in said
    assert "1 Degraded" in said
    for part in ("Degraded for 3 h", "shop on pg-shop", "2 of 3", "1,234,567", "2.5 s", "32 MiB", "2 min ago"):
        assert part in said
    assert "LatencyHigh public.orders is 1,200 s behind. Look at Fabric's capacity." in said


def test_a_server_being_prepared_has_a_bar():
    status = progress.at_server("parameters", ["shop"], "Setting the server parameter wal_level to logical")
    html = shown(working=(server("Preparing", "run-1"),), status=status, phases={"Preparing": 1})
    assert f'<progress max="100" value="{status.percent}"' in html
    assert "pg-shop rg-one Setting the server parameter wal_level to logical" in text(html)
    assert f"{status.steps_done} of {status.steps_total} steps" in text(html)


def test_a_server_that_waits_for_a_restart_says_what_to_do_and_until_when():
    said = text(waiting_for_a_decision())
    assert "Waiting for a decision to restart server 'pg-shop' for wal_level." in said
    assert "until 4 Mar 2026, 10:00:00 UTC (in 2 d 22 h)" in said
    door = f"{API}servers/{SERVER.subscription}/rg-one/pg-shop/mirroring/restart-decision"
    assert f"curl -X POST '{door}'" in said
    assert """-d '{"restart": true}'""" in said


def test_a_wait_for_the_maintenance_window_asks_nobody():
    base = progress.at_server("restart", ["shop"], "Waiting")
    status = progress.waiting(base, wait_for("maintenance-window", NOW, NOW + timedelta(hours=7)))
    reason = Reason("WaitingForWindow", "Waiting for the maintenance window")
    html = shown(waiting=(server("Waiting", "run-1", reason),), status=status, phases={"Waiting": 1})
    assert "Waiting for the maintenance window." in text(html)
    assert "curl" not in html


def test_a_server_waits_while_its_run_looks_at_it():
    """Until the server is Ready: the run does not wait for a decision or a time."""
    status = progress.at_server("observe", ["shop"], "Looking at the server")
    reason = Reason("ServerNotReady", "Server 'pg-shop' is Stopped, not Ready.", "Start it.")
    said = text(shown(waiting=(server("Waiting", "run-1", reason),), status=status, phases={"Waiting": 1}))
    assert "Server 'pg-shop' is Stopped, not Ready. Start it." in said
    assert "Waiting since" not in said


@pytest.mark.parametrize(
    "status",
    [
        None,
        progress.at_server("observe", [], ""),
        progress.at_databases({"shop": 0}),
        progress.releasing(0, 1, ""),
        progress.ended(progress.at_server("observe", [], ""), Outcome("Blocked", (Reason("X", "x"),))),
        progress.waiting(progress.at_server("restart", [], ""), wait_for("maintenance-window", NOW, NOW)),
    ],
)
@pytest.mark.parametrize(
    ("kind", "phase"),
    [
        ("waiting", "Waiting"),
        ("missing", "Missing"),
        ("blocked", "Blocked"),
        *(("working", phase) for phase in AT_WORK),
    ],
)
def test_a_server_is_shown_whatever_its_row_and_its_run_say(kind: str, phase: str, status: progress.Status | None):
    """The two are written one after the other, and a row need not name a run or a reason."""
    for run in ("", "run-1"):
        assert "pg-shop" in text(shown(status=status, **{kind: (server(phase, run),)}))


def test_a_mirror_is_shown_of_which_only_the_required_columns_are_known():
    bare = HealthRow(workspace="w1", item="i1", server=SERVER, database="shop", level="Unknown")
    assert "shop on pg-shop" in text(shown(bare))
    history = (Observation(level="Unknown"), Observation(level="Unknown", updated_at=NOW))
    at = links.of(f"{API}dashboard/w1/i1", {}, depth=2)
    for recorded in (None, MirrorRow(server=SERVER, database="shop")):
        one = detail.Detail(row=bare, recorded=recorded, now=NOW, hours=24, most_hours=24, history=history)
        assert "shop on pg-shop" in text(page.mirror(one, at))


def test_blocked_servers_say_why_and_the_rest_is_counted():
    blocked = tuple(
        server("Blocked", "", Reason("TierNotSupported", "Burstable.", "Change the tier.")) for _ in "12345678"
    )
    said = text(shown(blocked=blocked, phases={"Blocked": 11}))
    assert "TierNotSupported Burstable. Change the tier." in said
    assert "and 3 servers more" in said


def test_the_rest_of_the_servers_is_where_its_link_leads():
    """No phase has all that are at work in it."""
    many = {"waiting": (server("Waiting"),), "blocked": (server("Blocked"),), "working": (server("New"),)}
    html = shown(**many, phases={"Waiting": 9, "Blocked": 9, "Preparing": 4, "Releasing": 4, "New": 4})
    assert re.findall(r'id="(rest-\w+)" href="([^"]+)"', html) == [
        ("rest-waiting", "./servers?phase=Waiting"),
        ("rest-working", "./servers"),
        ("rest-blocked", "./servers?phase=Blocked"),
    ]


def test_nothing_yet_says_how_to_begin():
    assert "No sweep has looked at a mirror yet" in text(shown())
    assert 'id="servers" data-live aria-labelledby="servers-title" hidden' in shown()


@pytest.mark.parametrize("where", ["overview", "detail", "problem"])
def test_what_others_wrote_is_shown_harmlessly(where: str):
    bad = row(
        database=HOSTILE, level=HOSTILE, status=HOSTILE, reasons=(Reason(HOSTILE, HOSTILE, HOSTILE),), tables_failing=1,
        failing=(Reason(HOSTILE, HOSTILE),), wal_status=HOSTILE, item=HOSTILE, workspace=HOSTILE,
        workspace_name=HOSTILE,
    )  # fmt: skip
    parameters = {"code": HOSTILE, "search": HOSTILE, "server": HOSTILE}
    at = links.of(f"{API}dashboard", parameters, depth=0)
    if where == "overview":
        html = shown(bad, blocked=(server("Blocked", HOSTILE, Reason(HOSTILE, HOSTILE)),), parameters=parameters)
    elif where == "detail":
        html = page.mirror(found(bad, HOSTILE), at)
    else:
        html = page.problem("Not found", InvalidInput(HOSTILE, remedy=HOSTILE), at)
    rest = html.replace(page.SCRIPT, "").replace(page.STYLE, "")
    assert rest.count("<script") == 1, "its own"
    assert "<img" not in rest
    assert "onerror=alert(1)>" not in rest
    assert HOSTILE in unescape(rest)
    assert not re.search(r"<[^>]*\son[a-z]+\s*=", re.sub(r'"[^"]*"', '""', rest)), "no inline handler"
    assert not re.search(r"<[^>]*\sstyle\s*=", rest), "no inline style"


def found(one: HealthRow, *levels: str, most_hours: int = 720) -> detail.Detail:
    """Its history ends an hour ago. Where its level was Unknown, no figure was known."""
    known = [None if level == "Unknown" else n for n, level in enumerate(levels)]
    history = tuple(
        Observation(level=level, updated_at=NOW - timedelta(hours=len(levels) - n), latency_seconds=figure, rows=figure)
        for n, (level, figure) in enumerate(zip(levels, known, strict=True))
    )
    return detail.Detail(row=one, recorded=None, now=NOW, hours=24, most_hours=most_hours, history=history)


def test_the_page_of_a_mirror_tells_its_history_and_its_failing_tables():
    failing = Reason("ReplicaIdentityChanged", "public.parcels: The replica identity was changed.")
    one = found(row(level="Degraded", tables_failing=25, failing=(failing,)), "Healthy", "Healthy", "Degraded")
    html = page.mirror(one, links.of(f"{API}dashboard/w1/i1", {}, depth=2))
    assert "ReplicaIdentityChanged public.parcels: The replica identity was changed." in text(html)
    assert "and 24 tables more" in text(html)
    assert "1 Mar 2026, 11:00:00 UTC Healthy to Degraded" in text(html)
    assert 'aria-label="Latency over the last 24 hours: 0 s at least, 2 s at most, now 2 s."' in html
    assert "WAL retained for the mirror" not in html, "nothing is known of it"


def test_a_figure_that_is_no_longer_known_is_not_told_as_the_present_one():
    one = found(row(), "Healthy", "Healthy", "Unknown")
    html = page.mirror(one, links.of(f"{API}dashboard/w1/i1", {}, depth=2))
    assert [(figure.title, figure.now) for figure in detail.figures(one)] == [
        ("Latency", "not known"), ("Rows replicated", "not known"),
    ]  # fmt: skip
    assert 'aria-label="Latency over the last 24 hours: 0 s at least, 1 s at most, now not known."' in html


@pytest.mark.parametrize(("days", "offered"), [(1, [24]), (29, [24, 168]), (30, [24, 168, 720])])
def test_ranges_are_offered_as_far_as_there_is_a_history(days: int, offered: list[int]):
    html = page.mirror(found(row(), most_hours=24 * days), links.of(f"{API}dashboard/w1/i1", {}, depth=2))
    assert [int(hours) for hours in re.findall(r'href="[^"]*/dashboard/w1/i1\?hours=(\d+)"', html)] == offered


def test_a_mirror_that_was_not_looked_at_for_long_is_shown_without_charts():
    html = page.mirror(found(row()), links.of(f"{API}dashboard/w1/i1", {}, depth=2))
    assert "No observation in this time." in text(html)
    assert "shop on pg-shop" in text(html)


def test_changes_of_level_are_told_newest_first_and_no_more_than_some():
    many = found(row(), *["Healthy", "Degraded"] * 30)
    assert len(many.changes) == detail.MOST_CHANGES
    assert many.changes[0].at == many.history[-1].updated_at
    assert found(row(), "Healthy", "Healthy").changes == []


def hrefs(html: str) -> list[str]:
    return [unescape(href) for href in re.findall(r'href="([^"#][^"]*)"', html) if not href.startswith("data:")]


def test_links_are_relative_and_carry_the_key_and_what_was_asked_for():
    html = shown(row(), parameters={"code": "k&y", "search": "a b", "page": "2", "other": "x"}, pages=(2, 3))
    assert hrefs(html)
    assert all(href.startswith("./dashboard") and "code=k%26y" in href for href in hrefs(html))
    assert "./dashboard/w1/i1?code=k%26y&search=a+b&page=2" in hrefs(html)
    assert "./dashboard?code=k%26y&search=a+b&page=3" in hrefs(html)
    assert "./dashboard?code=k%26y&search=a+b&health=Degraded" in hrefs(html), "another filter begins at page 1"
    assert "other" not in "".join(hrefs(html))
    assert '<input type="hidden" name="code" value="k&amp;y">' in html


@pytest.mark.parametrize(
    ("address", "depth", "root"),
    [("/api/dashboard", 0, "./"), ("/api/dashboard/", 0, "../"), ("/api/dashboard/w/i", 2, "../../")],
)
def test_links_lead_to_the_same_folder_from_everywhere(address: str, depth: int, root: str):
    assert links.of(f"https://x{address}", {}, depth).overview() == f"{root}dashboard"


def test_without_a_key_none_is_carried():
    assert "code" not in "".join(hrefs(shown(row())))


def test_nothing_is_loaded_from_anywhere_and_nothing_told():
    html = shown(row())
    assert not re.search(r"""\b(src|srcset|action)\s*=\s*["']?\s*(https?:)?//""", html)
    assert page.HEADERS["Referrer-Policy"] == "no-referrer"
    assert page.HEADERS["Cache-Control"] == "no-store"
    policy = page.HEADERS["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
