"""Types of the native part of dyn_metrics. Documentation is in its docstrings: ``help(dyn_metrics.Counter)``."""

import os
from asyncio import AbstractEventLoop
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any, Final, Literal, SupportsFloat, SupportsIndex, TypedDict, TypeVar, final

from typing_extensions import NotRequired, Self, TypeAlias, disjoint_base

__all__ = [
    "REGISTRY",
    "Bare",
    "Beat",
    "Component",
    "Composite",
    "Counter",
    "DistributedRuntime",
    "DurationCounter",
    "DurationGauge",
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
    "Metric",
    "Namespace",
    "OnScrape",
    "PrometheusBinder",
    "PrometheusStates",
    "PrometheusValue",
    "Reading",
    "Registry",
    "Scheme",
    "SegmentReader",
    "Subscription",
    "Summary",
    "System",
    "SystemCall",
    "SystemCalls",
    "SystemCheck",
    "Timer",
    "rebuild",
    "rebuild_below",
    "rebuild_registry",
    "rebuild_scheme",
]

_F = TypeVar("_F", bound=Callable[..., Any])
_Number: TypeAlias = SupportsFloat | SupportsIndex
_Seconds: TypeAlias = timedelta | SupportsFloat | SupportsIndex
_Mode: TypeAlias = Literal[
    "all",
    "liveall",
    "min",
    "livemin",
    "max",
    "livemax",
    "sum",
    "livesum",
    "mostrecent",
    "livemostrecent",
]
_Kind: TypeAlias = Literal["counter", "gauge", "histogram", "summary", "info", "stateset"]
_Operation: TypeAlias = Literal["avg", "min", "max", "sum", "count", "rate", "quantile"]
_Exceptions: TypeAlias = type[BaseException] | tuple[type[BaseException], ...]

class _Series(TypedDict):
    labels: dict[str, str]
    value: NotRequired[float]
    count: NotRequired[int]
    sum: NotRequired[float]
    buckets: NotRequired[dict[float, int]]
    states: NotRequired[dict[str, bool]]

class _Family(TypedDict):
    name: str
    type: _Kind
    documentation: str
    unit: str
    level: int
    multiprocess_mode: NotRequired[_Mode]
    series: list[_Series]

REGISTRY: Final[Registry]

class _Counts(TypedDict):
    calls: int
    coalesced: int
    exceptions: int
    running: float | None

@final
class Event:
    @property
    def name(self) -> str: ...
    @property
    def labels(self) -> dict[str, str]: ...
    @property
    def old(self) -> float | None: ...
    @property
    def value(self) -> float | None: ...
    @property
    def time(self) -> float: ...

@final
class Subscription:
    @property
    def active(self) -> bool: ...
    def cancel(self, timeout: float = 0.0) -> bool: ...
    def counts(self) -> _Counts: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *_exception: object) -> None: ...

