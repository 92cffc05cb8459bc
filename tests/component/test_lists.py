"""The lists of mirrors and servers over HTTP: the real app on the local host, reading real Azurite."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import jsonschema
import msgspec
import pytest

from local.example import FLEET, Example, many
from local.scenario import Answer, eventually
from tests.conftest import StackFactory
from tests.seeded import Seeded, seeded

WORKSPACE, LARGE, NONE = (f"0f0f0f0f-0000-0000-0000-00000000000{number}" for number in (1, 2, 3))
WORST = FLEET[0].item(WORKSPACE)
ORDER = ["invoices", "products", "shipments", "tickets_2024", "crm", "people", "payments", "shop", "stock"]


@pytest.fixture(scope="module")
def app(stack_factory: StackFactory) -> Iterator[Seeded]:
    with seeded(stack_factory) as found:
        found.fleet.mirrors(FLEET, timedelta(hours=30), WORKSPACE)
        found.fleet.mirrors(many(230), timedelta(0), LARGE)
        found.fleet.server("pg-listed-blocked", "Blocked", ("TierNotSupported", "Burstable.", "Change it."), age=2)
        found.fleet.server("pg-listed-mirrored", "Mirrored")
        yield found


@pytest.fixture(scope="module")
def document(app: Seeded) -> Any:
    answer = app.operator.call("GET", "/api/openapi.json")
    assert answer.status == 200
    return answer.body


def get(app: Seeded, path: str, document: Any = None) -> Any:
    """The body of a good answer, which is as the description says."""
    answer = app.operator.call("GET", f"/api{path}")
    assert answer.status == 200, answer
    if document:
        template = "/mirrors/{workspace}/{mirror}" if path.count("/") > 1 else path.partition("?")[0]
        schema = document["paths"][template]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        check(answer.body, schema, document)
    return answer.body


def check(body: Any, schema: Any, document: Any) -> None:
    """Raise where a body is not as the description's schema says; nothing may be said that is not described."""
    closed = msgspec.json.decode(msgspec.json.encode(document))
    for component in closed["components"]["schemas"].values():
        if component.get("type") == "object" and "properties" in component:
            component["additionalProperties"] = False
    jsonschema.Draft202012Validator(schema | {"components": closed["components"]}).validate(body)


def databases(body: Any) -> list[str]:
    return [mirror["database"] for mirror in body["value"]]


def test_mirrors_come_worst_first_as_described(app: Seeded, document: Any):
    body = get(app, f"/mirrors?workspace={WORKSPACE}", document)
    assert databases(body) == ORDER
    assert body["total"] == 9
    assert body["counts"] == {"Unhealthy": 1, "Degraded": 2, "Stopped": 1, "Unknown": 0, "Healthy": 5}
    worst = body["value"][0]
    assert worst["server"] == app.fleet.resource_id("pg-billing")
    assert [reason["code"] for reason in worst["reasons"]] == ["WalRetained", "SlotInactive"]
    assert worst["workspace_name"] == f"Workspace {WORKSPACE[:4]}"
    assert worst["retained_wal_bytes"] == 27 * 2**30


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("health=degraded", ["products", "shipments"]),
        ("server=PG-Shop", ["payments", "shop"]),
        ("search=walretained+27.0", ["invoices"]),
        (f"search=workspace+{WORKSPACE[:4]}+invoices", ["invoices"]),
        ("health=Healthy&server=pg-billing", []),
    ],
)
def test_mirrors_are_filtered(app: Seeded, query: str, expected: list[str]):
    assert databases(get(app, f"/mirrors?workspace={WORKSPACE}&{query}")) == expected


def test_every_mirror_comes_once_in_pages(app: Seeded):
    seen: list[str] = []
    continuation = ""
    for size in (100, 100, 30):
        body = get(app, f"/mirrors?workspace={LARGE}&limit=100&continuation={continuation}")
        assert len(body["value"]) == size
        assert body["total"] == 230
        seen += databases(body)
        continuation = body["continuation"]
    assert continuation == ""
    assert sorted(seen) == [f"db_{number:05}" for number in range(230)]


