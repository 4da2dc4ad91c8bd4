"""Classes of metrics: what a component counts, declared in one place and registered where it is made."""

from __future__ import annotations

from ._native import (
    REGISTRY,
    Counter,
    DurationCounter,
    DurationGauge,
    Enum,
    Gauge,
    Histogram,
    Info,
    IntCounter,
    IntGauge,
    Metric,
    Registry,
    Summary,
)
from .errors import DynMetricsError, InvalidTypeError, InvalidValueError

TYPE_CHECKING = False  # to import typing takes longer than all of this package

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any, ClassVar, TypeVar

    from ._interface import MetricsRegistry
    from ._native import _Mode

    _K = TypeVar("_K", bound=Metric)
    _M = TypeVar("_M", bound="Metrics")

_TYPES: dict[type[Metric], str] = {
    Counter: "counter",
    IntCounter: "counter",
    DurationCounter: "counter",
    Gauge: "gauge",
    IntGauge: "gauge",
    DurationGauge: "gauge",
    Histogram: "histogram",
    Summary: "summary",
    Info: "info",
    Enum: "stateset",
}

_MODES = {"gauge": "livesum", "stateset": "livemostrecent"}


class Declaration:
    """What one field of a class of metrics is registered as."""

    __slots__ = ("field", "name", "type", "documentation", "unit", "labelnames", "labels", "buckets", "states", "mode", "level")

    field: str
    """Where it is in the class; fields of nested ones with dots."""
    name: str
    """Exposed name, without what a registry puts before it."""
    type: str
    """counter, gauge, histogram, summary, info or stateset."""
    documentation: str
    """The help text."""
    unit: str
    """The unit; may be empty."""
    labelnames: tuple[str, ...]
    """Names of the labels that its series differ in."""
    labels: dict[str, str]
    """Labels that the class puts on every series."""
    buckets: tuple[float, ...] | None
    """Upper bounds of a histogram, without +Inf; None of other types."""
    states: tuple[str, ...]
    """Names of an Enum's states."""
    mode: str | None
    """How the values of several processes combine; None of what belongs to no process."""
    level: int
    """Priority, 0 is the most important."""

    def __init__(self, **values: Any) -> None:
        for name in self.__slots__:
            setattr(self, name, values[name])

    def __repr__(self) -> str:
        return f"Declaration({', '.join(f'{name}={getattr(self, name)!r}' for name in self.__slots__)})"


class _Field:
    def __init__(self, kind: type[Metric], name: str, documentation: str, labels: Sequence[str], options: dict[str, Any]) -> None:
        self.kind, self.name, self.documentation, self.labels = kind, name, documentation, labels
        self.options = {key: value for key, value in options.items() if value is not None}

    def make(self, registry: Registry) -> Metric:
        kind: Any = self.kind
        made: Metric = kind(self.name, self.documentation, self.labels, registry=registry, **self.options)
        return made

    def declare(self, field: str, registry: Registry) -> Iterator[Declaration]:
        made = self.make(registry)
        yield Declaration(
            field=field,
            name=made.name,
            type=_TYPES[self.kind],
            documentation=made.documentation,
            unit=made.unit,
            labelnames=made.labelnames,
            labels=registry.labels,
            buckets=_bounds(made),
            states=tuple(self.options.get("states", ())),
            mode=self.options.get("multiprocess_mode", _MODES.get(_TYPES[self.kind])),
            level=self.options["level"],
        )


def _bounds(made: Metric) -> tuple[float, ...] | None:
    """The bounds of a histogram of a registry that counts nothing."""
    if not isinstance(made, Histogram):
        return None
    series = made.labels(*["" for _ in made.labelnames]) if made.labelnames else made
    return tuple(series.buckets())[:-1]


class _Nested:
    def __init__(self, of: type[Metrics], prefix: str, labels: Mapping[str, str] | None) -> None:
        if not (isinstance(of, type) and issubclass(of, Metrics)):
            raise InvalidTypeError(f"nested(): found {of!r}, expected a class of metrics")
        self.of, self.prefix, self.labels = of, prefix, labels

    def make(self, registry: Registry) -> Metrics:
        return self.of(registry.child(self.prefix, self.labels))

    def declare(self, field: str, registry: Registry) -> Iterator[Declaration]:
        for one in self.of._declare(registry.child(self.prefix, self.labels)):
            one.field = f"{field}.{one.field}"
            yield one


