"""The life of the stack: it comes up whole or not at all, and nothing of it outlives it, however it ends."""

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from local import lock, stack_file
from local.guard import GRACE_SECONDS
from local.stack import FOREIGN_PREFIXES, MODULES, ROOT, Stack, StartFailed, clean, make_topology
from local.topology import TOPOLOGY_VARIABLE, Topology
from tests import real_parts

PARTS = ["front_door", "identity", "azurite", "keyvault"]
SUPERVISOR = """
import sys, time
from pathlib import Path
from local.stack import Stack
with Stack(Path(sys.argv[1]), sys.argv[2:]) as stack:
    print("up", flush=True)
    time.sleep(600)
"""


def processes_of(folder: Path) -> list[str]:
    """The command lines of all processes that were started for the stack in `folder`."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            if (
                process.name.isdecimal()
                and f"{TOPOLOGY_VARIABLE}={folder}/".encode() in (process / "environ").read_bytes()
            ):
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue  # it ended while we looked
    return found


def eventually(true: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process of its own that runs some parts in `tmp_path` until it is ended."""
    command = [sys.executable, "-c", SUPERVISOR, str(tmp_path), *PARTS]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "up\n"
        yield process
        process.kill()


def saved_topology(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "topology.json").read_text())


def test_leaving_takes_every_part_down_at_once(tmp_path: Path) -> None:
    with Stack(tmp_path, PARTS) as stack:
        real_parts.used_stack(PARTS)
        ports = stack.topology.ports
        assert list(ports) == PARTS
        assert not any(is_free(port) for port in ports.values())
        assert len(processes_of(tmp_path)) == 2 * len(PARTS)  # each part and its guard
        begun = time.monotonic()
    assert time.monotonic() - begun < GRACE_SECONDS  # no part had to be killed
    assert processes_of(tmp_path) == []
    assert all(is_free(port) for port in ports.values())
    assert lock.holder(tmp_path) is None


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_nothing_outlives_a_supervisor_that_dies(
    tmp_path: Path, supervisor: subprocess.Popen[str], number: signal.Signals
) -> None:
    assert len(processes_of(tmp_path)) >= 2 * len(PARTS)
    os.kill(supervisor.pid, number)
    supervisor.wait(60)
    ports = saved_topology(tmp_path)["ports"].values()
    eventually(lambda: processes_of(tmp_path) == [])
    # The kernel takes a dying process' environment before it closes its sockets.
    eventually(lambda: all(is_free(port) for port in ports))
    assert lock.holder(tmp_path) is None


def test_a_part_that_fails_to_start_takes_the_others_with_it_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(StartFailed, match=r"azurite ended while starting:\n.*there is no `node` on the PATH"):
        Stack(tmp_path, PARTS).__enter__()
    assert processes_of(tmp_path) == []
    assert lock.holder(tmp_path) is None


def test_a_second_stack_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    with Stack(tmp_path, ["identity"]) as stack:
        with pytest.raises(lock.Taken, match=f"running in {tmp_path} already \\(process {os.getpid()}\\)"):
            Stack(tmp_path, ["identity"]).__enter__()
        stack.control("identity", "GET", "ready")


def test_a_new_stack_finds_nothing_of_the_last_one(tmp_path: Path) -> None:
    with Stack(tmp_path, ["azurite"]) as first:
        (tmp_path / "azurite" / "left").touch()
        (tmp_path / "postgresql").mkdir()
    with Stack(tmp_path, ["identity"]) as second:
        assert not (tmp_path / "azurite").exists()
        assert (tmp_path / "postgresql").exists()  # installed programs are no stack's data
        assert second.topology.tenant != first.topology.tenant


def test_a_folder_that_held_no_stack_is_not_emptied(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "precious.txt").write_text("mine")
    with Stack(tmp_path, ["identity"]):
        pass
    assert (tmp_path / "logs" / "precious.txt").read_text() == "mine"


def test_a_part_that_ends_by_itself_is_noticed(tmp_path: Path) -> None:
    with Stack(tmp_path, ["identity", "keyvault"]) as stack:
        assert stack.ended() == []
        os.kill(stack.processes["keyvault"].pid, signal.SIGTERM)
        eventually(lambda: stack.ended() == ["keyvault"])