@disjoint_base
class Registry:
    def __new__(
        cls,
        path: str | os.PathLike[str] | None = None,
        *,
        max_bytes: int | None = None,
        max_series_per_family: int | None = None,
        processes: int | None = None,
        mode: int | None = None,
        group: int | None = None,
        role: str | None = None,
        process_labels: Mapping[str, str] | None = None,
        common_labels: Mapping[str, str] | None = None,
        allowed_uids: Sequence[int] | None = None,
        fresh: bool = False,
        force: bool = False,
    ) -> Self: ...
    @staticmethod
    def of_kind(kind: str) -> Registry: ...
    @staticmethod
    def null() -> Registry: ...
    @property
    def registry(self) -> Registry: ...
    @property
    def kind(self) -> str: ...
    @property
    def path(self) -> os.PathLike[str]: ...
    @property
    def prefix(self) -> str: ...
    @property
    def labels(self) -> dict[str, str]: ...
    def open(self) -> Self: ...
    def child(self, prefix: str = "", labels: Mapping[str, str] | None = None) -> Registry: ...
    def remove(self, name: str, labels: Mapping[str, str] | None = None) -> bool: ...
    def composite(
        self,
        operation: _Operation,
        name: str,
        *,
        matching: Mapping[str, str | Iterable[str]] | None = None,
        not_matching: Mapping[str, str] | None = None,
        having: Iterable[str] = ...,
        q: float | None = None,
        over_processes: bool = False,
        window: float | timedelta | None = None,
    ) -> Composite: ...
    def with_max_level(self, level: int) -> Registry: ...
    def prometheus_format_str(self) -> str: ...
    def prometheus_metrics_fmt(self) -> str: ...
    def create_counter(self, name: str, documentation: str, labels: Mapping[str, str] | None = None) -> Counter: ...
    def create_counter_vec(self, name: str, documentation: str, label_names: Sequence[str]) -> Counter: ...
    def create_countervec(self, name: str, documentation: str, label_names: Sequence[str]) -> Counter: ...
    def create_intcounter(
        self, name: str, documentation: str, labels: Mapping[str, str] | None = None
    ) -> IntCounter: ...
    def create_intcounter_vec(self, name: str, documentation: str, label_names: Sequence[str]) -> IntCounter: ...
    def create_intcountervec(self, name: str, documentation: str, label_names: Sequence[str]) -> IntCounter: ...
    def create_durationcounter(
        self, name: str, documentation: str, labels: Mapping[str, str] | None = None
    ) -> DurationCounter: ...
    def create_durationcounter_vec(
        self, name: str, documentation: str, label_names: Sequence[str]
    ) -> DurationCounter: ...
    def create_durationcountervec(
        self, name: str, documentation: str, label_names: Sequence[str]
    ) -> DurationCounter: ...
    def create_gauge(self, name: str, documentation: str, labels: Mapping[str, str] | None = None) -> Gauge: ...
    def create_gauge_vec(self, name: str, documentation: str, label_names: Sequence[str]) -> Gauge: ...
    def create_gaugevec(self, name: str, documentation: str, label_names: Sequence[str]) -> Gauge: ...
    def create_intgauge(self, name: str, documentation: str, labels: Mapping[str, str] | None = None) -> IntGauge: ...
    def create_intgauge_vec(self, name: str, documentation: str, label_names: Sequence[str]) -> IntGauge: ...
    def create_intgaugevec(self, name: str, documentation: str, label_names: Sequence[str]) -> IntGauge: ...
    def create_durationgauge(
        self, name: str, documentation: str, labels: Mapping[str, str] | None = None
    ) -> DurationGauge: ...
    def create_durationgauge_vec(self, name: str, documentation: str, label_names: Sequence[str]) -> DurationGauge: ...
    def create_durationgaugevec(self, name: str, documentation: str, label_names: Sequence[str]) -> DurationGauge: ...
    def create_histogram(
        self, name: str, documentation: str, labels: Mapping[str, str] | None = None, buckets: Sequence[float] | None = None
    ) -> Histogram: ...
    def create_histogram_vec(
        self, name: str, documentation: str, label_names: Sequence[str], buckets: Sequence[float] | None = None
    ) -> Histogram: ...
    def create_histogramvec(
        self, name: str, documentation: str, label_names: Sequence[str], buckets: Sequence[float] | None = None
    ) -> Histogram: ...
    def create_tally(self, name: str, documentation: str, labels: Mapping[str, str] | None = None) -> Summary: ...
    def create_tally_vec(self, name: str, documentation: str, label_names: Sequence[str]) -> Summary: ...
    def create_tallyvec(self, name: str, documentation: str, label_names: Sequence[str]) -> Summary: ...
    def create_info(self, name: str, documentation: str, labels: Mapping[str, str] | None = None) -> Info: ...
    def create_info_vec(self, name: str, documentation: str, label_names: Sequence[str]) -> Info: ...
    def create_infovec(self, name: str, documentation: str, label_names: Sequence[str]) -> Info: ...
    def create_stateset(
        self, name: str, documentation: str, labels: Mapping[str, str] | None = None, states: Sequence[str] = ()
    ) -> Enum: ...
    def create_stateset_vec(
        self, name: str, documentation: str, label_names: Sequence[str], states: Sequence[str] = ()
    ) -> Enum: ...
    def create_statesetvec(
        self, name: str, documentation: str, label_names: Sequence[str], states: Sequence[str] = ()
    ) -> Enum: ...
    def on_scrape(self, callback: Callable[[], object]) -> OnScrape: ...
    def on_change(
        self,
        watched: Metric | str | Callable[[], float | None],
        callback: Callable[[Event], object],
        *,
        labels: Mapping[str, str] | None = None,
        loop: AbstractEventLoop | None = None,
    ) -> Subscription: ...
    def on_threshold(
        self,
        watched: Metric | str | Callable[[], float | None],
        callback: Callable[[Event], object],
        *,
        above: float | None = None,
        below: float | None = None,
        hysteresis: float = 0.0,
        labels: Mapping[str, str] | None = None,
        loop: AbstractEventLoop | None = None,
    ) -> Subscription: ...
    def generate_latest(self) -> bytes: ...
    def snapshot(self) -> dict[str, _Family]: ...
    def __iter__(self) -> Iterator[_Family]: ...
    def counter(
        self,
        name: str,
        documentation: str,
        labelnames: Iterable[str] = ...,
        namespace: str = "",
        subsystem: str = "",
        unit: str = "",
        *,
        level: int = 0,
        max_series: int | None = None,
        shared: bool = False,
    ) -> Counter: ...
    def int_counter(
        self,
        name: str,
        documentation: str,
        labelnames: Iterable[str] = ...,
        namespace: str = "",
        subsystem: str = "",
        unit: str = "",
        *,
        level: int = 0,
        max_series: int | None = None,
        shared: bool = False,
    ) -> IntCounter: ...
    def duration_counter(
        self,
        name: str,
        documentation: str,
        labelnames: Iterable[str] = ...,
        namespace: str = "",
        subsystem: str = "",
        unit: str = "",
        *,
        level: int = 0,
        max_series: int | None = None,
        shared: bool = False,
    ) -> DurationCounter: ...
    def gauge(
        self,
        name: str,
        documentation: str,
        labelnames: Iterable[str] = ...,
        namespace: str = "",
        subsystem: str = "",
        unit: str = "",
        *,
        multiprocess_mode: _Mode = "livesum",
        keep_dead: int = 0,
        level: int = 0,
        max_series: int | None = None,
        shared: bool = False,
    ) -> Gauge: ...
    def int_gauge(
        self,
        name: str,
        documentation: str,
        labelnames: Iterable[str] = ...,
        namespace: str = "",
        subsystem: str = "",
        unit: str = "",
        *,
        multiprocess_mode: _Mode = "livesum",
        keep_dead: int = 0,
        level: int = 0,
        max_series: int | None = None,
        shared: bool = False,
    ) -> IntGauge: ...
    def duration_gauge(
        self,
        name: str,
        documentation: str,
        labelnames: Iterable[str] = ...,
        namespace: str = "",
        subsystem: str = "",
        unit: str = "",
        *,
        multiprocess_mode: _Mode = "livesum",
        keep_dead: int = 0,
        level: int = 0,
        max_series: int | None = None,
        shared: bool = False,
    ) -> DurationGauge: ...
    def histogram(
        self,
        name: str,
        documentation: str,
        labelnames: Iterable[str] = ...,
        namespace: str = "",
        subsystem: str = "",
        unit: str = "",
        *,
        buckets: Iterable[_Number] | None = None,
        level: int = 0,
        max_series: int | None = None,
        shared: bool = False,
    ) -> Histogram: ...
    def summary(
        self,
        name: str,
        documentation: str,
        labelnames: Iterable[str] = ...,
        namespace: str = "",
        subsystem: str = "",
        unit: str = "",
        *,
        level: int = 0,
        max_series: int | None = None,
        shared: bool = False,
    ) -> Summary: ...
    def info(
        self,
        name: str,
        documentation: str,
        labelnames: Iterable[str] = ...,
        namespace: str = "",
        subsystem: str = "",
        unit: str = "",
        *,
        level: int = 0,
        max_series: int | None = None,
        shared: bool = False,
    ) -> Info: ...
    def enum(
        self,
        name: str,
        documentation: str,
        labelnames: Iterable[str] = ...,
        namespace: str = "",
        subsystem: str = "",
        unit: str = "",
        *,
        states: Iterable[str] = ...,
        multiprocess_mode: _Mode = "livemostrecent",
        keep_dead: int = 0,
        level: int = 0,
        max_series: int | None = None,
        shared: bool = False,
    ) -> Enum: ...
    def __reduce__(self) -> tuple[Any, ...]: ...

