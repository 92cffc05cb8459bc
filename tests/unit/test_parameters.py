"""The plan of server parameters: what it changes, what it leaves alone, what it can't do, and what always holds."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.decisions.parameters import (
    MIRRORED,
    SWITCH,
    ParameterPlan,
    give_back,
    pending_restart,
    plan,
    set_by_somebody,
)
from shared.desired.changes import GiveBackParameter
from shared.source.parameters import Parameter, Used

Parameters = dict[str, Parameter]


def number(name: str, value: int, allowed: str = "0-262143", **more: bool) -> Parameter:
    return Parameter(
        name=name, value=str(value), default=str(value), allowed=allowed, data_type="Integer", dynamic=False, **more
    )  # fmt: skip


def server(**changed: str) -> Parameters:
    """A new flexible server's parameters, in the newest form."""
    found = [
        Parameter(name="wal_level", value="replica", allowed="replica,logical", data_type="Enumeration", dynamic=False),
        Parameter(name="azure.extensions", value="", allowed="azure_cdc,pg_trgm,VECTOR", data_type="Set"),
        Parameter(
            name="shared_preload_libraries", value="pg_cron,PG_STAT_STATEMENTS", data_type="Set", dynamic=False,
            allowed="azure_cdc,pg_cron,pg_stat_statements",
        ),
        number("max_worker_processes", 8),
        number("max_replication_slots", 10),
        number("max_wal_senders", 10),
        number("azure_cdc.max_fabric_mirrors", 3, "1-6"),
        Parameter(name="azure.fabric_mirror_enabled", value="off", allowed="on,off", data_type="Boolean"),
        Parameter(name="azure.mirror_databases", value="", data_type="String"),
        Parameter(name="work_mem", value="4096", data_type="Integer"),
    ]  # fmt: skip
    parameters = {parameter.name: parameter for parameter in found}
    for name, value in changed.items():
        key = name.replace("__", ".")
        parameters[key] = msgspec.structs.replace(parameters[key], value=value)
    return parameters


def applied(parameters: Parameters, planned: ParameterPlan) -> Parameters:
    changed = dict(parameters)
    for change in planned.changes:
        changed[change.name] = msgspec.structs.replace(changed[change.name], value=change.needed)
    return changed


def wanted(planned: ParameterPlan) -> dict[str, str]:
    return {change.name: change.needed for change in planned.changes}


def test_a_new_server_gets_what_mirroring_needs_and_keeps_what_others_put_there() -> None:
    planned = plan(server(), ["shop", "Crm"])
    assert planned.problems == ()
    assert wanted(planned) == {
        "azure.extensions": "azure_cdc",
        "azure.fabric_mirror_enabled": "on",
        "azure.mirror_databases": "Crm,shop",
        "shared_preload_libraries": "pg_cron,PG_STAT_STATEMENTS,azure_cdc",
        "wal_level": "logical",
        "max_worker_processes": "14",
    }
    assert planned.baseline_worker_processes == 8
    assert any(change.restart for change in planned.changes)


def test_what_takes_effect_at_once_comes_first_and_an_extension_is_allowed_before_it_is_loaded() -> None:
    changes = plan(server(), ["shop"]).changes
    assert [change.restart for change in changes] == sorted(change.restart for change in changes)
    names = [change.name for change in changes]
    assert names.index("azure.extensions") < names.index("shared_preload_libraries")


def test_a_database_added_later_raises_what_is_needed_and_one_removed_lowers_nothing() -> None:
    first = plan(server(), ["shop"])
    prepared = applied(server(), first)
    second = plan(prepared, ["shop", "crm"], baseline=first.baseline_worker_processes)
    assert wanted(second) == {"azure.mirror_databases": "shop,crm", "max_worker_processes": "14"}
    assert plan(applied(prepared, second), ["crm"], baseline=first.baseline_worker_processes).changes == ()


def test_a_server_that_was_set_up_by_hand_needs_nothing_and_no_restart() -> None:
    by_hand = applied(server(), plan(server(), ["shop", "crm"]))
    planned = plan(by_hand, ["shop", "crm"])
    assert planned.changes == ()
    assert planned.baseline_worker_processes == 8


def test_what_others_need_of_the_worker_processes_is_never_counted_as_ours() -> None:
    raised = server(max_worker_processes="9", azure__mirror_databases="shop,crm")
    assert plan(raised, ["shop", "crm"]).baseline_worker_processes == 8
    assert plan(server(max_worker_processes="20"), ["shop"]).baseline_worker_processes == 20


def test_counts_the_slots_and_senders_of_others() -> None:
    planned = plan(server(max_wal_senders="4"), ["shop", "crm"], used=Used(slots=9, senders=3))
    assert wanted(planned)["max_replication_slots"] == "11"
    assert wanted(planned)["max_wal_senders"] == "5"


