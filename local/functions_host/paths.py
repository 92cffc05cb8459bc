"""Paths and queries as the web server of Azure's host reads them (Kestrel and ASP.NET Core)."""

from __future__ import annotations

import re
from urllib.parse import quote, unquote_to_bytes

ENCODED = re.compile(r"(?:%[0-9A-Fa-f]{2})+")
UNRESERVED = re.compile(r"[A-Za-z0-9._~-]")
KEPT = "%/:;@!$&'()*+,=~"


class PathInvalid(Exception):
    """The path has a zero byte: the web server itself answers 400."""


def normal(raw: str) -> str:
    """The path of a request target, still percent-encoded: without its dot segments, and with nothing encoded that
    need not be. Raises `PathInvalid` for a zero byte."""
    if "%00" in raw:
        raise PathInvalid(raw)
    plain = re.sub(r"%([0-9A-Fa-f]{2})", _if_reserved, raw)
    remaining: list[str] = []
    segments = plain.split("/")
    for segment in segments:
        if segment == "..":
            del remaining[max(len(remaining) - 1, 1) :]
        elif segment != ".":
            remaining.append(segment)
    return quote("/".join(remaining), safe=KEPT)


def decoded(text: str) -> str:
    """The text that is percent-encoded here. Bytes that are no UTF-8 stay encoded."""

    def decode(encoded: re.Match[str]) -> str:
        try:
            return unquote_to_bytes(encoded[0]).decode()
        except UnicodeDecodeError:
            return encoded[0]

    return ENCODED.sub(decode, text)


def parameters(query: str) -> dict[str, str]:
    """The parameters of a query that have a value. Names that differ in letter case alone are one name;
    its values are joined."""
    joined: dict[str, tuple[str, str]] = {}
    for pair in query.split("&"):
        name, _, value = (decoded(part.replace("+", " ")) for part in pair.partition("="))
        before = joined.get(name.lower(), ("", ""))[1]
        joined[name.lower()] = name, ",".join(filter(None, (before, value)))
    return {name: value for name, value in joined.values() if value}


def _if_reserved(encoded: re.Match[str]) -> str:
    character = chr(int(encoded[1], 16))
    return character if UNRESERVED.fullmatch(character) else encoded[0]
