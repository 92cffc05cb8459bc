"""Holds the Bicep templates to the real compiler, and records what a deployment of them would make.

    python -m infra.templates check        builds, lints and compares the format with the `bicep` on the PATH
    python -m infra.templates snapshots    renews tests/snapshots: the compiled templates, and the resources of each
                                           .bicepparam file there, as `bicep snapshot` evaluates it

A change of a template shows as a change of resources in a review, and the tests ask these files what they have to know
of the templates. `manifest.sha256` says of which templates they are the result, so that a test needs no compiler.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console

ROOT = Path(__file__).resolve().parent.parent
SNAPSHOTS = ROOT / "tests/snapshots"
MANIFEST = SNAPSHOTS / "manifest.sha256"
VERSION = "0.49.2"
"""Of the compiler that made the snapshots: another one may write the same resources otherwise."""
DEPLOYED = ("main", "events")
TENANT = "00000000-0000-0000-0000-000000000001"
SUBSCRIPTION = "00000000-0000-0000-0000-0000000000a1"
ELSEWHERE = {"one_name_elsewhere": "00000000-0000-0000-0000-0000000000b2"}
"""The snapshots that are of another subscription than `SUBSCRIPTION`."""
LOCATION = "westeurope"
MISSING = (
    "The templates were not compiled: there is no bicep on the PATH. `az bicep install` puts it into ~/.azure/bin; "
    "without the Azure CLI, take it from the releases of github.com/Azure/bicep."
)


class CompilerError(Exception):
    """What the compiler said."""


def sources() -> list[Path]:
    """The files that the snapshots are made of."""
    patterns = ("infra/**/*.bicep", "infra/queries/*.kql", "infra/role.json", "infra/event_filter.json")
    return sorted({*(path for one in patterns for path in ROOT.glob(one)), *SNAPSHOTS.glob("*.bicepparam")})


def results() -> list[Path]:
    return sorted(SNAPSHOTS.glob("*.json"))


def manifest(paths: Iterable[Path]) -> str:
    """A line for each file, in the form of sha256sum."""
    lines = (f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(ROOT)}\n" for path in paths)
    return "".join(lines)


def bicep(*arguments: str | Path) -> str:
    """What the compiler wrote. Raises `CompilerError` when it failed or had anything to remark."""
    command = ["bicep", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)  # noqa: S603
    if done.returncode or done.stderr.strip():
        raise CompilerError((done.stderr or done.stdout).strip())
    return done.stdout


def unformatted() -> list[str]:
    """The templates that `bicep format` would write otherwise."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "infra"
        shutil.copytree(ROOT / "infra", copy, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
        shutil.copy(ROOT / "bicepconfig.json", folder)
        bicep("format", "--pattern", f"{copy}/**/*.bicep")
        formatted = {path.relative_to(folder): path.read_text() for path in sorted(copy.rglob("*.bicep"))}
    return [str(path) for path, text in formatted.items() if (ROOT / path).read_text() != text]


def check() -> None:
    """Raises `CompilerError` with what is wrong."""
    bicep("lint", "--pattern", f"{ROOT}/infra/**/*.bicep")
    if names := unformatted():
        raise CompilerError(f"Not in the form of `bicep format`: {', '.join(names)}.")


def renew() -> None:
    """Write every snapshot. Raises `CompilerError`."""
    if f" {VERSION} " not in bicep("--version"):
        raise CompilerError(f"The snapshots are made with Bicep {VERSION}, and the PATH has: {bicep('--version')}")
    for name in DEPLOYED:
        bicep("build", ROOT / f"infra/{name}.bicep", "--outfile", SNAPSHOTS / f"{name}.json")
    for path in sorted(SNAPSHOTS.glob("*.bicepparam")):
        bicep(
            "snapshot", path, "--tenant-id", TENANT, "--subscription-id", ELSEWHERE.get(path.stem, SUBSCRIPTION),
            "--location", LOCATION, "--deployment-name", path.stem,
        )  # fmt: skip
        _in_order(path.with_suffix(".snapshot.json"))
    MANIFEST.write_text(manifest([*sources(), *results()]))


def _in_order(path: Path) -> None:
    """The compiler evaluates modules side by side: what it writes comes in another order each time."""
    written = json.loads(path.read_text())
    written["predictedResources"].sort(key=lambda one: one["id"])
    written["outputs"] = dict(sorted(written["outputs"].items()))
    path.write_text(json.dumps(written, indent=2, ensure_ascii=False) + "\n")


def main(arguments: list[str]) -> int:
    console = Console(highlight=False, stderr=True)
    work = {"check": check, "snapshots": renew}[arguments[0]]
    if not shutil.which("bicep"):
        console.print(MISSING, soft_wrap=True, markup=False)
        return 0 if work is check else 1
    try:
        work()
    except CompilerError as error:
        console.print(str(error), soft_wrap=True, markup=False)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
