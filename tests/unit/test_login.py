"""How Fabric logs in, and what a password has to reach."""

from __future__ import annotations

import re
from typing import Any

import pytest

from shared.decisions import login
from shared.decisions.login import PasswordLogin, PrincipalLogin, WorkspaceLogin, login_of
from shared.desired.server_id import ServerId
from shared.records.rows import MirrorRow, ServerRow
from tests.unit.facts import ENVIRONMENT, SERVER, SUBSCRIPTION, settings

APPLICATION = "00000000-0000-0000-0000-0000000000e1"
PRINCIPAL = "00000000-0000-0000-0000-0000000000e2"


def test_the_settings_choose_one_of_three_ways() -> None:
    assert login_of(settings(FABRIC_ROLE="mirror")) == PasswordLogin("mirror")
    workspace = settings(FABRIC_ROLE="Sales", FABRIC_CREDENTIALS="WorkspaceIdentity")
    assert login_of(workspace) == WorkspaceLogin("Sales")
    principal = settings(
        FABRIC_ROLE="app",
        FABRIC_CREDENTIALS="ServicePrincipal",
        FABRIC_PRINCIPAL_CLIENT_ID=APPLICATION,
        FABRIC_PRINCIPAL_OBJECT_ID=PRINCIPAL,
        FABRIC_PRINCIPAL_SECRET="app-secret",
    )
    assert login_of(principal) == PrincipalLogin(
        "app", ENVIRONMENT["AZURE_TENANT_ID"], APPLICATION, PRINCIPAL, "app-secret"
    )


def test_each_way_has_fabrics_word_for_it_and_its_secret() -> None:
    principal = PrincipalLogin("app", "t", APPLICATION, PRINCIPAL, "app-secret")
    ways = PasswordLogin("r"), principal, WorkspaceLogin("r")
    assert [way.credential_type for way in ways] == ["Basic", "ServicePrincipal", "WorkspaceIdentity"]
    assert [way.secret_of(SERVER) for way in ways] == [login.password_name(SERVER), "app-secret", ""]


def test_each_server_has_a_secret_of_its_own_whose_name_key_vault_takes() -> None:
    other = ServerId(SUBSCRIPTION, "rg-other", SERVER.name)
    names = login.password_name(SERVER), login.password_name(other)
    assert names[0] != names[1]
    assert all(re.fullmatch(r"fabric-mirror-pg-shop-[0-9a-f]{8}", name) for name in names)
    assert login.password_name(SERVER) == names[0]


@pytest.mark.parametrize(
    ("columns", "due"),
    [
        ({"role": "fabric_user", "rotation": 2, "rotated": 1}, True),
        ({"role": "fabric_user", "rotation": 2, "rotated": 2}, False),
        ({"role": "fabric_user", "rotation": 1, "rotated": 2}, False),
        ({"role": "", "rotation": 2, "rotated": 1}, False),
        ({"role": "another", "rotation": 2, "rotated": 1}, False),
    ],
)
def test_a_rotation_is_due_until_it_is_everywhere(columns: dict[str, Any], due: bool) -> None:
    assert login.is_rotation_due(ServerRow(id=SERVER, **columns), "fabric_user") is due


def test_a_server_that_nobody_knows_has_nothing_to_rotate() -> None:
    assert not login.is_rotation_due(None, "fabric_user")


@pytest.mark.parametrize(
    ("row", "number"),
    [(None, 0), (ServerRow(id=SERVER), 7), (ServerRow(id=SERVER, rotated=6), 7), (ServerRow(id=SERVER, rotated=7), 0)],
)
def test_a_password_is_made_for_a_rotation_once(row: ServerRow | None, number: int) -> None:
    assert login.outstanding(row, 7) == number


def test_another_version_and_another_rotation_are_another_login() -> None:
    marks = {login.mark(rotation, version) for rotation in (1, 2) for version in ("", "a", "b")}
    assert len(marks) == 6


def test_connections_with_another_login_are_out_of_date() -> None:
    rows = [
        MirrorRow(server=SERVER, database=database, login=given)
        for database, given in (("crm", "1 a"), ("shop", "2 b"), ("hr", ""), ("old", "1 a"))
    ]
    late = login.out_of_date(rows, ("crm", "shop", "hr"), login.mark(2, "b"))
    assert [row.database for row in late] == ["crm", "hr"]