@final
class Scheme:
    def __new__(
        cls, *, prefix: str | None = None, worker_id: str | None = None, labels: Mapping[str, str] | None = None
    ) -> Self: ...
    @staticmethod
    def upstream(
        *, prefix: str | None = None, worker_id: str | None = None, labels: Mapping[str, str] | None = None
    ) -> Scheme: ...
    def __reduce__(self) -> tuple[Any, ...]: ...

@final
class DistributedRuntime(Registry):
    def __new__(cls, registry: Registry | None = None, scheme: Scheme | None = None) -> Self: ...
    @property
    def name(self) -> str: ...
    def namespace(self, name: str) -> Namespace: ...
    def __reduce__(self) -> tuple[Any, ...]: ...

@final
class Namespace(Registry):
    @property
    def name(self) -> str: ...
    def component(self, name: str) -> Component: ...

@final
class Component(Registry):
    @property
    def name(self) -> str: ...
    def endpoint(self, name: str) -> Endpoint: ...

@final
class Endpoint(Registry):
    @property
    def name(self) -> str: ...

@disjoint_base
class Metric:
    def labels(self, *values: object, **labels: object) -> Self: ...
    def with_label_values(self, values: Iterable[object]) -> Self: ...
    def remove(self, *values: object, **labels: object) -> bool: ...
    @property
    def name(self) -> str: ...
    @property
    def documentation(self) -> str: ...
    @property
    def unit(self) -> str: ...
    @property
    def labelnames(self) -> tuple[str, ...]: ...
    @property
    def labelvalues(self) -> tuple[str, ...]: ...
    def __reduce__(self) -> tuple[Any, ...]: ...

