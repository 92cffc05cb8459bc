"""The local Functions host's other doors: the Event Grid webhook, timers, and the host's own API."""

from __future__ import annotations

import json
import time
import uuid
from typing import Any

import pytest

from tests.component.functions_host import Host, Response, eventually, host

__all__ = ["host"]

NOTIFICATION = {"aeg_event_type": "Notification", "Content_Type": "application/json"}


def _event(subject: str, **data: Any) -> dict[str, Any]:
    return {
        "id": str(uuid.uuid4()), "topic": "/subscriptions/x", "subject": subject, "data": data,
        "eventType": "Microsoft.Resources.ResourceWriteSuccess", "eventTime": "2026-01-01T00:00:00Z",
        "dataVersion": "2", "metadataVersion": "1",
    }  # fmt: skip


def _cloud_event(subject: str, **data: Any) -> dict[str, Any]:
    return {
        "specversion": "1.0", "id": str(uuid.uuid4()), "source": "/subscriptions/x", "subject": subject, "data": data,
        "type": "Microsoft.Resources.ResourceWriteSuccess", "time": "2026-01-01T00:00:00Z",
    }  # fmt: skip


def _deliver(
    host: Host,
    content: Any,
    function: str = "resource_changed",
    key: str | None = "eventgrid_extension",
    **headers: str,
) -> Response:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    path = f"/runtime/webhooks/eventgrid?functionName={function}&code={host.keys[key] if key else ''}"
    return host.call("POST", path, body, **(headers or NOTIFICATION))


def test_event_grid_handshake(host: Host) -> None:
    validation = {
        **_event("", validationCode="512d38b6"),
        "eventType": "Microsoft.EventGrid.SubscriptionValidationEvent",
    }
    answer = _deliver(host, [validation], aeg_event_type="SubscriptionValidation")
    assert (answer.status, answer.json) == (200, {"validationResponse": "512d38b6"})


def test_event_grid_handshake_without_a_code_fails(host: Host) -> None:
    assert _deliver(host, [_event("")], aeg_event_type="SubscriptionValidation").status == 500


def test_cloud_events_handshake(host: Host) -> None:
    path = f"/runtime/webhooks/eventgrid?functionName=cloud_changed&code={host.keys['eventgrid_extension']}"
    answer = host.call("OPTIONS", path, WebHook_Request_Origin="eventgrid.azure.net", WebHook_Request_Rate="120")
    assert answer.status == 200
    assert answer.headers["WebHook-Allowed-Origin"] == "eventgrid.azure.net"
    assert "WebHook-Allowed-Rate" not in answer.headers
    assert host.call("OPTIONS", path).headers["WebHook-Allowed-Origin"] == "eventgrid.azure.net"


def test_each_event_of_an_array_invokes_the_function_once(host: Host) -> None:
    events = [_event("s1", n=1), _event("s2", n=2)]
    assert _deliver(host, events).status == 202
    received = [seen for seen in host.seen("events") if seen[0] in {event["id"] for event in events}]
    assert sorted(received) == sorted([[event["id"], event["subject"], event["data"]] for event in events])


def test_cloud_events_come_singly_and_in_batches(host: Host) -> None:
    single, *batch = (_cloud_event(f"c{n}", n=n) for n in range(3))
    structured = {"aeg_event_type": "Notification", "Content_Type": "application/cloudevents+json"}
    batched = {"aeg_event_type": "Notification", "Content_Type": "application/cloudevents-batch+json"}
    assert _deliver(host, single, "cloud_changed", **structured).status == 202
    assert _deliver(host, batch, "cloud_changed", **batched).status == 202
    received = {seen[0]: seen for seen in host.seen("events")}
    for event in (single, *batch):
        assert received[event["id"]] == [event["id"], event["subject"], event["data"]]


def test_event_that_fails_is_500_so_that_it_comes_again(host: Host) -> None:
    good = _event("fine")
    answer = _deliver(host, [good, _event("fail")])
    assert answer.status == 500
    assert answer.body == b"Exception while executing function: Functions.resource_changed: ValueError"
    assert good["id"] in {seen[0] for seen in host.seen("events")}


@pytest.mark.parametrize("content", [b"{not json", b"", ["text"]])
def test_malformed_events_fail_and_so_are_delivered_again(host: Host, content: Any) -> None:
    assert _deliver(host, content).status == 500


