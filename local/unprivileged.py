"""Runs one command as the account that owns the local PostgreSQL servers: `nobody` when we are root, else ourselves.

    python -m local.unprivileged COMMAND …

PostgreSQL refuses to run as root, and containers often leave nobody else.
"""

from __future__ import annotations

import os
import pwd
import sys
from pathlib import Path

ACCOUNT = "nobody"


def account() -> pwd.struct_passwd | None:
    """The account to change to, or None if there is no need."""
    return pwd.getpwnam(ACCOUNT) if os.geteuid() == 0 else None


def give(path: Path) -> None:
    """Hand one file or folder over to the account."""
    if owner := account():
        os.chown(path, owner.pw_uid, owner.pw_gid)


def can_reach(folder: Path) -> bool:
    """Whether the account may enter `folder` and everything above it."""
    if account() is None:
        return True
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    return all(path.stat().st_mode & 0o001 for path in (existing, *existing.parents))


def main(command: list[str]) -> None:
    if owner := account():
        os.setgroups([])
        os.setgid(owner.pw_gid)
        os.setuid(owner.pw_uid)
    os.execv(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