def test_letter_case_of_extensions_is_kept_and_that_of_databases_counts() -> None:
    parameters = server(azure__extensions="PG_TRGM, Azure_CDC", azure__mirror_databases="Shop")
    planned = wanted(plan(parameters, ["shop"]))
    assert "azure.extensions" not in planned
    assert planned["azure.mirror_databases"] == "Shop,shop"


def test_a_server_of_the_preview_has_fewer_parameters() -> None:
    parameters = {name: value for name, value in server().items() if "mirror" not in name}
    planned = plan(parameters, ["shop"])
    assert planned.problems == ()
    assert set(wanted(planned)) == {"azure.extensions", "shared_preload_libraries", "wal_level", "max_worker_processes"}


def test_a_server_that_does_not_offer_mirroring_is_a_problem() -> None:
    parameters = {
        name: msgspec.structs.replace(value, allowed="pg_trgm") if "extensions" in name else value
        for name, value in server().items()
        if name != "azure.fabric_mirror_enabled"
    }
    assert [problem.reason.code for problem in plan(parameters, ["shop"]).problems] == ["MirroringNotOffered"]


@pytest.mark.parametrize(
    ("name", "changes", "code", "told"),
    [
        ("wal_level", {"read_only": True}, "ParameterReadOnly", ["'replica'", "'logical'", "wal_level"]),
        ("wal_level", {"allowed": "replica"}, "ParameterValueNotAllowed", ["'replica'", "'logical'", "wal_level"]),
        ("max_worker_processes", {"allowed": "0-9"}, "ParameterValueNotAllowed", ["'13'", "'0-9'"]),
        ("max_wal_senders", {"value": "many"}, "ParameterNotUnderstood", ["'many'", "whole number"]),
        ("max_worker_processes", {"value": "many"}, "ParameterNotUnderstood", ["'many'", "whole number"]),
        ("max_replication_slots", None, "ParameterMissing", ["max_replication_slots"]),
        ("max_wal_senders", None, "ParameterMissing", ["max_wal_senders"]),
        ("max_worker_processes", None, "ParameterMissing", ["max_worker_processes"]),
        ("wal_level", None, "ParameterMissing", ["wal_level"]),
    ],
)
def test_what_cannot_be_set_is_a_problem_that_names_it(
    name: str, changes: dict[str, object] | None, code: str, told: list[str]
) -> None:
    parameters = server()
    if changes is None:
        del parameters[name]
    else:
        parameters[name] = msgspec.structs.replace(parameters[name], **changes)
    planned = plan(parameters, ["shop"])
    (problem,) = planned.problems
    assert (problem.reason.code, problem.parameter) == (code, name)
    assert all(part in problem.reason.message for part in told)
    assert problem.reason.remedy
    assert name not in wanted(planned)


def test_a_database_that_the_list_cannot_name_is_a_problem() -> None:
    (problem,) = plan(server(), ["a,b"]).problems
    assert (problem.reason.code, problem.parameter) == ("DatabaseNameNotPossible", "azure.mirror_databases")
    assert "'a,b'" in problem.reason.message


def test_a_server_may_offer_mirroring_without_the_extension() -> None:
    parameters = {
        name: msgspec.structs.replace(parameter, allowed="pg_trgm") if parameter.data_type == "Set" else parameter
        for name, parameter in server().items()
    }
    planned = plan(parameters, ["shop"])
    assert planned.problems == ()
    assert not {"azure.extensions", "shared_preload_libraries"} & set(wanted(planned))


def test_as_many_mirrors_are_allowed_as_there_are_databases() -> None:
    assert wanted(plan(server(), ["a", "b", "c", "d"]))["azure_cdc.max_fabric_mirrors"] == "4"
    assert "azure_cdc.max_fabric_mirrors" not in wanted(plan(server(), ["a", "b", "c"]))


def test_the_baseline_of_a_server_that_tells_little_is_nothing() -> None:
    assert plan({}, ["shop"]).baseline_worker_processes == 0
    parameters = server(max_worker_processes="3", azure__mirror_databases="shop")
    parameters["max_worker_processes"] = msgspec.structs.replace(parameters["max_worker_processes"], default="")
    assert plan(parameters, ["shop"]).baseline_worker_processes == 0


def test_databases_are_named_in_order() -> None:
    names = [f"db{number}" for number in range(8)]
    assert wanted(plan(server(), names[::-1]))["azure.mirror_databases"] == ",".join(names)


def test_a_read_only_parameter_that_is_right_already_is_no_problem() -> None:
    parameters = server(wal_level="logical")
    parameters["wal_level"] = msgspec.structs.replace(parameters["wal_level"], read_only=True)
    assert plan(parameters, ["shop"]).problems == ()


def test_names_only_the_parameters_of_mirroring_as_pending() -> None:
    parameters = {
        name: msgspec.structs.replace(value, pending_restart=name in ("wal_level", "work_mem"))
        for name, value in server().items()
    }
    assert pending_restart(parameters) == ("wal_level",)


