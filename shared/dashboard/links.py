"""The addresses that the pages link to: relative, with what was asked for and the key that opened the page.

A page may be opened with a function key in its address (`?code=…`). The key goes from one page to the next in links
and forms alone, to the same place; the pages' headers keep it from caches and from other sites.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote, urlencode, urlsplit

import msgspec

CARRIED = ("code", "health", "server", "workspace", "search", "page", "hours")


class Links(msgspec.Struct, frozen=True):
    """Links of one page. `root` leads to the folder of all doors; `carried` is what its own address said."""

    root: str
    carried: dict[str, str]

    def overview(self, **changes: str | int | None) -> str:
        """The list of mirrors. A change replaces what is carried, None removes it. Each but `page` leads to page 1."""
        return f"{self.root}dashboard{self._query({'page': None, 'hours': None} | changes)}"

    def mirror(self, workspace: str, mirrored_database: str, **changes: str | int | None) -> str:
        """The page of one mirror."""
        path = f"{quote(workspace, safe='')}/{quote(mirrored_database, safe='')}"
        return f"{self.root}dashboard/{path}{self._query(changes)}"

    def json(self, path: str, **parameters: str | int | None) -> str:
        """A door that answers JSON, under the folder of all doors. Of what is carried only the key goes with it."""
        others = {name: None for name in CARRIED if name != "code"}
        return f"{self.root}{path}{self._query(others | parameters)}"

    def hidden(self, *names: str) -> dict[str, str]:
        """What a form hands on that has no field for it."""
        return {name: self.carried[name] for name in names if name in self.carried}

    def _query(self, changes: Mapping[str, str | int | None]) -> str:
        wanted = {name: value for name, value in (self.carried | dict(changes)).items() if value not in (None, "")}
        return f"?{urlencode(wanted)}" if wanted else ""


def of(address: str, parameters: Mapping[str, str], depth: int) -> Links:
    """The links of a page at this address, which stands `depth` folders below the doors (0: the list itself)."""
    steps = depth + urlsplit(address).path.endswith("/")
    carried = {name: parameters[name] for name in CARRIED if parameters.get(name)}
    return Links("../" * steps or "./", carried)
