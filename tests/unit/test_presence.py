"""When a server counts as deleted: every way in which one answer may lie, and what proves the deletion."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.decisions.presence import APART, MISSING, Another, Gone, Missing, Present, of_absent, of_present
from shared.desired.server_id import ServerId
from shared.platform.reasons import Reason
from shared.records.rows import ServerRow
from shared.source.facts import Absence, Listed
from tests.unit.facts import SERVER, server

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
EARLIER = NOW - APART
SERVER_404 = Absence("ResourceNotFound")
GROUP_404 = Absence("ResourceGroupNotFound")
NO_LIST = Reason("Unavailable", "Azure Resource Manager did not answer.")
BORN = datetime(2026, 1, 1, tzinfo=UTC)
HOSTS = {server().host}
LISTED = Listed(host=server().host, created_at=BORN)
ELSEWHERE = ServerId(SERVER.subscription, "rg-other", SERVER.name)


def row(phase: Any = "Mirrored", **columns: Any) -> ServerRow:
    return ServerRow(id=SERVER, phase=phase, **columns)


def missed(since: datetime, code: str = "ResourceNotFound", **columns: Any) -> ServerRow:
    return row("Missing", missing_since=since, missing_code=code, **columns)


@pytest.mark.parametrize("absence", [SERVER_404, GROUP_404, Absence("SubscriptionNotFound"), Absence("")])
@pytest.mark.parametrize("phase", ["New", "Preparing", "Waiting", "Mirrored", "Blocked", "Releasing", "Released"])
def test_one_404_never_says_that_a_server_is_gone(phase: str, absence: Absence) -> None:
    verdict = of_absent(absence, row(phase), HOSTS, {}, NOW)
    assert isinstance(verdict, Missing)
    assert (verdict.since, verdict.code, verdict.look_again) == (NOW, absence.code, timedelta(seconds=15))
    assert verdict.reason.code == MISSING
    assert "Nothing of it was given up." in verdict.reason.message
    assert "DELETE its mirroring" in verdict.reason.remedy


def test_two_looks_some_minutes_apart_and_the_list_say_that_a_server_is_gone() -> None:
    verdict = of_absent(SERVER_404, missed(EARLIER), HOSTS, {}, NOW)
    assert isinstance(verdict, Gone)
    assert "no such server since" in verdict.why


def test_two_looks_too_close_to_each_other_are_one_look() -> None:
    verdict = of_absent(SERVER_404, missed(EARLIER + timedelta(seconds=5)), HOSTS, {}, NOW)
    assert isinstance(verdict, Missing)
    assert (verdict.since, verdict.look_again) == (EARLIER + timedelta(seconds=5), timedelta(seconds=5))
    assert "5 minutes have to pass" in verdict.reason.message


@pytest.mark.parametrize("absence", [SERVER_404, GROUP_404])
def test_a_deletion_that_was_told_needs_one_look_and_the_list(absence: Absence) -> None:
    verdict = of_absent(absence, row(deletion_told=True), HOSTS, {}, NOW)
    assert isinstance(verdict, Gone)
    assert "its deletion was told" in verdict.why


@pytest.mark.parametrize("known", [missed(EARLIER), row(deletion_told=True)])
def test_a_server_that_is_listed_is_not_gone(known: ServerRow) -> None:
    verdict = of_absent(SERVER_404, known, HOSTS, {SERVER: LISTED}, NOW)
    assert isinstance(verdict, Missing)
    assert "the list of its subscription has it" in verdict.reason.message


@pytest.mark.parametrize("known", [missed(EARLIER), row(deletion_told=True)])
def test_a_list_that_does_not_answer_proves_nothing(known: ServerRow) -> None:
    verdict = of_absent(SERVER_404, known, HOSTS, NO_LIST, NOW)
    assert isinstance(verdict, Missing)
    assert NO_LIST.message in verdict.reason.message


@pytest.mark.parametrize("code", ["ResourceGroupNotFound", "SubscriptionNotFound", "InvalidResourceType", ""])
def test_a_404_of_something_else_proves_nothing_however_long_it_lasts(code: str) -> None:
    verdict = of_absent(Absence(code), missed(NOW - timedelta(days=9), code), HOSTS, {}, NOW)
    assert isinstance(verdict, Missing)
    assert verdict.look_again is None
    assert "which is not about the server" in verdict.reason.message


def test_answers_that_change_begin_the_time_again() -> None:
    verdict = of_absent(SERVER_404, missed(EARLIER, "ResourceGroupNotFound"), HOSTS, {}, NOW)
    assert isinstance(verdict, Missing)
    assert verdict.since == NOW


@pytest.mark.parametrize("known", [None, row(), missed(EARLIER), row("Deleted"), row("Deleted", created_at=BORN)])
def test_a_server_that_is_there_again_goes_on_with_its_record(known: ServerRow | None) -> None:
    assert isinstance(of_present(server(created_at=BORN), known), Present)


def test_a_later_server_of_the_same_name_has_no_part_in_the_record() -> None:
    born = BORN + timedelta(days=9)
    verdict = of_present(server(created_at=born), row("Deleted", created_at=BORN))
    assert isinstance(verdict, Another)
    assert born.isoformat() in verdict.why
    assert isinstance(of_present(server(created_at=None), row("Deleted", created_at=BORN)), Present)


@pytest.mark.parametrize("created_at", [None, BORN])
def test_a_server_that_was_moved_is_not_gone_whatever_was_told(created_at: datetime | None) -> None:
    known = row(deletion_told=True, created_at=created_at)
    verdict = of_absent(SERVER_404, known, HOSTS, {ELSEWHERE: LISTED}, NOW)
    assert isinstance(verdict, Missing)
    assert f"{ELSEWHERE} has its domain name" in verdict.reason.message


def test_a_later_server_that_has_the_domain_name_by_now_keeps_nothing_missing() -> None:
    known = row(deletion_told=True, created_at=BORN - timedelta(days=1))
    assert isinstance(of_absent(SERVER_404, known, HOSTS, {ELSEWHERE: LISTED}, NOW), Gone)
    other = Listed(host="pg-other.postgres.database.azure.com", created_at=BORN)
    assert isinstance(of_absent(SERVER_404, known, HOSTS, {ELSEWHERE: other}, NOW), Gone)


@pytest.mark.parametrize("phase", ["Mirrored", "Missing", "Blocked"])
def test_a_server_that_was_not_taken_for_deleted_is_not_asked_when_it_was_created(phase: str) -> None:
    assert isinstance(of_present(server(created_at=NOW), row(phase, created_at=BORN)), Present)


def test_the_reason_has_the_code_that_the_documents_have() -> None:
    verdict = of_absent(SERVER_404, row(), HOSTS, {}, NOW)
    assert isinstance(verdict, Missing)
    assert verdict.reason.code == "ServerMissing"


@pytest.mark.parametrize(
    ("listed", "hosts", "is_moved"),
    [
        (LISTED, HOSTS, True),
        (Listed(host=LISTED.host, created_at=None), HOSTS, True),
        (Listed(host=LISTED.host, created_at=NOW), HOSTS, False),
        (Listed(host="pg-other.postgres.database.azure.com", created_at=BORN), HOSTS, False),
        (Listed(host="", created_at=BORN), {""}, False),
    ],
    ids=["the same", "of unknown age", "a later one", "another name", "without a name"],
)
def test_another_server_is_the_one_that_was_moved_by_its_domain_name(
    listed: Listed, hosts: set[str], is_moved: bool
) -> None:
    verdict = of_absent(SERVER_404, missed(EARLIER, created_at=BORN), hosts, {ELSEWHERE: listed}, NOW)
    assert isinstance(verdict, Missing if is_moved else Gone)


@pytest.mark.parametrize(("code", "words"), [("ResourceGroupNotFound", "ResourceGroupNotFound"), ("", "no code")])
def test_what_azure_answered_is_said(code: str, words: str) -> None:
    verdict = of_absent(Absence(code), row(), HOSTS, {}, NOW)
    assert isinstance(verdict, Missing)
    assert f"it answered {words}, which is not about the server" in verdict.reason.message


def test_a_run_does_not_look_again_once_the_minutes_have_passed() -> None:
    verdict = of_absent(GROUP_404, missed(EARLIER, GROUP_404.code), HOSTS, {}, NOW)
    assert isinstance(verdict, Missing)
    assert verdict.look_again is None
