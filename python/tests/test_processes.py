"""Many processes and threads, begun in every way that Python has."""

import json
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable
from multiprocessing.context import BaseContext
from pathlib import Path

import pytest

from conftest import cannot, run
from dyn_metrics import Counter, Gauge, Histogram, Registry


def work(counter: Counter, gauge: Gauge, histogram: Histogram, rounds: int) -> None:
    """What each process does."""
    mine = counter.labels(os.getpid() % 2, "x")
    for _ in range(rounds):
        counter.labels("all", "x").inc()
        mine.inc()
        histogram.observe(0.5)
    gauge.set(7)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_every_way_of_multiprocessing_counts_exactly(directory: Path, method: str) -> None:
    registry = Registry(path=directory / "segment")
    counter = registry.counter("c", "h", ["who", "b"])
    gauge = registry.gauge("g", "h", multiprocess_mode="all")
    histogram = registry.histogram("h", "h")
    gauge.set(1)
    counter.labels("all", "x").inc()
    context: BaseContext = multiprocessing.get_context(method)
    arguments = (counter, gauge, histogram, 1000)
    processes = [context.Process(target=work, args=arguments) for _ in range(3)]  # type: ignore[attr-defined]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert counter.labels("all", "x").value() == 3001
    assert counter.labels(0, "x").value() + counter.labels(1, "x").value() == 3000
    assert (histogram.count(), histogram.sum()) == (3000, 1500)
    assert gauge.value() == 1, "a child's value is its own"


def test_a_forked_child_and_its_child_go_on_counting(registry: Registry) -> None:
    counter, fresh = registry.counter("c", "h"), registry.counter("d", "h", ["a"])
    gauge = registry.gauge("g", "h", multiprocess_mode="livesum")
    counter.inc()
    gauge.set(1)
    child = os.fork()
    if child == 0:
        try:
            for _ in range(100):
                counter.inc()
                fresh.labels("made in the child").inc(0.5)
            gauge.set(2)
            grandchild = os.fork()
            if grandchild == 0:
                counter.inc()
                os._exit(0)
            os._exit(os.waitpid(grandchild, 0)[1])
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert counter.value() == 102
    assert fresh.labels("made in the child").value() == 50
    assert registry.snapshot()["g"]["series"][0]["value"] == 1