class Metrics:
    """The base of classes of metrics: their fields say what a component counts.

    Names, labels, bounds and options are checked when the class is made: what is wrong raises there and names the field.
    An object registers all of them, in ``registry`` or the process's own, and has the metrics in its fields. The
    class's ``prefix`` and ``labels``, if given, come after the registry's. Errors: as the metrics' own.

    >>> class RouterMetrics(Metrics, prefix="doc_router_"):
    ...     requests = counter("requests_total", "Requests routed", labels=["model"])
    ...     latency = histogram("latency_seconds", "Time to route", buckets=[0.001, 0.01, 0.1])
    >>> router = RouterMetrics(Registry(path=segment))
    >>> router.requests.labels("llama").inc()
    >>> router.latency.observe(0.002)
    >>> [one.name for one in RouterMetrics.declared()]
    ['doc_router_requests_total', 'doc_router_latency_seconds']
    """

    _fields: ClassVar[dict[str, _Field | _Nested]] = {}
    _scope: ClassVar[tuple[str, dict[str, str]]] = ("", {})

    def __init_subclass__(cls, *, prefix: str | None = None, labels: Mapping[str, str] | None = None, **rest: Any) -> None:
        super().__init_subclass__(**rest)
        before = cls._scope
        cls._scope = (before[0] if prefix is None else prefix, dict(before[1] if labels is None else labels))
        own = {name: field for name, field in vars(cls).items() if isinstance(field, (_Field, _Nested))}
        cls._fields = {**cls._fields, **own}
        seen: dict[tuple[str, tuple[tuple[str, str], ...]], str] = {}
        for one in cls._declare(Registry.null()):
            same = seen.setdefault((one.name, tuple(sorted(one.labels.items()))), one.field)
            if same != one.field:
                raise InvalidValueError(f"{cls.__qualname__}.{one.field}: found {one.name!r}, which {same} is, too")

    def __init__(self, registry: MetricsRegistry | None = None) -> None:
        home = REGISTRY if registry is None else registry.registry
        below = self._below(home)
        for name, field in self._fields.items():
            setattr(self, name, self._made(name, field.make, below))

    @classmethod
    def declared(cls) -> list[Declaration]:
        """What the class declares, with nested ones, without registering anything: for documentation."""
        return list(cls._declare(Registry.null()))

    @classmethod
    def declared_json(cls) -> str:
        """The same as JSON, for ``dyn-metrics describe --declared``, which makes a table of it."""
        import json

        def described(one: Declaration) -> dict[str, object]:
            values = {"field": one.field, "name": one.name, "help": one.documentation, "unit": one.unit, "type": one.type}
            lists = {"label_names": one.labelnames, "buckets": one.buckets or (), "states": one.states}
            return {**values, "labels": one.labels, **lists, "mode": one.mode, "level": one.level}

        return json.dumps({"metrics": [described(one) for one in cls.declared()]}, indent=0) + "\n"

    @classmethod
    def _below(cls, registry: Registry) -> Registry:
        prefix, labels = cls._scope
        return registry.child(prefix, labels) if prefix or labels else registry

    @classmethod
    def _declare(cls, registry: Registry) -> Iterator[Declaration]:
        below = cls._below(registry)
        for name, field in cls._fields.items():
            yield from cls._made(name, lambda home: list(field.declare(name, home)), below)

    @classmethod
    def _made(cls, name: str, make: Any, registry: Registry) -> Any:
        """What ``make`` makes; an error names the field."""
        try:
            return make(registry)
        except DynMetricsError as error:
            if isinstance(error, OSError):
                raise
            raise type(error)(f"{cls.__qualname__}.{name}: {error}") from None


def _field(kind: type[_K], name: str, documentation: str, labels: Sequence[str], **options: Any) -> _K:
    field: Any = _Field(kind, name, documentation, labels, options)
    made: _K = field
    return made


def nested(of: type[_M], *, prefix: str = "", labels: Mapping[str, str] | None = None) -> _M:
    """Another class of metrics as a field of a class of metrics: with this prefix and these labels in addition."""
    field: Any = _Nested(of, prefix, labels)
    made: _M = field
    return made


def counter(
    name: str, documentation: str, labels: Sequence[str] = (), *, unit: str = "", level: int = 0, max_series: int | None = None, shared: bool = False
) -> Counter:
    """A counter of a class of metrics: a :class:`Counter` once there is an object. ``labels``: their names."""
    return _field(Counter, name, documentation, labels, unit=unit, level=level, max_series=max_series, shared=shared)


