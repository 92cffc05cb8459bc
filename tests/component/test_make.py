"""The make targets that remove things, in a copy of the frame: what goes, and what stays."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.source import ROOT

MADE = (".local/servers/pg/data", "dist/app.zip", ".mypy_cache/x", ".hypothesis/x", "shared/__pycache__/x.pyc")
INSTALLED = (".venv/bin/python", "node_modules/azurite/package.json", "node_modules/x/__pycache__/y.pyc")
KEPT = ("shared/module.py", "function_app.py")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in (*MADE, *INSTALLED, *KEPT):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(("target", "gone"), [("clean", MADE), ("distclean", MADE + INSTALLED)])
def test_what_was_made_goes_and_what_was_written_stays(tree: Path, target: str, gone: tuple[str, ...]) -> None:
    done = subprocess.run(
        ["make", "--no-print-directory", target], cwd=tree, capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert [name for name in gone if (tree / name).exists()] == []
    stays = {*MADE, *INSTALLED, *KEPT} - set(gone)
    assert [name for name in stays if not (tree / name).exists()] == []
