"""Server parameters through the stand-in for Azure Resource Manager: bounds, and restarts that really happen."""

from __future__ import annotations

import pytest
from azure.mgmt.postgresqlflexibleservers.aio import PostgreSQLManagementClient

from local.stack import Stack
from tests.component.arm.shared_server import GROUP, NAME, OVERRIDE, events, restarts, set_parameter, show
from tests.component.azure_resource_manager import ask, server_path


async def test_static_parameters_wait_for_a_restart_that_really_happens(
    stack: Stack, arm: PostgreSQLManagementClient
) -> None:
    server, before = await arm.servers.get(GROUP, NAME), restarts(stack)
    wanted = {"wal_level": "logical", "azure_cdc.max_fabric_mirrors": "5", "max_worker_processes": "11"}
    for name, value in wanted.items():
        set_parameter(stack, name, value)
        properties = (await arm.configurations.get(GROUP, NAME, name)).properties
        assert (properties.value, properties.source, properties.is_config_pending_restart) == (value, OVERRIDE, True)
        assert properties.is_dynamic_config is False
        assert show(stack, server, name) != value
    await (await arm.servers.begin_restart(GROUP, NAME)).result()
    assert restarts(stack) == before + 1
    found = {c.name: c async for c in arm.configurations.list_by_server(GROUP, NAME)}
    for name, value in wanted.items():
        assert show(stack, server, name) == value
        assert found[name].properties.is_config_pending_restart is False
    assert events(stack, "Microsoft.DBforPostgreSQL/flexibleServers/restart/action", server_path(stack, NAME))


@pytest.mark.parametrize("name", ["max_replication_slots", "azure_cdc.max_fabric_mirrors"])
async def test_a_static_parameter_set_back_no_longer_waits(stack: Stack, name: str) -> None:
    before = ask(stack, "GET", f"{server_path(stack, NAME)}/configurations/{name}")[2]["properties"]["value"]
    assert set_parameter(stack, name, "6")["isConfigPendingRestart"] is True
    assert set_parameter(stack, name, before)["isConfigPendingRestart"] is False


async def test_dynamic_parameters_count_at_once_and_can_be_reset(stack: Stack, arm: PostgreSQLManagementClient) -> None:
    server = await arm.servers.get(GROUP, NAME)
    extensions = set_parameter(stack, "azure.extensions", "PG_TRGM,azure_cdc")
    assert (extensions["value"], extensions["isDynamicConfig"]) == ("PG_TRGM,azure_cdc", True)
    assert show(stack, server, "azure.extensions") == "PG_TRGM,azure_cdc"
    set_parameter(stack, "work_mem", "8192")
    assert show(stack, server, "work_mem") == "8MB"
    reset = set_parameter(stack, "work_mem", None)
    assert (reset["value"], reset["source"]) == ("4096", "system-default")
    assert show(stack, server, "work_mem") == "4MB"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("wal_level", "minimal", "'minimal' is not among its allowed values: replica,logical"),
        ("max_worker_processes", "many", "'many' is not among its allowed values: 0-262143"),
        ("max_wal_senders", "101", "5-100"),
        ("shared_preload_libraries", "azure_cdc,evil", "auto_explain,azure_cdc"),
        ("azure.fabric_mirror_enabled", "perhaps", "on,off"),
        ("azure.service_principal_id", "me", "it is read-only"),
        ("data_directory", "/tmp", "it is read-only"),
        ("work_mem", None, "the value is missing"),
    ],
)
async def test_refuses_a_value_that_is_not_allowed(stack: Stack, name: str, value: str | None, message: str) -> None:
    path = f"{server_path(stack, NAME)}/configurations/{name}"
    status, _, answer = ask(stack, "PATCH", path, {"properties": {"value": value, "source": OVERRIDE}})
    assert (status, answer["error"]["code"]) == (400, "InvalidParameterValue")
    assert name in answer["error"]["message"]
    assert message in answer["error"]["message"]