def int_counter(
    name: str, documentation: str, labels: Sequence[str] = (), *, unit: str = "", level: int = 0, max_series: int | None = None, shared: bool = False
) -> IntCounter:
    """A counter of whole events of a class of metrics: a :class:`IntCounter` once there is an object. ``labels``: their names."""
    return _field(IntCounter, name, documentation, labels, unit=unit, level=level, max_series=max_series, shared=shared)


def duration_counter(
    name: str, documentation: str, labels: Sequence[str] = (), *, unit: str = "", level: int = 0, max_series: int | None = None, shared: bool = False
) -> DurationCounter:
    """A counter of time of a class of metrics: a :class:`DurationCounter` once there is an object. ``labels``: their names."""
    return _field(DurationCounter, name, documentation, labels, unit=unit, level=level, max_series=max_series, shared=shared)


def gauge(
    name: str, documentation: str, labels: Sequence[str] = (), *, unit: str = "", level: int = 0, max_series: int | None = None, shared: bool = False, multiprocess_mode: _Mode | None = None, keep_dead: int = 0
) -> Gauge:
    """A gauge of a class of metrics: a :class:`Gauge` once there is an object. ``labels``: their names."""
    return _field(Gauge, name, documentation, labels, unit=unit, level=level, max_series=max_series, shared=shared, multiprocess_mode=multiprocess_mode, keep_dead=keep_dead)


def int_gauge(
    name: str, documentation: str, labels: Sequence[str] = (), *, unit: str = "", level: int = 0, max_series: int | None = None, shared: bool = False, multiprocess_mode: _Mode | None = None, keep_dead: int = 0
) -> IntGauge:
    """A gauge of whole numbers of a class of metrics: a :class:`IntGauge` once there is an object. ``labels``: their names."""
    return _field(IntGauge, name, documentation, labels, unit=unit, level=level, max_series=max_series, shared=shared, multiprocess_mode=multiprocess_mode, keep_dead=keep_dead)


def duration_gauge(
    name: str, documentation: str, labels: Sequence[str] = (), *, unit: str = "", level: int = 0, max_series: int | None = None, shared: bool = False, multiprocess_mode: _Mode | None = None, keep_dead: int = 0
) -> DurationGauge:
    """A gauge of time of a class of metrics: a :class:`DurationGauge` once there is an object. ``labels``: their names."""
    return _field(DurationGauge, name, documentation, labels, unit=unit, level=level, max_series=max_series, shared=shared, multiprocess_mode=multiprocess_mode, keep_dead=keep_dead)


def histogram(
    name: str, documentation: str, labels: Sequence[str] = (), *, unit: str = "", level: int = 0, max_series: int | None = None, shared: bool = False, buckets: Sequence[float] | None = None
) -> Histogram:
    """A histogram of a class of metrics: a :class:`Histogram` once there is an object. ``labels``: their names."""
    return _field(Histogram, name, documentation, labels, unit=unit, level=level, max_series=max_series, shared=shared, buckets=buckets)


def summary(
    name: str, documentation: str, labels: Sequence[str] = (), *, unit: str = "", level: int = 0, max_series: int | None = None, shared: bool = False
) -> Summary:
    """Count and sum of a class of metrics: a :class:`Summary` once there is an object. ``labels``: their names."""
    return _field(Summary, name, documentation, labels, unit=unit, level=level, max_series=max_series, shared=shared)


def info(
    name: str, documentation: str, labels: Sequence[str] = (), *, unit: str = "", level: int = 0, max_series: int | None = None, shared: bool = False
) -> Info:
    """Facts of a class of metrics: a :class:`Info` once there is an object. ``labels``: their names."""
    return _field(Info, name, documentation, labels, unit=unit, level=level, max_series=max_series, shared=shared)


def enum(
    name: str, documentation: str, labels: Sequence[str] = (), *, unit: str = "", level: int = 0, max_series: int | None = None, shared: bool = False, states: Sequence[str], multiprocess_mode: _Mode | None = None, keep_dead: int = 0
) -> Enum:
    """Named states of a class of metrics: a :class:`Enum` once there is an object. ``labels``: their names."""
    return _field(Enum, name, documentation, labels, unit=unit, level=level, max_series=max_series, shared=shared, states=states, multiprocess_mode=multiprocess_mode, keep_dead=keep_dead)
