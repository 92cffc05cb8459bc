"""Releases every server that the deployed app mirrors: what has to be done before the app itself is taken down.

    python -m infra.release_all [--yes] [--tag NAME]

Run it as a person who may write the servers' tags and read the app's keys (az login). It shows the servers and asks,
unless --yes is given. Then it withdraws each wish, with DELETE or by the tag, and waits. It may be run again at any
time. Exit status 0: nothing is mirrored any more; 1: something stands in the way of some servers, and it says what;
2: it could not begin.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

from azure.core import PipelineClient
from azure.core.exceptions import AzureError, HttpResponseError
from azure.core.pipeline.policies import BearerTokenCredentialPolicy, RetryPolicy, UserAgentPolicy
from azure.core.rest import HttpRequest
from azure.identity import DefaultAzureCredential
from rich.console import Console

from infra.azd import outputs
from shared.platform.clouds import CLOUDS
from shared.platform.version import VERSION

OUTPUTS = ("APP_URL", "APP_ID")
LOOK_SECONDS = 5.0
PATIENCE_SECONDS = 3_600.0
KEYS, TAGS = "2024-04-01", "2021-04-01"
"""Versions of the REST APIs "Web Apps - List Host Keys" and "Tags - Update At Scope"."""
WITH_TAG = "WantedByTag"
STUCK, DONE = ("Blocked", "Missing"), ("Released", "Deleted")


class App:
    """The doors of the app."""

    def __init__(self, address: str, key: str):
        policies = [UserAgentPolicy(f"fabric-mirror/{VERSION}"), RetryPolicy()]
        self.address, self.headers = address.rstrip("/"), {"x-functions-key": key}
        self.client: PipelineClient[Any, Any] = PipelineClient(address, policies=policies)

    def call(self, method: str, path: str, **query: str) -> tuple[int, Any]:
        """The status and the JSON of an answer."""
        request = HttpRequest(method, f"{self.address}{path}", params=query, headers=self.headers)
        response = self.client.send_request(request)
        return response.status_code, response.json()

    def servers(self) -> dict[str, dict[str, Any]]:
        """The servers that the app has not released, by their resource ids. Raises `SystemExit` where it refuses."""
        servers, continuation = dict[str, dict[str, Any]](), ""
        while True:
            status, page = self.call("GET", "/api/servers", **({"continuation": continuation} if continuation else {}))
            if status != 200:
                raise SystemExit(f"GET {self.address}/api/servers was answered with {status}: {page}")
            servers |= {row["server"]: row for row in page["value"] if row["phase"] not in DONE}
            continuation = page["continuation"]
            if not continuation:
                return servers


class Azure:
    """Azure Resource Manager, as the person who runs this."""

    def __init__(self, base: str, scope: str):
        self.base = base
        policies = [
            UserAgentPolicy(f"fabric-mirror/{VERSION}"),
            RetryPolicy(),
            BearerTokenCredentialPolicy(DefaultAzureCredential(), scope),
        ]
        self.client: PipelineClient[Any, Any] = PipelineClient(base, policies=policies)

    def key_of(self, app: str) -> str:
        """The default function key of the app with this resource id."""
        path = f"{app}/host/default/listKeys"
        return str(self._send("POST", path, KEYS)["functionKeys"]["default"])

    def disable(self, server: str, tag: str) -> None:
        """Write the tag on a server; its other tags stay."""
        merged = {"operation": "Merge", "properties": {"tags": {tag: "disabled"}}}
        self._send("PATCH", f"{server}/providers/Microsoft.Resources/tags/default", TAGS, merged)

    def _send(self, method: str, path: str, version: str, body: object = None) -> Any:
        request = HttpRequest(method, f"{self.base}{path}", params={"api-version": version}, json=body)
        response = self.client.send_request(request)
        response.raise_for_status()
        return response.json()


def main(arguments: list[str] | None = None) -> int:
    """Release all servers, and tell."""
    options = _options(arguments)
    environment, console = outputs(OUTPUTS), Console(highlight=False, soft_wrap=True)
    cloud = CLOUDS[environment.get("AZURE_CLOUD") or "AzureCloud"]
    azure = Azure(cloud.management, cloud.management_scope)
    try:
        app = App(environment["APP_URL"], os.environ.get("KEY") or azure.key_of(environment["APP_ID"]))
        servers = app.servers()
        if not servers:
            console.print("No server is mirrored.")
            return 0
        for server, row in sorted(servers.items()):
            console.print(f"{row['phase']:<10} {server}", markup=False)
        if not options.yes and not _agrees(len(servers)):
            console.print("Nothing was changed.")
            return 2
        refused = dict(_withdraw(app, azure, servers, options.tag))
        left = _awaited(app, console, {server: row for server, row in servers.items() if server not in refused})
    except AzureError as error:
        console.print(f"It could not go on: {error.message} Run it again.", markup=False)
        return 2
    for server, reason in sorted((refused | left).items()):
        console.print(f"[red]✗[/] {server}: ", end="")
        console.print(reason, markup=False)
    console.print(f"{len(servers) - len(refused) - len(left)} of {len(servers)} servers are released.")
    return 1 if refused or left else 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m infra.release_all", description="Release every mirrored server.")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--tag", default="fabric-mirror", help="the tag that wants servers mirrored (TAG_PREFIX)")
    return parser.parse_args(arguments)


def _agrees(count: int) -> bool:
    """Whether the person agrees. Nobody who is not at a terminal does."""
    if not sys.stdin.isatty():
        return False
    return input(f"Release {count} servers? Their mirrors end. (yes/no) ").strip().lower() == "yes"


def _withdraw(app: App, azure: Azure, servers: Mapping[str, Any], tag: str) -> Iterator[tuple[str, str]]:
    """Withdraw the wish for each server. Yields those for which that was refused, and why."""
    for server in servers:
        status, answer = app.call("DELETE", f"{_door(server)}/mirroring")
        if status == 409 and answer.get("code") == WITH_TAG:
            try:
                azure.disable(server, tag)
            except HttpResponseError as error:
                yield server, f"The tag {tag} was not written: {error.message}"
        elif status not in (202, 404):
            yield server, f"{answer.get('detail')} {answer.get('remedy')}"


def _awaited(app: App, console: Console, before: Mapping[str, Any]) -> dict[str, str]:
    """Wait until the servers are released. The answer is those that are not, and why. `before`: how each server was."""
    end, waiting = time.monotonic() + PATIENCE_SECONDS, set(before)
    left = dict[str, str]()
    while waiting and time.monotonic() < end:
        rows = app.servers()
        for server in sorted(waiting):
            row = rows.get(server)
            if row is None:
                console.print(f"[green]✓[/] {server}")
                waiting.discard(server)
            elif row["phase"] in STUCK and row["run"] != before[server]["run"]:
                left[server] = " ".join(f"{reason['message']} {reason['remedy']}" for reason in row["reasons"])
                waiting.discard(server)
        if waiting:
            time.sleep(LOOK_SECONDS)
    return left | dict.fromkeys(waiting, "It is not released yet. Run this again.")


def _door(server: str) -> str:
    """The address of a server's doors, by its resource id."""
    _, _, subscription, _, group, *_, name = server.split("/")
    return f"/api/servers/{subscription}/{group}/{name}"


if __name__ == "__main__":
    sys.exit(main())
