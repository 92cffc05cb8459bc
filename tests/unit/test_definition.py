"""The definition of a mirrored database, and its display name."""

import base64
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.desired.server_id import ServerId
from shared.fabric.definition import MOST_TABLES, Definition, definition, parse, parts
from shared.fabric.mirror import display_name
from shared.platform.errors import Blocked, InvalidInput

CONNECTION = "6952a7b2-aea3-414f-9d85-6c0fe5d34539"
SERVER = ServerId("11111111-1111-1111-1111-111111111111", "rg", "pg-1")
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=63)


def written(wanted: Definition) -> dict[str, object]:
    (part,) = parts(wanted)["parts"]
    assert (part["path"], part["payloadType"]) == ("mirroring.json", "InlineBase64")
    decoded: dict[str, object] = json.loads(base64.b64decode(part["payload"]))
    return decoded


def test_all_tables() -> None:
    assert written(definition(CONNECTION, "shop")) == {
        "properties": {
            "source": {
                "type": "AzurePostgreSql",
                "typeProperties": {"connection": CONNECTION, "database": "shop"},
            },
            "target": {
                "type": "MountedRelationalDatabase",
                "typeProperties": {"format": "Delta"},
            },
        }
    }


def test_chosen_tables_and_retention() -> None:
    wanted = definition(CONNECTION, "shop", [("sales", "b"), ("public", "a"), ("public", "a")], retention_days=7)
    properties = written(wanted)["properties"]
    assert isinstance(properties, dict)
    assert properties["mountedTables"] == [
        {"source": {"typeProperties": {"schemaName": "public", "tableName": "a"}}},
        {"source": {"typeProperties": {"schemaName": "sales", "tableName": "b"}}},
    ]
    assert properties["target"]["typeProperties"] == {"format": "Delta", "retentionInDays": 7}


@given(names, st.none() | st.lists(st.tuples(names, names), min_size=1), st.none() | st.integers(1, 30))
def test_what_is_written_is_read_back_and_satisfies(
    database: str, tables: list[tuple[str, str]] | None, days: int | None
) -> None:
    wanted = msgspec.structs.replace(
        definition(CONNECTION, database, tables, retention_days=days), default_schema="public"
    )
    found = parse(parts(wanted)["parts"][0]["payload"], "i")
    assert found == wanted
    assert wanted.satisfied_by(found)


def test_what_fabric_fills_in_makes_no_difference_and_everything_else_does() -> None:
    wanted = definition(CONNECTION, "shop")
    filled = Definition(CONNECTION.upper(), "shop", None, "dbo", 1)
    assert wanted.satisfied_by(filled)
    for other in (
        definition(CONNECTION, "Shop"),
        definition("another", "shop"),
        definition(CONNECTION, "shop", [("public", "a")]),
        Definition(CONNECTION, "shop", default_schema="public"),
        definition(CONNECTION, "shop", retention_days=2),
    ):
        assert not other.satisfied_by(filled)


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


FOREIGN = b'{"properties": {"source": {"type": "Snowflake", "typeProperties": {"connection": 7, "database": "shop"}}}}'
STRANGE = b'{"properties": {"source": {"type": "AzurePostgreSql", "typeProperties": {"connection": 7}}}}'


@pytest.mark.parametrize("payload", ["", encoded(b"{}"), encoded(FOREIGN)])
def test_other_definitions_are_nobodys(payload: str) -> None:
    assert parse(payload, "i") is None


@pytest.mark.parametrize(
    "payload",
    ["%%%", "é", encoded(b"not json"), encoded(b'{"properties": "\xff"}'), encoded(b"\xff\xfe"), encoded(STRANGE)],
)
def test_what_can_not_be_read_is_not_taken_for_nothing(payload: str) -> None:
    with pytest.raises(Blocked, match="The definition of the mirrored database i-1 can't be read: ") as unreadable:
        parse(payload, "i-1")
    assert unreadable.value.code == "DefinitionUnreadable"
    assert "Fabric portal" in unreadable.value.remedy


@pytest.mark.parametrize(
    ("tables", "days", "words"),
    [
        ([], None, "0 tables are chosen in the database 'shop'; 1 to 500"),
        ([("s", str(n)) for n in range(MOST_TABLES + 1)], None, "501 tables are chosen"),
        (None, 31, "Retention is 31 days; 1 to 30"),
        (None, 0, "Retention is 0 days"),
    ],
)
def test_what_can_not_be_defined(tables: list[tuple[str, str]] | None, days: int | None, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        definition(CONNECTION, "shop", tables, retention_days=days)


@pytest.mark.parametrize(
    ("template", "database", "name"),
    [
        ("{server}-{database}", "shop", "pg-1-shop"),
        ("{database}", "a/b\\c#d?e", "a_b_c_d_e"),
        ("{database}", "Größe 1", "Größe 1"),
        ("{database}", " ", "fabric-mirror"),
        ("{database} of {server}", "{server}", "_server_ of pg-1"),
    ],
)
def test_display_names_are_valid(template: str, database: str, name: str) -> None:
    assert display_name(template, SERVER, database) == name


@given(names)
def test_display_names_fit(database: str) -> None:
    assert 0 < len(display_name("{server}-{database}" * 9, SERVER, database)) <= 200
