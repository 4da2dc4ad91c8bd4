"""Metrics of many processes in one shared-memory segment."""

from ._native import (
    REGISTRY,
    Component,
    Composite,
    Counter,
    DistributedRuntime,
    DurationCounter,
    DurationGauge,
    Endpoint,
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
    Namespace,
    OnScrape,
    Reading,
    Registry,
    Scheme,
    Subscription,
    Summary,
    Timer,
)
from ._declare import (
    Declaration,
    Metrics,
    counter,
    duration_counter,
    duration_gauge,
    enum,
    gauge,
    histogram,
    info,
    int_counter,
    int_gauge,
    nested,
    summary,
)
from ._interface import MetricsRegistry
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
    "Component",
    "Composite",
    "ConflictError",
    "Counter",
    "Declaration",
    "DistributedRuntime",
    "DurationCounter",
    "DurationGauge",
    "DynMetricsError",
    "Endpoint",
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
    "Metrics",
    "MetricsRegistry",
    "Namespace",
    "OnScrape",
    "Reading",
    "Registry",
    "Scheme",
    "SegmentBusyError",
    "SegmentError",
    "SegmentFullError",
    "SegmentNotFoundError",
    "SegmentPermissionError",
    "Subscription",
    "Summary",
    "Timer",
    "counter",
    "duration_counter",
    "duration_gauge",
    "enum",
    "gauge",
    "generate_latest",
    "histogram",
    "info",
    "int_counter",
    "int_gauge",
    "nested",
    "snapshot",
    "summary",
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