def test_threads_lose_nothing(registry: Registry) -> None:
    counter, histogram = registry.counter("c", "h"), registry.histogram("h", "h", buckets=[1])
    gauge, start = registry.int_gauge("g", "h"), threading.Barrier(4)

    def update() -> None:
        start.wait()
        for _ in range(20_000):
            counter.inc()
            counter.inc(0.5)
            histogram.observe(2)
            gauge.inc()
            gauge.dec()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    threads = [threading.Thread(target=update) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.setswitchinterval(interval)
    assert (counter.value(), histogram.count(), histogram.sum()) == (120_000, 80_000, 160_000)
    assert gauge.value() == 0


def test_threads_that_attach_at_once_share_a_segment(directory: Path) -> None:
    for attempt in range(20):
        registry, start = Registry(path=directory / f"s{attempt}"), threading.Barrier(4)

        def register() -> None:
            start.wait()
            registry.counter("c", "h").inc()

        threads = [threading.Thread(target=register) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert registry.counter("c", "h").value() == 4


def test_forks_while_threads_register_and_read_never_hang(registry: Registry) -> None:
    counter, over = registry.counter("c", "h", ["a"]), threading.Event()

    def register() -> None:
        number = 0
        while not over.is_set():
            number += 1
            counter.labels(f"{number % 500}").inc(0.5)
            if number % 50 == 0:
                registry.snapshot()

    threads = [threading.Thread(target=register) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for attempt in range(30):
            child = os.fork()
            if child == 0:
                counter.labels("child").inc()
                counter.labels(f"child {attempt}").inc()
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert counter.labels("child").value() == 30


def test_the_segment_is_looked_up_at_the_first_metric_whatever_the_import_order(directory: Path) -> None:
    program = """
import os, sys
import dyn_metrics
assert not os.path.exists(sys.argv[1])
os.environ["DYN_METRICS_SHM"] = sys.argv[1]
counter = dyn_metrics.Counter("c", "h")
assert os.path.exists(sys.argv[1])
counter.inc()
os.environ["DYN_METRICS_SHM"] = "/nonexistent/elsewhere"
dyn_metrics.Counter("d", "h").inc()
print(dyn_metrics.REGISTRY.path)
"""
    assert run(program, directory / "segment", DYN_METRICS_SHM="/nonexistent/x") == f"{directory}/segment\n"
    assert set(Registry(path=directory / "segment").open().snapshot()) == {"c_total", "d_total"}


def test_a_process_that_forks_before_its_first_metric_attaches_in_each(directory: Path) -> None:
    program = """
import os, sys, dyn_metrics
children = []
for number in range(4):
    child = os.fork()
    if child == 0:
        dyn_metrics.Counter("requests", "h", ["worker"]).labels(number).inc(10)
        dyn_metrics.Gauge("up", "h", multiprocess_mode="sum").set(1)
        os._exit(0)
    children.append(child)
assert all(os.waitpid(child, 0)[1] == 0 for child in children)
"""
    run(program, DYN_METRICS_SHM=str(directory / "segment"))
    families = Registry(path=directory / "segment").open().snapshot()
    assert [series["value"] for series in families["requests_total"]["series"]] == [10] * 4
    assert families["up"]["series"][0]["value"] == 4


def test_what_is_counted_in_a_signal_handler_counts(registry: Registry) -> None:
    import signal

    counter = registry.counter("c", "h")
    before = signal.signal(signal.SIGUSR1, lambda *_: counter.inc())
    for _ in range(100):
        os.kill(os.getpid(), signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, before)
    assert counter.value() == 100


SUBINTERPRETER = """
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
import dyn_metrics
code = '''
try:
    import dyn_metrics
except ImportError as error:
    import os
    os.write(1, str(error).encode())
'''
options = {"isolated": False} if hasattr(interpreters, "create") and "_xx" in interpreters.__name__ else {}
identifier = interpreters.create(**options) if options else interpreters.create("legacy")
interpreters.run_string(identifier, code)
"""


def test_sub_interpreters_are_refused_clearly(directory: Path) -> None:
    text = run(SUBINTERPRETER, DYN_METRICS_SHM=str(directory / "segment"))
    assert "subinterpreter" in text.replace("-", ""), text


def test_what_is_counted_while_the_interpreter_ends_counts(directory: Path) -> None:
    program = """
import os, sys
from dyn_metrics import Counter
class Ending:
    counter, labelled = Counter("c", "h"), Counter("l", "h", ["a"])
    def __del__(self, write=os.write):
        self.counter.inc(0.5)
        self.counter.inc(amount=2)
        self.labelled.labels("new").inc()
        write(1, b"counted")
class Cycle: pass
cycle = Cycle()
cycle.itself, cycle.ending = cycle, Ending()
sys.modules["kept until the end"] = cycle
"""
    assert run(program, DYN_METRICS_SHM=str(directory / "segment")) == "counted"
    registry = Registry(path=directory / "segment")
    assert registry.counter("c", "h").value() == 2.5
    assert registry.counter("l", "h", ["a"]).labels("new").value() == 1


def test_nothing_runs_in_the_background_and_importing_opens_nothing(directory: Path) -> None:
    program = """
import json, os, threading
def state():
    return {"threads": len(os.listdir("/proc/self/task")), "files": len(os.listdir("/proc/self/fd"))}
before = state()
import dyn_metrics
imported = state()
dyn_metrics.Counter("c", "h").inc()
dyn_metrics.generate_latest()
print(json.dumps([before, imported, state()]))
"""
    before, imported, used = json.loads(run(program, DYN_METRICS_SHM=str(directory / "segment")))
    assert before == imported
    assert used["threads"] == 1


def test_warm_updates_make_no_system_call(directory: Path) -> None:
    import shutil
    import subprocess

    if shutil.which("strace") is None:
        cannot("strace")
    program = """
import os
from itertools import repeat
from dyn_metrics import *
counter, labelled = Counter("c", "h"), Counter("l", "h", ["a", "b"])
gauge, histogram = Gauge("g", "h"), Histogram("h", "h")
def update(rounds):
    for _ in repeat(None, rounds):
        counter.inc()
        counter.inc(0.5)
        labelled.labels("x", "y").inc()
        gauge.set(1)
        histogram.observe(0.5)
for cpu in sorted(os.sched_getaffinity(0)):  # a cell for each CPU
    os.sched_setaffinity(0, [cpu])
    update(10)
os.write(1, b"begin")
update(1_000_000)
os.write(1, b"end")
"""
    trace = directory / "trace"
    done = subprocess.run(
        ["strace", "-f", "-o", trace, sys.executable, "-c", program],
        env={**os.environ, "DYN_METRICS_SHM": str(directory / "segment")},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    lines = trace.read_text().splitlines()
    marks = [at for at, line in enumerate(lines) if 'write(1, "begin"' in line or 'write(1, "end"' in line]
    assert len(marks) == 2, lines[-20:]
    assert lines[marks[0] + 1 : marks[1]] == []
