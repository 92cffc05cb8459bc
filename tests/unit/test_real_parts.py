"""The closing report of a test run says what was real, from what was started."""

from __future__ import annotations

import pytest

from local.stack import PARTS
from tests import real_parts


@pytest.fixture(autouse=True)
def nothing_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(real_parts, "_real", set())
    monkeypatch.setattr(real_parts, "_stand_ins", set())


def test_a_run_that_started_nothing_says_so():
    assert real_parts.summary() == ["These tests started no part: they checked the code alone."]


def test_a_real_part_is_named_once_with_the_versions_that_ran_in_order():
    for version in ("18.4", "14.23", "9.6", "18.4"):
        real_parts.used("PostgreSQL", version)
    assert real_parts.summary() == ["real:      PostgreSQL 9.6, 14.23, 18.4", "stand-ins: none"]


def test_stand_ins_are_not_called_real():
    real_parts.used_stack(["fabric", "arm"])
    assert real_parts.summary() == ["real:      none", "stand-ins: Azure Resource Manager; Microsoft Fabric"]


def test_the_host_is_ours_and_what_it_stands_on_is_real():
    real_parts.used_stack(["host"])
    real, stand_ins = real_parts.summary()
    assert "azure-functions-runtime, the worker's library 1." in real
    assert "durabletask's in-memory backend 1." in real
    assert stand_ins == "stand-ins: the Functions host"


def test_every_part_of_the_stack_is_known():
    assert {*real_parts.STAND_INS, "azurite"} == set(PARTS)


def test_an_unknown_part_is_refused():
    with pytest.raises(KeyError, match="cosmos"):
        real_parts.used_stack(["cosmos"])
