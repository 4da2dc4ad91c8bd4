"""Unchanged programs of many processes appear as one."""

from __future__ import annotations

import pathlib
import signal
from typing import Callable

import pytest
from prometheus_client.parser import text_string_to_metric_families

from programs import Segment, exposition, segment  # noqa: F401

POOL = """
import multiprocessing
import os
import signal
import sys

from prometheus_client import Counter, Gauge, Histogram, Summary

REQUESTS = Counter("requests", "Requests", ["worker"])
BYTES = Counter("bytes", "Bytes")
LATENCY = Histogram("latency_seconds", "Latency", buckets=[0.1, 1])
SIZE = Summary("size_bytes", "Size")
BUSY = Gauge("busy", "Busy", multiprocess_mode="sum")


def work(number):
    REQUESTS.labels(str(number % 2)).inc()
    BYTES.inc(0.5)
    LATENCY.observe(0.05 if number % 2 else 5)
    SIZE.observe(number)
    BUSY.set(1)


def doomed(number):
    work(number)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    with context.Pool(3) as pool:
        pool.map(work, range(100), chunksize=1)
    processes = [context.Process(target=doomed, args=(number,)) for number in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == -signal.SIGKILL
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_pool_counts_as_one_and_the_killed_stay_counted(
    method: str, segment: Segment, exposition: Callable[[pathlib.Path], str]
) -> None:
    segment.unchanged(POOL, method)
    numbers = [*range(100), *range(4)]
    expected = {
        ("requests_total", frozenset({("worker", "0")})): 52,
        ("requests_total", frozenset({("worker", "1")})): 52,
        ("bytes_total", frozenset()): 52,
        ("latency_seconds_bucket", frozenset({("le", "0.1")})): 52,
        ("latency_seconds_bucket", frozenset({("le", "1")})): 52,
        ("latency_seconds_bucket", frozenset({("le", "+Inf")})): 104,
        ("latency_seconds_count", frozenset()): 104,
        ("size_bytes_count", frozenset()): 104,
        ("size_bytes_sum", frozenset()): sum(numbers),
    }
    families = list(text_string_to_metric_families(exposition(segment.path)))
    served = {(sample.name, frozenset(sample.labels.items())): sample.value for one in families for sample in one.samples}
    assert {key: served.get(key) for key in expected} == expected
    assert served[("latency_seconds_sum", frozenset())] == pytest.approx(52 * 0.05 + 52 * 5)
    # Each of the four killed ones set 1, and at least one of the pool.
    assert 5 <= served[("busy", frozenset())] <= 7
    types = {one.name: (one.type, one.documentation) for one in families}
    assert types["latency_seconds"] == ("histogram", "Latency")
    assert types["requests"] == ("counter", "Requests")


GAUGES = """
import sys

from prometheus_client import Gauge

first, second = float(sys.argv[1]), float(sys.argv[2])
gauges = {mode: Gauge(mode, "-", multiprocess_mode=mode) for mode in sorted(Gauge._MULTIPROC_MODES)}
for line in sys.stdin:
    for mode, gauge in gauges.items():
        gauge.set(second if "max" in mode else first)
    print("set", flush=True)
"""


def test_gauges_of_two_processes_combine_in_all_ten_modes_before_and_after_a_death(segment: Segment) -> None:
    program = segment.file(GAUGES)
    one = segment.start("-m", "dyn_metrics.run", program, "1", "2")
    two = segment.start("-m", "dyn_metrics.run", program, "2", "1")
    for process in (two, one):  # the most recent is one's
        assert process.stdin is not None and process.stdout is not None
        # The clock that tells which is the most recent ticks every few milliseconds: again until it has.
        for _ in range(200 if process is one else 1):
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.stdout.readline() == "set\n"
    pids = {one.pid: 1.0, two.pid: 2.0}

    def shown() -> dict[str, object]:
        found: dict[str, object] = {}
        for (name, labels), value in segment.samples().items():
            if labels:
                of_pids = found.setdefault(name, {})
                assert isinstance(of_pids, dict)
                of_pids[int(dict(labels)["pid"])] = value
            else:
                found[name] = value
        return found

    both = {"all": pids, "liveall": pids, "min": 1, "livemin": 1, "max": 2, "livemax": 2, "sum": 3, "livesum": 3}
    assert shown() == both | {"mostrecent": 1, "livemostrecent": 1}
    one.send_signal(signal.SIGKILL)
    one.communicate()
    living = {"liveall": {two.pid: 2.0}, "livemin": 2, "livemax": 1, "livesum": 2, "livemostrecent": 2}
    assert shown() == both | {"mostrecent": 1} | living
    two.communicate()
    # The sum of nobody is 0.
    dead = {name: value for name, value in both.items() if "live" not in name}
    assert shown() == dead | {"mostrecent": 1, "livesum": 0}


FORK = """
import os

from prometheus_client import REGISTRY, Counter, Enum, Gauge, Info

counter = Counter("c", "-")
gauge = Gauge("g", "-")
busy = Gauge("busy", "-", multiprocess_mode="livesum")
state = Enum("state", "-", states=["starting", "running"])
Info("build", "-").info({"version": "1"})
counter.inc()
gauge.set(7)
busy.inc()
child = os.fork()
counter.inc(10)
if child == 0:
    gauge.set(8)
    busy.inc(2)
    state.state("running")
    assert REGISTRY.get_sample_value("c_total") == 11
else:
    assert os.waitpid(child, 0)[1] == 0
    busy.dec()
    assert REGISTRY.get_sample_value("g") == 7
    assert REGISTRY.get_sample_value("c_total") == 11
    print(os.getpid(), child, flush=True)
    input()
"""


def test_objects_go_on_in_a_forked_child_with_gauges_of_its_own(segment: Segment) -> None:
    with segment.start("-m", "dyn_metrics.run", segment.file(FORK)) as process:
        assert process.stdout is not None
        parent, child = process.stdout.readline().split()
        assert segment.value("c_total") == 21
        assert (segment.value("g", pid=parent), segment.value("g", pid=child)) == (7, 8)
        assert segment.value("busy") == 0
        assert segment.value("build_info", version="1") == 1
        assert segment.value("state", pid=parent, state="starting") == 1
        assert segment.value("state", pid=child, state="running") is None, "it is dead"
        process.communicate("\n")
