"""Orchestrations, activities and entities in the local Functions host, and the management API that looks after them."""

from __future__ import annotations

import json
import time
import uuid
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest

from local.topology import ENGINES, EXTENSION, IN_MEMORY
from tests.component.functions_host import SETTINGS, Host, eventually
from tests.conftest import StackFactory

QUICK = {
    f"AzureFunctionsJobHost__extensions__durableTask__storageProvider__{name}": value
    for name, value in {"partitionCount": "1", "maxQueuePollingInterval": "00:00:00.3"}.items()
}
"""Replaces values of host.json: few queues, and short pauses between two looks into an empty one."""
in_memory = pytest.mark.parametrize("host", [IN_MEMORY], indirect=True)
"""For what the extension does otherwise: docs/architecture.md has the table."""


@pytest.fixture(scope="module", params=ENGINES)
def host(request: pytest.FixtureRequest, stack_factory: StackFactory) -> Host:
    """The sample app on each engine."""
    if request.param == EXTENSION:
        request.getfixturevalue("durable_extension")
    return Host(stack_factory("host", settings=SETTINGS | QUICK, engine=request.param))


def _new(name: str = "run") -> str:
    return f"{name}:{uuid.uuid4().hex[:8]}"


def test_fan_out_by_the_links_that_the_client_made(host: Host) -> None:
    instance = _new()
    links = host.start("fan_out", instance, {"n": 20})
    assert links["id"] == instance
    assert quote(instance, safe="") in links["statusQueryGetUri"]
    status = eventually(
        lambda: host.call("GET", links["statusQueryGetUri"]).json, lambda s: s["runtimeStatus"] == "Completed"
    )
    assert status["name"] == "fan_out"
    assert status["instanceId"] == instance
    assert status["input"] == {"n": 20}
    assert status["output"] == {"sum": 210}
    assert status["customStatus"] is None
    assert datetime.now(UTC) - datetime.fromisoformat(status["createdTime"]) < timedelta(minutes=1)


def test_sub_orchestration_custom_status_event_and_timer(host: Host) -> None:
    instance = _new()
    links = host.start("parent", instance, {"n": 3})
    waiting = eventually(
        lambda: host.call("GET", links["statusQueryGetUri"]),
        lambda answer: answer.json["customStatus"] == {"phase": "decision"},
    )
    assert waiting.status == 202
    assert waiting.headers["Location"] == links["statusQueryGetUri"]
    assert int(waiting.headers["Retry-After"]) > 0
    assert host.status(f"{instance}:child")["output"] == {"sum": 6}
    address = links["sendEventPostUri"].replace("{eventName}", "decision")
    assert host.call("POST", address, b"not json", Content_Type="application/json").status == 400
    assert host.call("POST", address, b'"yes"', Content_Type="text/plain").status == 400
    assert host.call("POST", address, b'"yes"', Content_Type="application/json").status == 202
    assert host.ended(instance)["output"] == {"total": {"sum": 6}, "decision": "yes"}
    assert host.call("POST", address, b'"again"', Content_Type="application/json").status == 410


def test_orchestrator_retries_by_its_policy(host: Host) -> None:
    instance = _new()
    host.start("persistent", instance, {})
    assert host.ended(instance)["output"] == 3


def test_failing_activity_gives_its_type_and_message(host: Host) -> None:
    instance = _new()
    host.start("catching", instance, "fails")
    assert host.ended(instance)["output"] == {"type": "PermissionError", "message": "must be owner of table orders"}


def test_activity_that_fails_without_a_message_fails(host: Host) -> None:
    instance = _new()
    host.start("catching", instance, "fails_silently")
    assert host.ended(instance)["output"]["type"] == "RuntimeError"


@in_memory
def test_unknown_activity_fails_and_names_the_known_ones(host: Host) -> None:
    instance = _new()
    host.start("catching", instance, "no_such_step")
    message = host.ended(instance)["output"]["message"]
    assert message.startswith("The function 'no_such_step' doesn't exist or is not an activity function.")
    assert "'add_one'" in message


