"""The version stands in one place for the app, and pyproject.toml agrees with it."""

import tomllib
from pathlib import Path

from shared.platform.version import VERSION

ROOT = Path(__file__).resolve().parents[2]


def test_pyproject_has_the_apps_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == VERSION
