"""Which events are worth a look at a server, and which are not."""

from typing import Any

import pytest

from shared.desired.events import Changed, Deleted, Ignored, read
from shared.desired.server_id import ServerId

SUBSCRIPTION = "00000000-0000-0000-0000-0000000000a1"
SERVER = ServerId(SUBSCRIPTION, "rg-shop", "pg-shop")
OWN = "00000000-0000-0000-0000-0000000000c1"
URI = (
    f"/subscriptions/{SUBSCRIPTION}/resourcegroups/RG-Shop/providers/Microsoft.DBforPostgreSQL/flexibleServers/PG-shop"
)
WRITE = "Microsoft.Resources.ResourceWriteSuccess"
CLAIM = "http://schemas.microsoft.com/identity/claims/objectidentifier"


def data(
    operation: str = "Microsoft.DBforPostgreSQL/flexibleServers/write", uri: str = URI, **more: Any
) -> dict[str, Any]:
    return {"operationName": operation, "resourceUri": uri, **more}


@pytest.mark.parametrize(
    ("operation", "uri"),
    [
        ("Microsoft.DBforPostgreSQL/flexibleServers/write", URI),
        ("microsoft.dbforpostgresql/FLEXIBLESERVERS/write", URI.upper()),
        ("Microsoft.Resources/tags/write", URI),
        ("Microsoft.Resources/tags/write", f"{URI}/providers/Microsoft.Resources/tags/default"),
        ("Microsoft.DBforPostgreSQL/flexibleServers/restart/action", URI + "/"),
    ],
)
def test_a_change_of_a_server(operation: str, uri: str) -> None:
    assert read(WRITE, None, data(operation, uri), OWN) == Changed(SERVER)


def test_the_subject_serves_where_the_data_names_no_resource() -> None:
    assert read(WRITE, URI, {"operationName": "Microsoft.Resources/tags/write"}, OWN) == Changed(SERVER)


def test_a_deletion() -> None:
    event = data("Microsoft.DBforPostgreSQL/flexibleServers/delete")
    assert read("Microsoft.Resources.ResourceDeleteSuccess", None, event, OWN) == Deleted(SERVER)


@pytest.mark.parametrize(
    "caller",
    [
        {"claims": {CLAIM: OWN.upper()}},
        {"authorization": {"evidence": {"principalId": OWN.replace("-", "")}}},
    ],
)
def test_our_own_writes_are_ignored(caller: dict[str, Any]) -> None:
    seen = read(WRITE, None, data(**caller), OWN)
    assert isinstance(seen, Ignored)
    assert "our own" in seen.reason


def test_the_writes_of_others_are_not() -> None:
    caller = {"claims": {CLAIM: "00000000-0000-0000-0000-0000000000c2"}, "authorization": {"evidence": {}}}
    assert read(WRITE, None, data(**caller), OWN) == Changed(SERVER)


@pytest.mark.parametrize(
    ("event_type", "content", "reason"),
    [
        (None, data(), "event type None"),
        ("Microsoft.Storage.BlobCreated", data(), "event type 'Microsoft.Storage.BlobCreated'"),
        (WRITE, None, "no data"),
        (WRITE, ["x"], "no data"),
        (WRITE, data("Microsoft.DBforPostgreSQL/flexibleServers/configurations/write"), "concerns something else"),
        (WRITE, {"operationName": ["x"], "resourceUri": URI}, "concerns something else"),
        (WRITE, data(uri=f"{URI}/databases/x"), "is not the resource id of a flexible server"),
        (WRITE, data("Microsoft.Resources/tags/write", "/subscriptions/x/resourceGroups/y"), "is not the resource id"),
        (WRITE, data(uri=URI.replace(SUBSCRIPTION, "nonsense")), "Subscription 'nonsense' is not a GUID"),
        (WRITE, data(uri=""), "is not the resource id"),
    ],
)
def test_everything_else_is_ignored_with_a_reason(event_type: str | None, content: Any, reason: str) -> None:
    seen = read(event_type, None, content, OWN)
    assert isinstance(seen, Ignored)
    assert reason in seen.reason


@pytest.mark.parametrize("claims", ["x", ["x"], {CLAIM: 7}, None])
def test_nonsense_about_the_caller_does_no_harm(claims: Any) -> None:
    assert read(WRITE, None, data(claims=claims, authorization=claims), OWN) == Changed(SERVER)
