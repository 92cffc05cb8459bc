"""Decodes each message of the corridor in a thread, and says what msgspec had to collect there of the types.

`test_corridor` runs it in a process of its own, in which nothing was decoded before.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from contextlib import suppress
from typing import Any

import msgspec
from msgspec import _utils, inspect

from functions import activities, entities, mailbox, orchestrations, suborchestrations, sweeps
from functions.corridor import Activity, Event, Orchestration


def types() -> list[Any]:
    """What the corridor decodes."""
    found: list[Any] = [entities.Box, entities.RunEnded]
    for module in (activities, mailbox, orchestrations, suborchestrations, sweeps):
        for value in vars(module).values():
            if isinstance(value, Activity):
                found += [value._message, value._answer]
            elif isinstance(value, Orchestration):
                found += [value._request, value._answer]
            elif isinstance(value, Event):
                found.append(value._data)
    return found


def sample(kind: inspect.Type) -> Any:
    """Some JSON of the type, with each of its fields, so that a decoder comes to all of them."""
    match kind:
        case inspect.StructType():
            fields = {field.encode_name: sample(field.type) for field in kind.fields}
            return fields | ({kind.tag_field: kind.tag} if kind.tag_field else {})
        case inspect.UnionType():
            return sample(max(kind.types, key=lambda one: isinstance(one, inspect.StructType)))
        case inspect.ListType() | inspect.VarTupleType():
            return [sample(kind.item_type)]
        case inspect.TupleType():
            return [sample(item) for item in kind.item_types]
        case inspect.DictType():
            return {"x": sample(kind.value_type)}
        case inspect.LiteralType():
            return kind.values[0]
        case inspect.DateTimeType():
            return "2026-01-01T00:00:00Z"
        case inspect.NoneType():
            return None
    return {inspect.BoolType: True, inspect.IntType: 1, inspect.FloatType: 1.0}.get(type(kind), "x")


def decode(kind: Any, data: Any) -> None:
    with suppress(msgspec.ValidationError):
        msgspec.convert(data, kind)


if sys.argv[1:] == ["samples"]:
    print(json.dumps([sample(inspect.type_info(kind)) for kind in types()]))
    sys.exit()
# Another process makes the samples: to look into a type is to collect it.
made = subprocess.run([sys.executable, "-m", __spec__.name, "samples"], capture_output=True, text=True, check=True)
collected: list[Any] = []
evaluate = _utils._eval_type


def noticed(value: Any, *arguments: Any) -> Any:
    """What msgspec calls for each field of a type that it does not know yet."""
    collected.append(value)
    return evaluate(value, *arguments)


_utils._eval_type = noticed
for kind, data in zip(types(), json.loads(made.stdout), strict=True):
    thread = threading.Thread(target=decode, args=(kind, data))
    thread.start()
    thread.join()
print(f"{len(types())} types decoded; fields collected in a thread: {collected}")
sys.exit(1 if collected else 0)
