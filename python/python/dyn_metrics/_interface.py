"""The interface that components use without knowing what keeps their metrics."""

from __future__ import annotations

from ._native import (
    Counter,
    DurationCounter,
    DurationGauge,
    Enum,
    Gauge,
    Histogram,
    Info,
    IntCounter,
    IntGauge,
    Registry,
    Summary,
)

TYPE_CHECKING = False  # to import typing takes longer than all of this package

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, Protocol, TypeVar

    _M = TypeVar("_M", Counter, IntCounter, DurationCounter, Gauge, IntGauge, DurationGauge, Histogram, Summary, Enum)
else:
    Protocol = object


def _one(family: Callable[..., _M], name: str, documentation: str, labels: Mapping[str, str] | None, **options: Any) -> _M:
    if not labels:
        return family(name, documentation, **options)
    return family(name, documentation, list(labels), **options).labels(*labels.values())


def _info(family: Callable[..., Info], name: str, documentation: str, labels: Mapping[str, str] | None) -> Info:
    made = family(name, documentation)
    made.info(dict(labels or {}))
    return made


class MetricsRegistry(Protocol):
    """A registry, or something that has one: a level of a hierarchy, a service's context, a test's stand-in.

    Whoever derives from it says which :class:`Registry` is theirs, in the property ``registry``; all else follows from
    that. ``Registry`` and the levels have the same methods. What keeps the numbers changes no line of who uses it.

    >>> class Service(MetricsRegistry):
    ...     registry = Registry(path=segment).child("doc_service_")
    >>> Service().create_counter("requests_total", "Requests", {"model": "llama"}).inc()
    >>> Service().create_gauge_vec("queue", "Waiting", ["lane"]).with_label_values(["fast"]).set(3)
    """

    @property
    def registry(self) -> Registry:
        """The registry that everything here is registered in."""
        raise NotImplementedError

    @property
    def prefix(self) -> str:
        """What stands before every name."""
        return self.registry.prefix

    @property
    def labels(self) -> dict[str, str]:
        """The labels that every series gets."""
        return self.registry.labels

    def child(self, prefix: str = "", labels: Mapping[str, str] | None = None) -> Registry:
        """A registry that adds to this one's prefix and labels. Errors: InvalidValueError."""
        return self.registry.child(prefix, labels)

    def prometheus_format_str(self) -> str:
        """What is registered here and below, as Prometheus text 0.0.4. Errors: as Registry.open()."""
        return self.registry.prometheus_format_str()

    def prometheus_metrics_fmt(self) -> str:
        """As :meth:`prometheus_format_str`."""
        return self.registry.prometheus_format_str()

    def create_counter(self, name: str, documentation: str, labels: Mapping[str, str] | None = None) -> Counter:
        """A counter, whole or fractional, of one series with these labels. Errors: as Counter()."""
        return _one(self.registry.counter, name, documentation, labels)

    def create_counter_vec(self, name: str, documentation: str, label_names: Sequence[str]) -> Counter:
        """Its family: series are found by the values of ``label_names``, with ``labels()``. Errors: as Counter()."""
        return self.registry.counter(name, documentation, label_names)

    def create_countervec(self, name: str, documentation: str, label_names: Sequence[str]) -> Counter:
        """As :meth:`create_counter_vec`."""
        return self.create_counter_vec(name, documentation, label_names)

    def create_intcounter(self, name: str, documentation: str, labels: Mapping[str, str] | None = None) -> IntCounter:
        """A counter of whole events, of one series with these labels. Errors: as IntCounter()."""
        return _one(self.registry.int_counter, name, documentation, labels)

    def create_intcounter_vec(self, name: str, documentation: str, label_names: Sequence[str]) -> IntCounter:
        """Its family: series are found by the values of ``label_names``, with ``labels()``. Errors: as IntCounter()."""
        return self.registry.int_counter(name, documentation, label_names)

    def create_intcountervec(self, name: str, documentation: str, label_names: Sequence[str]) -> IntCounter:
        """As :meth:`create_intcounter_vec`."""
        return self.create_intcounter_vec(name, documentation, label_names)

    def create_durationcounter(self, name: str, documentation: str, labels: Mapping[str, str] | None = None) -> DurationCounter:
        """A counter of time, exposed in seconds, of one series with these labels. Errors: as DurationCounter()."""
        return _one(self.registry.duration_counter, name, documentation, labels)

    def create_durationcounter_vec(self, name: str, documentation: str, label_names: Sequence[str]) -> DurationCounter:
        """Its family: series are found by the values of ``label_names``, with ``labels()``. Errors: as DurationCounter()."""
        return self.registry.duration_counter(name, documentation, label_names)

    def create_durationcountervec(self, name: str, documentation: str, label_names: Sequence[str]) -> DurationCounter:
        """As :meth:`create_durationcounter_vec`."""
        return self.create_durationcounter_vec(name, documentation, label_names)

    def create_gauge(self, name: str, documentation: str, labels: Mapping[str, str] | None = None) -> Gauge:
        """A gauge of one series with these labels. Errors: as Gauge()."""
        return _one(self.registry.gauge, name, documentation, labels)

    def create_gauge_vec(self, name: str, documentation: str, label_names: Sequence[str]) -> Gauge:
        """Its family: series are found by the values of ``label_names``, with ``labels()``. Errors: as Gauge()."""
        return self.registry.gauge(name, documentation, label_names)

    def create_gaugevec(self, name: str, documentation: str, label_names: Sequence[str]) -> Gauge:
        """As :meth:`create_gauge_vec`."""
        return self.create_gauge_vec(name, documentation, label_names)

    def create_intgauge(self, name: str, documentation: str, labels: Mapping[str, str] | None = None) -> IntGauge:
        """A gauge of whole numbers, of one series with these labels. Errors: as IntGauge()."""
        return _one(self.registry.int_gauge, name, documentation, labels)

    def create_intgauge_vec(self, name: str, documentation: str, label_names: Sequence[str]) -> IntGauge:
        """Its family: series are found by the values of ``label_names``, with ``labels()``. Errors: as IntGauge()."""
        return self.registry.int_gauge(name, documentation, label_names)

    def create_intgaugevec(self, name: str, documentation: str, label_names: Sequence[str]) -> IntGauge:
        """As :meth:`create_intgauge_vec`."""
        return self.create_intgauge_vec(name, documentation, label_names)

    def create_durationgauge(self, name: str, documentation: str, labels: Mapping[str, str] | None = None) -> DurationGauge:
        """A gauge of time, exposed in seconds, of one series with these labels. Errors: as DurationGauge()."""
        return _one(self.registry.duration_gauge, name, documentation, labels)

    def create_durationgauge_vec(self, name: str, documentation: str, label_names: Sequence[str]) -> DurationGauge:
        """Its family: series are found by the values of ``label_names``, with ``labels()``. Errors: as DurationGauge()."""
        return self.registry.duration_gauge(name, documentation, label_names)

    def create_durationgaugevec(self, name: str, documentation: str, label_names: Sequence[str]) -> DurationGauge:
        """As :meth:`create_durationgauge_vec`."""
        return self.create_durationgauge_vec(name, documentation, label_names)

    def create_histogram(self, name: str, documentation: str, labels: Mapping[str, str] | None = None, buckets: Sequence[float] | None = None) -> Histogram:
        """A histogram of one series with these labels; buckets: upper bounds. Errors: as Histogram()."""
        return _one(self.registry.histogram, name, documentation, labels, buckets=buckets)

    def create_histogram_vec(self, name: str, documentation: str, label_names: Sequence[str], buckets: Sequence[float] | None = None) -> Histogram:
        """Its family: series are found by the values of ``label_names``, with ``labels()``. Errors: as Histogram()."""
        return self.registry.histogram(name, documentation, label_names, buckets=buckets)

    def create_histogramvec(self, name: str, documentation: str, label_names: Sequence[str], buckets: Sequence[float] | None = None) -> Histogram:
        """As :meth:`create_histogram_vec`."""
        return self.create_histogram_vec(name, documentation, label_names, buckets=buckets)

    def create_tally(self, name: str, documentation: str, labels: Mapping[str, str] | None = None) -> Summary:
        """Count and sum of observations, of one series with these labels. Errors: as Summary()."""
        return _one(self.registry.summary, name, documentation, labels)

    def create_tally_vec(self, name: str, documentation: str, label_names: Sequence[str]) -> Summary:
        """Its family: series are found by the values of ``label_names``, with ``labels()``. Errors: as Summary()."""
        return self.registry.summary(name, documentation, label_names)

    def create_tallyvec(self, name: str, documentation: str, label_names: Sequence[str]) -> Summary:
        """As :meth:`create_tally_vec`."""
        return self.create_tally_vec(name, documentation, label_names)

    def create_info(self, name: str, documentation: str, labels: Mapping[str, str] | None = None) -> Info:
        """Facts, which are these labels. Errors: as Info()."""
        return _info(self.registry.info, name, documentation, labels)

    def create_info_vec(self, name: str, documentation: str, label_names: Sequence[str]) -> Info:
        """Its family: series are found by the values of ``label_names``, with ``labels()``. Errors: as Info()."""
        return self.registry.info(name, documentation, label_names)

    def create_infovec(self, name: str, documentation: str, label_names: Sequence[str]) -> Info:
        """As :meth:`create_info_vec`."""
        return self.create_info_vec(name, documentation, label_names)

    def create_stateset(self, name: str, documentation: str, labels: Mapping[str, str] | None = None, states: Sequence[str] = ()) -> Enum:
        """Named states, of one series with these labels; states: their names. Errors: as Enum()."""
        return _one(self.registry.enum, name, documentation, labels, states=states)

    def create_stateset_vec(self, name: str, documentation: str, label_names: Sequence[str], states: Sequence[str] = ()) -> Enum:
        """Its family: series are found by the values of ``label_names``, with ``labels()``. Errors: as Enum()."""
        return self.registry.enum(name, documentation, label_names, states=states)

    def create_statesetvec(self, name: str, documentation: str, label_names: Sequence[str], states: Sequence[str] = ()) -> Enum:
        """As :meth:`create_stateset_vec`."""
        return self.create_stateset_vec(name, documentation, label_names, states=states)


# The registry itself has what it gives.
for _name, _method in list(vars(MetricsRegistry).items()):
    if _name.startswith("create_"):
        setattr(Registry, _name, _method)
