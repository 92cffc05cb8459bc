"""Reads the server parameters of a flexible server.

A server has some four hundred of them, and a run reads them again and again. The SDK's models of all these take a tenth
of a second of the processor, in which the app does nothing else; so the answer is read here, through the SDK's client.
"""

from __future__ import annotations

from urllib.parse import quote

import msgspec
from azure.core.exceptions import DecodeError
from azure.core.rest import HttpRequest

from shared.desired.server_id import ServerId
from shared.platform.clients import MANAGEMENT_API_VERSION, management
from shared.source.parameters import Parameter
from shared.source.refusals import translated
from shared.source.server import READING


class _Properties(msgspec.Struct, rename="camel"):
    """The properties of a configuration. Source: "Configurations - List By Server" of the REST API."""

    value: str | None = None
    default_value: str | None = None
    allowed_values: str | None = None
    data_type: str | None = None
    is_read_only: bool | None = None
    is_dynamic_config: bool | None = None
    is_config_pending_restart: bool | None = None


class _Configuration(msgspec.Struct):
    name: str
    properties: _Properties = msgspec.field(default_factory=_Properties)


class _Page(msgspec.Struct, rename="camel"):
    value: list[_Configuration]
    next_link: str | None = None


async def parameters(id: ServerId) -> dict[str, Parameter]:
    """Every server parameter, by name."""
    by_name = dict[str, Parameter]()
    address: str | None = f"/{quote(str(id).lstrip('/'))}/configurations?api-version={MANAGEMENT_API_VERSION}"
    with translated(f"Reading the parameters of server {id.name!r}"):
        while address:
            answer = await management(id.subscription).send_request(HttpRequest("GET", address), **READING)
            answer.raise_for_status()
            page = _page(await answer.read())
            by_name |= {item.name: _parameter(item.name, item.properties) for item in page.value}
            address = page.next_link
    return by_name


def _page(answer: bytes) -> _Page:
    try:
        return msgspec.json.decode(answer, type=_Page)
    except msgspec.DecodeError as error:
        raise DecodeError(f"The answer is not a list of parameters: {error}") from error


def _parameter(name: str, properties: _Properties) -> Parameter:
    return Parameter(
        name=name,
        value=properties.value or "",
        default=properties.default_value or "",
        allowed=properties.allowed_values or "",
        read_only=bool(properties.is_read_only),
        dynamic=bool(properties.is_dynamic_config),
        pending_restart=bool(properties.is_config_pending_restart),
        data_type=properties.data_type or "",
    )
