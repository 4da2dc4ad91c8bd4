"""What stands behind prometheus_client's metric objects: numbers that also go into the segment.

Nothing here imports prometheus_client, and nothing here raises: a metric that the segment refuses keeps its numbers
in this process, and a warning says so once.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from typing import TYPE_CHECKING, Any, Callable, Iterable, Iterator, Sequence

from dyn_metrics import _native

if TYPE_CHECKING:
    from dyn_metrics import Registry

_log = logging.getLogger("dyn_metrics.prometheus")
_binder = _native.PrometheusBinder()
_refused: set[str] = set()
_removed: set[str] = set()
_under_construction = threading.local()


def use(registry: Registry | None) -> None:
    """Bind what is made from now on to `registry`; None: to the default one."""
    global _binder
    _binder = _native.PrometheusBinder(registry)


def binder() -> Any:
    """The registry that is bound to."""
    return _binder


def attempt(metric: str, bind: Callable[[], Any]) -> Any:
    """The result of `bind`; if it fails, None and a warning, the first time for this metric."""
    try:
        return bind()
    except Exception as error:  # Whatever it is, the program worked without us.
        # A segment that can't be opened is one fault, not one for each metric.
        key = "" if isinstance(error, OSError) else metric
        if key not in _refused:
            _refused.add(key)
            what = f"metric {metric!r} stays" if key else "metrics stay"
            _log.warning("%s in this process: %s", what, error)
        return None


def warn(text: str, *args: Any) -> None:
    """Say to who listens to this package's logger what does not work."""
    _log.warning(text, *args)


def pairs(names: Iterable[str], values: Iterable[str]) -> list[tuple[str, str]]:
    """Labels as the binder takes them."""
    return [(str(name), str(value)) for name, value in zip(names, values)]


class Value(_native.PrometheusValue):
    """The number behind one sample of one metric object; takes the place of ``prometheus_client.values.ValueClass``.

    ``get()`` is what was done to this object in this process, as with prometheus_client; ``shared()`` is what
    the segment holds: the total of all processes, or this process's gauge.
    """

    __slots__ = ()
    _multiprocess = True

    def __new__(
        cls,
        typ: str,
        metric_name: str,
        name: str,
        labelnames: Sequence[str],
        labelvalues: Sequence[str],
        help_text: str,
        multiprocess_mode: str = "",
        **kwargs: Any,
    ) -> Value:
        value = super().__new__(cls)
        labels = pairs(labelnames, labelvalues)
        attempt(metric_name, lambda: _bind(value, typ, metric_name, name, labels, str(help_text), multiprocess_mode))
        return value


def _bind(
    value: Value,
    typ: str,
    metric_name: str,
    name: str,
    labels: list[tuple[str, str]],
    help_text: str,
    mode: str,
) -> None:
    if typ == "counter":
        _binder.counter(value, name, help_text, labels)
    elif typ == "gauge":
        _binder.gauge(value, metric_name, help_text, labels, mode or "all")
    elif typ == "summary" and name == metric_name + "_count":
        _binder.summary(value, None, metric_name, help_text, labels)
    elif typ == "summary" and name == metric_name + "_sum":
        _binder.summary(None, value, metric_name, help_text, labels)
    elif typ == "histogram":
        _bind_part(value, metric_name, name, labels, help_text)
    else:
        raise ValueError(f"the segment has no place for {name!r} of a {typ}")


def _bind_part(value: Value, metric_name: str, name: str, labels: list[tuple[str, str]], help_text: str) -> None:
    """Collect the values of a histogram, which come one by one: the sum, then the buckets; +Inf is the last."""
    if name == metric_name + "_sum":
        _under_construction.histogram = (metric_name, labels, value, [], [])
        return
    made = getattr(_under_construction, "histogram", None)
    if made is None or made[:2] != (metric_name, labels[:-1]) or labels[-1:] != [("le", labels[-1][1])]:
        raise ValueError(f"the segment has no place for {name!r} alone")
    _, series, total, bounds, buckets = made
    bounds.append(float(labels[-1][1]))
    buckets.append(value)
    if bounds[-1] == float("inf"):
        _under_construction.histogram = None
        _binder.histogram(total, buckets, bounds[:-1], metric_name, help_text, series)