@final
class Counter(Metric):
    def __new__(
        cls,
        name: str,
        documentation: str,
        labelnames: Iterable[str] = ...,
        namespace: str = "",
        subsystem: str = "",
        unit: str = "",
        registry: Registry | None = None,
        *,
        level: int = 0,
        max_series: int | None = None,
        shared: bool = False,
    ) -> Self: ...
    def inc(self, amount: _Number = 1) -> None: ...
    def value(self) -> float: ...
    def count_exceptions(self, exception: _Exceptions = ...) -> ExceptionCounter: ...

@final
class IntCounter(Metric):
    def __new__(
        cls,
        name: str,
        documentation: str,
        labelnames: Iterable[str] = ...,
        namespace: str = "",
        subsystem: str = "",
        unit: str = "",
        registry: Registry | None = None,
        *,
        level: int = 0,
        max_series: int | None = None,
        shared: bool = False,
    ) -> Self: ...
    def inc(self, amount: SupportsIndex = 1) -> None: ...
    def value(self) -> int: ...

@final
class DurationCounter(Metric):
    def __new__(
        cls,
        name: str,
        documentation: str,
        labelnames: Iterable[str] = ...,
        namespace: str = "",
        subsystem: str = "",
        unit: str = "",
        registry: Registry | None = None,
        *,
        level: int = 0,
        max_series: int | None = None,
        shared: bool = False,
    ) -> Self: ...
    def inc(self, amount: _Seconds) -> None: ...
    def value(self) -> float: ...
    def time(self) -> Timer: ...

