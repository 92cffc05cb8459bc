"""`make demo` tells its story, and its exit status says how it ended."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from local import demo
from local.stack import Stack


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="demo-") as path:
        Path(path).chmod(0o755)  # PostgreSQL runs as another user when the tests run as root
        yield Path(path)


def test_it_ends_well(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = demo.main(folder)
    told = capsys.readouterr().out
    assert status == 0, told
    assert "✗" not in told
    for server in ("pg-shop", "pg-crm"):
        assert f"✓ {server}: the mirror is Running and Healthy." in told
        assert f"✓ {server}: restarted once." in told
        assert "and lost 0;" in told
    assert "All of it holds" in told


def test_it_says_why_it_did_not_end_well(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class OnAPausedCapacity(Stack):
        def __enter__(self) -> Stack:
            stack = super().__enter__()
            stack.control("fabric", "PUT", f"capacities/{stack.topology.capacity}", {"state": "Inactive"})
            return stack

    monkeypatch.setattr(demo, "Stack", OnAPausedCapacity)
    assert demo.main(folder) == 1
    told = capsys.readouterr().out
    assert "✗ pg-shop: " in told
    assert "capacity" in told
    assert "Not all of it holds" in told
    assert f"logs of every part are in {folder}" in told.replace("\n", "")
