"""The command that releases every server: what it asks for, what it waits for, and what it says."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from infra import release_all

SERVERS = "/subscriptions/s/resourceGroups/g/providers/Microsoft.DBforPostgreSQL/flexibleServers"
SHOP, CRM = f"{SERVERS}/pg-shop", f"{SERVERS}/pg-crm"


class App:
    """The doors of an app: `answers` to DELETE by server, and the lists of servers, one look after the other."""

    def __init__(self, answers: dict[str, tuple[int, Any]], *looks: dict[str, Any]):
        self.answers, self.looks = answers, list(looks)

    def call(self, method: str, path: str) -> tuple[int, Any]:
        assert method == "DELETE"
        assert path.startswith("/api/servers/s/g/")
        return self.answers[path.split("/")[5]]

    def servers(self) -> dict[str, Any]:
        return self.looks.pop(0)


class Azure:
    def __init__(self) -> None:
        self.tagged: list[tuple[str, str]] = []

    def disable(self, server: str, tag: str) -> None:
        self.tagged.append((server, tag))


def row(phase: str, run: str = "r-1", **more: Any) -> dict[str, Any]:
    return {"phase": phase, "run": run, "reasons": [], **more}


def test_a_server_that_a_tag_wants_gets_the_tag_disabled() -> None:
    azure, tagged = Azure(), (409, {"code": "WantedByTag"})
    app: Any = App({"pg-shop": tagged, "pg-crm": (202, {})})
    assert list(release_all._withdraw(app, azure, {SHOP: {}, CRM: {}}, "mirror")) == []  # type: ignore[arg-type]
    assert azure.tagged == [(SHOP, "mirror")]


def test_a_refusal_is_told_and_stops_no_other() -> None:
    app: Any = App({"pg-shop": (403, {"detail": "Not you.", "remedy": "Ask."}), "pg-crm": (404, {})})
    refused = dict(release_all._withdraw(app, Azure(), {SHOP: {}, CRM: {}}, "t"))  # type: ignore[arg-type]
    assert refused == {SHOP: "Not you. Ask."}


def test_it_waits_until_each_is_released_or_stuck_in_a_new_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(release_all, "LOOK_SECONDS", 0)
    stuck = row("Blocked", "r-2", reasons=[{"message": "A role is in use.", "remedy": "Drop it."}])
    before = {SHOP: row("Mirrored"), CRM: row("Blocked")}
    app: Any = App({}, before, {SHOP: row("Releasing", "r-2"), CRM: row("Releasing", "r-2")}, {CRM: stuck})
    assert release_all._awaited(app, Console(quiet=True), before) == {CRM: "A role is in use. Drop it."}
    assert app.looks == []
