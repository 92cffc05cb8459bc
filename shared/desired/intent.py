"""What is wanted for a server. Its tags and the request in its row each say a wish; both together make the intent.

The tag decides whether a server is mirrored at all: `enabled` wants it, `disabled` forbids it. Without the tag, the
request that somebody made over HTTP counts. Where both say something about the same thing, the tag wins.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, get_args
from uuid import UUID

import msgspec

from shared.platform import brief
from shared.platform.errors import Conflict, InvalidInput
from shared.platform.settings import RestartPolicy, Rights, Settings

RESTART_POLICIES: tuple[RestartPolicy, ...] = get_args(RestartPolicy)
RIGHTS: tuple[Rights, ...] = get_args(Rights)
type Source = Literal["tag", "request", "none"]

MAX_NAME_BYTES = 63
"""The longest identifier that PostgreSQL keeps (NAMEDATALEN - 1)."""

LONGEST = 200
"""Bytes of a wrong value that an error shows."""

_ON = frozenset({"enabled", "true", "on", "yes"})
_OFF = frozenset({"disabled", "false", "off", "no"})
_TAG_OPTIONS = ("databases", "workspace", "restart", "rights")
"""The members of a wish that tags can say too: the tag `fabric-mirror-databases`, and so on."""
_CHOICES: Mapping[str, tuple[str, ...]] = {"restart": RESTART_POLICIES, "rights": RIGHTS}
_GUIDS = {"workspace": "a Fabric workspace", "gateway": "a virtual network data gateway"}


class TableName(msgspec.Struct, frozen=True, order=True):
    """One table of one database."""

    database: str
    schema: str
    table: str


class Wish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the tags, or a request, say. A member that is empty or None says nothing."""

    databases: tuple[str, ...] = ()
    """Names of databases. Where nothing names any, every user database is mirrored."""
    tables: tuple[TableName, ...] = ()
    """The tables of the databases that are not mirrored whole."""
    workspace: str | None = None
    """GUID of a Fabric workspace."""
    restart: RestartPolicy | None = None
    gateway: str | None = None
    """GUID of the virtual network data gateway by which Fabric reaches the server."""
    rights: Rights | None = None
    """How the fabric role comes to its rights on the tables."""


class TagWish(msgspec.Struct, frozen=True):
    """What the tags say."""

    state: bool | None = None
    """True: enabled. False: disabled. None: there is no such tag."""
    wish: Wish = Wish()


class MirrorIntent(msgspec.Struct, frozen=True):
    """What is wanted for a server, with every default filled in. The members are those of `Wish`."""

    wanted: bool
    """The server is to be mirrored."""
    source: Source
    """Who said so: the tag, the request, or nobody."""
    databases: tuple[str, ...]
    tables: tuple[TableName, ...]
    workspace: str
    gateway: str
    restart: RestartPolicy
    rights: Rights
    rights_from: Source = "none"
    """Who named `rights`; none: the app setting. It is recorded as the consent where the rights are `ownership`."""

    @property
    def fingerprint(self) -> str:
        """Twelve hexadecimal digits, which differ whenever something else is wanted."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:12]

    def tables_of(self, database: str) -> tuple[TableName, ...]:
        """The chosen tables of one database. Empty: all of its tables."""
        return tuple(table for table in self.tables if table.database == database)


def read_tags(tags: Mapping[str, str], prefix: str) -> TagWish:
    """What the tags of a server say. Raises `InvalidInput` naming every tag that can't be understood, as it is written.

    Tag names have no letter case (source: "Use tags to organize your Azure resources").
    """
    written = {name.lower(): (name, value.strip()) for name, value in tags.items()}
    errors: list[str] = []
    state = _state(*written.get(prefix.lower(), (prefix, "")), errors)
    wish = Wish()
    for option in _TAG_OPTIONS:
        name, text = written.get(f"{prefix}-{option}".lower(), ("", ""))
        if not text:
            continue
        try:
            said = _wish({option: listed(text) if option == "databases" else text}, {option: f"tag {name}"})
            wish = msgspec.structs.replace(wish, **{option: getattr(said, option)})
        except InvalidInput as error:
            errors.append(error.message)
    if errors and state is not False:
        raise InvalidInput(
            " ".join(errors), code="InvalidTag", remedy="Correct the tag; docs/operations.md lists the values."
        )
    return TagWish(state, Wish() if errors else wish)


def listed(text: str) -> list[str] | str:
    """The names in a text with commas between them. A text without any name stays as it is: a wish can't be that."""
    return [name.strip() for name in text.split(",") if name.strip()] or text


def read_body(body: bytes) -> Wish:
    """The wish in the body of a request. An empty body is a wish for the defaults. Raises `InvalidInput`."""
    if not body.strip():
        return Wish()
    try:
        raw = msgspec.json.decode(body, type=dict[str, Any])
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"The body is not a JSON object in UTF-8: {error}.", code="InvalidBody") from None
    unknown = sorted(raw.keys() - set(Wish.__struct_fields__))
    if unknown:
        raise InvalidInput(
            f"The body has unknown members: {brief.listed([_shown(name) for name in unknown])}. "
            f"Known are {', '.join(Wish.__struct_fields__)}.",
            code="InvalidBody",
        )
    return _wish({key: value for key, value in raw.items() if value is not None}, {}, code="InvalidBody")


