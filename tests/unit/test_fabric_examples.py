"""Every example answer in Fabric's published specifications that the app reads parses, in the form that it reads."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from shared.fabric import client, connection, mirror, workspace
from tests import fabric_specification as specification

CONNECTIONS, PLATFORM, MIRRORS = (
    "platform/examples/connections",
    "platform/examples/platform",
    "mirroredDatabase/examples",
)
ONE = {
    f"{PLATFORM}/GetWorkspace": workspace._Workspace,
    f"{PLATFORM}/GetCapacity": workspace._Capacity,
    f"{PLATFORM}/AddWorkspaceRoleAssignment": workspace._Assignment,
    f"{PLATFORM}/GetLongRunningOperationStateRunning": client._State,
    f"{PLATFORM}/GetLongRunningOperationStateCompleted": client._State,
    f"{PLATFORM}/GetLongRunningOperationResult": mirror._Item,
    f"{CONNECTIONS}/CreateCloudConnection": connection._Connection,
    f"{CONNECTIONS}/CreateVirtualNetworkGatewayConnection": connection._Connection,
    f"{CONNECTIONS}/GetConnection": connection._Connection,
    f"{CONNECTIONS}/UpdateShareableCloudConnection": connection._Connection,
    f"{MIRRORS}/CreateMirroredDatabase": mirror._Item,
    f"{MIRRORS}/GetMirroredDatabase": mirror._Item,
    f"{MIRRORS}/UpdateMirroredDatabase": mirror._Item,
    f"{MIRRORS}/GetMirroredDatabaseDefinition": mirror._DefinitionAnswer,
    f"{MIRRORS}/GetMirroringStatus": mirror._Status,
}
PAGES = {
    f"{PLATFORM}/ListCapacities": workspace._Capacity,
    f"{PLATFORM}/GetWorkspaceRoleAssignments": workspace._Assignment,
    f"{CONNECTIONS}/ListConnections": connection._Connection,
    f"{CONNECTIONS}/ListSupportedConnectionTypes": connection._Type,
    f"{MIRRORS}/ListMirroredDatabasesInWorkspace": mirror._Item,
    f"{MIRRORS}/GetTablesMirroringStatus": mirror._TableAnswer,
}
NOT_READ = {f"{CONNECTIONS}/AddConnectionRoleAssignment", f"{CONNECTIONS}/TestConnection"}
"""Their answers have a body that the app does not look into."""

pytestmark = specification.needed


def answers(example: str) -> list[dict[str, Any]]:
    """Every answer to a call that succeeds."""
    text = (specification.FOLDER / f"{example}.json").read_text(encoding="utf-8-sig")
    return [answer for status, answer in json.loads(text)["responses"].items() if status.startswith("2")]


def body(example: str) -> Any:
    return next(answer["body"] for answer in answers(example) if "body" in answer)


def test_every_example_with_a_body_is_read() -> None:
    found = [str(path.relative_to(specification.FOLDER).with_suffix("")) for path in specification.examples()]
    assert {each for each in found if any("body" in answer for answer in answers(each))} == {*ONE, *PAGES, *NOT_READ}


@pytest.mark.parametrize(("example", "kind"), ONE.items(), ids=lambda value: str(value).rpartition("/")[2])
def test_answers(example: str, kind: type[Any]) -> None:
    assert msgspec.convert(body(example), kind)


@pytest.mark.parametrize(("example", "kind"), PAGES.items(), ids=lambda value: str(value).rpartition("/")[2])
def test_pages(example: str, kind: type[Any]) -> None:
    page = msgspec.json.decode(msgspec.json.encode(body(example)), type=client._Page)
    assert page.value or page.data
    for raw in page.value or page.data:
        assert msgspec.json.decode(raw, type=kind)
