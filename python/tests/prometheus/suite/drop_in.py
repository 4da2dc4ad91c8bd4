"""A pytest plugin: prometheus_client's own tests against the drop-in, each with a segment of its own.

``DROP_IN_WAY`` says how the drop-in is used, ``DROP_IN_RESULTS`` where what came out is written: for each test its
outcome and whether it touched a metric.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from typing import Any, Callable, Iterator

import pytest

import dyn_metrics.prometheus
from dyn_metrics import Registry
from dyn_metrics.prometheus import _values

WAY = os.environ["DROP_IN_WAY"]
# What "touches a metric" means: binds a value to the segment or collects it.
_results: dict[str, dict[str, Any]] = {}
_touched = False


class ReadBack(_values.Value):
    """Reads its number from the segment instead of from the object."""

    __slots__ = ()

    def get(self) -> float:
        found = self.shared()
        return super().get() if found is None else found


def _touching(work: Callable[..., Any]) -> Callable[..., Any]:
    def touch(*args: Any, **kwargs: Any) -> Any:
        global _touched
        _touched = True
        return work(*args, **kwargs)

    return touch


_values.attempt = _touching(_values.attempt)
if WAY == "read-back":
    _values.Value = ReadBack  # type: ignore[misc]
if WAY in ("install", "read-back"):
    dyn_metrics.prometheus.install()


@pytest.fixture(autouse=True)
def segment() -> Iterator[None]:
    """A segment for this test, which nobody else has counted in."""
    global _touched
    _touched = False
    directory = tempfile.mkdtemp(dir="/dev/shm")
    _values._refused.clear()
    _values.use(Registry(os.path.join(directory, "segment")))
    yield
    shutil.rmtree(directory)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: Any, call: Any) -> Iterator[None]:
    outcome: Any = yield
    report = outcome.get_result()
    found = _results.setdefault(item.nodeid, {"outcome": "passed", "touched": False, "text": ""})
    if report.outcome == "failed":
        found["outcome"], found["text"] = "failed", report.longreprtext[-400:]
    elif report.outcome == "skipped" and found["outcome"] == "passed":
        found["outcome"] = "skipped"
    found["touched"] = found["touched"] or _touched


def pytest_sessionfinish() -> None:
    with open(os.environ["DROP_IN_RESULTS"], "w") as file:
        json.dump(_results, file)