def test_a_part_does_not_outlive_its_guard(tmp_path: Path) -> None:
    with Stack(tmp_path, ["identity", "azurite"]) as stack:
        for part in stack.parts:
            os.kill(stack.processes[part].pid, signal.SIGKILL)
        eventually(lambda: processes_of(tmp_path) == [])
        assert stack.ended() == stack.parts


def test_keys_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    with Stack(tmp_path, ["identity"]):
        for name in ("topology.json", "authority.key", "cloud.key", "signing.pem"):
            assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600, name


def test_parts_inherit_no_foreign_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    foreign = {
        "https_proxy": "http://proxy.example", "AZURE_CLIENT_SECRET": "s", "PGPASSWORD": "p",
        "SSL_CERT_FILE": "/none.pem", "MSI_ENDPOINT": "http://example",
    }  # fmt: skip
    for name, value in foreign.items():
        monkeypatch.setenv(name, value)
    with Stack(tmp_path, ["identity"]) as stack:
        guard = stack.processes["identity"].pid
        environment = dict(
            line.split("=", 1) for line in Path(f"/proc/{guard}/environ").read_text().split("\0") if "=" in line
        )
    assert not set(foreign) & set(environment)


def test_clean_keeps_what_is_not_foreign() -> None:
    kept = {"PATH": "/bin", "FUNCTIONS_APP_DIRECTORY": "/app", "HOME": "/root"}
    dropped = {f"{prefix}X": "1" for prefix in FOREIGN_PREFIXES} | {"No_Proxy": "*", "all_proxy": "x"}
    assert clean(kept | dropped) == kept


def topology(folder: Path) -> Topology:
    return make_topology(folder, {part: 1000 + n for n, part in enumerate(MODULES)})


def test_the_stack_file_tells_other_tools_everything(tmp_path: Path) -> None:
    here = topology(tmp_path)
    path = stack_file.write(here)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    told = json.loads(path.read_text())
    assert told["pid"] == os.getpid()
    assert told["app"]["address"] == f"http://127.0.0.1:{here.ports['host']}"
    assert set(told["app"]["keys"]) == {"host", "master", "eventgrid", "durabletask"}
    assert told["fault_control"]["parts"] == ["identity", "keyvault", "eventgrid", "monitor", "arm", "fabric"]
    assert told["environment"]["AZURE_CLIENT_ID"] == here.principals["operator"].client_id
    assert told["environment"]["HTTPS_PROXY"] == f"http://127.0.0.1:{here.ports['front_door']}"
    for name in ("table_endpoint", "key_vault", "tenant", "subscription", "resource_group", "workspace", "capacity"):
        assert told[name], name


def test_the_app_gets_its_own_identity_and_settings(tmp_path: Path) -> None:
    here = topology(tmp_path)
    given, own = here.app_settings(), here.principals["id-fabric-mirror"]
    assert given["IDENTITY_HEADER"] == own.header
    assert (given["AZURE_CLIENT_ID"], given["IDENTITY_OBJECT_ID"]) == (own.client_id, own.object_id)
    assert given["STORAGE_TABLE_ENDPOINT"] == here.table_endpoint
    assert given["ALLOWED_WORKSPACES"] == given["DEFAULT_WORKSPACE"] == here.workspace


def local_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "local", *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_stop_says_so_when_nothing_runs(tmp_path: Path) -> None:
    done = local_command("stop", "--folder", str(tmp_path))
    assert done.returncode == 0
    assert re.sub(r"\s+", " ", done.stdout) == f"No stack is running in {tmp_path}. "


def test_stop_ends_a_stack_that_another_process_runs(tmp_path: Path, supervisor: subprocess.Popen[str]) -> None:
    second = local_command("start", "--folder", str(tmp_path))
    assert second.returncode == 1
    assert f"(process {supervisor.pid})" in second.stdout
    done = local_command("stop", "--folder", str(tmp_path))
    assert (done.returncode, done.stdout) == (0, "Stopped.\n")
    eventually(lambda: processes_of(tmp_path) == [])


def test_an_unknown_command_is_told_which_there_are() -> None:
    done = local_command("restart")
    assert done.returncode == 2
    assert "{start,stop,demo}" in done.stderr
    assert "invalid choice: 'restart'" in done.stderr
