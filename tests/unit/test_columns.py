"""What is read of a row is what is in the row: each column of a selection is a column of its row, of the same type."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from shared.desired.server_id import ServerId
from shared.platform import errors
from shared.platform.row import Columns, Row
from shared.platform.table import View, decode, encode
from shared.records import glance, store
from shared.records.columns import ServerNews, Swept, Watched
from shared.records.glance import Latency, MirrorGlance, Observation, ServerGlance
from shared.records.rows import HealthRow, HistoryRow, LastLook, MirrorRow, Remembered, ReportRow, ServerRow
from tests.unit.facts import SERVER

SELECTIONS: list[tuple[type[Columns], type[Row]]] = [
    (Watched, MirrorRow), (ServerNews, ServerRow), (ServerGlance, ServerRow), (Swept, HealthRow),
    (LastLook, HealthRow), (Remembered, HealthRow), (MirrorGlance, HealthRow), (Latency, HistoryRow),
    (Observation, HistoryRow),
]  # fmt: skip


def columns(kind: type[Columns]) -> dict[str, Any]:
    """Column → its type. A glance leaves the id of the server as the text that the table has."""
    types = {field.name: field.type for field in msgspec.structs.fields(kind) if field.name != "etag"}
    return types | ({"server": ServerId} if kind is MirrorGlance else {})


@pytest.mark.parametrize(("selection", "row"), SELECTIONS)
def test_a_selection_has_columns_of_its_row(selection: type[Columns], row: type[Row]) -> None:
    assert columns(selection).items() <= columns(row).items()
    assert columns(selection).keys() < columns(row).keys()


@pytest.mark.parametrize(("selection", "row"), SELECTIONS)
def test_a_view_asks_for_its_columns_alone(selection: type[Columns], row: type[Row]) -> None:
    """And for the pieces of long reasons: with one piece alone the JSON ends in the middle."""
    pieces = {"reasons_1", "reasons_2", "reasons_3"} if "reasons" in columns(selection) else set()
    assert set(View("T", selection)._select or ()) == columns(selection).keys() | pieces


TABLES = {
    "Servers": {ServerRow, ServerNews, ServerGlance},
    "Reports": {ReportRow},
    "Mirrors": {MirrorRow, Watched},
    "MirrorHealth": {HealthRow, LastLook, Remembered, Swept, MirrorGlance},
    "MirrorHealthHistory": {HistoryRow, Latency, Observation},
}


def test_each_selection_is_read_from_the_table_of_its_row() -> None:
    """Operators find the tables by these names, and an upgrade finds its rows."""
    views = [view for module in (store, glance) for view in vars(module).values() if isinstance(view, View)]
    assert {name: {view.kind for view in views if view.name == name} for name in TABLES} == TABLES
    assert {view.name for view in views} == set(TABLES)


def test_what_is_selected_comes_back() -> None:
    row = MirrorRow(server=SERVER, database="shop", workspace="w", item="i", everything=False)
    assert decode(Watched, encode(row)) == msgspec.convert(row, Watched, from_attributes=True)


def test_a_level_of_another_version_is_named() -> None:
    row = HealthRow(workspace="w", item="i", server=SERVER, database="shop", level="Healthy")
    with pytest.raises(errors.Blocked, match="level is 'Splendid'; this version of the app knows Healthy, Unknown"):
        decode(HealthRow, encode(row) | {"level": "Splendid"})
