"""Every class: what it counts, and what others see of it."""

import asyncio
import copy
import inspect
import math
import pickle
import time
from datetime import timedelta
from fractions import Fraction

import pytest

import dyn_metrics
from dyn_metrics import (
    Counter,
    DurationCounter,
    DurationGauge,
    Enum,
    Gauge,
    Histogram,
    Info,
    IntCounter,
    IntGauge,
    Registry,
    Summary,
)


def test_a_counter_adds_whole_and_other_amounts(registry: Registry) -> None:
    counter = Counter("c", "h", registry=registry)
    for amount in (1, 2.5, 0, 0.0, True, Fraction(1, 2), 2**40 - 1):
        counter.inc(amount)
    counter.inc()
    counter.inc(amount=2)
    assert counter.value() == 2**40 + 7
    assert registry.snapshot()["c_total"]["series"] == [{"labels": {}, "value": 2**40 + 7}]


def test_whole_amounts_stay_exact(registry: Registry) -> None:
    counter = Counter("c", "h", registry=registry)
    counter.inc(2**53)
    counter.inc()
    assert registry.snapshot()["c_total"]["series"][0]["value"] == 2**53 + 1


def test_nan_and_infinite_increments_are_dropped_and_counted(registry: Registry) -> None:
    counter = Counter("c", "h", registry=registry)
    for amount in (0.5, math.nan, math.inf):
        counter.inc(amount)
    assert counter.value() == 0.5
    page = registry.generate_latest().decode()
    lines = [line for line in page.splitlines() if "dropped" in line and line.endswith(" 2")]
    assert lines, page


def test_the_name_is_made_as_prometheus_client_makes_it(registry: Registry) -> None:
    names = [
        Counter("a_total", "h", registry=registry).name,
        Counter("a", "h", (), "n", "s", "seconds", registry).name,
        Counter("a_seconds", "h", unit="seconds", registry=registry).name,
        Counter("seconds", "h", unit="seconds", registry=registry).name,
        Info("b", "h", registry=registry).name,
        Info("b_info", "h", registry=registry).name,
        Gauge("g", "h", subsystem="s", registry=registry).name,
    ]
    assert names == [
        "a_total",
        "n_s_a_seconds_total",
        "a_seconds_total",
        "seconds_seconds_total",
        "b_info",
        "b_info",
        "s_g",
    ]


def test_gauges_go_up_and_down(registry: Registry) -> None:
    gauge = Gauge("g", "h", registry=registry)
    gauge.set(3)
    gauge.inc()
    gauge.inc(0.5)
    gauge.dec()
    gauge.dec(amount=2)
    assert gauge.value() == 1.5
    gauge.set(math.nan)
    assert math.isnan(gauge.value())
    before = time.time()
    gauge.set_to_current_time()
    assert before - 1 <= gauge.value() <= time.time() + 1


@pytest.mark.parametrize("mode", ["all", "liveall", "min", "livemin", "max", "livemax", "sum", "mostrecent"])
def test_a_gauge_has_the_mode_that_was_given(registry: Registry, mode: str) -> None:
    Gauge("g", "h", registry=registry, multiprocess_mode=mode).set(1)  # type: ignore[arg-type]
    assert registry.snapshot()["g"]["multiprocess_mode"] == mode


def test_gauges_are_livesum_unless_a_mode_is_given(registry: Registry) -> None:
    Gauge("g", "h", registry=registry).set(1)
    assert registry.snapshot()["g"]["multiprocess_mode"] == "livesum"


def test_integer_forms_count_in_ints(registry: Registry) -> None:
    counter, gauge = IntCounter("c", "h", registry=registry), IntGauge("g", "h", registry=registry)
    counter.inc()
    counter.inc(2**40)
    gauge.set(-5)
    gauge.inc(3)
    gauge.dec()
    assert (counter.value(), gauge.value()) == (2**40 + 1, -3)
    assert isinstance(counter.value(), int) and isinstance(gauge.value(), int)
    for update in (counter.inc, gauge.set, gauge.inc, gauge.dec):
        with pytest.raises(TypeError, match="expected an int"):
            update(1.5)  # type: ignore[arg-type]


