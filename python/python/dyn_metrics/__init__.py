"""Metrics of many processes in one shared-memory segment."""

from ._native import (
    REGISTRY,
    Counter,
    DurationCounter,
    DurationGauge,
    Enum,
    Event,
    ExceptionCounter,
    Gauge,
    Histogram,
    Info,
    InprogressTracker,
    IntCounter,
    IntGauge,
    Metric,
    Registry,
    Subscription,
    Summary,
    Timer,
)
from .errors import (
    ConflictError,
    DynMetricsError,
    InvalidTypeError,
    InvalidValueError,
    SegmentBusyError,
    SegmentError,
    SegmentFullError,
    SegmentNotFoundError,
    SegmentPermissionError,
)

TYPE_CHECKING = False  # to import typing takes longer than all of this package

if TYPE_CHECKING:
    from ._native import _Family

__all__ = [
    "REGISTRY",
    "ConflictError",
    "Counter",
    "DurationCounter",
    "DurationGauge",
    "DynMetricsError",
    "Enum",
    "Event",
    "ExceptionCounter",
    "Gauge",
    "Histogram",
    "Info",
    "InprogressTracker",
    "IntCounter",
    "IntGauge",
    "InvalidTypeError",
    "InvalidValueError",
    "Metric",
    "Registry",
    "SegmentBusyError",
    "SegmentError",
    "SegmentFullError",
    "SegmentNotFoundError",
    "SegmentPermissionError",
    "Subscription",
    "Summary",
    "Timer",
    "generate_latest",
    "snapshot",
]


def generate_latest(registry: Registry = REGISTRY) -> bytes:
    """The segment as Prometheus text 0.0.4, as the exporter would serve it: all of it, whatever the prefix.

    Cost: reads the whole segment; other threads of Python go on meanwhile. Errors: :class:`SegmentError`.

    >>> Counter("doc_pages", "Pages").inc()
    >>> b"doc_pages_total 1" in generate_latest()
    True
    """
    return registry.generate_latest()


def snapshot(registry: Registry = REGISTRY) -> "dict[str, _Family]":
    """The segment as plain dicts, over all processes: from each family's exposed name to what it is.

    A family has ``name``, ``type`` (counter, gauge, histogram, summary, info, stateset), ``documentation``,
    ``unit``, ``level`` and ``series``, and gauges and state sets ``multiprocess_mode``. Each of the series has
    ``labels`` and, by type, ``value``, ``count`` and ``sum``, ``buckets`` (from upper bound to observations, not
    cumulative) or ``states``. Cost and errors: as :func:`generate_latest`.

    >>> Counter("doc_hits", "Hits", ["path"]).labels("/").inc(3)
    >>> snapshot()["doc_hits_total"]["series"]
    [{'labels': {'path': '/'}, 'value': 3}]
    """
    return registry.snapshot()
