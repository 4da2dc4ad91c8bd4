"""Callbacks on changes and thresholds, of what any process counts."""

import asyncio
import gc
import math
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dyn_metrics import Event, InvalidTypeError, InvalidValueError, Registry

from conftest import run

#: Longer than anything takes that is not broken.
LONG = 60


def wait_until(what: str, is_so: Callable[[], object]) -> None:
    end = time.monotonic() + LONG
    while not is_so():
        assert time.monotonic() < end, f"not within a minute: {what}"
        time.sleep(0.001)


def next_to(events: "queue.Queue[Event]", value: float) -> Event:
    """The next event with this value; who is slow sees only some of those before."""
    while True:
        event = events.get(timeout=LONG)
        if event.value == value:
            return event


def test_a_metric_and_a_family_are_watched_whoever_writes(registry: Registry) -> None:
    family = registry.counter("requests", "", ["model"])
    family.labels("b").inc(0)
    own: queue.Queue[Event] = queue.Queue()
    all_: queue.Queue[Event] = queue.Queue()
    one = registry.on_change(family.labels("a"), own.put)
    more = registry.on_change("requests_total", all_.put, labels={"model": "b"})
    program = """
import sys
from dyn_metrics import Registry
family = Registry(path=sys.argv[1]).counter("requests", "", ["model"])
family.labels("b").inc(2)
family.labels("a").inc(3)
"""
    run(program, registry.path)
    event = next_to(own, 3.0)
    assert (event.name, event.labels) == ("requests_total", {"model": "a"})
    assert abs(event.time - time.time()) < 3600
    assert next_to(all_, 2.0).labels == {"model": "b"}
    assert own.empty() and "requests_total" in repr(event)
    assert one.active and more.cancel(LONG) and not more.active
    family.labels("b").inc()
    family.labels("a").inc()
    next_to(own, 4.0)
    assert all_.empty()


def test_a_threshold_is_told_of_once_until_the_way_back(registry: Registry) -> None:
    depth = registry.gauge("depth", "")
    depth.set(20)
    events: queue.Queue[Event] = queue.Queue()
    changes: queue.Queue[Event] = queue.Queue()
    with registry.on_threshold(depth, events.put, above=10, hysteresis=5) as crossing:
        with registry.on_change(depth, changes.put):
            assert events.get(timeout=LONG).value == 20
            for value in (8, 30, 5):
                depth.set(value)
                next_to(changes, value)
            assert events.empty()
            depth.set(11)
            assert events.get(timeout=LONG).value == 11
    assert not crossing.active


def test_what_a_function_gives_is_watched(registry: Registry) -> None:
    values: list[float] = []
    events: queue.Queue[Event] = queue.Queue()
    kept = registry.on_change(lambda: values[-1] if values else None, events.put)
    values.append(4)
    event = events.get(timeout=LONG)
    assert (event.old, event.value, event.labels) == (None, 4.0, {})
    kept.cancel()