def test_duration_forms_take_timedeltas_and_seconds(registry: Registry) -> None:
    counter, gauge = DurationCounter("c", "h", registry=registry), DurationGauge("g", "h", registry=registry)
    counter.inc(timedelta(milliseconds=1))
    counter.inc(1e-9)
    counter.inc(2)
    gauge.set(timedelta(seconds=-3))
    gauge.inc(0.5)
    gauge.dec(timedelta(seconds=1))
    assert (counter.value(), gauge.value()) == (2.001000001, -3.5)
    for wrong in (math.nan, math.inf, 1e30):
        with pytest.raises(ValueError, match='metric "c_total".*finite'):
            counter.inc(wrong)


def test_a_histogram_counts_by_upper_bound(registry: Registry) -> None:
    histogram = Histogram("h", "h", registry=registry, buckets=(0.1, 1, math.inf))
    for value in (0.1, 0.5, 1, 2, -1, math.inf, math.nan):
        histogram.observe(value)
    assert histogram.buckets() == {0.1: 2, 1.0: 2, math.inf: 2}
    assert histogram.count() == 6
    assert histogram.sum() == pytest.approx(2.6)
    series = registry.snapshot()["h"]["series"][0]
    assert (series["count"], series["buckets"]) == (6, {0.1: 2, 1.0: 2, math.inf: 2})
    assert b'h_bucket{le="1"} 4\n' in registry.generate_latest()


def test_a_summary_counts_and_sums(registry: Registry) -> None:
    summary = Summary("s", "h", registry=registry)
    summary.observe(1)
    summary.observe(2.5)
    assert (summary.count(), summary.sum()) == (2, 3.5)
    assert b"s_count 2\n" in registry.generate_latest()


def test_an_info_states_facts_once(registry: Registry) -> None:
    info = Info("build", "h", registry=registry)
    info.info({"version": "1", "cores": 2})
    info.info({"cores": "2", "version": "1"})
    assert b'build_info{cores="2",version="1"} 1\n' in registry.generate_latest()
    with pytest.raises(ValueError, match="build_info.*taken back"):
        info.info({"version": "2"})
    per = Info("node", "h", ["rank"], registry=registry)
    per.labels(0).info({"gpu": "a"})
    per.labels(1).info({"gpu": "b"})
    labels = [series["labels"] for series in registry.snapshot()["node_info"]["series"]]
    assert labels == [{"gpu": "a", "rank": "0"}, {"gpu": "b", "rank": "1"}]


def test_an_enum_is_in_one_state(registry: Registry) -> None:
    enum = Enum("phase", "h", registry=registry, states=["starting", "running"])
    assert (enum.value(), enum.states) == ("starting", ("starting", "running"))
    enum.state("running")
    assert registry.snapshot()["phase"]["series"][0]["states"] == {"starting": False, "running": True}
    with pytest.raises(ValueError, match="phase.*found state 'gone'"):
        enum.state("gone")


def test_time_is_measured_by_blocks_and_decorators(registry: Registry) -> None:
    histogram = Histogram("h", "h", registry=registry)
    with histogram.time() as outer, histogram.time() as inner:
        assert outer is not inner

    @histogram.time()
    def double(value: int, depth: int = 0) -> int:
        "Doubles."
        return double(value, depth - 1) if depth else 2 * value

    assert (double(4, depth=2), double.__doc__, double.__name__) == (8, "Doubles.", "double")
    assert list(inspect.signature(double).parameters) == ["value", "depth"]
    with pytest.raises(KeyError), histogram.time():
        raise KeyError
    assert histogram.count() == 6

    @histogram.time()
    async def wait(seconds: float) -> str:
        await asyncio.sleep(seconds)
        return "done"

    assert inspect.iscoroutinefunction(wait)
    assert asyncio.run(wait(0.02)) == "done"
    assert histogram.count() == 7
    assert histogram.sum() >= 0.02


def test_every_class_that_takes_time_has_a_timer(registry: Registry) -> None:
    summary = Summary("s", "h", registry=registry)
    gauge = Gauge("g", "h", registry=registry)
    counter = DurationCounter("c", "h", registry=registry)
    lag = DurationGauge("l", "h", registry=registry)
    with summary.time(), gauge.time(), counter.time(), lag.time():
        time.sleep(0.001)
    assert summary.count() == 1
    for seconds in (summary.sum(), gauge.value(), counter.value(), lag.value()):
        assert seconds >= 0.001