@in_memory
def test_failing_and_unknown_orchestrators_end_as_failed(host: Host) -> None:
    unlucky, unknown = _new(), _new()
    links = host.start("unlucky", unlucky, "luck")
    host.start("no_such_flow", unknown)
    status = host.ended(unlucky)
    assert status["runtimeStatus"] == "Failed"
    assert "no luck" in status["output"]
    assert host.call("GET", links["statusQueryGetUri"]).status == 200
    assert host.call("GET", links["statusQueryGetUri"] + "&returnInternalServerErrorOnFailure=true").status == 500
    assert "'no_such_flow' doesn't exist" in host.ended(unknown)["output"]


def test_activities_at_a_time_as_host_json_says(host: Host) -> None:
    instance = _new()
    host.start("crowd", instance, 12)
    assert host.ended(instance)["output"] == 4


def test_burst_of_signals_is_at_most_two_runs_and_at_least_one_after_the_last(host: Host) -> None:
    key = f"server-{uuid.uuid4().hex[:8]}"
    assert host.call("POST", f"/sample/signal/{key}?times=6", key="default").status == 202
    path = f"entities/mailbox/{key}"
    box = eventually(lambda: host.durable("GET", path), lambda a: a.status == 200 and a.json["running"] is False)
    assert box.json == {"runs": 2, "running": False, "again": False}
    runs = host.durable("GET", "instances", instanceIdPrefix=f"{key}:").json
    assert sorted((run["instanceId"], run["runtimeStatus"]) for run in runs) == [
        (f"{key}:1", "Completed"),
        (f"{key}:2", "Completed"),
    ]
    listed = {entity["entityId"]["key"]: entity for entity in host.durable("GET", "entities/mailbox").json}
    assert listed[key]["entityId"] == {"name": "mailbox", "key": key}
    assert "state" not in listed[key]
    everything = host.durable("GET", "entities", fetchState="true", top=1000).json
    assert {"runs": 2, "running": False, "again": False} in [entity.get("state") for entity in everything]
    assert host.durable("GET", "entities/mailbox/nobody").status == 404


def test_entity_is_called_and_keeps_its_state_when_an_operation_fails(host: Host) -> None:
    instance = _new()
    host.start("asks_counter", instance, None)
    output = host.ended(instance)["output"]
    assert output["total"] == 5
    assert "spoilt" in output["error"]
    assert host.durable("GET", "entities/Counter/one").json == 5


@in_memory
def test_unknown_entity_fails_its_caller(host: Host) -> None:
    instance = _new()
    host.start("asks_nobody", instance, "no_such_entity")
    assert "'no_such_entity' doesn't exist or is not an entity function" in host.ended(instance)["output"]


@pytest.mark.parametrize("seconds", [0.5, pytest.param(31, marks=pytest.mark.exhaustive)])
def test_parent_hears_of_the_end_of_a_long_sub_orchestration(host: Host, seconds: float) -> None:
    instance = _new()
    host.start("patient", instance, seconds)
    assert host.ended(instance, seconds + 5)["output"] == "rested"


@in_memory
def test_history_holds_what_went_in_and_out_of_activities(host: Host) -> None:
    instance = _new()
    host.start("secretive", instance, {"word": "in-the-history"})
    host.ended(instance)
    assert "historyEvents" not in host.status(instance)
    outputs = host.status(instance, showHistory="true", showHistoryOutput="true")["historyEvents"]
    assert [event["EventType"] for event in outputs] == ["ExecutionStarted", "TaskCompleted", "ExecutionCompleted"]
    assert json.loads(outputs[1]["Input"]) == {"word": "in-the-history"}
    assert outputs[1]["FunctionName"] == "add_word"
    assert outputs[1]["Result"] == "in-the-history-and-more"
    times = [datetime.fromisoformat(event["Timestamp"]) for event in outputs]
    assert times == sorted(times)
    assert datetime.now(UTC) - times[0] < timedelta(minutes=1)
    assert "in-the-history-and-more" not in json.dumps(host.status(instance, showHistory="true"))
    assert "in-the-history" not in json.dumps(host.status(instance, showHistory="true", showInput="false"))


