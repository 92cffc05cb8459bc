"""The check of a developer's machine: on this one, and on machines that lack something."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from local import doctor, lock
from local.doctor import Finding
from tests.source import ROOT


def run(**environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "local.doctor"],
        cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def found(subject: str, root: Path = ROOT) -> Finding:
    return next(finding for finding in doctor.look(root) if finding.subject == subject)


def test_the_machine_that_runs_these_tests_can_run_the_stack() -> None:
    done = run()
    assert (done.returncode, done.stderr) == (0, "")
    assert "✗" not in done.stdout
    for subject in (
        "Python",
        "Node.js",
        "Azurite",
        "PostgreSQL 15",
        "PostgreSQL 18",
        "Loopback addresses",
        "Free disk",
    ):
        assert f"✓ {subject}: " in done.stdout
    assert done.stdout.endswith("The stack can run here: make demo.\n")


def test_missing_tools_are_named_with_what_to_install(tmp_path: Path) -> None:
    done = run(PATH=str(tmp_path))
    assert done.returncode == 1
    assert "✗ Node.js: not found\n    Install Node.js 20 or later." in done.stdout
    assert "✗ npm: not found\n    Install npm: it installs Azurite and PostgreSQL." in done.stdout
    assert "Missing: " in done.stdout


def test_an_old_node_is_not_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "node").write_text("#!/bin/sh\necho v18.19.1\n")
    (tmp_path / "node").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert doctor.node() == Finding(False, "Node.js", "v18.19.1", "Install Node.js 20 or later.")


def test_what_was_not_installed_is_named(tmp_path: Path) -> None:
    assert found("Azurite", tmp_path) == Finding(False, "Azurite", "not installed", "Run make setup.")


def test_a_running_stack_is_told(tmp_path: Path) -> None:
    with lock.hold(tmp_path / ".local"):
        assert found("Running stack", tmp_path).found == f"process {os.getpid()}; make stop ends it"
    assert found("Running stack", tmp_path).found == "none"


def test_a_server_that_listens_on_all_addresses_is_in_the_way() -> None:
    with socket.socket() as other:
        other.bind(("0.0.0.0", 0))
        other.listen()
        port = other.getsockname()[1]
        seen = doctor.addresses(4, port)
    assert not seen.good
    assert seen.found == f"0 are free at port {port}, 4 are needed"
    assert "let it listen on 127.0.0.1 alone" in seen.remedy
    assert doctor.addresses(4, port).good


def test_little_space_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "FREE_GIB", 1_000_000)
    seen = doctor.disk(ROOT)
    assert not seen.good
    assert seen.remedy == "Make room: 1000000 GiB are needed."
