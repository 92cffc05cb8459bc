"""What readiness says of a database's tables before anything is changed."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import pytest

from shared.decisions.readiness import Check, DatabaseFacts
from shared.decisions.readiness.database import database_checks
from shared.decisions.readiness.facts import to_mirror
from shared.decisions.readiness.publishing import publishing_checks
from shared.desired.intent import MirrorIntent, TableName
from shared.desired.takeover import Identity
from shared.platform.reasons import Reason
from shared.source.facts import EventTrigger, IdentityChange, TableStatus
from shared.source.tables import limited
from tests.unit import facts

LIMIT = 1000
CHOSEN = (TableName("shop", "public", "t"),)


def table(name: str, schema: str = "public", status: str = "OK", code: str = "HAS_PRIMARY_KEY") -> TableStatus:
    return TableStatus(schema=schema, name=name, status=status, codes=(code,), message=f"Says {code}.", owner="app")


def checks(tables: Iterable[TableStatus], chosen: tuple[TableName, ...] = (), mirrored: bool = False) -> list[Check]:
    """The checks of the database `shop` with these tables, without those that pass."""
    intent = MirrorIntent(True, "tag", ("shop",), chosen, facts.WORKSPACE, "", "auto", "auto")
    report = limited(sorted(tables, key=lambda t: (t.schema, t.name)), LIMIT)
    database = DatabaseFacts(name="shop", tables=report, mirrored=mirrored)
    return [c for c in database_checks(facts.server(), ("shop",), intent, (database,)) if c.status != "pass"]


def test_tables_that_are_fine_are_not_mentioned() -> None:
    assert checks([table("a"), table("b")]) == []


@pytest.mark.parametrize("chosen", [(), CHOSEN])
def test_too_many_tables(chosen: tuple[TableName, ...]) -> None:
    tables = [table(f"t{number:04}") for number in range(LIMIT + 120)]
    [check] = checks(tables, chosen)
    assert (check.id, check.subject, check.found, check.wanted) == ("TooManyTables", "shop", "1120", "at most 1000")
    assert check.status == ("fail" if chosen else "warn")
    assert "120 of database 'shop' are left out, from public.t1000 on" in check.message
    assert check.remedy
    assert checks(tables[:LIMIT], chosen) == []


@pytest.mark.parametrize("tables", [[], [table("a b", status="ERROR", code="FORBIDDEN_CHARS_IN_TABLE_NAME")]])
def test_a_named_database_without_a_table_stops_its_server_before_the_restart(tables: list[TableStatus]) -> None:
    found = {check.id: check for check in checks(tables)}
    assert found["NoTables"].status == "fail"
    assert "'shop' has no table that can be mirrored" in found["NoTables"].message
    assert "primary key" in found["NoTables"].remedy


def test_a_database_that_is_mirrored_may_lose_its_tables_for_a_while() -> None:
    assert [check.status for check in checks([], mirrored=True)] == ["warn"]


def database(name: str, *names: str, mirrored: bool = False, closed: bool = False) -> DatabaseFacts:
    if closed:
        return DatabaseFacts(name=name, problem=Reason("DatabaseClosed", "Closed.", "Open it."), mirrored=mirrored)
    return DatabaseFacts(name=name, tables=limited([table(it) for it in names], LIMIT), mirrored=mirrored)


def of_all(
    *databases: DatabaseFacts, named: tuple[str, ...] = ()
) -> tuple[tuple[str, ...], list[tuple[str, str, str]]]:
    """The databases to mirror, and the checks that don't pass: id, subject, status."""
    intent = MirrorIntent(True, "tag", named, (), facts.WORKSPACE, "", "auto", "auto")
    server = facts.server(databases=tuple(it.name for it in databases if it.name != "postgres"))
    chosen = to_mirror(intent, server, databases)
    listed = database_checks(server, chosen, intent, databases)
    return chosen, [(check.id, check.subject, check.status) for check in listed if check.status != "pass"]