def test_exceptions_go_to_the_hook_and_are_counted(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    depth = registry.gauge("depth", "")
    raised: queue.Queue[object] = queue.Queue()
    monkeypatch.setattr(sys, "unraisablehook", lambda raisable: raised.put(raisable.exc_type))

    def bad(event: Event) -> None:
        raise KeyError(event.value)

    with registry.on_change(depth, bad) as subscription:
        for value in (1, 2):
            depth.set(value)
            assert raised.get(timeout=LONG) is KeyError
            wait_until("the call's end", lambda: subscription.counts()["calls"] == value)
        assert subscription.counts() == {"calls": 2, "coalesced": 0, "exceptions": 2, "running": None}


def test_one_that_blocks_keeps_nobody_waiting(registry: Registry) -> None:
    depth = registry.gauge("depth", "")
    gate, seen = threading.Semaphore(0), queue.Queue[Event]()

    def slow(event: Event) -> None:
        seen.put(event)
        gate.acquire()

    events: queue.Queue[Event] = queue.Queue()
    blocked = registry.on_change(depth, slow)
    depth.set(1)
    assert seen.get(timeout=LONG).value == 1
    with registry.on_change(depth, events.put):
        for value in range(2, 8):
            depth.set(value)
            next_to(events, value)
    assert blocked.counts()["running"] is not None
    gate.release()
    event = seen.get(timeout=LONG)
    assert (event.old, event.value, blocked.counts()["coalesced"]) == (1, 7, 5)
    assert not blocked.cancel(0.001)
    gate.release()
    assert blocked.cancel(LONG)


def test_a_callback_may_cancel_and_what_nobody_keeps_ends(registry: Registry) -> None:
    depth = registry.gauge("depth", "")
    ended = threading.Event()

    def once(event: Event) -> None:
        assert subscription.cancel(LONG)
        ended.set()

    subscription = registry.on_change(depth, once)
    depth.set(1)
    assert ended.wait(LONG) and not subscription.active
    events: queue.Queue[Event] = queue.Queue()
    registry.on_change(depth, events.put)
    gc.collect()
    with registry.on_change(depth, lambda event: told.set()):
        told = threading.Event()
        depth.set(2)
        assert told.wait(LONG)
    assert events.empty()


def test_coroutines_and_callables_run_in_a_loop(registry: Registry) -> None:
    depth = registry.gauge("depth", "")

    async def main() -> None:
        events: asyncio.Queue[tuple[str, Event]] = asyncio.Queue()
        home = threading.get_ident()

        async def coroutine(event: Event) -> None:
            await asyncio.sleep(0)
            assert threading.get_ident() == home
            await events.put(("coroutine", event))

        def plain(event: Event) -> None:
            assert threading.get_ident() == home
            events.put_nowait(("plain", event))

        first = registry.on_change(depth, coroutine)
        second = registry.on_change(depth, plain, loop=asyncio.get_running_loop())
        depth.set(5)
        found = [await asyncio.wait_for(events.get(), LONG) for _ in range(2)]
        assert sorted(kind for kind, _ in found) == ["coroutine", "plain"]
        assert {event.value for _, event in found} == {5.0}
        # The loop ends while one waits in it.
        third = registry.on_change(depth, forever)
        depth.set(6)
        wait = asyncio.get_running_loop().run_in_executor
        await wait(None, lambda: wait_until("the call", lambda: third.counts()["running"] is not None))
        kept.append((first, second, third))

    async def forever(event: Event) -> None:
        await asyncio.Event().wait()

    kept: list[object] = []
    asyncio.run(main())
    with registry.on_change(depth, lambda event: told.set()):
        told = threading.Event()
        depth.set(7)
        assert told.wait(LONG)
    with pytest.raises(RuntimeError):
        registry.on_change(depth, forever)


def test_what_makes_no_sense_is_refused(registry: Registry) -> None:
    depth = registry.gauge("depth", "")
    with pytest.raises(InvalidTypeError, match="callback: found int"):
        registry.on_change(depth, 5)  # type: ignore[arg-type]
    with pytest.raises(InvalidTypeError, match="watched: found int"):
        registry.on_change(5, print)  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match="metric name"):
        registry.on_change("9 x", print)
    with pytest.raises(InvalidTypeError, match="above and below"):
        registry.on_threshold(depth, print)
    with pytest.raises(InvalidTypeError, match="above and below"):
        registry.on_threshold(depth, print, above=1, below=2)
    with pytest.raises(InvalidValueError, match="limit: found NaN"):
        registry.on_threshold(depth, print, above=math.nan)
    with pytest.raises(InvalidValueError, match="hysteresis: found -1"):
        registry.on_threshold(depth, print, above=1, hysteresis=-1)
    with pytest.raises(InvalidValueError, match="timeout"):
        registry.on_change(depth, print).cancel(-1)


def test_a_forked_child_has_no_subscription_and_may_subscribe(registry: Registry) -> None:
    depth = registry.gauge("depth", "")
    depth.set(1)
    told: queue.Queue[Event] = queue.Queue()
    with registry.on_change(depth, told.put) as subscription:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                events: queue.Queue[Event] = queue.Queue()
                assert not subscription.active and subscription.cancel(LONG)
                own = registry.on_change(depth, events.put)
                depth.set(10)
                assert events.get(timeout=LONG).value is not None
                assert own.cancel(LONG)
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert subscription.active
        depth.set(3)
        next_to(told, 3)


ENDS = """
import sys, threading, time
from dyn_metrics import Registry
registry = Registry(path=sys.argv[1])
depth = registry.gauge("depth", "")
begun = threading.Event()
def callback(event):
    begun.set()
    {body}
subscription = registry.on_change(depth, callback)
computed = registry.on_change(time.monotonic, lambda event: None)
depth.set(1)
assert begun.wait(60)
print("end", flush=True)
"""


@pytest.mark.parametrize("body", ["pass", "time.sleep(0.05)", "time.sleep(1.2)", "time.sleep(3600)", "raise SystemExit(3)"])
def test_the_interpreter_ends_whatever_callbacks_do(directory: Path, body: str) -> None:
    command = [sys.executable, "-c", ENDS.format(body=body), str(directory / "segment")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "end\n"), done.stderr
