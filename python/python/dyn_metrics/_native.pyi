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
    "Counter",
    "DurationCounter",
    "DurationGauge",
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
    "PrometheusBinder",
    "PrometheusStates",
    "PrometheusValue",
    "Registry",
    "SegmentReader",
    "Subscription",
    "Summary",
    "Timer",
    "rebuild",
    "rebuild_registry",
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

@final
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
    @property
    def path(self) -> os.PathLike[str]: ...
    @property
    def prefix(self) -> str: ...
    @property
    def labels(self) -> dict[str, str]: ...
    def open(self) -> Self: ...
    def child(self, prefix: str = "", labels: Mapping[str, str] | None = None) -> Registry: ...
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

@disjoint_base
class Metric:
    def labels(self, *values: object, **labels: object) -> Self: ...
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
def rebuild_registry(
    path: str | os.PathLike[str] | None, options: dict[str, Any], prefix: str, labels: dict[str, str]
) -> Registry: ...
