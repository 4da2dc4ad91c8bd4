"""What the segment refuses stays in the process, with one warning; nothing raises that did not before."""

from __future__ import annotations

import pytest

from programs import Segment, segment  # noqa: F401

PREFIX = """
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Enum, Gauge, Histogram, Info, Summary
value = REGISTRY.get_sample_value
"""


@pytest.mark.parametrize(
    ("source", "warning"),
    [
        ("c = Counter('a.b', '-'); c.inc(2); assert value('a.b_total') == 2", "'a.b' stays"),
        (
            "c = Counter('c', '-', labelnames=['l']); c.labels('\\udc80').inc(2); assert value('c_total', {'l': '\\udc80'}) == 2",
            "'c' stays",
        ),
        ("c = Counter('c', '-', labelnames=['l']); c.labels('x' * 70000).inc(2)", "'c' stays"),
        ("g = Gauge('g', '-', labelnames=['pid']); g.labels('1').set(3); assert value('g', {'pid': '1'}) == 3", "'g' stays"),
        (
            "h = Histogram('h', '-', buckets=range(300)); h.observe(5); assert value('h_count') == 1",
            "'h' stays",
        ),
        ("h = Histogram('h', '-', buckets=[1, 1, 2]); h.observe(1); assert value('h_count') == 1", "'h' stays"),
        ("c = Counter('dyn_metrics_x', '-'); c.inc(); assert value('dyn_metrics_x_total') == 1", "'dyn_metrics_x' stays"),
        (
            "e = Enum('e', '-', states=[str(n) for n in range(70)]); e.state('69'); assert value('e', {'e': '69'}) == 1",
            "'e' stays",
        ),
        ("i = Info('i', '-'); i.info({'a.b': 'c'}); assert value('i_info', {'a.b': 'c'}) == 1", "'i_info' stays"),
        (
            "Gauge('g', '-'); g = Gauge('g', '-', registry=CollectorRegistry(), multiprocess_mode='max'); g.set(3)",
            "'g' stays",
        ),
        ("Counter('c', '-'); Gauge('c_total', '-', registry=None).set(1)", "'c_total' stays"),
    ],
)
def test_a_metric_that_the_segment_refuses_works_in_the_process(segment: Segment, source: str, warning: str) -> None:
    program = segment.file(PREFIX + source + "\n" + source.partition(";")[0].replace("'-'", "'-', registry=None"))
    done = segment.run("-W", "error", "-m", "dyn_metrics.run", program)
    assert done.stderr.count("in this process: ") == 1 and warning in done.stderr, done.stderr


def test_a_segment_that_can_not_be_opened_is_one_warning(segment: Segment) -> None:
    program = segment.file(PREFIX + """
for metric in (Counter("c", "-"), Counter("d", "-"), Gauge("g", "-"), Summary("s", "-")):
    getattr(metric, "inc", metric.observe if hasattr(metric, "observe") else None)(1)
Enum("e", "-", states=["a"])
assert value("c_total") == value("d_total") == value("g") == value("s_sum") == 1
from prometheus_client import multiprocess
assert multiprocess.MultiProcessCollector(None).collect() == []
""")
    done = segment.run("-m", "dyn_metrics.run", program, DYN_METRICS_SHM="/nowhere/at/all")
    assert done.stderr.count("\n") == 1 and ": /nowhere/at/all: found no directory" in done.stderr, done.stderr


def test_amounts_are_refused_as_prometheus_client_does(segment: Segment) -> None:
    segment.unchanged(PREFIX + """
import decimal, fractions, math
c, g, s, h = Counter("c", "-"), Gauge("g", "-", multiprocess_mode="sum"), Summary("s", "-"), Histogram("h", "-")
for wrong in ("1", None, [], b"1"):
    for update in (c.inc, g.inc, g.set, s.observe, h.observe):
        try:
            update(wrong)
        except (TypeError, ValueError):
            continue
        assert update == g.set and isinstance(wrong, (str, bytes)), (update, wrong)
try:
    c.inc(-1)
except ValueError:
    c.inc(True)
c.inc(fractions.Fraction(1, 2))
for update in (s.observe, h.observe):
    update(math.nan)
    update(math.inf)
    update(1)
assert math.isnan(value("s_sum")) and math.isnan(value("h_sum"))
g.set(-2)
g.dec(0.5)
""")
    found = segment.samples()
    shown = {name: found[name, frozenset()] for name in ("c_total", "s_sum", "h_sum", "h_count")}
    assert shown == {"c_total": 1.5, "s_sum": 1, "h_sum": 1, "h_count": 2}
    assert segment.value("g") == -2.5


def test_what_is_set_on_a_counter_counts_as_prometheus_would_count_it(segment: Segment) -> None:
    segment.unchanged(PREFIX + """
c = Counter("c", "-")
c._value.set(10)
c._value.set(12)
assert value("c_total") == 12
c.reset()
assert value("c_total") == 0
c.inc(3)
c._value.set(1)
assert value("c_total") == 1
""")
    assert segment.value("c_total") == 12 + 3 + 1


def test_removed_and_cleared_children_are_gone_here_and_stay_in_the_segment(segment: Segment) -> None:
    source = PREFIX + """
c = Counter("c", "-", ["l"])
c.labels("x").inc(2)
c.labels("y").inc()
c.remove("x")
assert value("c_total", {"l": "x"}) is None and value("c_total", {"l": "y"}) == 1
c.labels("x").inc()
assert value("c_total", {"l": "x"}) == 1
c.clear()
assert value("c_total", {"l": "x"}) is None
for mode in ("all", "sum", "max"):
    g = Gauge("g_" + mode, "-", ["l"], multiprocess_mode=mode)
    for name in "abc":
        g.labels(name).set(7)
    g.remove("a")
    g.remove_by_labels({"l": "b"})
    g.clear()
    assert value("g_" + mode, {"l": "c"}) is None
"""
    for counted, program in (3, source), (6, source.replace("prometheus_client", "dyn_metrics.prometheus")):
        done = segment.run("-m", "dyn_metrics.run", segment.file(program))
        assert done.stderr.count("stays in the segment") == 4 == done.stderr.count("\n")
        assert segment.value("c_total", l="x") == counted
        of_gauges = [(name, value) for (name, _), value in segment.samples().items() if name != "c_total"]
        assert all(value != value for name, value in of_gauges if name == "g_all")
        assert {one for one in of_gauges if one[0] != "g_all"} == {("g_sum", 0), ("g_max", 7)}


def test_a_callback_is_asked_in_the_process_and_unknown_outside(segment: Segment) -> None:
    source = PREFIX + """
Gauge("g", "-").set_function(lambda: 7)
assert value("g") == 7
print(flush=True)
input()
"""
    for program in (source, source.replace("prometheus_client", "dyn_metrics.prometheus")):
        with segment.start("-m", "dyn_metrics.run", segment.file(program)) as process:
            assert process.stdout is not None
            process.stdout.readline()
            value = segment.value("g", pid=str(process.pid))
            assert value is not None and value != value
            _, err = process.communicate("\n")
            assert (process.returncode, err) == (0, "")