def test_where_nobody_named_databases_empty_and_closed_ones_are_left_out() -> None:
    shop, empty, closed = database("shop", "t"), database("empty"), database("noconn", closed=True)
    left_out = [("NoTables", "empty", "warn"), ("DatabaseClosed", "noconn", "warn")]
    assert of_all(shop, empty, closed) == (("shop",), left_out)
    assert of_all(empty) == ((), [("NoTables", "empty", "fail")])
    assert of_all(closed) == ((), [("Databases", "pg-shop", "fail"), ("DatabaseClosed", "noconn", "warn")])
    assert of_all(empty, closed)[1] == [("NoTables", "empty", "fail"), ("DatabaseClosed", "noconn", "warn")]


def test_a_closed_database_that_somebody_named_stops_its_server_with_the_true_reason() -> None:
    shop, closed = database("shop", "t"), database("noconn", closed=True)
    assert of_all(shop, closed, named=("noconn", "shop")) == (
        ("noconn", "shop"), [("DatabaseClosed", "noconn", "fail")]
    )  # fmt: skip


def test_what_is_mirrored_already_is_not_left_out() -> None:
    shop, empty = database("shop", "t"), database("empty", mirrored=True)
    closed = database("noconn", mirrored=True, closed=True)
    assert of_all(shop, empty, closed) == (
        ("shop", "empty", "noconn"), [("NoTables", "empty", "warn"), ("DatabaseClosed", "noconn", "fail")]
    )  # fmt: skip


def test_postgres_is_mirrored_where_somebody_names_it() -> None:
    assert of_all(database("postgres", "t"), named=("postgres",)) == (("postgres",), [])
    assert of_all(database("postgres", "t"), database("shop", "t"))[0] == ("shop",)


@pytest.mark.parametrize(("chosen", "status"), [((), "warn"), (CHOSEN, "fail")])
def test_forced_row_level_security_is_a_loud_warning_and_fails_for_a_chosen_table(
    chosen: tuple[TableName, ...], status: str
) -> None:
    forced = msgspec.structs.replace(
        table("t", status="WARNING"), codes=("HAS_PRIMARY_KEY", "ROW_SECURITY_FORCED"), remedy="ALTER TABLE …"
    )
    [check] = checks([forced, table("u")], chosen)
    assert (check.id, check.subject, check.status) == ("RowSecurityForced", "shop: public.t", status)
    assert check.remedy == "ALTER TABLE …"


@pytest.mark.parametrize(("number", "end"), [(4, ".t3"), (5, ".t4"), (6, ".t4 and 1 more"), (7, ".t4 and 2 more")])
def test_row_level_security_is_one_warning_a_database(number: int, end: str) -> None:
    secured = [table(f"t{n}", code="ROW_SECURITY") for n in range(number)]
    [check] = checks(secured)
    assert (check.id, check.subject, check.status) == ("RowSecurity", "shop", "warn")
    assert check.found.endswith(f"public{end}")
    assert "may read every row" in check.message


@pytest.mark.parametrize("chosen", [(), CHOSEN])
def test_a_table_whose_updates_would_fail_once_it_is_published_fails_even_where_nobody_chose_it(
    chosen: tuple[TableName, ...],
) -> None:
    [check] = checks([table("t", status="ERROR", code="GENERATED_REPLICA_IDENTITY"), table("u")], chosen)
    assert (check.id, check.status) == ("Table", "fail")
    [check] = checks([table("t", status="WARNING", code="GENERATED_REPLICA_IDENTITY")], chosen)
    assert check.status == "warn"


def test_replica_identities_are_announced_once_a_database() -> None:
    identities = tuple(IdentityChange(Identity(n, "s", f"t{n}", "NOTHING"), "DEFAULT") for n in range(7))
    facts_ = DatabaseFacts(name="shop", identities=identities)
    [check] = list(publishing_checks(facts_))
    assert (check.id, check.subject, check.status, check.wanted) == ("ReplicaIdentity", "shop", "will_fix", "DEFAULT")
    assert check.found.startswith("s.t0 (NOTHING), ")
    assert check.found.endswith(" and 2 more")