def test_inputs_and_results_are_not_logged_but_the_app_s_own_records_are(host: Host) -> None:
    instance = _new()
    host.start("secretive", instance, {"word": "a-password-in-transit"})
    host.ended(instance)
    assert "a-password-in-transit" not in host.log()
    assert "INFO sample adding a word" in host.log()


def test_terminate_by_its_link(host: Host) -> None:
    instance = _new()
    links = host.start("parent", instance, {"n": 1})
    address = links["terminatePostUri"].replace("{text}", "not%20wanted")
    assert host.call("POST", address).status == 202
    status = host.ended(instance)
    assert (status["runtimeStatus"], status["output"]) == ("Terminated", "not wanted")
    assert host.call("POST", address).status == 410


def test_suspend_and_resume_by_their_links(host: Host) -> None:
    instance = _new()
    links = host.start("parent", instance, {"n": 1})
    eventually(lambda: host.status(instance), lambda s: s["customStatus"] == {"phase": "decision"})
    assert host.call("POST", links["suspendPostUri"].replace("{text}", "wait")).status == 202
    eventually(lambda: host.status(instance), lambda s: s["runtimeStatus"] == "Suspended")
    host.durable("POST", f"instances/{quote(instance)}/raiseEvent/decision", b'"go"')
    time.sleep(0.3)
    assert host.status(instance)["runtimeStatus"] == "Suspended"
    assert host.call("POST", links["resumePostUri"].replace("{text}", "go")).status == 202
    assert host.ended(instance)["output"]["decision"] == "go"


def test_purge_and_restart_by_their_links(host: Host) -> None:
    instance = _new()
    links = host.start("fan_out", instance, {"n": 2})
    host.ended(instance)
    again = host.call("POST", links["restartPostUri"])
    assert again.status == 202
    assert again.json["id"] != instance
    assert host.ended(again.json["id"])["output"] == {"sum": 3}
    same = host.call("POST", links["restartPostUri"] + "&restartWithNewInstanceId=false")
    assert (same.status, same.json["id"]) == (202, instance)
    assert host.ended(instance)["output"] == {"sum": 3}
    purged = host.call("DELETE", links["purgeHistoryDeleteUri"])
    assert (purged.status, purged.json) == (200, {"instancesDeleted": 1})
    assert host.call("DELETE", links["purgeHistoryDeleteUri"]).status == 404
    assert host.call("GET", links["statusQueryGetUri"]).status == 404


def test_rewind_by_its_link(host: Host) -> None:
    instance = _new()
    links = host.start("fragile", instance, {})
    address = links["rewindPostUri"].replace("{text}", "mended")
    assert host.ended(instance)["runtimeStatus"] == "Failed"
    assert host.call("POST", address).status == 202
    assert host.ended(instance)["runtimeStatus"] == "Failed"
    assert host.call("POST", address).status == 202
    assert host.ended(instance)["output"] == 3
    refused = host.call("POST", address)
    assert refused.status == 412
    assert "status Completed" in refused.json


def test_purge_by_filter(host: Host) -> None:
    since = datetime.now(UTC).isoformat()
    gone, kept = _new(), _new()
    host.start("unlucky", gone, "x")
    host.start("fan_out", kept, {"n": 1})
    host.ended(gone), host.ended(kept)
    assert host.durable("DELETE", "instances").status == 400
    purged = host.durable("DELETE", "instances", createdTimeFrom=since, runtimeStatus="Failed")
    assert purged.json == {"instancesDeleted": 1}
    assert host.durable("DELETE", "instances", createdTimeFrom=since, runtimeStatus="Failed").status == 404
    assert host.durable("GET", f"instances/{quote(gone)}").status == 404
    assert host.status(kept)["runtimeStatus"] == "Completed"


