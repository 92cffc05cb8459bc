"""What is wanted for a server: read from its tags and from the request kept for it, or the reasons why not.

The tag decides whether a server is mirrored at all (`enabled`, `disabled`, or says nothing); where it is silent, the
request that somebody made over HTTP counts. Where both say something about the same thing, the tag wins.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Literal
from uuid import UUID

import msgspec

from shared.platform.errors import Conflict, InvalidInput
from shared.platform.settings import Settings

RestartPolicy = Literal["auto", "now", "window", "approval"]
RESTART_POLICIES: tuple[RestartPolicy, ...] = ("auto", "now", "window", "approval")

_ON = frozenset({"enabled", "true", "on", "yes"})
_OFF = frozenset({"disabled", "false", "off", "no"})
MAX_NAME_BYTES = 63
"""Longest identifier that PostgreSQL keeps (NAMEDATALEN - 1)."""


class TableName(msgspec.Struct, frozen=True, order=True):
    """One table of one database."""

    database: str
    schema: str
    table: str


class Wish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one source (the tags, or a request) says. Empty or None: it says nothing about that.

    `databases`: names; empty: every user database. `tables`: of databases that are not mirrored whole.
    `workspace`: GUID of a Fabric workspace. `gateway`: GUID of the virtual network data gateway by which Fabric comes
    in. `restart`: the policy.
    """

    databases: tuple[str, ...] = ()
    tables: tuple[TableName, ...] = ()
    workspace: str | None = None
    restart: RestartPolicy | None = None
    gateway: str | None = None


class TagWish(msgspec.Struct, frozen=True):
    """What the tags say. `state`: True enabled, False disabled, None: no tag."""

    state: bool | None = None
    wish: Wish = Wish()


