"""Server parameters as the control plane shows them: PostgreSQL's own settings, bounded as Azure bounds them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

QUERY = """
    SELECT name, setting, unit, short_desc, context, vartype, min_val, max_val, enumvals, pending_restart
    FROM pg_settings
"""
TYPES = {"bool": "Boolean", "enum": "Enumeration", "integer": "Integer", "real": "Numeric", "string": "String"}
# Where flexible server allows less than PostgreSQL ("Server parameters" in its documentation).
ALLOWED = {
    "wal_level": "replica,logical",
    "max_wal_senders": "5-100",
    "max_replication_slots": "2-262143",
    "max_worker_processes": "0-262143",
}
# Settings that belong to the service: where files are, how it listens, what keeps it durable.
READ_ONLY = re.compile(
    r"ssl.*|unix_socket_.*|archive_.*|.*_file|.*_directory|listen_addresses|port|fsync|full_page_writes|bonjour.*"
    r"|krb_.*|external_pid_file|dynamic_library_path|extension_control_path|restore_command|recovery_.*|primary_.*"
    r"|allow_.*|ignore_.*|zero_damaged_pages|cluster_name|event_source|superuser_reserved_connections"
)
PRELOADABLE = ("auto_explain", "azure_cdc", "pg_prewarm", "pg_stat_statements")
UNTRUSTED = re.compile(r".*(plpython|plperlu|pltclu).*|adminpack|file_fdw|plpgsql")


class Parameter(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """One server parameter, with the fields of a `Configuration` in the REST API (numbers in PostgreSQL's own unit)."""

    name: str
    data_type: str
    default_value: str
    allowed_values: str
    description: str = ""
    unit: str | None = None
    is_dynamic_config: bool = True
    is_read_only: bool = False

    def problem(self, value: str) -> str | None:
        """Why `value` is not one of the allowed values, or None."""
        if self.is_read_only:
            return "it is read-only"
        if self._allows(value):
            return None
        return f"{value!r} is not among its allowed values: {self.allowed_values}"

    def _allows(self, value: str) -> bool:
        match self.data_type:
            case "Boolean" | "Enumeration":
                return value.lower() in self.allowed_values.lower().split(",")
            case "Set":
                chosen = {item.strip().lower() for item in value.split(",") if item.strip()}
                return chosen <= set(self.allowed_values.lower().split(","))
            case "Integer" | "Numeric":
                low, high = re.fullmatch(r"(-?[^-]+)-(-?[^-]+)", self.allowed_values).groups()  # type: ignore[union-attr]
                number = _number(value)
                return number is not None and float(low) <= number <= float(high)
            case _:
                return "\n" not in value and "\0" not in value


# Parameters that PostgreSQL doesn't know by itself. The server stores them, so that SHOW tells them.
AZURE_PARAMETERS = (
    Parameter(
        name="azure.fabric_mirror_enabled",
        data_type="Boolean",
        default_value="off",
        allowed_values="on,off",
        description="Specifies whether Fabric mirroring is enabled on the server.",
    ),
    Parameter(
        name="azure.mirror_databases",
        data_type="String",
        default_value="",
        allowed_values=".*",
        description="Specifies the databases that may be mirrored to Fabric.",
    ),
    Parameter(
        name="azure_cdc.max_fabric_mirrors",
        data_type="Integer",
        default_value="3",
        allowed_values="1-6",
        description="Maximum number of databases mirrored to Fabric in parallel.",
        is_dynamic_config=False,
    ),
    Parameter(
        name="azure.service_principal_id",
        data_type="String",
        default_value="",
        allowed_values=".*",
        description="The system-assigned managed identity of the server.",
        is_read_only=True,
    ),
)
CUSTOM = {parameter.name for parameter in AZURE_PARAMETERS} | {"azure.extensions"}


def catalogue(rows: list[Mapping[str, Any]], installation: Path) -> dict[str, Parameter]:
    """Every parameter of a new server, by name: from its `QUERY` rows and what its installation has."""
    controls = (installation / "share" / "postgresql" / "extension").glob("*.control")
    extensions = sorted(file.stem for file in controls if not UNTRUSTED.fullmatch(file.stem))
    modules = [name for name in PRELOADABLE if any((installation / "lib" / "postgresql").glob(f"{name}.*"))]
    parameters = [_from_postgres(row, ",".join(modules)) for row in rows if row["name"] not in CUSTOM]
    allow_list = Parameter(
        name="azure.extensions",
        data_type="Set",
        default_value="",
        allowed_values=",".join(extensions),
        description="Specifies which extensions are allowed to be created in the server.",
    )
    return {parameter.name: parameter for parameter in sorted([*parameters, *AZURE_PARAMETERS, allow_list], key=_name)}


def _from_postgres(row: Mapping[str, Any], modules: str) -> Parameter:
    name, kind = row["name"], TYPES[row["vartype"]]
    allowed = {
        "Boolean": "on,off",
        "Enumeration": ",".join(row["enumvals"] or ()),
        "Integer": f"{row['min_val']}-{row['max_val']}",
        "Numeric": f"{row['min_val']}-{row['max_val']}",
        "String": ".*",
    }[kind]
    if name == "shared_preload_libraries":
        kind, allowed = "Set", modules
    return Parameter(
        name=name,
        data_type=kind,
        default_value=row["setting"] or "",
        allowed_values=ALLOWED.get(name, allowed),
        description=row["short_desc"] or "",
        unit=row["unit"],
        is_dynamic_config=row["context"] != "postmaster",
        is_read_only=row["context"] == "internal" or bool(READ_ONLY.fullmatch(name)),
    )


def _name(parameter: Parameter) -> str:
    return parameter.name


def _number(value: str) -> float | None:
    try:
        return float(value)
    except ValueError:
        return None
