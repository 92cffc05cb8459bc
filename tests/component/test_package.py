"""The deployment zip: what is in it, and that Functions can index what was unpacked from it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import azure_functions_runtime
import pytest

from infra import package
from tests import source
from tests.real_parts import used

ROOT = package.ROOT
INDEX = """
import asyncio, importlib, json, pkgutil, sys
sys.path += sys.argv[2:]
from pathlib import Path
from local.functions_host.worker import index

app = asyncio.run(index(Path(sys.argv[1])))
import functions, shared
for part in (functions, shared):
    for module in pkgutil.walk_packages(part.__path__, part.__name__ + "."):
        importlib.import_module(module.name)
print(json.dumps({"functions": sorted(app.functions), "from": shared.__file__}))
"""


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The app as it lies on the machines of Azure Functions."""
    folder = tmp_path_factory.mktemp("package")
    made = package.build(ROOT, folder / "app.zip")
    with zipfile.ZipFile(made) as content:
        content.extractall(folder / "app")
    return folder / "app"


def index(python: Path, app: Path, *also: Path) -> dict[str, object]:
    """What the worker's library finds in `app`, all of whose modules load. `also`: folders at the end of the path."""
    done = subprocess.run(
        [python, "-c", INDEX, app, *also],
        cwd=app, env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    used("azure-functions-runtime, the worker's library", azure_functions_runtime.version.VERSION)
    found: dict[str, object] = json.loads(done.stdout)
    return found


def own_functions(found: dict[str, object]) -> set[str]:
    """Without those that the Durable library adds."""
    return {name for name in found["functions"] if not name.startswith("BuiltIn__")}


def test_the_zip_has_the_app_at_its_root_and_nothing_else(unpacked: Path) -> None:
    assert {path.name for path in unpacked.iterdir()} == {
        "LICENSE", "function_app.py", "functions", "host.json", "requirements.txt", "shared",
    }  # fmt: skip
    assert not [path for path in unpacked.rglob("*") if path.suffix == ".pyc" or path.name == "__pycache__"]


def test_the_zip_has_every_file_of_the_app(unpacked: Path) -> None:
    there = {path.relative_to(unpacked) for path in unpacked.rglob("*")}
    for folder in ("functions", "shared"):
        files = [path.relative_to(ROOT) for path in (ROOT / folder).rglob("*") if path.is_file()]
        wanted = {path for path in files if not any(part.startswith((".", "__pycache__")) for part in path.parts)}
        assert wanted - there == set()


def test_the_same_files_give_the_same_zip(tmp_path: Path) -> None:
    first, second = (package.build(ROOT, tmp_path / name) for name in ("a.zip", "b.zip"))
    assert first.read_bytes() == second.read_bytes()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    (tmp_path / ".funcignore").write_text("host.json\n")
    for name in package.NEEDED:
        (tmp_path / name).touch()
    with pytest.raises(SystemExit, match=r"Not packaged: host\.json is missing in .*, or \.funcignore names it\."):
        package.build(tmp_path, tmp_path / "app.zip")
    assert not (tmp_path / "app.zip").exists()


def test_secrets_of_a_developer_are_left_out(tmp_path: Path) -> None:
    shutil.copy(ROOT / ".funcignore", tmp_path)
    for name in (*package.NEEDED, "local.settings.json", ".azure/prod/.env", ".local/stack.json", ".venv/x.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    with zipfile.ZipFile(package.build(tmp_path, tmp_path.with_suffix(".zip"))) as content:
        assert sorted(content.namelist()) == sorted(package.NEEDED)


def test_functions_indexes_what_was_unpacked(unpacked: Path) -> None:
    found = index(Path(sys.executable), unpacked, ROOT)
    assert found["from"] == str(unpacked / "shared/__init__.py")
    assert own_functions(found) == source.functions()


@pytest.mark.exhaustive  # it installs 60 packages: minutes
@pytest.mark.timeout(450)
def test_requirements_txt_alone_is_enough(unpacked: Path, tmp_path: Path) -> None:
    """In a new environment with nothing else; the worker's library comes from the platform, so from outside of it."""
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv/bin/python"
    subprocess.run(
        [python, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-input", "-r", "requirements.txt"],
        cwd=unpacked, check=True, timeout=400, capture_output=True,
    )  # fmt: skip
    platform = tmp_path / "platform"
    platform.mkdir()
    (platform / "azure_functions_runtime").symlink_to(Path(azure_functions_runtime.__file__).parent)
    found = index(python, unpacked, ROOT, platform)
    assert own_functions(found) == source.functions()
