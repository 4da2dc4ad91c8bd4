"""Values that are computed when somebody asks."""

import json
import os
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from conftest import TARGET, cannot, run
from dyn_metrics import DurationGauge, Gauge, InvalidTypeError, IntGauge, Registry


def value(registry: Registry, name: str) -> float:
    """This segment's only sample of a gauge."""
    [series] = registry.snapshot()[name]["series"]
    return series["value"]


def shows(registry: Registry, name: str, wanted: Callable[[float], bool]) -> float:
    """Asks until the value is as wanted: who asks waits for a bounded time, and a thread may take longer to start."""
    seen: list[float] = []
    for _ in range(1000):
        series = registry.snapshot().get(name, {"series": []})["series"]
        seen = [one["value"] for one in series]
        if len(seen) == 1 and wanted(seen[0]):
            return seen[0]
    raise AssertionError(seen)


def test_functions_give_the_values_of_gauges(registry: Registry) -> None:
    queue = [1, 2]
    gauge = Gauge("g", "h", ["l"], registry=registry)
    gauge.labels("x").set_function(lambda: len(queue))
    IntGauge("i", "h", registry=registry).set_function(lambda: 2.6)
    DurationGauge("d_seconds", "h", registry=registry).set_function(lambda: timedelta(milliseconds=250))
    shows(registry, "g", lambda seen: seen == 2)
    shows(registry, "i", lambda seen: seen == 3)
    shows(registry, "d_seconds", lambda seen: seen == 0.25)
    queue.append(3)
    assert any(b'\ng{l="x"} 3\n' in registry.generate_latest() for _ in range(1000))
    gauge.labels("x").set_function(lambda: 9)
    shows(registry, "g", lambda seen: seen == 9)
    gauge.labels("x").set_function(None)
    gauge.labels("x").set(1)
    assert value(registry, "g") == 1


def test_callbacks_run_until_they_are_cancelled(registry: Registry) -> None:
    gauge = registry.int_gauge("runs", "h")
    callback = registry.on_scrape(gauge.inc)
    first = shows(registry, "runs", lambda seen: seen > 0)
    shows(registry, "runs", lambda seen: seen > first)
    assert callback.cancel() and not callback.cancel()
    # One that was under way may still end.
    assert any(len({value(registry, "runs") for _ in range(5)}) == 1 for _ in range(10))
    for wrong in (7, None):
        with pytest.raises(InvalidTypeError):
            registry.on_scrape(wrong)  # type: ignore[arg-type]
    with pytest.raises(InvalidTypeError):
        Gauge("g", "h", registry=registry).set_function("x")  # type: ignore[arg-type]


def test_what_a_callback_raises_goes_to_the_hook_and_harms_no_other(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda raised: seen.append(str(raised.exc_value)))
    callbacks = [registry.on_scrape(lambda: 1 / 0), registry.on_scrape(registry.int_gauge("runs", "h").inc)]
    registry.gauge("g", "h").set_function(lambda: "no number")  # type: ignore[arg-type,return-value]
    shows(registry, "runs", lambda seen: seen > 0)
    assert any(registry.snapshot() and len(set(seen)) == 2 for _ in range(1000)), seen
    assert "division by zero" in seen, seen
    for callback in callbacks:
        callback.cancel()


def test_one_that_hangs_is_not_waited_for_and_not_started_again(registry: Registry) -> None:
    gate, began = threading.Event(), []

    def hang() -> None:
        began.append(1)
        gate.wait()

    callback = registry.on_scrape(hang)
    runs = registry.int_gauge("runs", "h")
    other = registry.on_scrape(runs.inc)
    while runs.value() < 3:
        registry.snapshot()
    assert began == [1]
    gate.set()
    while len(began) < 2:
        registry.snapshot()
    assert callback.cancel() and other.cancel()


def test_the_interpreter_ends_well_with_a_callback_that_hangs(directory: Path) -> None:
    program = """
import sys, time
from dyn_metrics import Registry
registry = Registry(path=sys.argv[1])
registry.on_scrape(lambda: time.sleep(3600))
registry.gauge("g", "h").set_function(lambda: 7)
while b"\\ng 7\\n" not in registry.generate_latest():
    pass
print("done")
"""
    assert run(program, directory / "segment") == "done\n"
    assert [entry.name for entry in directory.iterdir()] == ["segment"], "no socket is left"


@pytest.mark.parametrize("how", ["on_scrape", "cancelled", "on_change"])
def test_the_interpreter_ends_well_with_a_callback_that_goes_on(directory: Path, how: str) -> None:
    program = """
import sys, threading
from dyn_metrics import Registry
registry, began = Registry(path=sys.argv[1]), threading.Event()
gauge = registry.gauge("g", "h")
def goes_on(*event):
    began.set()
    while True:
        pass
if sys.argv[2] == "on_change":
    keeps = registry.on_change(gauge, goes_on)
else:
    keeps = registry.on_scrape(goes_on)
n = 0
while not began.wait(0.01):
    gauge.set(n := n + 1)
    registry.generate_latest()
if sys.argv[2] == "cancelled":
    keeps.cancel()
print("done")
"""
    assert run(program, directory / "segment", how) == "done\n"


def test_a_forked_child_has_callbacks_of_its_own_only(registry: Registry) -> None:
    parents, childs = registry.gauge("parents", "h"), registry.gauge("childs", "h")
    parents.set_function(lambda: 1)
    shows(registry, "parents", lambda seen: seen == 1)
    pid = os.fork()
    if pid == 0:
        childs.set_function(lambda: 2)
        has_run = any(registry.snapshot() and childs.value() == 2 for _ in range(1000))
        os._exit(0 if has_run and parents.value() == 0 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    parents.set(0)
    shows(registry, "parents", lambda seen: seen == 1)


@contextmanager
def exporter(segment: Path) -> Iterator[str]:
    """The exporter's program over a segment: the address of its page."""
    program = next((TARGET / kind / "dyn-metrics-exporter" for kind in ("debug", "release")
                    if (TARGET / kind / "dyn-metrics-exporter").exists()), None)
    if program is None:
        cannot("dyn-metrics-exporter is not built")
    arguments = ["--shm", str(segment), "--listen", "127.0.0.1:0", "--callback-timeout", "10000"]
    environment = {**os.environ, "NO_COLOR": "1"}
    with subprocess.Popen([str(program), *arguments], stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        try:
            for line in process.stderr:
                if "listening address=" in line:
                    yield f"http://{line.split('listening address=')[1].split()[0]}/metrics"
                    break
        finally:
            process.terminate()


def test_the_exporter_asks_a_program_that_is_busy(directory: Path) -> None:
    path = directory / "segment"
    registry = Registry(path=path)
    runs = [0]

    def count() -> int:
        runs[0] += 1
        return runs[0]

    registry.gauge("asked", "h").set_function(count)
    with exporter(path) as address:
        results: list[str] = []

        def scrape() -> None:
            with urllib.request.urlopen(address, timeout=60) as page:
                results.append(page.read().decode())

        for expected in (2, 3):
            thread = threading.Thread(target=scrape)
            thread.start()
            while thread.is_alive():
                json.dumps(list(range(1000)))  # this thread computes meanwhile
            assert f"\nasked {expected}\n" in results[-1]
    registry.gauge("asked", "h").set_function(None)