class MirrorIntent(msgspec.Struct, frozen=True):
    """What is wanted in the end. `source` says who wants it: `tag`, `request` or nobody (`none`)."""

    wanted: bool
    source: Literal["tag", "request", "none"]
    databases: tuple[str, ...]
    tables: tuple[TableName, ...]
    workspace: str
    gateway: str
    restart: RestartPolicy

    @property
    def fingerprint(self) -> str:
        """Changes whenever something else is wanted. Twelve hexadecimal digits."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:12]

    def tables_of(self, database: str) -> tuple[TableName, ...]:
        """The chosen tables of one database; none: all of them."""
        return tuple(table for table in self.tables if table.database == database)


def read_tags(tags: Mapping[str, str], prefix: str) -> TagWish:
    """What the tags of a server say. Raises `InvalidInput` naming every tag that can't be understood.

    Tag names have no letter case (source: "Use tags to organize your Azure resources").
    """
    mine = {name.lower(): value.strip() for name, value in tags.items() if name.lower().startswith(prefix.lower())}
    wrong: list[str] = []
    state = _state(mine.get(prefix.lower(), ""), prefix, wrong)
    raw: dict[str, Any] = {}
    if names := mine.get(f"{prefix}-databases".lower()):
        raw["databases"] = [name.strip() for name in names.split(",") if name.strip()]
    for option in ("workspace", "restart"):
        if text := mine.get(f"{prefix}-{option}".lower()):
            raw[option] = text.lower()
    try:
        wish = _wish(raw, {key: f"tag {prefix}-{key}" for key in ("databases", "workspace", "restart")})
    except InvalidInput as error:
        wrong.append(error.message)
    if wrong and state is not False:
        raise InvalidInput(
            " ".join(wrong), code="InvalidTag", remedy="Correct the tag; docs/operations.md lists the values."
        )
    return TagWish(state, Wish() if wrong else wish)


def read_body(body: bytes) -> Wish:
    """The wish in the body of a request. An empty body wishes the defaults. Raises `InvalidInput`."""
    if not body.strip():
        return Wish()
    try:
        raw = msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise InvalidInput(f"The body is not a JSON object: {error}.", code="InvalidBody") from None
    unknown = sorted(raw.keys() - set(Wish.__struct_fields__))
    if unknown:
        raise InvalidInput(
            f"The body has unknown members: {', '.join(map(repr, unknown))}. "
            f"Known are {', '.join(Wish.__struct_fields__)}.",
            code="InvalidBody",
        )
    return _wish({key: value for key, value in raw.items() if value is not None}, {}, code="InvalidBody")


def combine(tags: TagWish, request: Wish | None, settings: Settings) -> MirrorIntent:
    """What is wanted in the end: the tag first, then the request, then the defaults."""
    asked = request or Wish()
    source: Literal["tag", "request", "none"] = "none"
    if tags.state is not None:
        source = "tag"
    elif request is not None:
        source = "request"
    restart = tags.wish.restart or asked.restart or _policy(settings)
    return MirrorIntent(
        wanted=tags.state is True or (tags.state is None and request is not None),
        source=source,
        databases=tuple(sorted(set(tags.wish.databases or asked.databases))),
        tables=tuple(sorted(set(asked.tables))),
        workspace=tags.wish.workspace or asked.workspace or settings.default_workspace,
        gateway=asked.gateway or settings.fabric_gateway,
        restart=restart,
    )


def check_request(request: Wish, tags: TagWish, prefix: str) -> None:
    """Raise `Conflict` when a request contradicts what a tag says, naming the tag."""
    if tags.state is False:
        raise Conflict(
            f"The tag {prefix}=disabled forbids mirroring this server.",
            code="ForbiddenByTag",
            remedy=f"Remove the tag {prefix} or set it to enabled.",
        )
    for option in ("databases", "workspace", "restart"):
        tagged, asked = getattr(tags.wish, option), getattr(request, option)
        if option == "databases":
            tagged, asked = tuple(sorted(set(tagged))), tuple(sorted(set(asked)))
        if tagged and asked and tagged != asked:
            raise Conflict(
                f"The request wants {option} {_show(asked)}, but the tag {prefix}-{option} says {_show(tagged)}.",
                code="ContradictsTag",
                remedy=f"Change the tag {prefix}-{option}, or leave {option} out of the request.",
            )


def _show(value: object) -> str:
    return ", ".join(value) if isinstance(value, tuple) else str(value)


def _policy(settings: Settings) -> RestartPolicy:
    return next(policy for policy in RESTART_POLICIES if policy == settings.restart_policy)


def _state(text: str, prefix: str, wrong: list[str]) -> bool | None:
    if not text:
        return None
    if text.lower() in _ON:
        return True
    if text.lower() not in _OFF:
        wrong.append(f"Tag {prefix} is {text!r}, but enabled or disabled was expected.")
        return None
    return False


def _wish(raw: dict[str, Any], names: Mapping[str, str], code: str = "") -> Wish:
    """A wish from JSON values, with every member checked. `names`: what to call a member in an error."""

    def refuse(member: str, found: object, expected: str) -> InvalidInput:
        subject = names.get(member, member)
        return InvalidInput(f"{subject[0].upper()}{subject[1:]} is {found!r}, but {expected}.", code=code)

    for member, what in (("workspace", "a Fabric workspace"), ("gateway", "a virtual network data gateway")):
        if member in raw:
            try:
                raw[member] = str(UUID(str(raw[member])))
            except ValueError:
                raise refuse(member, raw[member], f"the GUID of {what} was expected") from None
    if "restart" in raw and raw["restart"] not in RESTART_POLICIES:
        raise refuse("restart", raw["restart"], f"one of {', '.join(RESTART_POLICIES)} was expected")
    try:
        wish = msgspec.convert(raw, Wish)
    except msgspec.ValidationError as error:
        raise InvalidInput(
            f"The wish is malformed: {error}. Expected were databases (names), tables (objects with database, schema "
            "and table), workspace and gateway (GUIDs) and restart (a policy).",
            code=code,
        ) from None
    for name in (*wish.databases, *(part for table in wish.tables for part in msgspec.structs.astuple(table))):
        if not name or len(name.encode()) > MAX_NAME_BYTES or "\0" in name:
            raise refuse("databases", name, f"names of 1 to {MAX_NAME_BYTES} bytes were expected")
    outside = sorted({table.database for table in wish.tables} - set(wish.databases)) if wish.databases else []
    if outside:
        raise refuse(
            "tables", outside[0], f"tables of the chosen databases ({', '.join(wish.databases)}) were expected"
        )
    return wish
