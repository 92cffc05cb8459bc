"""What readiness says of a database's tables before anything is changed."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import pytest

from shared.decisions.readiness import Check, DatabaseFacts
from shared.decisions.readiness.database import database_checks
from shared.desired.intent import MirrorIntent, TableName
from shared.source.facts import TABLE_LIMIT, TableReport, TableStatus
from shared.source.tables import _limited
from tests.unit import facts

CHOSEN = (TableName("shop", "public", "t"),)


def table(name: str, schema: str = "public", status: str = "OK", code: str = "HAS_PRIMARY_KEY") -> TableStatus:
    return TableStatus(schema=schema, name=name, status=status, codes=(code,), message=f"Says {code}.", owner="app")


def checks(tables: Iterable[TableStatus], chosen: tuple[TableName, ...] = ()) -> list[Check]:
    """The checks of the database `shop` with these tables, without those that pass."""
    intent = MirrorIntent(True, "tag", ("shop",), chosen, facts.WORKSPACE, "", "auto", "auto")
    database = DatabaseFacts(
        name="shop", tables=TableReport(_limited(sorted(tables, key=lambda t: (t.schema, t.name))))
    )
    return [c for c in database_checks(facts.server(), ("shop",), intent, (database,)) if c.status != "pass"]


def test_tables_that_are_fine_are_not_mentioned() -> None:
    assert checks([table("a"), table("b")]) == []


@pytest.mark.parametrize("chosen", [(), CHOSEN])
def test_too_many_tables(chosen: tuple[TableName, ...]) -> None:
    tables = [table(f"t{number:04}") for number in range(TABLE_LIMIT + 120)]
    [check] = checks(tables, chosen)
    assert (check.id, check.subject, check.found, check.wanted) == ("TooManyTables", "shop", "620", "at most 500")
    assert check.status == ("fail" if chosen else "warn")
    assert "120 of database 'shop' are left out, from public.t0500 on" in check.message
    assert check.remedy
    assert checks(tables[:TABLE_LIMIT], chosen) == []


def test_no_table_at_all() -> None:
    for tables in ([], [table("a b", status="ERROR", code="FORBIDDEN_CHARS_IN_TABLE_NAME")]):
        found = {check.id: check for check in checks(tables)}
        assert found["NoTables"].status == "warn"
        assert "'shop' has no table that can be mirrored" in found["NoTables"].message
        assert "primary key" in found["NoTables"].remedy


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