@pytest.mark.parametrize(("trusted", "id", "status"), [
    (True, "EventTrigger", "warn"), (False, "EventTriggerNotTrusted", "fail"),
])  # fmt: skip
def test_an_event_trigger_is_a_warning_and_fails_in_foreign_hands(trusted: bool, id: str, status: str) -> None:
    trigger = EventTrigger(
        name="forbid", event="ddl_command_start", tags=(), function="public.forbid()", owner="eve", trusted=trusted
    )
    [check] = list(publishing_checks(DatabaseFacts(name="shop", event_triggers=(trigger,))))
    assert (check.id, check.subject, check.status) == (id, "shop: forbid", status)
    assert "public.forbid()" in check.message
    assert "'eve'" in check.message or trusted


def test_names_that_differ_only_in_case() -> None:
    tables = [table("Orders"), table("orders"), table("ORDERS"), table("orders", schema="Sales"), table("lines")]
    [check] = checks(tables)
    assert (check.id, check.status) == ("NamesDifferInCase", "warn")
    assert check.found == "public.ORDERS, public.Orders, public.orders"
    assert "differ only in letter case" in check.message
    assert "Rename" in check.remedy
    [check] = checks([table("Orders"), table("orders"), table("lines")])
    assert check.message.startswith("Tables public.Orders and public.orders of database 'shop' differ only in letter")
    lost = table("Orders", status="ERROR", code="NOT_REGULAR_TABLE")
    assert [check.id for check in checks([lost, table("orders")])] == ["Table"]


@pytest.mark.parametrize(("chosen", "status"), [((), "warn"), (CHOSEN, "fail")])
def test_a_table_that_cannot_be_mirrored_fails_only_where_it_was_chosen(
    chosen: tuple[TableName, ...], status: str
) -> None:
    [check] = checks([table("t", status="ERROR", code="NOT_REGULAR_TABLE"), table("u")], chosen)
    assert (check.id, check.subject, check.status) == ("Table", "shop: public.t", status)
    assert check.message == "Says NOT_REGULAR_TABLE."
    assert check.found == "NOT_REGULAR_TABLE"


def test_every_code_of_a_table_is_told() -> None:
    both = msgspec.structs.replace(table("t", status="ERROR"), codes=("NOT_REGULAR_TABLE", "UNSUPPORTED_DATA_TYPE"))
    [check] = checks([both, table("u")])
    assert check.found == "NOT_REGULAR_TABLE, UNSUPPORTED_DATA_TYPE"


@pytest.mark.parametrize("chosen", [(), CHOSEN])
def test_a_table_that_is_mirrored_with_a_loss_is_a_warning(chosen: tuple[TableName, ...]) -> None:
    [check] = checks([table("t", status="WARNING", code="UNSUPPORTED_DATA_TYPE")], chosen)
    assert (check.id, check.status) == ("Table", "warn")


def test_row_level_security_of_a_table_that_is_not_mirrored_is_no_warning() -> None:
    listed = checks([table("t", status="ERROR", code="ROW_SECURITY"), table("u")])
    assert "RowSecurity" not in [check.id for check in listed]


def test_a_database_that_is_left_out_is_told_so_and_another_one_is_not() -> None:
    def message(*databases: DatabaseFacts, named: tuple[str, ...] = ()) -> str:
        intent = MirrorIntent(True, "tag", named, (), facts.WORKSPACE, "", "auto", "auto")
        server = facts.server(databases=tuple(it.name for it in databases))
        listed = database_checks(server, to_mirror(intent, server, databases), intent, databases)
        return next(check.message for check in listed if check.status != "pass")

    shop, empty, closed = database("shop", "t"), database("empty"), database("noconn", closed=True)
    assert message(shop, empty).endswith("It is left out until then.")
    assert "left out" not in message(shop, empty, named=("empty", "shop"))
    assert message(shop, closed).endswith("It is left out.")
    assert "left out" not in message(shop, closed, named=("noconn", "shop"))


@pytest.mark.parametrize(("databases", "words"), [(("crm", "hr"), "it has crm, hr."), ((), "it has none.")])
def test_a_database_that_is_not_there_is_told_with_those_that_are(databases: tuple[str, ...], words: str) -> None:
    intent = MirrorIntent(True, "tag", ("shop",), (), facts.WORKSPACE, "", "auto", "auto")
    [check] = list(database_checks(facts.server(databases=databases), ("shop",), intent, ()))
    assert (check.id, check.status, check.message.endswith(words)) == ("DatabaseExists", "fail", True)