def test_one_mirror_with_its_history_in_pages(app: Seeded, document: Any):
    path = f"/mirrors/{WORKSPACE}/{WORST}"
    topology, server = app.operator.topology, "pg-billing"
    app.fleet.put("Mirrors", [{
        "PartitionKey": f"{topology.subscription}:{topology.resource_group}:{server}", "RowKey": "invoices",
        "server": app.fleet.resource_id(server), "database": "invoices", "item_name": "invoices of billing",
    }])  # fmt: skip
    day = get(app, path, document)
    assert day["latest"]["database"] == "invoices"
    assert day["mirrored_database_name"] == "invoices of billing"
    assert day["latest"]["tables_at"] == day["latest"]["observed_at"]
    assert len(day["history"]) in (288, 289)
    moments = [seen["at"] for seen in day["history"]]
    assert moments == sorted(moments, reverse=True)
    assert day["history"][0]["level"] == "Unhealthy"
    assert day["history"][-1]["level"] == "Healthy"
    seen, continuation = [], ""
    while len(seen) < 400:
        part = get(app, f"{path}?hours=30&limit=150&continuation={continuation}")
        seen += [one["at"] for one in part["history"]]
        continuation = part["continuation"]
        if not continuation:
            break
    assert len(seen) == len(set(seen))
    assert len(seen) in (360, 361)


def test_servers_that_want_attention_come_first(app: Seeded, document: Any):
    body = get(app, "/servers?search=pg-listed", document)
    assert [server["server"].rpartition("/")[2] for server in body["value"]] == [
        "pg-listed-blocked", "pg-listed-mirrored",
    ]  # fmt: skip
    assert body["counts"]["Blocked"] == 1
    assert body["value"][0]["reasons"][0]["remedy"] == "Change it."
    assert [one["phase"] for one in get(app, "/servers?search=pg-listed&phase=mirrored")["value"]] == ["Mirrored"]
    first = get(app, "/servers?search=pg-listed&limit=1")
    second = get(app, f"/servers?search=pg-listed&limit=1&continuation={first['continuation']}")
    assert (first["total"], [one["phase"] for one in second["value"]]) == (2, ["Mirrored"])
    assert second["continuation"] == ""


def test_a_server_at_work_tells_how_far_its_run_is(app: Seeded, document: Any):
    """A real run: without a control plane in this stack, it tries again to look at its server."""
    name = "pg-working"
    app.fleet.server(name, "Preparing", run=app.key_of_run(name, 1))
    event = {
        "id": "1", "eventType": "Microsoft.Resources.ResourceWriteSuccess", "subject": app.fleet.resource_id(name),
        "eventTime": "2026-01-01T00:00:00Z", "dataVersion": "2",
        "data": {
            "operationName": "Microsoft.DBforPostgreSQL/flexibleServers/write",
            "resourceUri": app.fleet.resource_id(name), "claims": {},
        },
    }  # fmt: skip
    webhook = app.operator.topology.webhook("server_changed").removeprefix(app.operator.topology.address("host"))
    sent = app.operator.call("POST", webhook, [event], key=None, **{"aeg-event-type": "Notification"})
    assert sent.status < 300, sent
    progress = eventually(
        lambda: get(app, "/servers?search=pg-working", document)["value"][0]["progress"], lambda seen: seen, 20
    )
    assert (progress["step"], progress["message"]) == ("observe", "Looking at the server")


