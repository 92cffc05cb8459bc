"""Records histories of orchestrations, for the tests that replay them with today's code.

    python -m local.histories [FOLDER]

It runs some lives of servers on the real Durable extension. The host keeps the last message to the orchestrator of each
instance, which holds its whole history, with the answer. Of each orchestrator, the longest history of each life stays.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from local.functions_host.extension import RECORD_VARIABLE
from local.scenario import Operator, Server, acting_as, eventually
from local.stack import ROOT, Stack
from local.topology import EXTENSION

SECONDS = 180
FOLDER = ROOT / "tests" / "histories"


def main(folder: Path) -> int:
    """Replace the histories in `folder`."""
    with tempfile.TemporaryDirectory(prefix="histories-") as temporary:
        root = Path(temporary)
        root.chmod(0o755)  # PostgreSQL runs as another user
        recorded = root / "recorded"
        recorded.mkdir()
        settings = {RECORD_VARIABLE: str(recorded), "HEALTH_SCHEDULE": "0 0 0 1 1 *"}
        with Stack(root / "stack", settings=settings, engine=EXTENSION) as stack, acting_as(stack, "operator"):
            operator = Operator(stack)
            recordings = {}
            for name, live in LIVES.items():
                live(operator)
                recordings[name] = _take(recorded)
            operator.close()
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.json"):
        old.unlink()
    for life, histories in recordings.items():
        for orchestrator, history in histories.items():
            path = folder / f"{orchestrator}-{life}.json"
            path.write_text(json.dumps(history, indent=1) + "\n")
            print(f"{path}: {len(history['message'])} characters")
    return 0


def _take(recorded: Path) -> dict[str, dict[str, Any]]:
    """The longest history of each orchestrator since the last life. They stay only where they go on."""
    longest: dict[str, dict[str, Any]] = {}
    for path in recorded.glob("*.json"):
        history = json.loads(path.read_bytes())
        last = longest.get(history["orchestrator"])
        if last is None or len(history["message"]) > len(last["message"]):
            longest[history["orchestrator"]] = history
        path.unlink()
    return longest


def _waits_for_approval(operator: Operator) -> None:
    server = _server(operator, "pg-approval", "shop")
    _put(operator, server, {"restart": "approval"})
    _until_waiting(operator, server)


def _is_prepared_after_approval(operator: Operator) -> None:
    server = _servers["pg-approval"]
    _decide(operator, server, restart=True)
    _until_ended(operator, server, "Mirrored")


def _prepares_two_databases(operator: Operator) -> None:
    server = _server(operator, "pg-two", "shop", "crm")
    _put(operator, server, None)
    _until_ended(operator, server, "Mirrored")


def _rotates(operator: Operator) -> None:
    server = _servers["pg-two"]
    runs = operator.mailbox(server)["runs"]
    operator.call("POST", operator.door(server, "mirroring/rotate-password"))
    operator.quiet(server, after=runs, seconds=SECONDS)


def _is_looked_at(operator: Operator) -> None:
    operator.sweep()
    eventually(
        lambda: operator.durable("instances/sweep_health").body["runtimeStatus"],
        lambda status: status == "Completed",
        SECONDS,
    )


def _is_blocked(operator: Operator) -> None:
    server = _server(operator, "pg-blocked", "shop")
    _put(operator, server, {"restart": "approval"})
    _until_waiting(operator, server)
    _decide(operator, server, restart=False)
    _until_ended(operator, server, "Blocked")


def _is_released(operator: Operator) -> None:
    server = _servers["pg-two"]
    operator.call("DELETE", operator.door(server))
    _until_ended(operator, server, "Released")


LIVES: dict[str, Callable[[Operator], None]] = {
    "waits-for-approval": _waits_for_approval,
    "prepared-after-approval": _is_prepared_after_approval,
    "prepared": _prepares_two_databases,
    "rotated": _rotates,
    "looked-at": _is_looked_at,
    "blocked": _is_blocked,
    "released": _is_released,
}
"""The stack lives them one after the other. A name says how the runs stand at the end."""


def _server(operator: Operator, name: str, *databases: str) -> Server:
    server = operator.create_server(name, 17, *databases)
    for database in databases:
        operator.install(server, database)
    _servers[name] = server
    return server


_servers: dict[str, Server] = {}


def _put(operator: Operator, server: Server, body: Any) -> None:
    answer = operator.call("PUT", operator.door(server), body)
    if answer.status != 202:
        raise SystemExit(f"PUT {operator.door(server)} answered {answer.status}: {answer.body}")


def _decide(operator: Operator, server: Server, restart: bool) -> None:
    operator.call("POST", operator.door(server, "mirroring/restart-decision"), {"restart": restart})


def _until_waiting(operator: Operator, server: Server) -> None:
    _until(operator, server, lambda seen: seen.get("phase") == "Waiting" and (seen["progress"] or {})["waiting_for"])


def _until(operator: Operator, server: Server, enough: Callable[[dict[str, Any]], object]) -> None:
    eventually(lambda: operator.mirroring(server), enough, SECONDS)


def _until_ended(operator: Operator, server: Server, phase: str) -> None:
    _until(operator, server, lambda seen: seen.get("phase") == phase and not seen["running"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m local.histories", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER)
    sys.exit(main(parser.parse_args().folder))
