"""By which way Fabric comes in: its shared cloud where that reaches the server, else a gateway, else none."""

from __future__ import annotations

from typing import Any

import pytest

from shared.decisions.readiness import Check, gateway_of
from shared.decisions.readiness.server import server_checks
from shared.desired.intent import TagWish, Wish, combine
from tests.unit import facts

OURS, THEIRS = "00000000-0000-0000-0000-0000000000e1", "00000000-0000-0000-0000-0000000000e2"
PRIVATE = {"public_access": False, "azure_services_allowed": False}
CLOSED = {"public_access": True, "azure_services_allowed": False}


def network(request: Wish, settings: dict[str, str], **server: Any) -> tuple[str, Check]:
    """The gateway that is used, and the check of the network."""
    seen, app = facts.server(**server), facts.settings(**settings)
    intent = combine(TagWish(True), request, app)
    [check] = [check for check in server_checks(seen, intent, app) if check.id == "Network"]
    return gateway_of(intent, seen), check


@pytest.mark.parametrize("server", [PRIVATE, CLOSED])
@pytest.mark.parametrize(
    ("request_", "settings", "gateway"),
    [
        (Wish(), {"FABRIC_GATEWAY": OURS.upper()}, OURS),
        (Wish(gateway=THEIRS), {}, THEIRS),
        (Wish(gateway=THEIRS), {"FABRIC_GATEWAY": OURS}, THEIRS),
    ],
    ids=["setting", "request", "request before setting"],
)
def test_a_gateway_leads_to_what_the_shared_cloud_does_not_reach(
    request_: Wish, settings: dict[str, str], gateway: str, server: dict[str, Any]
) -> None:
    used, check = network(request_, settings, **server)
    assert (used, check.status) == (gateway, "pass")


def test_a_server_within_reach_needs_none() -> None:
    used, check = network(Wish(), {"FABRIC_GATEWAY": OURS})
    assert (used, check.status) == ("", "pass")


@pytest.mark.parametrize(
    ("server", "found"),
    [(PRIVATE, "public access is disabled"), (CLOSED, "the firewall does not allow Azure services")],
)
def test_without_any_way_in_the_server_fails_beforehand(server: dict[str, Any], found: str) -> None:
    used, check = network(Wish(), {}, **server)
    assert (used, check.status, check.found) == ("", "fail", found)
    assert check.message == (f"Fabric can't reach the server: {found}, and no virtual network data gateway is named.")
    assert "0.0.0.0-0.0.0.0" in check.remedy
    assert "in FABRIC_GATEWAY or as `gateway` in the request" in check.remedy
