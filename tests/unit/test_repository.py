"""The rules that the repository keeps: pinned and explained dependencies, one-way imports, nothing of one machine."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENT = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(\[[a-z,]+\])?==(?P<version>[\w.]+)")


def tracked() -> list[Path]:
    """The files of the repository: what git knows, or in an exported tree all but what was installed or built."""
    if (ROOT / ".git").exists():
        listed = subprocess.run(
            ["git", "-c", "safe.directory=*", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True
        ).stdout
        files = [ROOT / name for name in listed.split("\0") if name]
    else:
        files = [path for path in ROOT.rglob("*") if not {".venv", "node_modules", ".local"} & set(path.parts)]
    return [path for path in files if path.is_file()]


def texts() -> list[tuple[str, str]]:
    """Name and content of every text file of the repository."""
    found = []
    for path in tracked():
        content = path.read_bytes()
        if b"\0" not in content:
            found.append((str(path.relative_to(ROOT)), content.decode()))
    return found


def requirements(name: str) -> dict[str, str]:
    """Package (normalised) → version, of a requirements file. Anything that is not an exact pin is an error."""
    pins = {}
    for line in (ROOT / name).read_text().splitlines():
        if line.startswith("-r "):
            continue
        match = REQUIREMENT.fullmatch(line)
        assert match, f"{name}: {line!r} is not an exact pin (name==version)"
        pins[normal(match["name"])] = match["version"]
    return pins


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def npm_packages() -> dict[str, str]:
    """What package.json asks for: name → version or alias."""
    package = json.loads((ROOT / "package.json").read_text())
    return {**package["dependencies"], **package["optionalDependencies"]}


def test_no_file_names_a_registry_or_a_path_of_one_machine():
    forbidden = re.compile(
        r"\b(registry\.npmjs|npmjs|registry\.yarnpkg|pypi|pythonhosted)\.(org|com|io)\b"
        r"|--(extra-)?index-url|--find-links|^registry\s*="
        r"|(?<![\w.}])/(?:work|root)/|/tmp/v\b|\.\./shared\b",
        re.MULTILINE,
    )
    here = str(Path(__file__).relative_to(ROOT))
    hits = [
        f"{name}: {match.group().strip()}"
        for name, text in texts()
        if name != here
        for match in forbidden.finditer(text.replace("tools=../shared/tools", "") if name == ".ci/run" else text)
    ]
    assert hits == []


def test_the_npm_lock_gives_no_addresses_and_belongs_to_package_json():
    lock = json.loads((ROOT / "package-lock.json").read_text())["packages"]
    assert [path for path, package in lock.items() if "resolved" in package] == []
    assert [path for path, package in lock.items() if path and "integrity" not in package] == []
    assert {**lock[""]["dependencies"], **lock[""]["optionalDependencies"]} == npm_packages()


def test_every_platform_package_that_npm_may_choose_is_locked():
    """`npm ci` refuses a lock in which an optional dependency of another platform is missing."""
    lock = json.loads((ROOT / "package-lock.json").read_text())["packages"]
    for path, package in lock.items():
        for wanted, version in package.get("optionalDependencies", {}).items():
            nested, hoisted = lock.get(f"{path}/node_modules/{wanted}"), lock.get(f"node_modules/{wanted}")
            found = nested or hoisted
            assert found, f"{path} may need {wanted}, which the lock does not have"
            assert found["version"].split(".")[0] == version.lstrip("^~").split(".")[0], f"{path}: {wanted} {version}"


def test_npm_versions_are_exact():
    for name, version in npm_packages().items():
        assert re.fullmatch(r"(npm:[@\w/-]+@)?\d+\.\d+\.\d+(-[\w.]+)?", version), f"{name}: {version}"


def test_every_direct_dependency_is_pinned_in_the_constraints_too():
    constraints = requirements("constraints.txt")
    direct = requirements("requirements.in") | requirements("requirements-dev.txt")
    assert {name: constraints.get(name) for name in direct} == direct


def test_what_is_deployed_is_pinned_to_files_and_is_what_was_tested():
    """Azure installs from requirements.txt: every package in the locked version, with the hashes of its files."""
    text = (ROOT / "requirements.txt").read_text()
    entries = re.findall(r"^([\w.-]+)==(\S+)[^\\]*((?: \\\n    --hash=sha256:[0-9a-f]{64})+)\n", text, re.MULTILINE)
    assert len(entries) == len(re.findall(r"^\w", text, re.MULTILINE))
    deployed = {normal(name): version for name, version, _ in entries}
    constraints = requirements("constraints.txt")
    assert {name: constraints.get(name) for name in deployed} == deployed
    direct = requirements("requirements.in")
    assert {name: deployed.get(name) for name in direct} == direct, "make lock"


def test_contributing_says_why_each_dependency_is_there_and_names_no_other():
    text = (ROOT / "CONTRIBUTING.md").read_text().partition("## Dependencies")[2]
    cells = re.findall(r"^\| (`.+?`) \|", text, re.MULTILINE)
    explained = {normal(name) for cell in cells for name in re.findall(r"`([^`]+)`", cell)}
    npm = {normal(re.sub(r"^npm:(.+)@.*", r"\1", v) if v.startswith("npm:") else n) for n, v in npm_packages().items()}
    assert explained == set(requirements("requirements.in")) | set(requirements("requirements-dev.txt")) | npm


def test_python_is_the_same_version_everywhere():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = (ROOT / ".python-version").read_text().strip()
    assert project["project"]["requires-python"].startswith(f">={wanted},")
    assert project["tool"]["ruff"]["target-version"] == f"py{wanted.replace('.', '')}"
    assert project["tool"]["mypy"]["python_version"] == wanted
    assert sys.version_info[:2] == tuple(map(int, wanted.split(".")))


def test_files_are_short():
    code = [(name, len(text.splitlines())) for name, text in texts() if name.endswith(".py")]
    assert [(name, lines) for name, lines in code if lines > 400] == []


def test_make_without_a_target_lists_every_target_once():
    makefile = (ROOT / "Makefile").read_text()
    shown = subprocess.run(
        ["make", "--no-print-directory"], cwd=ROOT, capture_output=True, check=True, text=True
    ).stdout
    listed = re.findall(r"^  ([a-z-]+) +\S", shown, re.MULTILINE)
    assert sorted(listed) == sorted(re.findall(r"^\.PHONY: ([a-z-]+)$", makefile, re.MULTILINE))
    assert {"demo", "start", "stop", "test", "lint", "bench", "clean", "help"} <= set(listed)


@pytest.mark.parametrize(
    ("target", "tool", "message"),
    [
        ("test-unit", "python3", "Python 3.13 is needed: install"),
        ("setup", "node", "Node.js 20 or later with npm is needed"),
    ],
)
def test_a_missing_tool_is_one_line_that_says_what_to_install(tmp_path: Path, target: str, tool: str, message: str):
    """In a copy of the frame whose PATH has a shim that fails, as a version manager leaves one."""
    for name in (
        "Makefile",
        "requirements.in",
        "requirements.txt",
        "requirements-dev.txt",
        "constraints.txt",
        "package.json",
    ):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("package-lock.json", ".npmrc"):
        shutil.copy(ROOT / name, tmp_path)
    if tool == "node":
        (tmp_path / ".venv").mkdir()
        (tmp_path / ".venv" / ".installed").touch()
    tools = tmp_path / "a path"
    tools.mkdir()
    for name in ("python3", "python3.13", "node"):
        (tools / name).write_text("#!/bin/sh\necho not installed >&2\nexit 127\n")
        (tools / name).chmod(0o755)
    done = subprocess.run(
        [shutil.which("make") or "make", "--no-print-directory", target], cwd=tmp_path, capture_output=True, text=True,
        env={"PATH": str(tools)}, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    said = [line for line in done.stderr.splitlines() if not line.startswith("make: ***")]
    assert done.returncode != 0
    assert len(said) == 1
    assert said[0].startswith(message)


@pytest.mark.parametrize(
    ("file", "line", "complaint"),
    [
        (
            "functions/doors.py",
            "import shared.source.server\nfrom azure.identity import aio",
            "`azure.identity` is banned",
        ),
        ("functions/doors.py", "import psycopg", "`psycopg` is banned"),
        ("function_app.py", "import azure.mgmt.postgresqlflexibleservers", "`azure.mgmt` is banned"),
        ("shared/decisions/progress.py", "import azure.durable_functions as df", "`azure.durable_functions` is banned"),
        ("shared/source/server.py", "from azure import functions", "`azure.functions` is banned"),
    ],
)
def test_lint_finds_an_sdk_on_the_wrong_floor(tmp_path: Path, file: str, line: str, complaint: str):
    tree = frame(tmp_path)
    (tree / file).write_text(f'"""A module."""\n\n{line}\n')
    found = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--no-cache", "--select", "TID251", "."],
        cwd=tree, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert found.returncode == 1
    assert complaint in found.stdout


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("shared/source/server.py", "import functions", "functions stands on shared"),
        ("shared/source/server.py", "import shared.fabric", "source, fabric and records"),
        ("shared/platform/table.py", "import shared.desired", "the floors of shared"),
        ("shared/source/server.py", "import shared.steps", "the floors of shared"),
        ("shared/newcomer.py", "", "the floors of shared"),
        ("shared/platform/table.py", "import durabletask", "shared knows nothing of Durable Functions"),
        ("functions/doors.py", "import local", "the app and the local stack"),
        ("local/demo.py", "import shared.platform", "shared and the local stack"),
        ("local/demo.py", "import function_app", "the local stack does not import the app"),
        ("functions/doors.py", "import function_app", "functions are found by function_app"),
    ],
)
def test_lint_finds_an_import_that_points_the_wrong_way(tmp_path: Path, file: str, line: str, contract: str):
    tree = frame(tmp_path)
    (tree / file).write_text(f"{line}\n")
    found = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--no-logo"],
        cwd=tree, capture_output=True, text=True, check=False,
    )  # fmt: skip
    kept = re.search(rf"^{re.escape(contract)}.* (KEPT|BROKEN)$", found.stdout, re.MULTILINE)
    assert kept, found.stdout + found.stderr
    assert kept[1] == "BROKEN"


def frame(tree: Path) -> Path:
    """An app of empty packages under the repository's own lint configuration, which passes as it is."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    floors = next(contract["layers"] for contract in contracts if contract.get("containers") == ["shared"])
    shared = [f"shared/{name}" for name in re.findall(r"\w+", " ".join(floors))]
    for package in ("functions", "local", "shared", *shared):
        (tree / package).mkdir(parents=True, exist_ok=True)
        (tree / package / "__init__.py").touch()
    (tree / "function_app.py").touch()
    shutil.copy(ROOT / "pyproject.toml", tree)
    shutil.copy(ROOT / "shared" / ".ruff.toml", tree / "shared")
    return tree


def test_the_empty_frame_passes_lint(tmp_path: Path):
    tree = frame(tmp_path)
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=tree,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_indexing_the_app_imports_no_sdk_and_little_of_the_domain() -> None:
    """What a cold start waits for: the worker imports the app to list its functions."""
    heavy = (
        "azure.core azure.data azure.eventgrid azure.identity azure.keyvault azure.mgmt psycopg aiohttp jinja2 "
        "shared.steps shared.dashboard shared.source shared.fabric shared.decisions.readiness shared.decisions.health"
    )
    listed = f"import sys, function_app; print(*[name for name in {heavy.split()!r} if name in sys.modules])"
    imported = subprocess.run([sys.executable, "-c", listed], cwd=ROOT, capture_output=True, text=True, check=True)
    assert imported.stdout.split() == []
