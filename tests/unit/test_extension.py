"""What the app says of things under the extension's name that are nobody's who is an administrator."""

from __future__ import annotations

import pytest

from shared.platform.errors import Blocked
from shared.source.extension import Foreign, require_administrators

SCHEMA = Foreign("schema", "azure_cdc", "tenant")
EXTENSION = Foreign("extension", "azure_cdc", "tenant")
FUNCTION = Foreign("function", "stop_publication", "other")


def refusal(*foreign: Foreign) -> Blocked:
    with pytest.raises(Blocked) as caught:
        require_administrators("shop", foreign)
    assert caught.value.code == "SchemaTaken"
    return caught.value


def test_nothing_foreign_is_no_error() -> None:
    require_administrators("shop", ())


def test_names_the_database_the_things_and_their_owners() -> None:
    message = refusal(SCHEMA, FUNCTION).message
    assert "'shop'" in message
    assert "the schema azure_cdc of 'tenant', the function stop_publication of 'other'." in message
    assert "more" not in message


def test_names_the_first_five_and_counts_the_rest() -> None:
    many = [Foreign("function", f"f{number}", "tenant") for number in range(7)]
    assert "f4 of 'tenant' and 2 more." in refusal(*many).message
    assert "f5" not in refusal(*many).message
    assert "f4 of 'tenant'." in refusal(*many[:5]).message


@pytest.mark.parametrize(
    ("foreign", "statement"),
    [
        ((SCHEMA, FUNCTION), "ALTER SCHEMA azure_cdc RENAME TO azure_cdc_former;"),
        ((SCHEMA, EXTENSION), "DROP EXTENSION azure_cdc CASCADE;"),
        ((FUNCTION,), "REVOKE CREATE ON SCHEMA azure_cdc"),
    ],
)
def test_says_what_to_run(foreign: tuple[Foreign, ...], statement: str) -> None:
    remedy = refusal(*foreign).remedy
    assert statement in remedy
    assert ("DROP EXTENSION" in remedy) == (EXTENSION in foreign)