def multi_process_value(process_identifier: Callable[[], Any] = os.getpid) -> type[Value]:
    """Stand in for ``MultiProcessValue``: a process is known by its slot in the segment, not by a number."""
    return Value


def value_class() -> type[Value]:
    """Stand in for ``get_value_class``."""
    return Value


def is_observable(metric: Any) -> bool:
    """Whether a metric object has values of its own, and not only children."""
    return bool(metric._is_observable())


def values_of(metric: Any) -> dict[str, Any]:
    """New values for a metric object of prometheus_client, by the attributes that hold them."""
    kind, name, names, given = metric._type, metric._name, metric._labelnames, metric._labelvalues

    def make(suffix: str, le: str | None = None, **options: str) -> Value:
        all_names, all_values = (names, given) if le is None else ((*names, "le"), (*given, le))
        return Value(kind, name, name + suffix, all_names, all_values, metric._documentation, **options)

    if kind == "counter":
        return {"_value": make("_total")}
    if kind == "gauge":
        return {"_value": make("", multiprocess_mode=metric._multiprocess_mode)}
    if kind == "summary":
        return {"_count": make("_count"), "_sum": make("_sum")}
    if kind == "histogram":
        total = make("_sum")
        return {"_sum": total, "_buckets": [make("_bucket", repr(bound)) for bound in metric._upper_bounds]}
    return {}


def renew(metric: Any) -> None:
    """Give a metric object of prometheus_client new values."""
    for name, value in values_of(metric).items():
        setattr(metric, name, value)


def publish_info(metric: Any, facts: dict[str, str]) -> None:
    """Register what an Info says. What it said before stays in the segment."""
    labels = pairs(metric._labelnames, metric._labelvalues) + pairs(facts, facts.values())
    name = metric._name + "_info"
    attempt(name, lambda: _binder.info(name, str(metric._documentation), labels))


def bind_enum(metric: Any) -> None:
    """Give an Enum its states in the segment, the present one switched on."""
    labels = pairs(metric._labelnames, metric._labelvalues)
    states = [str(state) for state in metric._states]
    help_text = str(metric._documentation)
    bound = attempt(metric._name, lambda: _binder.states(metric._name, help_text, labels, states))
    metric._dyn_metrics_states = bound
    if bound is not None:
        bound.set(states[metric._value])


def publish_state(metric: Any, state: str) -> None:
    """Switch an Enum's state in the segment."""
    bound = getattr(metric, "_dyn_metrics_states", None)
    if bound is not None:
        bound.set(str(state))


def compute(gauge: Any, function: Callable[[], float]) -> None:
    """Have a gauge's value in the segment computed when somebody asks; until then it is nobody's."""
    forget(gauge)
    if isinstance(gauge._value, Value):
        attempt(gauge._name, lambda: gauge._value.compute(function))


def forget(gauge: Any) -> None:
    """Leave a gauge's value in the segment as nobody's: NaN under this process's pid, 0 in a sum.

    In the other modes it stays what it is, for NaN would hide what other processes say.
    """
    if isinstance(gauge._value, Value):
        gauge._value.compute(None)
    if gauge._multiprocess_mode in ("all", "liveall"):
        gauge._value.set(float("nan"))
    elif gauge._multiprocess_mode in ("sum", "livesum"):
        gauge._value.set(0.0)


@contextlib.contextmanager
def removal(metric: Any) -> Iterator[None]:
    """Remove children in the block. A series stays in the segment: say so once, and leave no gauge at its last value."""
    before = dict(getattr(metric, "_metrics", ()))
    yield
    after = getattr(metric, "_metrics", ())
    gone = [child for values, child in before.items() if values not in after]
    if gone and metric._name not in _removed:
        _removed.add(metric._name)
        _log.warning("metric %r: what is removed in this process stays in the segment", metric._name)
    for child in gone:
        if metric._type == "gauge":
            forget(child)
