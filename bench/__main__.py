"""`python -m bench [name …]`: every benchmark, or those that are named, each in a process of its own."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import bench

KNOWN = sorted(module.name for module in pkgutil.iter_modules(bench.__path__) if not module.name.startswith("_"))


def main() -> int:
    """The exit status is 0 where every benchmark stayed within its budget."""
    names = sys.argv[1:] or KNOWN
    unknown = sorted(set(names) - set(KNOWN))
    if unknown:
        print(f"There is no benchmark {unknown[0]!r}; there are {', '.join(KNOWN)}.")
        return 1
    return max(subprocess.run([sys.executable, "-m", f"bench.{name}"], check=False).returncode for name in names)


if __name__ == "__main__":
    sys.exit(main())
