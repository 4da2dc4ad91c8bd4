"""prometheus_client's metric classes, with values in the segment whether or not `install` was called."""

from __future__ import annotations

import time
from typing import Any, Callable

import prometheus_client as _theirs
from prometheus_client import multiprocess as _multiprocess

from . import _collector, _values


class _Ours:
    """What is the same for all six."""

    _name: str

    def __repr__(self) -> str:
        # As prometheus_client's class: what reads logs shall see no difference.
        shown = next(cls for cls in type(self).__mro__ if cls.__module__ != __name__)
        return f"{shown.__module__}.{shown.__name__}({self._name})"

    def remove(self, *labelvalues: Any) -> None:
        """Remove a child from this object; its series stays in the segment."""
        with _values.removal(self):
            super().remove(*labelvalues)  # type: ignore[misc]

    def remove_by_labels(self, labels: dict[str, str]) -> None:
        """Remove the children with these labels from this object; their series stay in the segment."""
        with _values.removal(self):
            super().remove_by_labels(labels)  # type: ignore[misc]

    def clear(self) -> None:
        """Remove all children from this object; their series stay in the segment."""
        with _values.removal(self):
            super().clear()  # type: ignore[misc]


class Counter(_Ours, _theirs.Counter):
    """A counter whose total over all processes is in the segment; see ``prometheus_client.Counter``."""

    def _metric_init(self) -> None:
        _values.renew(self)
        self._created = time.time()


class Gauge(_Ours, _theirs.Gauge):
    """A gauge with this process's value in the segment; see ``prometheus_client.Gauge``."""

    def _metric_init(self) -> None:
        _values.renew(self)

    def set_function(self, f: Callable[[], float]) -> None:
        """Take the value from a callback, which also runs when the exporter is scraped."""
        super().set_function(f)
        if not _is_patched(_theirs.Gauge.set_function):
            _values.compute(self, f)


class Summary(_Ours, _theirs.Summary):
    """Count and sum of all processes' observations in the segment; see ``prometheus_client.Summary``."""

    def _metric_init(self) -> None:
        _values.renew(self)
        self._created = time.time()


class Histogram(_Ours, _theirs.Histogram):
    """A histogram over all processes in the segment; see ``prometheus_client.Histogram``."""

    def _metric_init(self) -> None:
        _values.renew(self)
        self._created = time.time()


class Info(_Ours, _theirs.Info):
    """Facts in the segment; see ``prometheus_client.Info``."""

    def info(self, val: dict[str, str]) -> None:
        """Set the facts. What was said before stays in the segment."""
        super().info(val)
        if not _is_patched(_theirs.Info.info):
            _values.publish_info(self, val)


class Enum(_Ours, _theirs.Enum):
    """This process's state in the segment; see ``prometheus_client.Enum``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if _values.is_observable(self) and not _is_patched(_theirs.Enum.__init__):
            _values.bind_enum(self)

    def state(self, state: str) -> None:
        """Set the state."""
        super().state(state)
        _values.publish_state(self, state)


def _is_patched(method: Any) -> bool:
    """Whether `install` has seen to it already."""
    return hasattr(method, "__wrapped__")


class MultiProcessCollector(_multiprocess.MultiProcessCollector):
    """Collects the segment; needs no directory."""

    def __init__(self, registry: Any, path: str | None = None) -> None:
        _collector.begin(self, registry, path)

    def collect(self) -> Any:
        """Yield what all processes have counted."""
        return list(_collector.metrics(self))
