"""Tags of a resource, as ARM keeps them: names without regard to case, at most 50, values of at most 256 characters.

The tags of `LOCAL` mean something to this stack alone: each chooses a setting of a server's stand-in for `azure_cdc`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from local.cloud.web import Refusal
from local.topology import CHARACTERS

LIMIT = 50
NAME_LENGTH = 512
VALUE_LENGTH = 256
LOCAL = {
    "local-azure-cdc": ("local.azure_cdc", CHARACTERS),
    "local-azure-cdc-types": ("local.azure_cdc_types", ("older", "newest")),
}
"""By the name of a tag: the setting in PostgreSQL, and the values that the tag may have."""


def checked(tags: Any) -> dict[str, str]:
    """The tags of a request body. Raises `Refusal` naming the first that ARM would not take."""
    if not isinstance(tags, Mapping) or not all(isinstance(value, str) for value in tags.values()):
        raise Refusal(400, "InvalidRequestContent", "Tags must be an object whose values are strings.")
    if len(tags) > LIMIT:
        raise Refusal(400, "TagsLimitExceeded", f"A resource can have at most {LIMIT} tags; {len(tags)} were given.")
    seen: set[str] = set()
    for name, value in tags.items():
        if not name or len(name) > NAME_LENGTH:
            raise Refusal(
                400, "InvalidTagNameLength", f"The tag name {name[:40]!r} must have 1 to {NAME_LENGTH} characters."
            )
        if len(value) > VALUE_LENGTH:
            raise Refusal(400, "InvalidTagValueLength", f"The tag {name!r} has more than {VALUE_LENGTH} characters.")
        if name.lower() in seen:
            raise Refusal(
                400, "DuplicateTagName", f"The tag name {name!r} is given twice; letter case makes no difference."
            )
        if name.lower() in LOCAL and value not in (choices := LOCAL[name.lower()][1]):
            expected = ", ".join(choices)
            raise Refusal(400, "InvalidTagValue", f"The tag {name!r} is {value!r}, expected one of {expected}.")
        seen.add(name.lower())
    return dict(tags)


def local_settings(tags: Mapping[str, str]) -> dict[str, str | None]:
    """What the tags of `LOCAL` choose, by setting; None where there is no such tag."""
    values = {name.lower(): value for name, value in tags.items()}
    return {setting: values.get(name) for name, (setting, _) in LOCAL.items()}


def patched(tags: Mapping[str, str], operation: str, change: Mapping[str, str]) -> dict[str, str]:
    """`tags` after Merge, Replace or Delete. Delete removes a tag only where its value is the given one."""
    values = {name.lower(): value for name, value in change.items()}
    if operation == "Replace":
        return checked(change)
    if operation == "Merge":
        return checked({name: value for name, value in tags.items() if name.lower() not in values} | dict(change))
    if operation == "Delete":
        return {name: value for name, value in tags.items() if values.get(name.lower()) != value}
    raise Refusal(400, "InvalidRequestContent", f"The operation {operation!r} is not one of Merge, Replace, Delete.")