@final
class Gauge(Metric):
    def __new__(
        cls,
        name: str,
        documentation: str,
        labelnames: Iterable[str] = ...,
        namespace: str = "",
        subsystem: str = "",
        unit: str = "",
        registry: Registry | None = None,
        *,
        multiprocess_mode: _Mode = "livesum",
        keep_dead: int = 0,
        level: int = 0,
        max_series: int | None = None,
        shared: bool = False,
    ) -> Self: ...
    def set(self, value: _Number) -> None: ...
    def inc(self, amount: _Number = 1) -> None: ...
    def dec(self, amount: _Number = 1) -> None: ...
    def set_to_current_time(self) -> None: ...
    def set_function(self, function: Callable[[], _Number] | None) -> None: ...
    def value(self) -> float: ...
    def track_inprogress(self) -> InprogressTracker: ...
    def time(self) -> Timer: ...

@final
class IntGauge(Metric):
    def __new__(
        cls,
        name: str,
        documentation: str,
        labelnames: Iterable[str] = ...,
        namespace: str = "",
        subsystem: str = "",
        unit: str = "",
        registry: Registry | None = None,
        *,
        multiprocess_mode: _Mode = "livesum",
        keep_dead: int = 0,
        level: int = 0,
        max_series: int | None = None,
        shared: bool = False,
    ) -> Self: ...
    def set(self, value: SupportsIndex) -> None: ...
    def inc(self, amount: SupportsIndex = 1) -> None: ...
    def dec(self, amount: SupportsIndex = 1) -> None: ...
    def set_function(self, function: Callable[[], _Number] | None) -> None: ...
    def value(self) -> int: ...
    def track_inprogress(self) -> InprogressTracker: ...

@final
class DurationGauge(Metric):
    def __new__(
        cls,
        name: str,
        documentation: str,
        labelnames: Iterable[str] = ...,
        namespace: str = "",
        subsystem: str = "",
        unit: str = "",
        registry: Registry | None = None,
        *,
        multiprocess_mode: _Mode = "livesum",
        keep_dead: int = 0,
        level: int = 0,
        max_series: int | None = None,
        shared: bool = False,
    ) -> Self: ...
    def set(self, value: _Seconds) -> None: ...
    def inc(self, amount: _Seconds) -> None: ...
    def dec(self, amount: _Seconds) -> None: ...
    def set_function(self, function: Callable[[], _Seconds] | None) -> None: ...
    def value(self) -> float: ...
    def time(self) -> Timer: ...

@final
class Histogram(Metric):
    def __new__(
        cls,
        name: str,
        documentation: str,
        labelnames: Iterable[str] = ...,
        namespace: str = "",
        subsystem: str = "",
        unit: str = "",
        registry: Registry | None = None,
        *,
        buckets: Iterable[_Number] | None = None,
        level: int = 0,
        max_series: int | None = None,
        shared: bool = False,
    ) -> Self: ...
    def observe(self, amount: _Number) -> None: ...
    def time(self) -> Timer: ...
    def count(self) -> int: ...
    def sum(self) -> float: ...
    def buckets(self) -> dict[float, int]: ...

@final
class Summary(Metric):
    def __new__(
        cls,
        name: str,
        documentation: str,
        labelnames: Iterable[str] = ...,
        namespace: str = "",
        subsystem: str = "",
        unit: str = "",
        registry: Registry | None = None,
        *,
        level: int = 0,
        max_series: int | None = None,
        shared: bool = False,
    ) -> Self: ...
    def observe(self, amount: _Number) -> None: ...
    def time(self) -> Timer: ...
    def count(self) -> int: ...
    def sum(self) -> float: ...