def test_exceptions_are_counted_and_go_on(registry: Registry) -> None:
    counter = Counter("c", "h", registry=registry)
    with pytest.raises(KeyError), counter.count_exceptions():
        raise KeyError
    with pytest.raises(KeyError), counter.count_exceptions((ValueError, OSError)):
        raise KeyError
    with counter.count_exceptions():
        pass
    assert counter.value() == 1

    @counter.count_exceptions(ValueError)
    def fails() -> None:
        raise UnicodeError

    with pytest.raises(UnicodeError):
        fails()
    assert counter.value() == 2
    with pytest.raises(TypeError, match="c_total.*exception classes"):
        counter.count_exceptions("x")  # type: ignore[arg-type]


def test_running_blocks_are_tracked(registry: Registry) -> None:
    gauge, whole = Gauge("g", "h", registry=registry), IntGauge("w", "h", registry=registry)

    @gauge.track_inprogress()
    @whole.track_inprogress()
    def values() -> tuple[float, int]:
        with gauge.track_inprogress():
            return gauge.value(), whole.value()

    assert values() == (2, 1)
    assert (gauge.value(), whole.value()) == (0, 0)


def test_equal_names_and_labels_are_one_series(registry: Registry) -> None:
    first = Counter("c", "h", ["a"], registry=registry)
    second = registry.counter("c", "other help", ["a"])
    first.labels("x").inc()
    second.labels("x").inc()
    assert first.labels("x").value() == second.labels("x").value() == 2


def test_metrics_and_registries_can_be_pickled(registry: Registry) -> None:
    child = registry.child("p_", {"zone": "1"})
    metrics = [
        child.counter("c", "h", ["a"], unit="bytes").labels("x"),
        child.gauge("g", "h", multiprocess_mode="max"),
        child.histogram("hist", "h", buckets=[1, 2]),
        child.enum("e", "h", states=["a", "b"]),
        child.info("i", "h"),
        child.int_counter("ic", "h"),
        child.int_gauge("ig", "h"),
        child.duration_counter("dc", "h"),
        child.duration_gauge("dg", "h"),
        child.summary("s", "h", ["a"]),
    ]
    for metric in metrics:
        again = pickle.loads(pickle.dumps(metric))
        assert type(again) is type(metric)
        assert (again.name, again.labelvalues) == (metric.name, metric.labelvalues)
    counter = metrics[0]
    assert isinstance(counter, Counter)
    pickle.loads(pickle.dumps(counter)).inc()
    assert counter.value() == 1
    assert copy.copy(counter).value() == 1
    assert pickle.loads(pickle.dumps(child)).prefix == "p_"


def test_descriptions_are_readable(registry: Registry) -> None:
    counter = Counter("c", "Help.", ["a"], unit="bytes", registry=registry)
    assert (counter.documentation, counter.unit, counter.labelnames) == ("Help.", "bytes", ("a",))
    assert repr(counter) == 'Counter("c_bytes_total")'
    assert repr(counter.labels("x")) == 'Counter("c_bytes_total", a="x")'
    assert counter.labels("x").labelvalues == ("x",)


def test_metrics_are_frozen_and_can_t_be_made_without_a_class(registry: Registry) -> None:
    counter = Counter("c", "h", registry=registry)
    with pytest.raises(AttributeError):
        counter.name = "d"  # type: ignore[misc]
    with pytest.raises(AttributeError):
        counter.other = 1  # type: ignore[attr-defined]
    with pytest.raises(TypeError):
        dyn_metrics.Metric()


def test_options_reach_the_segment(registry: Registry) -> None:
    counter = Counter("c", "h", ["a"], registry=registry, level=7, max_series=2, shared=True)
    for value in ("1", "2", "3", "4"):
        counter.labels(value).inc()
    family = registry.snapshot()["c_total"]
    assert family["level"] == 7
    values = {series["labels"]["a"]: series["value"] for series in family["series"]}
    assert values == {"1": 1, "2": 1, "__overflow__": 2}
