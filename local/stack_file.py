"""`stack.json`: all that another tool needs to use a running stack. It holds keys, so only its owner may read it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from local.topology import Topology

NAME = "stack.json"
WITHOUT_FAULTS = ("front_door", "azurite", "azurite_blob", "azurite_queue", "storage_blob", "storage_queue", "host")


def describe(stack: Topology, process: int) -> dict[str, Any]:
    """The content. `process` is the id of the supervisor: SIGTERM stops the stack."""
    return {
        "version": 1,
        "pid": process,
        "app": {
            "address": stack.address("host"),
            "keys": {
                "host": stack.host_keys["default"],
                "master": stack.host_keys["_master"],
                "eventgrid": stack.host_keys["eventgrid_extension"],
                "durabletask": stack.host_keys["durabletask_extension"],
            },
        },
        "fault_control": {
            "address": f"{stack.address('front_door')}/control",
            "header": "x-control-key",
            "key": stack.control_key,
            "parts": [part for part in stack.ports if part not in WITHOUT_FAULTS],
        },
        "table_endpoint": stack.table_endpoint,
        "key_vault": stack.vault_url,
        "authority_certificate": str(stack.authority),
        "tenant": stack.tenant,
        "subscription": stack.subscription,
        "resource_group": stack.resource_group,
        "location": stack.location,
        "workspace": stack.workspace,
        "capacity": stack.capacity,
        "environment": stack.environment("operator"),
        "logs": str(stack.path / "logs"),
    }


def write(stack: Topology) -> Path:
    """Write it into the stack's folder, whole or not at all."""
    path, draft = stack.file(NAME), stack.file(f"{NAME}.new")
    draft.touch(mode=0o600)
    draft.write_text(json.dumps(describe(stack, os.getpid()), indent=2) + "\n")
    return draft.rename(path)
