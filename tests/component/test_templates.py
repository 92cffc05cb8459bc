"""The commands that hold the templates to the compiler, run as `make` runs them: `make lint` and `make snapshots`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from infra.templates import MISSING, VERSION
from tests.source import ROOT

COMPILER = shutil.which("bicep")


class Copy:
    """The templates and their snapshots in a folder of their own."""

    def __init__(self, folder: Path):
        self.folder = folder
        shutil.copytree(ROOT / "infra", folder / "infra")
        shutil.copytree(ROOT / "tests/snapshots", folder / "tests/snapshots")
        shutil.copy(ROOT / "bicepconfig.json", folder)

    def run(self, work: str, path: str = "") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "infra.templates", work]
        environment = os.environ | {"PATH": path or os.environ["PATH"]}
        return subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=170, check=False
        )

    def compiler(self, script: str) -> str:
        """A PATH on which `bicep` is this script."""
        program = self.folder / "bin/bicep"
        program.parent.mkdir()
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        return f"{program.parent}:/usr/bin:/bin"


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    return Copy(tmp_path)


def test_without_a_compiler_a_check_says_what_was_not_checked(copy: Copy) -> None:
    done = copy.run("check", path="/nowhere")
    assert (done.returncode, done.stderr.strip()) == (0, MISSING)
    assert copy.run("snapshots", path="/nowhere").returncode == 1


def test_a_remark_of_the_compiler_is_an_error(copy: Copy) -> None:
    """A warning leaves its exit status at 0."""
    path = copy.compiler('[ "$1" = lint ] && echo "main.bicep(1,1) : Warning no-unused-params" >&2; exit 0')
    done = copy.run("check", path)
    assert (done.returncode, done.stderr.strip()) == (1, "main.bicep(1,1) : Warning no-unused-params")


def test_a_template_in_another_form_is_named(copy: Copy) -> None:
    path = copy.compiler(
        '[ "$1" = format ] && echo "// written otherwise" >> "${3%/\\*\\*/*}/modules/vault.bicep"; exit 0'
    )
    done = copy.run("check", path)
    assert (done.returncode, done.stderr.strip()) == (
        1,
        "Not in the form of `bicep format`: infra/modules/vault.bicep.",
    )


def test_another_version_of_the_compiler_makes_no_snapshots(copy: Copy) -> None:
    done = copy.run("snapshots", copy.compiler('echo "Bicep CLI version 0.50.1 (abc)"'))
    assert done.returncode == 1
    assert done.stderr.startswith(
        f"The snapshots are made with Bicep {VERSION}, and the PATH has: Bicep CLI version 0.50"
    )


@pytest.mark.skipif(not COMPILER, reason=MISSING)
@pytest.mark.parametrize(
    ("file", "more", "problem"),
    [
        pytest.param("modules/vault.bicep", "param unused string\n", "no-unused-params", marks=pytest.mark.exhaustive),
        pytest.param(
            "modules/vault.bicep", "output x string =   vault.id\n", "Not in the form of `bicep format`",
            marks=pytest.mark.exhaustive,
        ),
        ("modules/vault.bicep", "output x string = vault.properties.vaultUrl\n", "vaultUrl"),
    ],
)  # fmt: skip
def test_the_real_compiler_finds_a_mistake(file: str, more: str, problem: str, copy: Copy) -> None:
    path = copy.folder / "infra" / file
    path.write_text(path.read_text() + "\n" + more)
    done = copy.run("check")
    assert done.returncode == 1
    assert problem in done.stderr


@pytest.mark.exhaustive
@pytest.mark.skipif(not COMPILER, reason=MISSING)
def test_the_snapshots_are_what_the_real_compiler_makes(copy: Copy) -> None:
    done = copy.run("snapshots")
    if "The snapshots are made with" in done.stderr:
        pytest.skip(done.stderr)
    assert (done.returncode, done.stderr) == (0, "")
    for path in (ROOT / "tests/snapshots").iterdir():
        assert path.read_bytes() == (copy.folder / "tests/snapshots" / path.name).read_bytes(), path.name
