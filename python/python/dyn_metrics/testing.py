"""For tests of code that counts with dyn_metrics: a pytest plugin, which pytest finds by itself.

It points ``DYN_METRICS_SHM`` to a file that is gone after the run, before conftest.py is imported: no test writes into
the machine's own segment. Two fixtures give :class:`Segment`, what a test asks and asserts:

- ``dyn_metrics_segment``: the segment of :data:`dyn_metrics.REGISTRY`, which all tests share. Counters, histograms and
  summaries are read as what the test has added; gauges and states as they are.
- ``private_segment``: a new one. Its ``registry`` makes metrics in it, ``dyn_metrics.prometheus.install(registry)`` sends those
  of prometheus_client there, and processes that the test starts find it at ``DYN_METRICS_SHM``.

>>> def test_answering_counts(dyn_metrics_segment):
...     answer("llama")
...     dyn_metrics_segment.assert_value("llm_requests_total", 1, model="llama")

``-p no:dyn_metrics`` switches the plugin off.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Iterator

import pytest

import dyn_metrics

if TYPE_CHECKING:
    from dyn_metrics._native import _Family, _Series

_VARIABLE = "DYN_METRICS_SHM"


class Segment:
    """A segment that nobody outside of the tests writes to.

    Names are those in the exposition; a counter's may leave out ``_total``. Labels must be all of the series'. Of the label
    ``pid``, which gauges of the modes ``all`` and ``liveall`` have, a process's own need not be named when it is alone.
    """

    def __init__(self, registry: dyn_metrics.Registry, path: str | os.PathLike[str]) -> None:
        self.registry = registry
        """Makes metrics in this segment."""
        self.path = Path(path)
        """The file, which is there from the first metric on."""
        self._before = self.snapshot()

    def snapshot(self) -> dict[str, _Family]:
        """Everything in the segment, over all processes, as :func:`dyn_metrics.snapshot` gives it."""
        return self.registry.open().snapshot() if self.path.exists() else {}

    def exposition(self) -> str:
        """What an exporter serves of it: Prometheus text 0.0.4, all of it, since the segment began."""
        return self.registry.open().generate_latest().decode()

    def value(self, name: str, /, **labels: str) -> float:
        """The value of a counter (what was added since the fixture was made) or gauge. AssertionError when there is none."""
        family, found, before = self._find(name, labels)
        if "value" not in found:
            raise AssertionError(f"{name} is a {family['type']}: ask for its count, sum, buckets or state")
        return found["value"] - (before.get("value", 0) if family["type"] == "counter" else 0)

    def count(self, name: str, /, **labels: str) -> int:
        """How often a histogram or summary was observed since the fixture was made. AssertionError when there is none."""
        _, found, before = self._find(name, labels, "count")
        return found["count"] - int(before.get("count", 0))

    def sum(self, name: str, /, **labels: str) -> float:
        """As :meth:`count`: the sum of what was observed."""
        _, found, before = self._find(name, labels, "sum")
        return found["sum"] - float(before.get("sum", 0.0))

    def buckets(self, name: str, /, **labels: str) -> dict[float, int]:
        """As :meth:`count`: from each upper bound to the observations in that bucket alone."""
        _, found, before = self._find(name, labels, "buckets")
        return {bound: n - before.get("buckets", {}).get(bound, 0) for bound, n in found["buckets"].items()}

    def states(self, name: str, /, **labels: str) -> set[str]:
        """The states of an Enum that are on. AssertionError when there is none."""
        _, found, _ = self._find(name, labels, "states")
        return {state for state, on in found["states"].items() if on}

    def has(self, name: str, /, **labels: str) -> bool:
        """Whether there is such a series, whatever its value. Without labels: whether there is such a family."""
        family = _family(self.snapshot(), name)
        return family is not None and (not labels or any(_fits(series, labels) for series in family["series"]))

    def assert_value(self, name: str, expected: float, /, **labels: str) -> None:
        """Asserts what :meth:`value` is."""
        self._expect("value", self.value(name, **labels), expected, name, labels)

    def assert_count(self, name: str, expected: int, /, **labels: str) -> None:
        """Asserts what :meth:`count` is."""
        self._expect("count", self.count(name, **labels), expected, name, labels)

    def assert_sum(self, name: str, expected: float, /, **labels: str) -> None:
        """Asserts what :meth:`sum` is, but for rounding."""
        found = self.sum(name, **labels)
        if abs(found - expected) > 1e-9 * max(abs(found), abs(expected)):
            self._expect("sum", found, expected, name, labels)

    def assert_exposed(self, line: str, /) -> None:
        """Asserts that the exposition has this line."""
        if line not in self.exposition().splitlines():
            raise AssertionError(f"no line {line!r} in\n{self.exposition()}")

    def _find(self, name: str, labels: dict[str, str], part: str = "") -> tuple[_Family, _Series, Any]:
        family = _family(self.snapshot(), name)
        if family is None:
            raise AssertionError(f"no metric {name!r}; there are {sorted(self.snapshot())}")
        found = [series for series in family["series"] if _fits(series, labels)]
        if len(found) != 1:
            every = [series["labels"] for series in family["series"]]
            raise AssertionError(f"{len(found)} series of {name} have the labels {labels}; all have {every}")
        if part and part not in found[0]:
            raise AssertionError(f"{name} is a {family['type']}: it has no {part}")
        before = _family(self._before, name)
        earlier = [series for series in before["series"] if _fits(series, labels)] if before else []
        return family, found[0], earlier[0] if earlier else {}

    @staticmethod
    def _expect(what: str, found: float, expected: float, name: str, labels: dict[str, str]) -> None:
        if found != expected and not (found != found and expected != expected):
            raise AssertionError(f"{what} of {name} with labels {labels}: found {found}, expected {expected}")


def _family(families: dict[str, _Family], name: str) -> _Family | None:
    return families.get(name) or families.get(name + "_total")


def _fits(series: _Series, labels: dict[str, str]) -> bool:
    found = dict(series["labels"])
    if "pid" not in labels:
        found.pop("pid", None)
    return found == labels


def _directory() -> str:
    return tempfile.mkdtemp(prefix="dyn-metrics-test-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None)


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Give the run a segment of its own, before anything of the project is imported."""
    directory, before = _directory(), os.environ.get(_VARIABLE)
    os.environ[_VARIABLE] = os.path.join(directory, "segment")

    def end() -> None:
        shutil.rmtree(directory, ignore_errors=True)
        if before is None:
            os.environ.pop(_VARIABLE, None)
        else:
            os.environ[_VARIABLE] = before

    early_config.add_cleanup(end)


@pytest.fixture
def dyn_metrics_segment() -> Segment:
    """The segment of metrics that are made without a registry: what this test adds to it, and asserts on that."""
    return Segment(dyn_metrics.REGISTRY, dyn_metrics.REGISTRY.path)


@pytest.fixture
def private_segment(monkeypatch: pytest.MonkeyPatch) -> Iterator[Segment]:
    """A segment for this test alone, and assertions on it; ``DYN_METRICS_SHM`` names it meanwhile."""
    directory = _directory()
    path = os.path.join(directory, "segment")
    monkeypatch.setenv(_VARIABLE, path)
    yield Segment(dyn_metrics.Registry(path=path), path)
    shutil.rmtree(directory, ignore_errors=True)
