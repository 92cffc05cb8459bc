"""The messages between host and worker. The worker's library takes any classes that bear their names and fields.

Names and fields are those of FunctionRpc.proto, the protocol of Azure Functions' language workers.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any


class Message:
    """A message, which has the fields that its maker names."""

    def __init__(self, **fields: Any):
        self.__dict__.update(fields)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...


class TypedData(Message):
    """One value: exactly one of `string`, `bytes`, `json`, `http`, …"""

    def WhichOneof(self, _: str) -> str | None:
        return next(iter(self.__dict__), None)


class ParameterBinding(Message):
    """A value for the parameter `name`."""

    def WhichOneof(self, _: str) -> str:
        return "data"


def _message(name: str, **constants: Any) -> type[Message]:
    return type(name, (Message,), constants)


SAME_SITE = SimpleNamespace(**{"None": None, "Lax": "Lax", "Strict": "Strict", "ExplicitNone": "None"})
PROTOS = SimpleNamespace(
    TypedData=TypedData,
    ParameterBinding=ParameterBinding,
    StatusResult=_message("StatusResult", Failure=0, Success=1),
    BindingInfo=_message("BindingInfo", undefined=0, out=1, inout=2),
    RpcHttpCookie=_message("RpcHttpCookie", SameSite=SAME_SITE),
    **{
        name: _message(name)
        for name in (
            "FunctionMetadataResponse", "InvocationResponse", "NullableBool", "NullableDouble", "NullableString",
            "NullableTimestamp", "RpcException", "RpcFunctionMetadata", "RpcHttp", "RpcRetryOptions",
            "WorkerInitResponse", "WorkerMetadata",
        )
    },
)  # fmt: skip


def request(**body: Any) -> SimpleNamespace:
    """A request to the worker's library, in the envelope it expects."""
    return SimpleNamespace(request=SimpleNamespace(**body), properties={"protos": PROTOS, "host": "127.0.0.1"})
