"""`python -m local start` as a person runs it: the whole stack, used by its file alone, and gone when it ends."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from local.stack import PARTS, ROOT
from tests import real_parts

CREATE_SERVER = """
import sys
from azure.identity import DefaultAzureCredential
from azure.mgmt.postgresqlflexibleservers import PostgreSQLManagementClient

subscription, group, location = sys.argv[1:]
client = PostgreSQLManagementClient(DefaultAzureCredential(), subscription, polling_interval=0.2)
server = {
    "location": location,
    "sku": {"name": "Standard_D2ds_v5", "tier": "GeneralPurpose"},
    "properties": {
        "version": "17", "createMode": "Create", "storage": {"storageSizeGB": 32},
        "administratorLogin": "pgadmin", "administratorLoginPassword": "Correct-Horse-1",
    },
}
print(client.servers.begin_create_or_update(group, "pg-life", server).result().fully_qualified_domain_name)
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="start-") as made:
        Path(made).chmod(0o755)
        yield Path(made)


@pytest.fixture
def started(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """`python -m local start`, once it has written its file."""
    command = [sys.executable, "-m", "local", "start", "--folder", str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        real_parts.used_stack(PARTS)
        eventually(lambda: (folder / "stack.json").exists() or process.poll() is not None, 60)
        assert process.poll() is None, process.communicate()[0]
        yield process
        if process.poll() is None:
            process.kill()


def eventually(true: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def listens(host: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0


def processes_naming(folder: Path) -> list[str]:
    """The command lines of all processes but this one that have `folder` in their command line or environment."""
    found, name = [], str(folder).encode() + b"/"
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdecimal() and process.name != str(os.getpid()):
                command = (process / "cmdline").read_bytes()
                if name in command or name in (process / "environ").read_bytes():
                    found.append(command.replace(b"\0", b" ").decode())
        except OSError:
            continue  # it ended while we looked
    return found


def get(url: str, **headers: str) -> Any:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(urllib.request.Request(url, headers=headers), timeout=10) as answer:
        return json.loads(answer.read())


def create_server(told: dict[str, Any]) -> str:
    """Create a flexible server as any tool would that has read the stack's file; its address."""
    inherited = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LD_LIBRARY_PATH")}
    done = subprocess.run(
        [sys.executable, "-c", CREATE_SERVER, told["subscription"], told["resource_group"], told["location"]],
        env=inherited | told["environment"], capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("end", ["killed", "interrupted", pytest.param("stopped", marks=pytest.mark.exhaustive)])
def test_the_stack_is_used_by_its_file_and_leaves_nothing(
    folder: Path, started: subprocess.Popen[str], end: str
) -> None:
    path = folder / "stack.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    told = json.loads(path.read_text())
    assert told["pid"] == started.pid
    assert get(f"{told['app']['address']}/api/live")["status"] == "ok"
    control = told["fault_control"]
    for part in control["parts"]:
        assert get(f"{control['address']}/{part}/faults", **{control["header"]: control["key"]}) == []
    key = {control["header"]: control["key"]}
    [subscription] = get(f"{control['address']}/eventgrid/subscriptions", **key)
    assert subscription["endpoint"] == f"{told['app']['address']}/runtime/webhooks/eventgrid"

    ports = json.loads((folder / "topology.json").read_text())["ports"]
    assert list(ports) == list(PARTS)
    address = create_server(told)
    assert listens(address, 5432)

    if end == "killed":
        started.kill()
    elif end == "interrupted":
        started.send_signal(signal.SIGINT)
    else:
        command = [sys.executable, "-m", "local", "stop", "--folder", str(folder)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stdout) == (0, "Stopped.\n")
    output, _ = started.communicate(timeout=90)
    eventually(lambda: processes_naming(folder) == [])
    assert not any(listens("127.0.0.1", port) for port in ports.values())
    assert not listens(address, 5432)
    if end != "killed":
        assert started.returncode == 0
        assert output.endswith("Stopped.\n")
        assert not path.exists()
        for word in (told["app"]["keys"]["host"], control["key"], f"curl {told['app']['address']}/api/live"):
            assert word in output
