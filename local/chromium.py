"""The Chromium in which tests and pictures open the pages.

`python -m local.chromium` installs it on Debian, as root, once.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
NEEDED = (
    "Chromium is needed to look at the pages: install it (Debian: apt-get install chromium), or name it in CHROMIUM."
)


def find() -> str | None:
    """The path of the Chromium that CHROMIUM names or that is installed; None: there is none."""
    names = (os.environ.get("CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome")
    return next((path for path in map(shutil.which, filter(None, names)) if path), None)


def main() -> int:
    """Install it where it is missing and can be. The exit status is 1 where CI would have to do without."""
    if find():
        return 0
    if os.geteuid() == 0 and shutil.which("apt-get"):
        print("Installing Chromium …")
        for command in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", "chromium"]):
            environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
            subprocess.run(["apt-get", *command], check=False, env=environment, stdout=subprocess.DEVNULL)
    if find():
        return 0
    print(NEEDED, file=sys.stderr)
    return 1 if os.environ.get("CI") else 0


if __name__ == "__main__":
    sys.exit(main())
