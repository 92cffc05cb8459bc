"""Builds the deployment zip as Azure Functions expects it: host.json at its root, and what .funcignore names left out.

    python -m infra.package [FOLDER]      writes FOLDER/fabric-mirror-VERSION.zip (FOLDER: dist)

The requirements are not in it: Functions installs requirements.txt on its own machines (remote build). The same files
give the same zip, byte for byte.
"""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

from pathspec import GitIgnoreSpec
from rich.console import Console

from shared.platform.version import VERSION

ROOT = Path(__file__).resolve().parent.parent
NEEDED = ("host.json", "function_app.py", "requirements.txt")
EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip can tell; the files' own times would make every zip another one."""


def files(root: Path) -> Iterator[Path]:
    """The files that are deployed, relative to `root`, in order."""
    ignored = GitIgnoreSpec.from_lines((root / ".funcignore").read_text().splitlines())
    for folder, folders, names in root.walk():
        here = folder.relative_to(root)
        folders[:] = sorted(name for name in folders if not ignored.match_file(f"{here / name}/"))
        yield from (here / name for name in sorted(names) if not ignored.match_file(here / name))


def build(root: Path, target: Path) -> Path:
    """Write the zip of the app in `root` to `target`. Raises `SystemExit` when it lacks what Functions needs."""
    files_here = [path for path in files(root) if path != Path(".funcignore")]
    missing = [name for name in NEEDED if Path(name) not in files_here]
    if missing:
        raise SystemExit(f"Not packaged: {', '.join(missing)} is missing in {root}, or .funcignore names it.")
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as package:
        for path in files_here:
            entry = zipfile.ZipInfo(path.as_posix(), EPOCH)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            package.writestr(entry, (root / path).read_bytes())
    return target


def main(arguments: list[str]) -> None:
    folder = Path(arguments[0]) if arguments else ROOT / "dist"
    made = build(ROOT, folder / f"fabric-mirror-{VERSION}.zip")
    Console(highlight=False).print(f"{made} ({made.stat().st_size // 1024} KiB)", soft_wrap=True)


if __name__ == "__main__":
    main(sys.argv[1:])