@pytest.mark.parametrize(
    ("path", "status", "code", "detail"),
    [
        ("/mirrors?health=ill", 400, "InvalidQuery", "The parameter health is 'ill'"),
        ("/mirrors?limit=0", 400, "InvalidQuery", "The parameter limit is '0'"),
        ("/mirrors?continuation=zz", 400, "InvalidQuery", "The parameter continuation is 'zz'"),
        ("/servers?phase=odd", 400, "InvalidQuery", "The parameter phase is 'odd'"),
        (f"/mirrors/{WORKSPACE}/shop", 400, "InvalidQuery", "The parameter mirrored database is 'shop'"),
        (
            f"/mirrors/{WORKSPACE}/{WORST}?hours=100000",
            400,
            "InvalidQuery",
            "The parameter hours is '100000'",
        ),
        *(
            (f"/mirrors/{WORKSPACE}/{WORST}?continuation={odd}", 400, "InvalidQuery", "The parameter continuation")
            for odd in (
                "x",
                "2026-01-01T00:00:00",
                "9000-01-01T00:00:00Z",
                "9999-12-31T23:59:59-12:00",
                "0001-01-01T00:00:00%2B14:00",
            )
        ),
        (f"/mirrors/{WORKSPACE}/{NONE}", 404, "MirrorNotFound", "There is no mirror"),
    ],
)
def test_what_cannot_be_answered_says_why(app: Seeded, document: Any, path: str, status: int, code: str, detail: str):
    answer = app.operator.call("GET", f"/api{path}")
    assert (answer.status, answer.body["code"]) == (status, code)
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    assert answer.body["detail"].startswith(detail)
    check(answer.body, {"$ref": "#/components/schemas/Problem"}, document)


@pytest.mark.parametrize("path", ["/mirrors", "/servers", "/dashboard", "/openapi.json"])
def test_nothing_is_told_without_a_key(app: Seeded, path: str):
    answer = app.operator.call("GET", f"/api{path}", key=None)
    assert (answer.status, answer.body) == (401, "")


def pages(app: Seeded) -> list[Answer]:
    return [
        app.operator.call("GET", path)
        for path in (
            "/api/dashboard",
            f"/api/dashboard/{WORKSPACE}/{WORST}",
            "/api/dashboard?health=ill",
            f"/api/dashboard/{WORKSPACE}/{NONE}",
        )
    ]


def test_pages_and_their_errors_are_html_that_stays_to_itself(app: Seeded):
    found = pages(app)
    assert [page.status for page in found] == [200, 200, 400, 404]
    for page in found:
        assert page.headers["Content-Type"] == "text/html; charset=utf-8"
        assert page.headers["Referrer-Policy"] == "no-referrer"
        assert page.headers["X-Content-Type-Options"] == "nosniff"
        assert page.headers["Cache-Control"] == "no-store"
        assert page.headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert "<h1>" in page.body
    assert "one of Unhealthy, Degraded, Stopped, Unknown, Healthy was expected" in found[2].body


@pytest.mark.parametrize(
    ("query", "summary"),
    [
        ("", "9 mirrors on 8 servers"),
        ("&health=Degraded", "9 mirrors on 8 servers"),
        ("&server=pg-shop", "2 mirrors on 1 server"),
    ],
)
def test_the_page_counts_what_fits_and_offers_what_there_is(app: Seeded, query: str, summary: str):
    body = app.operator.call("GET", f"/api/dashboard?workspace={WORKSPACE}{query}").body
    assert f"{summary} ·" in body
    assert f'<option value="{LARGE}">Workspace {LARGE[:4]}</option>' in body
    assert '<option value="pg-0003">' in body


def test_a_figure_on_the_page_changes_with_its_row(app: Seeded):
    one = Example(server="pg-changing", database="orders", rows=11_111)
    place = str(uuid.uuid4())
    for rows in (11_111, 22_222):
        app.fleet.mirrors([msgspec.structs.replace(one, rows=rows)], timedelta(hours=1), place)
        body = app.operator.call("GET", f"/api/dashboard?workspace={place}").body
        assert f"{rows:,}" in body
    assert "11,111" not in body