@final
class Info(Metric):
    def __new__(
        cls,
        name: str,
        documentation: str,
        labelnames: Iterable[str] = ...,
        namespace: str = "",
        subsystem: str = "",
        unit: str = "",
        registry: Registry | None = None,
        *,
        level: int = 0,
        max_series: int | None = None,
        shared: bool = False,
    ) -> Self: ...
    def info(self, val: Mapping[str, object]) -> None: ...

@final
class Enum(Metric):
    def __new__(
        cls,
        name: str,
        documentation: str,
        labelnames: Iterable[str] = ...,
        namespace: str = "",
        subsystem: str = "",
        unit: str = "",
        registry: Registry | None = None,
        *,
        states: Iterable[str] = ...,
        multiprocess_mode: _Mode = "livemostrecent",
        keep_dead: int = 0,
        level: int = 0,
        max_series: int | None = None,
        shared: bool = False,
    ) -> Self: ...
    def state(self, state: str) -> None: ...
    def value(self) -> str | None: ...
    @property
    def states(self) -> tuple[str, ...]: ...

@final
class Composite:
    def __new__(
        cls,
        operation: _Operation,
        name: str,
        registry: Registry | None = None,
        *,
        matching: Mapping[str, str | Iterable[str]] | None = None,
        not_matching: Mapping[str, str] | None = None,
        having: Iterable[str] = ...,
        q: float | None = None,
        over_processes: bool = False,
        window: float | timedelta | None = None,
        path: str | os.PathLike[str] | None = None,
    ) -> Self: ...
    def read(self) -> Reading: ...
    def sample(self) -> None: ...
    @property
    def trouble(self) -> str | None: ...
    @property
    def name(self) -> str: ...

@final
class Reading:
    def __eq__(self, value: object, /) -> bool: ...
    @property
    def state(self) -> Literal["value", "idle", "unknown", "dead"]: ...
    @property
    def value(self) -> float | None: ...

@final
class OnScrape:
    def cancel(self) -> bool: ...

@final
class Timer:
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        class_: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...
    def __call__(self, function: _F) -> _F: ...
    def __copy__(self) -> Self: ...

@final
class ExceptionCounter:
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        class_: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...
    def __call__(self, function: _F) -> _F: ...
    def __copy__(self) -> Self: ...

@final
class InprogressTracker:
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        class_: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...
    def __call__(self, function: _F) -> _F: ...
    def __copy__(self) -> Self: ...

@final
class Bare:
    """Calls that do nothing, for benches."""

    def __new__(cls) -> Self: ...
    def nothing(self) -> None: ...
    def nothing_of(self, amount: object = None) -> None: ...

@disjoint_base
class PrometheusValue:
    """The number behind a sample of a metric object of prometheus_client; see ``dyn_metrics.prometheus``."""

    def __new__(cls) -> Self: ...
    @property
    def _value(self) -> float: ...
    def inc(self, amount: _Number) -> None: ...
    def set(self, value: _Number, timestamp: Any = None) -> None: ...
    def compute(self, function: Callable[[], float] | None) -> None: ...
    def get(self) -> float: ...
    def set_exemplar(self, exemplar: Any) -> None: ...
    def get_exemplar(self) -> Any: ...
    def shared(self) -> float | None: ...

_Labels: TypeAlias = Sequence[tuple[str, str]]

@final
class PrometheusBinder:
    """Binds values to series of a registry. Every method raises what registering a metric raises."""

    def __new__(cls, registry: Registry | None = None) -> Self: ...
    def reader(self) -> SegmentReader: ...
    def counter(self, value: PrometheusValue, name: str, help: str, labels: _Labels) -> None: ...
    def gauge(self, value: PrometheusValue, name: str, help: str, labels: _Labels, mode: str) -> None: ...
    def summary(
        self,
        count: PrometheusValue | None,
        sum: PrometheusValue | None,
        name: str,
        help: str,
        labels: _Labels,
    ) -> None: ...
    def histogram(
        self,
        sum: PrometheusValue,
        buckets: Sequence[PrometheusValue],
        bounds: Sequence[float],
        name: str,
        help: str,
        labels: _Labels,
    ) -> None: ...
    def info(self, name: str, help: str, labels: _Labels) -> None: ...
    def states(
        self, name: str, help: str, labels: _Labels, states: Sequence[str]
    ) -> PrometheusStates: ...