def test_instances_are_listed_page_by_page(host: Host) -> None:
    prefix = _new("page")
    for n in range(5):
        host.start("fan_out", f"{prefix}:{n}", {"n": 1})
        host.ended(f"{prefix}:{n}")
    path = f"/runtime/webhooks/durabletask/instances?instanceIdPrefix={quote(prefix)}&top=2&showInput=false"
    found, token = [], ""
    while True:
        page = host.call(
            "GET", path, key="durabletask_extension", **({"x_ms_continuation_token": token} if token else {})
        )
        found.append([one["instanceId"] for one in page.json])
        assert all(one["input"] is None for one in page.json)
        token = page.headers["x-ms-continuation-token"]
        if not token:
            break
    assert found == [[f"{prefix}:0", f"{prefix}:1"], [f"{prefix}:2", f"{prefix}:3"], [f"{prefix}:4"]]
    both = host.durable("GET", "instances", instanceIdPrefix=prefix, runtimeStatus="Completed,Failed").json
    assert len(both) == 5
    assert host.durable("GET", "instances", instanceIdPrefix=prefix, runtimeStatus="Running").json == []
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    assert host.durable("GET", "instances", instanceIdPrefix=prefix, createdTimeFrom=later).json == []


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"createdTimeFrom": "yesterday"}, "createdTimeFrom is 'yesterday', expected a time such as"),
        ({"top": "0"}, "top is '0', expected a whole number from 1 up"),
        ({"showInput": "maybe"}, "showInput is 'maybe', expected true or false"),
    ],
)
def test_bad_query_is_400_and_says_what_was_expected(host: Host, query: dict[str, str], message: str) -> None:
    answer = host.durable("GET", "instances", **query)
    assert answer.status == 400
    assert answer.json["Message"].startswith(message)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "instances/nobody"),
        ("DELETE", "instances/nobody"),
        ("POST", "instances/nobody/raiseEvent/x"),
        ("POST", "instances/nobody/terminate"),
        ("POST", "instances/nobody/dance"),
        ("PUT", "instances"),
        ("GET", "somewhere"),
    ],
)
def test_unknown_instance_or_operation_is_404(host: Host, method: str, path: str) -> None:
    assert host.durable(method, path, b"{}" if method == "POST" else None).status == 404


def test_management_needs_its_own_key_or_the_master(host: Host) -> None:
    path = "/runtime/webhooks/durabletask/instances"
    statuses = {
        key: host.call("GET", path, key=key).status for key in (None, "default", "_master", "durabletask_extension")
    }
    assert statuses == {None: 401, "default": 403, "_master": 200, "durabletask_extension": 200}


def test_a_report_of_5000_reasons_is_answered_handed_on_and_returned(host: Host) -> None:
    instance = _new()
    host.start("reports", instance, 5_000)
    reasons = host.ended(instance)["output"]
    assert len(json.dumps(reasons)) > 2**20
    assert [reason["message"].split()[2] for reason in reasons] == [f"sales.orders_{n}" for n in range(5_000)]


def test_a_timer_of_ten_days_is_borne(host: Host) -> None:
    """A queue of Azure Storage delays no message for as long: the SDK makes it in pieces."""
    instance = _new()
    host.start("naps", instance, 10 * 24 * 3600)
    events = eventually(
        lambda: host.status(instance, showHistory="true").get("historyEvents", []),
        lambda events: any("Timer" in event["EventType"] for event in events) or len(events) > 1,
        20,
    )
    assert host.status(instance)["runtimeStatus"] == "Running", events
    assert host.durable("POST", f"instances/{instance}/terminate").status == 202


@in_memory
def test_many_orchestrations_at_once(host: Host) -> None:
    prefix, started = _new("many"), time.monotonic()
    for n in range(60):
        host.start("fan_out", f"{prefix}:{n}", {"n": 6})
    ended = eventually(
        lambda: host.durable("GET", "instances", instanceIdPrefix=prefix, top=100).json,
        lambda all_of_them: all(one["runtimeStatus"] == "Completed" for one in all_of_them),
    )
    assert [one["output"] for one in ended] == [{"sum": 21}] * 60
    assert time.monotonic() - started < 10, "360 activities"
