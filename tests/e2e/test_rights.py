"""The custom role of the deployment allows what the app does to Azure, and nothing that it does not do."""

from __future__ import annotations

import json
import re

from local.scenario import Operator
from local.topology import APP
from tests.e2e.conftest import mirrored
from tests.source import ROOT

VERBS = {"GET": "read", "HEAD": "read", "PUT": "write", "PATCH": "write", "DELETE": "delete"}
# Other places where Azure lets operations be polled: those on administrators, and by Location; this stack has one.
POLLED_ELSEWHERE = {
    "Microsoft.DBforPostgreSQL/locations/administratorAzureAsyncOperation/read",
    "Microsoft.DBforPostgreSQL/locations/administratorOperationResults/read",
    "Microsoft.DBforPostgreSQL/locations/operationResults/read",
}


def action(method: str, path: str) -> str:
    """The action that Azure's access control asks for: the resource type in the path, and what is done to it.

    Types and names take turns after the provider's namespace; a POST names its action last.
    """
    namespace, _, rest = path.rpartition("/providers/")[2].partition("/")
    parts = rest.strip("/").split("/")
    done = f"{parts.pop()}/action" if method == "POST" else VERBS[method]
    return f"{namespace}/{'/'.join(parts[::2])}/{done}"


def test_an_action_is_read_off_a_call() -> None:
    server = "/subscriptions/s/resourceGroups/g/providers/Microsoft.DBforPostgreSQL/flexibleServers/pg"
    for method, path, wanted in (
        ("GET", server, "flexibleServers/read"),
        ("GET", "/subscriptions/s/providers/Microsoft.DBforPostgreSQL/flexibleServers", "flexibleServers/read"),
        ("PATCH", server, "flexibleServers/write"),
        ("POST", f"{server}/restart", "flexibleServers/restart/action"),
        ("GET", f"{server}/configurations", "flexibleServers/configurations/read"),
        ("PUT", f"{server}/configurations/wal_level", "flexibleServers/configurations/write"),
        ("DELETE", f"{server}/administrators/x", "flexibleServers/administrators/delete"),
        (
            "GET",
            "/subscriptions/s/providers/Microsoft.DBforPostgreSQL/locations/westeurope/azureAsyncOperation/1",
            "locations/azureAsyncOperation/read",
        ),
    ):
        assert action(method, path) == f"Microsoft.DBforPostgreSQL/{wanted}"


def test_a_whole_run_needs_just_the_actions_of_the_custom_role(operator: Operator) -> None:
    server = operator.create_server(
        "pg-rights", 17, "crm", authConfig={"activeDirectoryAuth": "Disabled", "passwordAuth": "Enabled"}
    )
    operator.install(server, "crm")
    assert operator.call("PUT", operator.door(server)).status == 202
    seen = mirrored(operator, server)
    assert seen["phase"] == "Mirrored", seen["reasons"]
    operator.sweep()
    assert operator.call("POST", "/admin/functions/resync_servers", {"input": ""}, key="_master").status == 202
    runs = operator.quiet(server)
    assert operator.call("DELETE", operator.door(server)).status == 202
    operator.quiet(server, after=runs)
    app = operator.topology.principals[APP].object_id
    calls = [call for call in operator.control("arm", "calls") if call["caller"] == app]
    used = {action(call["method"], call["path"]) for call in calls}
    allowed = set(json.loads((ROOT / "infra/role.json").read_text())["actions"])
    assert used - allowed == set(), "the app does more than infra/role.json allows"
    assert allowed - used == POLLED_ELSEWHERE, "infra/role.json allows more than the app does"
    assert not [name for name in allowed if re.search(r"\*", name)]
