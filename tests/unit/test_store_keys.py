"""Keys and entities of Table Storage: any name fits, and comes back as it was."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.desired.intent import Wish
from shared.desired.server_id import ServerId
from shared.desired.takeover import Takeover
from shared.platform import errors
from shared.platform.reasons import Reason
from shared.platform.row import key, text
from shared.platform.table import decode, encode
from shared.records.rows import HistoryRow, MirrorRow, ServerRow, inverted_ticks

SERVER = ServerId("11111111-1111-1111-1111-111111111111", "rg-(a).b_c", "pg-1")
FORBIDDEN = set('/\\#?\t\n\r%"\x00\x1f\x7f\x9f')
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=63)


@given(names)
def test_any_name_is_a_key_and_comes_back(name: str) -> None:
    assert not FORBIDDEN & set(key(name))
    assert text(key(name)) == name
    assert len(key(name)) <= 512 * 2


@given(names, names)
def test_different_names_are_different_keys(one: str, other: str) -> None:
    assert (key(one) == key(other)) == (one == other)


@given(names, st.text(st.characters(exclude_categories=["Cs"])), st.lists(names))
def test_a_row_comes_back_from_its_entity(database: str, role: str, codes: list[str]) -> None:
    reasons = tuple(Reason(code, "says", "do") for code in codes)
    row = MirrorRow(server=SERVER, database=database, takeover=Takeover(role), reasons=reasons)
    assert decode(MirrorRow, encode(row)) == row


def test_a_request_and_no_request_come_back() -> None:
    for request in (None, Wish(), Wish(databases=("shop",), restart="window")):
        row = ServerRow(id=SERVER, request=request)
        assert decode(ServerRow, encode(row)) == row


def test_the_empty_texts_of_an_older_version_are_nothing() -> None:
    assert decode(ServerRow, encode(ServerRow(id=SERVER)) | {"request": ""}).request is None
    assert decode(MirrorRow, encode(MirrorRow(server=SERVER, database="shop")) | {"takeover": ""}).takeover is None


def test_a_phase_of_another_version_says_what_it_is_and_what_to_do() -> None:
    with pytest.raises(errors.Blocked) as refused:
        decode(ServerRow, encode(ServerRow(id=SERVER)) | {"phase": "Suspended"})
    assert refused.value.code == "RecordNotUnderstood"
    assert "'Suspended'" in refused.value.message
    assert "Mirrored" in refused.value.message


def test_people_can_read_which_server_it_is() -> None:
    assert encode(ServerRow(id=SERVER))["id"] == str(SERVER)
    assert encode(MirrorRow(server=SERVER, database="shop"))["server"] == str(SERVER)


def test_long_texts_are_cut_into_properties_of_at_most_64_kib() -> None:
    row = ServerRow(id=SERVER, report="a𝕏" * 60_000)
    entity = encode(row)
    sizes = [len(value.encode("utf-16-le")) for value in entity.values() if isinstance(value, str)]
    assert max(sizes) <= 64 * 1024
    assert decode(ServerRow, entity) == row


def test_a_record_larger_than_an_entity_says_so() -> None:
    with pytest.raises(errors.Blocked) as refused:
        encode(MirrorRow(server=SERVER, database="shop/1", login="x" * 600_000))
    assert refused.value.code == "RecordTooLarge"
    assert "'shop/1'" in refused.value.message
    assert "1,048,576" in refused.value.message


def test_properties_of_a_later_version_are_left_out() -> None:
    entity = encode(ServerRow(id=SERVER, phase="Preparing")) | {"added_later": "x"}
    assert decode(ServerRow, entity) == ServerRow(id=SERVER, phase="Preparing")


@given(st.datetimes(), st.datetimes())
def test_later_moments_sort_first(one: datetime, other: datetime) -> None:
    first, second = (inverted_ticks(moment.replace(tzinfo=UTC)) for moment in (one, other))
    assert len(first) == 19
    assert (first < second) == (one > other)


def test_history_is_kept_by_day_mirrored_database_and_time() -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    row = HistoryRow(workspace="w", item="i", server=SERVER, database="shop", level="Healthy", updated_at=moment)
    assert row.keys == ("2026-01-01", "i:2516350751999999999")
