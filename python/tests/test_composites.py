"""Composites: the script that Rust and C++ replay, too, and what is Python's own."""

import re
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from dyn_metrics import (
    Composite,
    Gauge,
    InvalidTypeError,
    InvalidValueError,
    Reading,
    Registry,
)

from conftest import ROOT, run

DATA = ROOT / "tests/data/composites"


def described(words: list[str]) -> dict[str, Any]:
    """The arguments that a line of the script says."""
    arguments: dict[str, Any] = {"matching": {}, "not_matching": {}, "having": []}
    for word in words:
        key, _, rest = word.partition("=")
        label, _, value = rest.partition(":")
        if key in ("q", "window"):
            arguments[key] = float(rest)
        elif key == "match":
            arguments["matching"][label] = value.split("|") if "|" in value else value
        elif key == "without":
            arguments["not_matching"][label] = value
        elif key == "having":
            arguments["having"].append(rest)
        else:
            assert key == "processes"
            arguments["over_processes"] = True
    return arguments


def test_the_script_is_answered_as_rust_does(directory: Path) -> None:
    registry = Registry(path=directory / "segment")
    composites: dict[str, Composite] = {}
    answers = []
    for line in (DATA / "script.txt").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        match line.split():
            case ["counter" | "gauge" | "observe" as kind, name, labels, value]:
                pairs = dict(pair.split("=") for pair in labels.split(",") if "=" in pair)
                if kind == "counter":
                    metric: Any = registry.int_counter(name.removesuffix("_total"), "", list(pairs))
                elif kind == "gauge":
                    metric = registry.gauge(name, "", list(pairs))
                else:
                    metric = registry.histogram(name, "", list(pairs), buckets=[1, 2, 4])
                metric = metric.labels(**pairs) if pairs else metric
                if kind == "counter":
                    metric.inc(int(value))
                elif kind == "gauge":
                    metric.set(float(value))
                else:
                    metric.observe(float(value))
            case ["composite", key, name, operation, *words]:
                composites[key] = Composite(operation, name, registry, **described(words))  # type: ignore[arg-type]
            case ["read", key]:
                reading = composites[key].read()
                number = "" if reading.value is None else f" {reading.value:.6f}"
                answers.append(f"{key} {reading.state}{number}")
            case ["sample", key]:
                composites[key].sample()
            case ["refuse", name, operation, *words]:
                with pytest.raises(InvalidValueError) as refused:
                    registry.composite(operation, name, **described(words))  # type: ignore[arg-type]
                answers.append(str(refused.value))
            case _:
                pytest.fail(line)
    assert answers == (DATA / "answers.txt").read_text().splitlines()


def test_readings_are_values(registry: Registry) -> None:
    registry.gauge("depth", "").set(2)
    reading = registry.composite("avg", "depth").read()
    assert (reading.state, reading.value, repr(reading)) == ("value", 2.0, "Reading('value', 2.0)")
    assert reading == registry.composite("max", "depth", over_processes=True).read()
    assert reading != registry.composite("count", "depth").read()
    assert isinstance(reading, Reading)


def test_a_child_composes_what_it_could_have_registered(registry: Registry) -> None:
    for zone, value in (("a", 1), ("b", 2)):
        registry.child("app_", {"zone": zone}).counter("hits", "").inc(value)
    assert registry.child("app_", {"zone": "b"}).composite("sum", "hits_total").read().value == 2
    assert registry.composite("sum", "app_hits_total", matching={"zone": ["a", "b"]}).read().value == 3


def test_a_segment_is_read_from_outside(registry: Registry) -> None:
    program = """
import sys, dyn_metrics
registry = dyn_metrics.Registry(path=sys.argv[1])
registry.gauge("depth", "").set(4)
registry.counter("hits", "").inc(3)
"""
    path = registry.path
    outside = Composite("sum", "hits_total", path=path)
    depth = Composite("max", "depth", path=path)
    assert (outside.read().state, depth.read().state) == ("unknown", "unknown")
    run(program, path)
    assert (outside.read().state, depth.read().state) == ("dead", "dead")
    registry.open()
    assert outside.read().value == 3


def test_wrong_arguments_are_refused(registry: Registry) -> None:
    for arguments, error, said in [
        ({"window": timedelta(seconds=-1)}, InvalidValueError, "option window: found -1 s"),
        ({"window": 0}, InvalidValueError, "option window: found 0 s"),
        ({"window": "1"}, InvalidTypeError, "expected seconds or a timedelta"),
        ({"matching": {"a": 1}}, InvalidTypeError, "expected strs"),
        ({"matching": {"a": [1]}}, InvalidTypeError, "expected a str"),
        ({"matching": {1: "a"}}, InvalidTypeError, "expected a str"),
        ({"having": "model"}, InvalidTypeError, "expected strs"),
        ({"path": "/dev/shm/x"}, InvalidTypeError, "expected one of them"),
        ({"q": 0.5}, InvalidValueError, "avg has no quantile"),
    ]:
        with pytest.raises(error, match=re.escape(said)):
            Composite("avg", "g", registry, **arguments)  # type: ignore[arg-type]
    late = registry.composite("quantile", "hits_total", q=0.5)
    assert late.trouble is None
    registry.counter("hits", "")
    assert late.read().state == "unknown"
    assert late.trouble is not None and "found counter" in late.trouble


def test_threads_take_turns(registry: Registry) -> None:
    gauge: Gauge = registry.gauge("depth", "")
    gauge.set(1)
    composite = registry.composite("max", "depth", window=timedelta(hours=1))
    readings: list[Reading] = []
    threads = [threading.Thread(target=lambda: readings.extend(composite.read() for _ in range(200))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [reading.value for reading in readings] == [1.0] * 800
