"""The pages as HTML, and their headers.

Jinja escapes every value. A page loads nothing: it contains its style sheet and its script, and the
Content-Security-Policy allows only these two, by their hashes.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from shared.dashboard import charts, detail, words
from shared.dashboard.detail import Detail
from shared.dashboard.links import Links
from shared.dashboard.listing import Server
from shared.dashboard.overview import MOST_SERVERS, TREND, Overview
from shared.dashboard.query import LEVELS
from shared.decisions.progress import Status
from shared.platform.errors import MirrorError
from shared.platform.version import VERSION

TEMPLATES = Path(__file__).with_name("templates")
REFRESH_SECONDS = 15


def _asset(name: str) -> str:
    return (TEMPLATES / name).read_text()


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


STYLE, SCRIPT = _asset("style.css"), _asset("script.js")
HEADERS = {
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            f"style-src {_hash(STYLE)}",
            f"script-src {_hash(SCRIPT)}",
            "img-src data:",
            "connect-src 'self'",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        )
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}

_templates = jinja2.Environment(
    loader=jinja2.FileSystemLoader(TEMPLATES),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.globals.update(
    style=Markup(STYLE),  # noqa: S704 - ours
    script=Markup(SCRIPT),  # noqa: S704 - ours
    words=words,
    charts=charts,
    iso=datetime.fromisoformat,
    levels=LEVELS,
    version=VERSION,
    refresh_seconds=REFRESH_SECONDS,
)


def overview(shown: Overview, progress: Mapping[str, Status], links: Links, api: str) -> str:
    """The list of mirrors.

    `progress` has the progress of the runs by instance id. `api` is the address of the folder of all doors.
    """
    return _render(
        "overview.html",
        links=links,
        shown=shown,
        progress=progress,
        most_servers=MOST_SERVERS,
        span=charts.Span(shown.now - TREND, shown.now),
        decision=lambda server: f"{api}{_door(server)}/restart-decision",
    )


def mirror(shown: Detail, links: Links) -> str:
    """The page of one mirror."""
    return _render(
        "mirror.html",
        links=links,
        shown=shown,
        figures=detail.figures(shown),
        band=detail.levels(shown),
        ticks=detail.span_of(shown).ticks(3),
        range_name=detail.range_name(shown.hours),
    )


def problem(title: str, error: MirrorError, links: Links) -> str:
    """The page that shows an error to a person."""
    return _render("problem.html", links=links, title=title, error=error)


def _render(template: str, **values: Any) -> str:
    return _templates.get_template(template).render(values)


def _door(server: Server) -> str:
    parts = server.server.split("/")
    return f"servers/{parts[2]}/{parts[4]}/{parts[-1]}/mirroring"
