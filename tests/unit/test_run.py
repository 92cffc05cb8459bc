"""What a run does for its server."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from shared.decisions import run
from shared.decisions.answers import Asked, Nothing, Prepare, Refuse, Release
from shared.decisions.readiness import Plan, Report
from shared.decisions.readiness.report import Check
from shared.decisions.run import Examine, Wait
from shared.desired.changes import EnableSystemIdentity, SetParameter
from shared.desired.intent import MirrorIntent, TableName, Wish
from shared.desired.server_id import ServerId
from shared.desired.takeover import TableName as Table
from shared.records.rows import MirrorRow, ServerRow
from shared.source.facts import ServerFacts
from tests.unit.facts import SERVER, WORKSPACE, server, settings

ENABLED = {"fabric-mirror": "enabled"}
SETTINGS = settings()
WAL = SetParameter("wal_level", "logical")


def row(phase: Any = "Mirrored", **columns: Any) -> ServerRow:
    return ServerRow(id=SERVER, phase=phase, **columns)


def mirror(database: str = "shop", **columns: Any) -> MirrorRow:
    return MirrorRow(
        server=SERVER, database=database, **{"phase": "Running", "item": "i-1", "workspace": WORKSPACE, **columns}
    )


def look(
    facts: ServerFacts, row: ServerRow | None = None, *mirrors: MirrorRow, rotate: bool = False
) -> Release | Refuse | Nothing | Wait | Examine:
    return run.look(facts, row, mirrors, rotate, SETTINGS)


def test_tags_that_can_not_be_understood_stand_in_the_way_and_say_so() -> None:
    decision = look(server(tags={"fabric-mirror": "perhaps"}), row(rotation=7), mirror(reseed=True), rotate=True)
    assert isinstance(decision, Refuse)
    assert [reason.code for reason in decision.reasons] == ["InvalidTag"]
    assert decision.asked == Asked(host=server().host, databases=("shop",), rotation=7, rotate=True, restarts=("shop",))


@pytest.mark.parametrize("known", [None, row("New"), row("Released"), row("Deleted")])
def test_a_server_that_nobody_wants_and_that_is_untouched_needs_nothing(known: ServerRow | None) -> None:
    decision = look(server(), known)
    assert isinstance(decision, Nothing)
    assert "Nobody wants" in decision.why


@pytest.mark.parametrize("phase", ["Mirrored", "Blocked", "Missing", "Preparing", "Waiting", "Releasing"])
def test_a_server_that_nobody_wants_any_more_is_released(phase: str) -> None:
    decision = look(server(), row(phase), mirror("crm"), mirror("shop"))
    assert isinstance(decision, Release)
    assert decision.leaving == ("crm", "shop")
    assert decision.fingerprint == run.intent_of(server(), None, SETTINGS).fingerprint


@pytest.mark.parametrize("phase", ["New", "Released", "Deleted"])
def test_a_mirror_that_is_left_is_released_whatever_the_server_says(phase: str) -> None:
    assert isinstance(look(server(), row(phase), mirror()), Release)


@pytest.mark.parametrize("tags", [ENABLED, {}])
@pytest.mark.parametrize("state", ["Starting", "Stopped", "Updating", "Dropping"])
def test_a_server_whose_state_has_to_change_first_is_waited_for(state: str, tags: dict[str, str]) -> None:
    decision = look(server(state=state, tags=tags), row())
    assert isinstance(decision, Wait)
    assert decision.reason.code == "ServerNotReady"
    assert f"'pg-shop' is {state}, not Ready" in decision.reason.message
    assert "Start it" in decision.reason.remedy


@pytest.mark.parametrize("state", ["Ready", "Disabled", "Inaccessible"])
def test_a_server_that_is_wanted_is_examined_in_states_that_last(state: str) -> None:
    decision = look(server(state=state, tags=ENABLED))
    assert isinstance(decision, Examine)
    assert decision.intent.workspace == WORKSPACE


def test_a_request_counts_as_a_tag_does_and_a_tag_forbids_it() -> None:
    assert isinstance(look(server(), row("New", request=Wish())), Examine)
    forbidden = server(tags={"fabric-mirror": "disabled"})
    assert isinstance(look(forbidden, row("New", request=Wish())), Nothing)
    assert isinstance(look(forbidden, row("Mirrored", request=Wish())), Release)


def forgotten(known: ServerRow | None, *mirrors: MirrorRow, **tags: str) -> bool:
    return run.may_be_forgotten(server(tags={name.replace("_", "-"): value for name, value in tags.items()}), known,
                                mirrors, SETTINGS)  # fmt: skip


def test_without_any_record_a_missing_tag_releases_nothing_as_somebody_may_have_asked_over_http() -> None:
    assert not forgotten(None)
    assert not forgotten(None, team="sales")


@pytest.mark.parametrize("known", [row("Releasing"), row("Blocked", role="fabric_user"), row("Mirrored")])
def test_a_server_that_nobody_wants_any_more_may_be_forgotten_in_part(known: ServerRow) -> None:
    assert forgotten(known)


@pytest.mark.parametrize("known", [None, row("Releasing"), row("Blocked", role="fabric_user"), row("Mirrored")])
def test_a_server_that_a_tag_forbids_and_of_which_no_mirror_is_recorded_may_be_forgotten(
    known: ServerRow | None,
) -> None:
    assert forgotten(known, fabric_mirror="disabled")
    assert not forgotten(known, fabric_mirror="enabled")
    assert not forgotten(known, fabric_mirror="perhaps")
    assert not forgotten(known, mirror())


@pytest.mark.parametrize("phase", ["New", "Released", "Deleted"])
def test_a_server_on_which_nothing_is_left_is_not_forgotten(phase: str) -> None:
    assert not forgotten(row(phase))


@pytest.mark.parametrize(
    ("changes", "asked"),
    [
        ({}, True),
        ({"replication_role": "None"}, True),
        ({"administrators": ()}, False),
        ({"entra_auth": False}, False),
        ({"state": "Stopped"}, False),
        ({"replication_role": "AsyncReplica"}, False),
    ],
)
def test_the_app_looks_into_servers_alone_that_it_administrates(changes: dict[str, Any], asked: bool) -> None:
    assert run.can_be_asked(server(**changes), SETTINGS) is asked


def report(*changes: Any, checks: tuple[Check, ...] = (), databases: tuple[str, ...] = ("crm", "shop")) -> Report:
    plan = Plan(changes=changes, restart=False, restart_because=(), databases=databases, baseline_worker_processes=8)
    return Report(checks=checks, plan=plan, workspace_name="Mirrors")


def intent(**changes: Any) -> MirrorIntent:
    fields: dict[str, Any] = {
        "wanted": True, "source": "tag", "databases": (), "tables": (), "workspace": WORKSPACE, "gateway": "",
        "restart": "window", "rights": "auto",
    }  # fmt: skip
    return MirrorIntent(**fields | changes)


def after(
    seen: Report, *mirrors: MirrorRow, known: ServerRow | None = None, facts: ServerFacts | None = None,
    wanted: MirrorIntent | None = None, rotate: bool = False,
) -> Prepare | Refuse:  # fmt: skip
    return run.after_report(facts or server(), wanted or intent(), known, mirrors, seen, rotate, SETTINGS)


FAILED = Check(id="ServerTier", subject="pg-shop", status="fail", message="Burstable.", remedy="Scale it.")
WARNED = Check(id="CapacityActive", subject="w", status="warn", message="Nobody can see it.")


def test_a_check_that_fails_stands_in_the_way_and_what_was_asked_for_is_done_all_the_same() -> None:
    decision = after(report(WAL, checks=(WARNED, FAILED)), mirror(reseed=True), known=row(rotation=3), rotate=True)
    assert isinstance(decision, Refuse)
    assert [reason.code for reason in decision.reasons] == ["ServerTier"]
    assert (decision.asked.rotate, decision.asked.rotation, decision.asked.restarts) == (True, 3, ("shop",))


def test_the_role_leaves_strong_owners_although_something_stands_in_the_way() -> None:
    refused = report(checks=(FAILED,))
    plan = msgspec.structs.replace(refused.plan, leave=("crm",))
    decision = after(msgspec.structs.replace(refused, plan=plan))
    assert isinstance(decision, Refuse)
    assert decision.leave == ("crm",)


def test_a_preparation_makes_what_lets_the_app_in_first_and_then_the_parameters() -> None:
    decision = after(report(EnableSystemIdentity(), WAL, checks=(WARNED,)))
    assert isinstance(decision, Prepare)
    assert decision.access == (EnableSystemIdentity(),)
    assert decision.parameters == (WAL,)
    assert "tag wants crm, shop mirrored" in decision.why


def test_a_preparation_says_where_to_mirror_what_and_how() -> None:
    wanted = intent(tables=(TableName("shop", "sales", "orders"), TableName("shop", "sales", "lines")))
    decision = after(report(), wanted=wanted)
    assert isinstance(decision, Prepare)
    assert decision.asked.databases == ("crm", "shop")
    assert decision.tables == {"crm": (), "shop": (Table("sales", "orders"), Table("sales", "lines"))}
    assert (decision.workspace, decision.workspace_name, decision.gateway) == (WORKSPACE, "Mirrors", "")
    assert (decision.restart, decision.fingerprint) == ("window", wanted.fingerprint)
    assert decision.limits == SETTINGS.limits


def test_a_gateway_is_used_only_where_fabric_does_not_reach_the_server_itself() -> None:
    private = after(report(), facts=server(public_access=False), wanted=intent(gateway="g-1"))
    public = after(report(), wanted=intent(gateway="g-1"))
    assert isinstance(private, Prepare)
    assert isinstance(public, Prepare)
    assert (private.gateway, public.gateway) == ("g-1", "")


def test_databases_that_are_not_wanted_any_more_leave() -> None:
    leaving = ("a", "b", "crm", "hr", "z")
    decision = after(report(databases=("shop",)), mirror("shop"), *map(mirror, reversed(leaving)))
    assert isinstance(decision, Prepare)
    assert decision.leaving == leaving


def test_what_was_asked_for_concerns_the_databases_that_stay() -> None:
    decision = after(report(databases=("shop",)), mirror("shop", reseed=True), mirror("hr", reseed=True))
    assert decision.asked.restarts == ("shop",)


@pytest.mark.parametrize("state", ["Disabled", "Inaccessible", "Stopped"])
def test_a_server_that_is_not_ready_can_do_nothing_that_was_asked_for(state: str) -> None:
    decision = after(report(), mirror(reseed=True), facts=server(state=state), known=row(rotation=3), rotate=True)
    assert (decision.asked.rotate, decision.asked.restarts, decision.asked.rotation) == (False, (), 3)


def test_the_phase_stays_mirrored_only_where_nothing_is_left_to_do() -> None:
    wanted = intent()
    done = row("Mirrored", fingerprint=wanted.fingerprint)
    assert run.phase_of_preparation(done, wanted, report()) == "Mirrored"
    assert run.phase_of_preparation(done, wanted, report(WAL)) == "Preparing"
    assert run.phase_of_preparation(done, intent(restart="now"), report()) == "Preparing"
    assert run.phase_of_preparation(row("Blocked", fingerprint=wanted.fingerprint), wanted, report()) == "Preparing"
    assert run.phase_of_preparation(None, wanted, report()) == "Preparing"


FOREIGN = ServerId("00000000-0000-0000-0000-0000000000ff", "rg-shop", "pg-shop")


@pytest.mark.parametrize("phase", ["Mirrored", "Blocked", "Preparing", "Waiting", "Releasing"])
def test_a_server_whose_subscription_is_not_allowed_any_more_is_blocked_and_nothing_is_done_there(phase: str) -> None:
    decision = run.if_not_allowed(FOREIGN, row(phase, rotation=3), SETTINGS)
    assert isinstance(decision, Refuse)
    assert [reason.code for reason in decision.reasons] == ["SubscriptionNotAllowed"]
    asked = decision.asked
    assert (asked.databases, asked.rotation, asked.rotate, asked.restarts) == ((), 0, False, ())


@pytest.mark.parametrize("known", [None, row("New"), row("Released"), row("Deleted")])
def test_a_foreign_server_on_which_nothing_is_left_needs_nothing(known: ServerRow | None) -> None:
    assert isinstance(run.if_not_allowed(FOREIGN, known, SETTINGS), Nothing)


def test_of_what_nobody_asked_for_nothing_is_done() -> None:
    assert after(report(), mirror()).asked == Asked(
        host=server().host, databases=("crm", "shop"), rotation=0, rotate=False, restarts=()
    )


def test_a_server_of_an_allowed_subscription_may_be_touched() -> None:
    assert run.if_not_allowed(SERVER, row(), SETTINGS) is None


def test_a_mirror_is_not_restarted_into_a_workspace_that_is_not_allowed_any_more() -> None:
    elsewhere = "00000000-0000-0000-0000-0000000000fe"
    mirrors = mirror("crm", reseed=True), mirror("shop", reseed=True, workspace=elsewhere)
    assert after(report(), *mirrors).asked.restarts == ("crm",)