@final
class PrometheusStates:
    """The states of one Enum in this process."""

    def set(self, state: str) -> None: ...

_Sample: TypeAlias = tuple[str, dict[str, str], float]

@final
class SegmentReader:
    """Reads a segment again and again."""

    def collect(
        self, spell: Callable[[float], str]
    ) -> tuple[list[tuple[str, str, str, str, list[_Sample]]], list[tuple[int, int]]]:
        """Families (name, help, type, unit, samples), and pid and pid namespace of processes that live."""

def rebuild(
    class_: type[Metric], args: tuple[Any, ...], options: dict[str, Any], labelvalues: tuple[str, ...]
) -> Metric: ...
def rebuild_below(parent: Any, method: str, args: tuple[Any, ...]) -> Any: ...
def rebuild_registry(
    path: str | os.PathLike[str] | None,
    options: dict[str, Any],
    prefix: str,
    labels: dict[str, str],
    kind: str | None = None,
) -> Registry: ...
def rebuild_scheme(is_upstream: bool, prefix: str | None, labels: dict[str, str]) -> Scheme: ...

# What dyn_metrics.system is made of.

@final
class Beat:
    def __new__(cls) -> Self: ...
    def beat(self) -> None: ...
    def silence(self) -> float: ...

@final
class SystemCall:
    @property
    def argument(self) -> str: ...
    def answer(self, is_ok: bool, text: str, content_type: str = "") -> None: ...

@final
class SystemCalls:
    def __new__(cls) -> Self: ...
    def next(self) -> SystemCall | None: ...
    def close(self) -> None: ...

@final
class SystemCheck:
    @staticmethod
    def called(calls: SystemCalls) -> SystemCheck: ...
    @staticmethod
    def beat(beat: Beat, limit: float) -> SystemCheck: ...
    @staticmethod
    def progress(done: Counter | IntCounter, pending: Gauge | IntGauge, limit: float) -> SystemCheck: ...
    @staticmethod
    def etcd(url: str, lease: int | None, keep_alive: bool, key_prefix: str | None) -> SystemCheck: ...
    @staticmethod
    def nats(url: str, service: str | None, instance: str | None) -> SystemCheck: ...
    @staticmethod
    def space(path: str | os.PathLike[str], least_bytes: int) -> SystemCheck: ...
    @staticmethod
    def validate(
        check: SystemCheck | None,
        name: str,
        probe: str,
        required: bool,
        interval: float,
        timeout: float,
        failures: int,
        successes: int,
    ) -> None: ...

@final
class System:
    @staticmethod
    def start(
        from_env: bool,
        registry: Registry,
        host: str | None,
        port: int | None,
        health_path: str | None,
        live_path: str | None,
        scope: str,
        version: str | None,
        starts_until_told: bool,
        format: SystemCalls | None,
        checks: Sequence[tuple[SystemCheck, str, str, bool, float, float, int, int]],
    ) -> System | None: ...
    @property
    def address(self) -> tuple[str, int]: ...
    @property
    def port(self) -> int: ...
    @property
    def url(self) -> str: ...
    @property
    def state(self) -> Literal["starting", "ready", "draining"]: ...
    def set_state(self, state: str) -> None: ...
    def add(
        self,
        check: SystemCheck,
        name: str,
        probe: str,
        required: bool,
        interval: float,
        timeout: float,
        failures: int,
        successes: int,
    ) -> None: ...
    def remove(self, name: str) -> bool: ...
    def report(self, probe: str) -> tuple[bool, str]: ...
    def stop(self) -> None: ...
