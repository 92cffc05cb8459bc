"""The outputs of a deployment, from the environment or from azd."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence

from rich.console import Console


def outputs(names: Sequence[str]) -> dict[str, str]:
    """All that azd knows of its environment. Raises `SystemExit` with status 2, saying which of the names have no
    value."""
    values = {name: value for name, value in os.environ.items() if value}
    if not all(values.get(name) for name in names) and shutil.which("azd"):
        asked = subprocess.run(["azd", "env", "get-values"], capture_output=True, text=True, check=False)  # noqa: S607
        pairs = (pair.partition("=") for pair in shlex.split(asked.stdout) if asked.returncode == 0)
        values = {name: value for name, _, value in pairs} | values
    lacking = [name for name in names if not values.get(name)]
    if lacking:
        Console(stderr=True).print(
            f"Not set: {', '.join(lacking)}. Run this in the folder of the azd environment, after azd up.",
            soft_wrap=True,
        )
        raise SystemExit(2)
    return values
