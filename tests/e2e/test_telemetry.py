"""What the app measures and traces arrives in Application Insights, sent as the app's own identity."""

from __future__ import annotations

from local.scenario import Operator, acting_as, eventually
from local.stack import PARTS
from local.topology import APP
from tests.conftest import StackFactory

OFTEN = {"OTEL_METRIC_EXPORT_INTERVAL": "500", "OTEL_BSP_SCHEDULE_DELAY": "500"}
MEASURED = {
    "fabric_mirror.mirrors", "fabric_mirror.sweep.duration", "fabric_mirror.sweep.fabric_calls",
    "fabric_mirror.wal.retained", "fabric_mirror.figures.age",
}  # fmt: skip
TRACED = {"fabric_mirror.plan_sweep", "fabric_mirror.conclude_sweep"}


def test_a_sweep_is_measured_and_traced(stack_factory: StackFactory) -> None:
    stack = stack_factory(*PARTS, settings=OFTEN, fresh=True)

    def told() -> set[str]:
        """The names of all measurements and spans of ours that have arrived."""
        data = [one["data"] for one in operator.control("monitor", "telemetry")]
        names = {metric["name"] for one in data for metric in one.get("metrics", ())}
        return {name for name in names | {one.get("name", "") for one in data} if name.startswith("fabric_mirror.")}

    with acting_as(stack, "operator"):
        operator = Operator(stack)
        operator.sweep()
        eventually(told, lambda names: names >= MEASURED | TRACED)
        received = operator.control("monitor", "telemetry")
        callers = {call["caller"] for call in operator.control("monitor", "calls")}
        operator.close()
    assert callers == {stack.topology.principals[APP].object_id}
    spans = [one["data"] for one in received if one["data"].get("name") in TRACED]
    assert {span["properties"]["fabric_mirror.run"] for span in spans} == {"sweep_health"}
    assert all(span["success"] for span in spans)
