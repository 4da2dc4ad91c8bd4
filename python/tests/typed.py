"""Code that mypy must accept as it is, and the mistakes that it must find."""

from datetime import timedelta
from typing import assert_type

import dyn_metrics
from dyn_metrics import Composite, Counter, DurationGauge, Enum, Gauge, Histogram, IntCounter, Registry, Timer

registry = Registry(path="/dev/shm/x", max_bytes=1 << 20, process_labels={"rank": "0"})
counter = Counter("c", "h", ["a", "b"], namespace="n", unit="bytes", registry=registry)
assert_type(counter.labels("x", 200), Counter)
assert_type(counter.labels(a="x", b="y"), Counter)
assert_type(counter.value(), float)
assert_type(IntCounter("i", "h").value(), int)
assert_type(registry.gauge("g", "h", multiprocess_mode="livemax"), Gauge)
assert_type(registry.histogram("h", "h", buckets=(0.1, 1)).time(), Timer)
assert_type(Enum("e", "h", states=("a", "b")).value(), str | None)
assert_type(dyn_metrics.generate_latest(), bytes)
assert_type(Composite("avg", "g", matching={"a": ["x", "y"]}, window=timedelta(1)).read().value, float | None)
DurationGauge("d", "h").set(timedelta(seconds=1))
counter.inc(0.5)


@Histogram("h", "h").time()
def work(times: int) -> str:
    return "x" * times


@counter.count_exceptions((KeyError, OSError))
async def wait() -> None: ...


assert_type(work(3), str)
for family in registry:
    for series in family["series"]:
        assert_type(series["labels"], dict[str, str])

registry.composite("mean", "g")  # type: ignore[arg-type]
work("3")  # type: ignore[arg-type]
counter.inc("1")  # type: ignore[arg-type]
counter.observe(1)  # type: ignore[attr-defined]
IntCounter("i", "h").inc(1.5)  # type: ignore[arg-type]
Gauge("g", "h", multiprocess_mode="most")  # type: ignore[arg-type]
Counter("c")  # type: ignore[call-arg]
Counter("c", "h", buckets=[1])  # type: ignore[call-arg]


class Typed(dyn_metrics.Metrics, prefix="typed_"):
    requests = dyn_metrics.counter("requests_total", "Requests", labels=["model"])
    phase = dyn_metrics.enum("phase", "Phase", states=["a", "b"])


class Service(dyn_metrics.MetricsRegistry):
    registry = Registry.null()


typed = Typed(dyn_metrics.DistributedRuntime(registry).namespace("n").component("c"))
Typed(Service())
assert_type(typed.requests.labels("m"), Counter)
assert_type(typed.phase.value(), str | None)
assert_type(Service().create_intgauge("g", "h", {"a": "b"}), dyn_metrics.IntGauge)
assert_type(registry.create_histogram_vec("h", "h", ["a"], buckets=[1.0]).with_label_values(["x"]), Histogram)
assert_type([one.name for one in Typed.declared()], list[str])
typed.requests.observe(1)  # type: ignore[attr-defined]
registry.create_counter("c", "h", ["a"])  # type: ignore[arg-type]