def test_webhook_refuses_others(host: Host) -> None:
    assert _deliver(host, [_event("x")], key=None).status == 401
    assert _deliver(host, [_event("x")], key="default").status == 403
    assert _deliver(host, [_event("x")], key="_master").status == 202
    unknown = _deliver(host, [_event("x")], function="tick")
    assert (unknown.status, unknown.body) == (404, b"cannot find function: 'tick'")
    kind = _deliver(host, [_event("x")], aeg_event_type="Surprise")
    assert (kind.status, kind.body[:40]) == (400, b"The header aeg-event-type is 'Surprise',")
    assert _deliver(host, [], aeg_event_type="Unsubscribe").status == 202


def test_timer_fires_by_its_schedule_from_a_setting(host: Host) -> None:
    ticks = eventually(lambda: host.seen("ticks"), lambda ticks: len(ticks) >= 3)
    _, past_due, status, schedule = ticks[0]
    assert (past_due, status, schedule) == (False, {}, {"AdjustForDST": True})
    seconds = [int(tick[0]) for tick in ticks]
    assert sorted(set(seconds)) == seconds, "once in a second"


def test_timer_never_runs_beside_itself_and_makes_up_for_what_it_missed(host: Host) -> None:
    runs = eventually(lambda: host.seen("slow"), lambda runs: len(runs) >= 6)
    assert [run[0] for run in runs[:6]] == ["start", "end"] * 3
    assert [run[2] for run in runs[:6:2]] == [False, True, True], "1.3 s of work each second: past due"
    for end, start in zip(runs[1:5:2], runs[2:5:2], strict=True):
        assert 0 <= start[1] - end[1] < 0.7


def test_timer_on_startup_has_a_status(host: Host) -> None:
    past_due, status = host.seen("startup")[0]
    assert past_due is False
    assert status["Last"] == "0001-01-01T00:00:00+00:00"
    assert status["Next"].endswith("-01-01T05:00:00+00:00")


def test_timer_is_fired_by_hand(host: Host) -> None:
    before = len(host.seen("startup"))
    answer = host.call("POST", "/admin/functions/yearly", b'{"input": ""}', key="_master")
    assert (answer.status, answer.body) == (202, b"")
    runs = eventually(lambda: host.seen("startup"), lambda runs: len(runs) > before)
    assert runs[-1] == [False, {}]


def test_retry_policy_of_a_timer(host: Host) -> None:
    before = len(host.seen("attempts"))
    assert host.call("POST", "/admin/functions/flaky_timer", b"{}", key="_master").status == 202
    attempts = eventually(lambda: host.seen("attempts"), lambda attempts: len(attempts) >= before + 3)
    time.sleep(0.2)
    assert host.seen("attempts") == attempts, "no more than the policy allows"
    assert attempts[before:] == [[0, 2], [1, 2], [2, 2]]


def test_event_grid_trigger_is_fired_by_hand(host: Host) -> None:
    event = _event("by-hand")
    body = json.dumps({"input": json.dumps(event)}).encode()
    assert host.call("POST", "/admin/functions/resource_changed", body, key="_master").status == 202
    eventually(lambda: host.seen("events"), lambda seen: event["id"] in {one[0] for one in seen})


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/admin/functions/nobody", b"{}", 404),
        ("/admin/functions/resource_changed", b"{}", 400),
        ("/admin/functions/resource_changed", b"not json", 400),
        ("/admin/functions/tick", b"[]", 400),
        ("/admin/functions/add_one", b'{"input": "1"}', 400),
        ("/admin/other", b"{}", 404),
    ],
)
def test_firing_by_hand_refuses(host: Host, path: str, body: bytes, status: int) -> None:
    assert host.call("POST", path, body, key="_master").status == status


def test_admin_needs_the_master_key(host: Host) -> None:
    for method, path in (("GET", "/admin/host/status"), ("GET", "/admin/functions"), ("POST", "/admin/functions/tick")):
        assert host.call(method, path).status == 401
        assert host.call(method, path, key="default").status == 403


def test_host_tells_its_state_and_functions(host: Host) -> None:
    status = host.call("GET", "/admin/host/status", key="_master").json
    assert status["state"] == "Running"
    assert status["version"].startswith("4.")
    functions = {f["name"]: f for f in host.call("GET", "/admin/functions", key="_master").json}
    assert functions["tick"]["config"]["bindings"][0]["schedule"] == "%TICK_SCHEDULE%"
    assert host.call("GET", "/admin/functions/tick", key="_master").json == functions["tick"]