def combine(tags: TagWish, request: Wish | None, settings: Settings) -> MirrorIntent:
    """The intent: what the tags say comes first, then what the request says, then the defaults.

    `request` is None where nobody made one, or somebody withdrew it.
    """
    source: Source = "request" if request is not None else "none"
    if tags.state is not None:
        source = "tag"
    tag_wish, request_wish = tags.wish, request or Wish()
    return MirrorIntent(
        wanted=tags.state if tags.state is not None else request is not None,
        source=source,
        databases=tuple(sorted(set(tag_wish.databases or request_wish.databases))),
        tables=tuple(sorted(set(request_wish.tables))),
        workspace=tag_wish.workspace or request_wish.workspace or settings.scope.default_workspace,
        gateway=request_wish.gateway or settings.fabric.gateway,
        restart=tag_wish.restart or request_wish.restart or settings.restart.policy,
        rights=tag_wish.rights or request_wish.rights or settings.login.rights,
        rights_from="tag" if tag_wish.rights else "request" if request_wish.rights else "none",
    )


def check_request(request: Wish, tags: TagWish, prefix: str) -> None:
    """Raise `Conflict` when a request contradicts what a tag says, naming the tag."""
    if tags.state is False:
        raise Conflict(
            f"The tag {prefix}=disabled forbids mirroring this server.",
            code="ForbiddenByTag",
            remedy=f"Remove the tag {prefix} or set it to enabled.",
        )
    for option in _TAG_OPTIONS:
        tag_text, request_text = _text(tags.wish, option), _text(request, option)
        if tag_text and request_text and tag_text != request_text:
            raise Conflict(
                f"The request wants {option} {request_text}, but the tag {prefix}-{option} says {tag_text}.",
                code="ContradictsTag",
                remedy=f"Change the tag {prefix}-{option}, or leave {option} out of the request.",
            )


def _text(wish: Wish, option: str) -> str:
    """What the wish says about one option, whatever the order of names in it; '' for nothing."""
    value = getattr(wish, option)
    return ", ".join(sorted(set(value))) if isinstance(value, tuple) else value or ""


def _state(name: str, text: str, errors: list[str]) -> bool | None:
    """What the tag itself, of this name, says. A text that is neither of the two is an error, and says nothing."""
    if not text:
        return None
    if text.lower() in _ON:
        return True
    if text.lower() not in _OFF:
        errors.append(f"Tag {name} is {text!r}, but enabled or disabled was expected.")
        return None
    return False


def _wish(raw: Mapping[str, Any], names: Mapping[str, str], code: str = "") -> Wish:
    """The wish in JSON values, with every member checked. `names`: what an error calls a member."""

    def refusal(member: str, value: object, expected: str) -> InvalidInput:
        subject = names.get(member, member)
        return InvalidInput(
            f"{subject[0].upper()}{subject[1:]} is {_shown(value)}, but {expected} expected.", code=code
        )

    values = _normal(raw, refusal)
    _require_names(values, refusal)
    try:
        wish = msgspec.convert(values, Wish)
    except msgspec.ValidationError as error:
        raise InvalidInput(
            f"The wish is malformed: {error}. Expected were databases (names), tables (objects with database, schema "
            "and table), workspace and gateway (GUIDs), restart (a policy) and rights.",
            code=code,
        ) from None
    for name in _names(wish):
        if not name or len(name.encode()) > MAX_NAME_BYTES or "\0" in name:
            raise refusal("databases", name, f"names of 1 to {MAX_NAME_BYTES} bytes were")
    if outside := _not_chosen(wish):
        raise refusal("tables", outside, f"tables of the chosen databases ({brief.listed(wish.databases)}) were")
    return wish


def _normal(raw: Mapping[str, Any], refusal: Callable[[str, object, str], InvalidInput]) -> dict[str, Any]:
    """The values, with GUIDs in their usual form. Raises an error for a word that none of the choices is."""
    values = dict(raw)
    for member, thing in _GUIDS.items():
        if member in values:
            try:
                values[member] = str(UUID(values[member] if isinstance(values[member], str) else ""))
            except ValueError:
                raise refusal(member, raw[member], f"the GUID of {thing} was") from None
    for member, words in _CHOICES.items():
        if isinstance(values.get(member), str):
            values[member] = values[member].lower()
        if member in values and values[member] not in words:
            raise refusal(member, raw[member], f"one of {', '.join(words)} was")
    return values


def _shown(value: object) -> str:
    """A value as an error shows it: the beginning of a long one, and of one that is too deep its type."""
    try:
        return brief.cut(repr(value), LONGEST)
    except RecursionError:
        return f"a deep {type(value).__name__}"


def _require_names(values: Mapping[str, Any], refusal: Callable[[str, object, str], InvalidInput]) -> None:
    """Raise an error where a list names nothing: it must not count as everything."""
    for member in ("databases", "tables"):
        if member in values and (not values[member] or isinstance(values[member], str)):
            raise refusal(member, values[member], "a list of at least one name was")


def _names(wish: Wish) -> Iterator[str]:
    """Every name of the wish that is an identifier in PostgreSQL."""
    yield from wish.databases
    for table in wish.tables:
        yield from (table.database, table.schema, table.table)


def _not_chosen(wish: Wish) -> str:
    """The first database that has a chosen table, but is not chosen itself; '' when there is none."""
    if not wish.databases:
        return ""
    return min({table.database for table in wish.tables} - set(wish.databases), default="")