NUMBERS = st.integers(0, 300).map(str)
LISTS = st.lists(st.sampled_from(["azure_cdc", "AZURE_CDC", "pg_cron", "Vector", ""]), max_size=4).map(",".join)
SERVERS = st.builds(
    server,
    wal_level=st.sampled_from(["replica", "logical"]),
    max_worker_processes=NUMBERS,
    max_replication_slots=NUMBERS,
    max_wal_senders=NUMBERS,
    azure_cdc__max_fabric_mirrors=st.integers(1, 6).map(str),
    azure__extensions=LISTS,
    shared_preload_libraries=LISTS,
    azure__fabric_mirror_enabled=st.sampled_from(["on", "off", "ON", ""]),
    azure__mirror_databases=st.lists(st.text("abAB", min_size=1), max_size=3).map(",".join),
).flatmap(
    lambda found: st.sets(st.sampled_from(sorted(found))).map(
        lambda absent: {name: value for name, value in found.items() if name not in absent}
    )
)
DATABASES = st.lists(st.text("abAB, é", min_size=1, max_size=3), max_size=6)
USED = st.builds(Used, st.integers(0, 20), st.integers(0, 20))
BASELINES = st.none() | st.integers(0, 40)


@given(SERVERS, DATABASES, USED, BASELINES)
def test_planning_again_after_applying_changes_nothing(
    parameters: Parameters, databases: list[str], used: Used, baseline: int | None
) -> None:
    first = plan(parameters, databases, baseline=baseline, used=used)
    second = plan(applied(parameters, first), databases, baseline=first.baseline_worker_processes, used=used)
    assert second.changes == ()
    assert second.baseline_worker_processes == first.baseline_worker_processes


@given(SERVERS, DATABASES, USED, BASELINES)
def test_nothing_is_ever_lowered_or_dropped_from_a_list(
    parameters: Parameters, databases: list[str], used: Used, baseline: int | None
) -> None:
    for change in plan(parameters, databases, baseline=baseline, used=used).changes:
        if change.present.isdecimal():
            assert int(change.needed) > int(change.present)
        elif change.name in ("azure.extensions", "shared_preload_libraries", "azure.mirror_databases"):
            kept = [item for item in change.present.split(",") if item]
            assert change.needed.split(",")[: len(kept)] == kept
        else:
            assert (change.name, change.needed) in {("wal_level", "logical"), ("azure.fabric_mirror_enabled", "on")}


@given(SERVERS, DATABASES, USED, BASELINES, st.randoms())
def test_the_order_of_databases_and_repetitions_do_not_matter(
    parameters: Parameters, databases: list[str], used: Used, baseline: int | None, random: object
) -> None:
    shuffled = databases * 2
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    expected = plan(parameters, databases, baseline=baseline, used=used)
    assert plan(parameters, shuffled, baseline=baseline, used=used) == expected


def test_what_somebody_set_differs_from_the_default_and_is_about_mirroring() -> None:
    parameters = {
        name: Parameter(name=name, value=value, default=default)
        for name, value, default in (
            ("wal_level", "logical", "replica"), ("max_wal_senders", "10", "10"), ("work_mem", "8MB", "4MB"),
        )
    }  # fmt: skip
    assert set_by_somebody(parameters) == ("wal_level",)


SET = {SWITCH, MIRRORED, "wal_level"}


def mirrored(databases: str, **changes: Any) -> dict[str, Parameter]:
    parameters = (
        Parameter(name=SWITCH, value="on", default="off"),
        Parameter(name=MIRRORED, value=databases, default="", **changes),
        Parameter(name="wal_level", value="logical", default="replica", dynamic=False),
    )
    return {parameter.name: parameter for parameter in parameters}


def test_a_release_gives_back_what_needs_no_restart() -> None:
    given_back = give_back(mirrored("crm, shop"), SET, ["shop", "crm"])
    assert given_back == (GiveBackParameter(SWITCH, "off"), GiveBackParameter(MIRRORED, ""))


def test_what_others_mirror_stays() -> None:
    assert give_back(mirrored("hr,shop,Shop"), SET, ["shop"]) == (GiveBackParameter(MIRRORED, "hr,Shop"),)


def test_a_release_leaves_what_the_app_did_not_set_or_nobody_can() -> None:
    assert give_back(mirrored("shop"), {"wal_level"}, ["shop"]) == ()
    assert give_back(mirrored("shop"), {MIRRORED}, ["shop"]) == (GiveBackParameter(MIRRORED, ""),)
    assert give_back(mirrored("shop", read_only=True), {MIRRORED}, ["shop"]) == ()
    assert give_back(mirrored("shop", dynamic=False), {MIRRORED}, ["shop"]) == ()
    assert give_back(mirrored(""), {MIRRORED}, ["shop"]) == ()
    assert give_back({}, SET, ["shop"]) == ()
