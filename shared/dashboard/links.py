"""The links of the pages: relative, with the parameters of the page's own address and the key that opened the page.

A person may open a page with a function key in its address (`?code=…`). The key goes from page to page only in links
and forms, and only to the same app. The headers of the pages keep it out of caches and away from other sites.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote, urlencode, urlsplit

import msgspec

CARRIED = ("code", "health", "server", "workspace", "search", "page", "hours")


class Links(msgspec.Struct, frozen=True):
    """The links of one page."""

    root: str
    """Leads to the folder of all doors."""
    carried: dict[str, str]
    """The parameters of the page's own address."""

    def overview(self, **changes: str | int | None) -> str:
        """The list of mirrors, from its first page unless `page` is a change.

        A change replaces a carried parameter; None removes the parameter.
        """
        return f"{self.root}dashboard{self._query({'page': None, 'hours': None} | changes)}"

    def mirror(self, workspace: str, mirrored_database: str, **changes: str | int | None) -> str:
        """The page of one mirror."""
        path = f"{quote(workspace, safe='')}/{quote(mirrored_database, safe='')}"
        return f"{self.root}dashboard/{path}{self._query(changes)}"

    def json(self, path: str, **parameters: str | int | None) -> str:
        """A door that answers JSON, below the folder of all doors. Only the key is carried there."""
        others = {name: None for name in CARRIED if name != "code"}
        return f"{self.root}{path}{self._query(others | parameters)}"

    def hidden(self, *names: str) -> dict[str, str]:
        """The carried parameters that a form has no field for."""
        return {name: self.carried[name] for name in names if name in self.carried}

    def _query(self, changes: Mapping[str, str | int | None]) -> str:
        parameters = {name: value for name, value in (self.carried | dict(changes)).items() if value not in (None, "")}
        return f"?{urlencode(parameters)}" if parameters else ""


def of(address: str, parameters: Mapping[str, str], depth: int) -> Links:
    """The links of a page at this address, which is `depth` folders below the list (0: the list itself)."""
    steps = depth + urlsplit(address).path.endswith("/")
    carried = {name: parameters[name] for name in CARRIED if parameters.get(name)}
    return Links("../" * steps or "./", carried)
