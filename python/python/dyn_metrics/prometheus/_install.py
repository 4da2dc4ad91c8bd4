"""Replaces the value class behind prometheus_client's own metric objects, whenever that is imported."""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import importlib.abc
import importlib.machinery
import sys
import threading
import types
from typing import TYPE_CHECKING, Any, Callable, Sequence

from . import _collector, _values

if TYPE_CHECKING:
    from dyn_metrics import Registry

_lock = threading.RLock()
_installed = False
#: What was replaced: owner, name, original.
_replaced: list[tuple[Any, str, Any]] = []


def install(registry: Registry | None = None) -> None:
    """Make prometheus_client's metric objects of this process write into the segment.

    Before or after prometheus_client is imported, and as often as one likes. Metric objects that exist already
    go on with the numbers that they have; an update by another thread at the very moment may be lost.

    `registry`: where to; by default the segment at ``DYN_METRICS_SHM``, else ``/dev/shm/dynamo``. Metrics that
    write to a segment already stay there.

    Raises nothing: a metric that the segment refuses keeps its numbers in this process, and the logger
    ``dyn_metrics.prometheus`` says so once.

    >>> import dyn_metrics.prometheus
    >>> dyn_metrics.prometheus.install()
    """
    global _installed
    _await_imports()
    with _lock:
        _values.use(registry)
        if _installed:
            return
        _installed = True
        if _hook not in sys.meta_path:
            sys.meta_path.insert(0, _hook)
        late = [name for name in _PATCHES if name in sys.modules]
        for name in late:
            _patch(sys.modules[name])
        if late:
            _replace_by_name()
            _adopt_existing()


def uninstall() -> None:
    """Undo `install` for metric objects made from now on; those that write into the segment go on doing so."""
    global _installed
    with _lock:
        if not _installed:
            return
        # The hook stays: other threads may be going through the list.
        _installed = False
        for owner, name, original in reversed(_replaced):
            setattr(owner, name, original)
        _replaced.clear()


def is_installed() -> bool:
    """Whether `install` is in force in this process."""
    return _installed


def _replace(owner: Any, name: str, new: Any) -> None:
    _replaced.append((owner, name, getattr(owner, name)))
    setattr(owner, name, new)


def _patch_values(values: types.ModuleType) -> None:
    _replace(values, "ValueClass", _values.Value)
    _replace(values, "MutexValue", _values.Value)
    _replace(values, "MultiProcessValue", _values.multi_process_value)
    _replace(values, "get_value_class", _values.value_class)


def _patch_metrics(metrics: Any) -> None:
    afterwards: list[tuple[Any, str, Callable[[Any, Any], None]]] = [
        (metrics.Info, "info", _values.publish_info),
        (metrics.Enum, "state", _values.publish_state),
        (metrics.Gauge, "set_function", _values.compute),
    ]
    for owner, name, after in afterwards:
        _replace(owner, name, _followed_by(getattr(owner, name), after))
    base = metrics.MetricWrapperBase
    for name in ("remove", "remove_by_labels", "clear"):
        if hasattr(base, name):  # remove_by_labels came with 0.23
            _replace(base, name, _removing(getattr(base, name)))
    _replace(metrics.Enum, "__init__", _enum_init(metrics.Enum.__init__))


def _followed_by(original: Callable[..., Any], after: Callable[[Any, Any], None]) -> Callable[..., Any]:
    @functools.wraps(original)
    def both(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        after(self, args[0] if args else next(iter(kwargs.values())))

    return both


def _removing(original: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(original)
    def both(self: Any, *args: Any, **kwargs: Any) -> None:
        with _values.removal(self):
            original(self, *args, **kwargs)

    return both


def _enum_init(original: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(original)
    def both(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        if _values.is_observable(self):
            _values.bind_enum(self)

    return both


def _patch_multiprocess(multiprocess: Any) -> None:
    collector = multiprocess.MultiProcessCollector
    _replace(collector, "__init__", lambda self, registry, path=None: _collector.begin(self, registry, path))
    _replace(collector, "collect", lambda self: list(_collector.metrics(self)))
    _replace(multiprocess, "mark_process_dead", _collector.mark_process_dead)


_PATCHES: dict[str, Callable[[Any], None]] = {
    "prometheus_client.values": _patch_values,
    "prometheus_client.metrics": _patch_metrics,
    "prometheus_client.multiprocess": _patch_multiprocess,
}


def _patch(module: types.ModuleType) -> None:
    """Patch one of prometheus_client's modules; what can't be patched stays as it is."""
    try:
        _PATCHES[module.__name__](module)
    except Exception as error:  # A version that we do not know, or install() called in the midst of its import.
        _values.warn("%s stays as it is: %s", module.__name__, error)


def _await_imports() -> None:
    """Wait for other threads that are importing what we patch."""
    for name in ("prometheus_client", *_PATCHES):
        if name in sys.modules:
            with contextlib.suppress(Exception):  # It fails for those who import it, too.
                importlib.import_module(name)


class _Hook(importlib.abc.MetaPathFinder):
    """Patches prometheus_client's modules as soon as they have been executed."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: types.ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in _PATCHES or not _installed:
            return None
        for finder in sys.meta_path:
            find = None if finder is self else getattr(finder, "find_spec", None)
            spec: importlib.machinery.ModuleSpec | None = find(fullname, path, target) if find else None
            if spec is not None:
                if spec.loader is not None and hasattr(spec.loader, "exec_module"):
                    spec.loader = _Loader(spec.loader)
                return spec
        return None


class _Loader(importlib.abc.Loader):
    def __init__(self, original: importlib.abc.Loader) -> None:
        self._original = original

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType | None:
        return self._original.create_module(spec)

    def exec_module(self, module: types.ModuleType) -> None:
        # The module shall look as if nobody had been here.
        module.__loader__ = self._original
        if module.__spec__ is not None:
            module.__spec__.loader = self._original
        self._original.exec_module(module)
        with _lock:
            if _installed:
                _patch(module)


_hook = _Hook()


def _replace_by_name() -> None:
    """Replace what other modules have imported by name, before we came."""
    news = {id(original): (original, getattr(owner, name)) for owner, name, original in _replaced}
    ours = sys.modules[__name__]
    for module in list(sys.modules.values()):
        if module is ours or type(module) is not types.ModuleType:
            continue
        for name, value in list(vars(module).items()):
            if id(value) in news and vars(module).get(name) is value:
                _replace(module, name, news[id(value)][1])


def _adopt_existing() -> None:
    """Move the numbers of metric objects that were made before."""
    base = getattr(sys.modules.get("prometheus_client.metrics"), "MetricWrapperBase", None)
    # By type: isinstance() would ask proxies what they stand for, and issubclass() what metaclasses think of it.
    kinds = {id(kind) for kind in _and_below(base)} if base else set()
    for metric in [one for one in gc.get_objects() if id(type(one)) in kinds]:
        _values.attempt(object.__repr__(metric), functools.partial(_adopt_unless_parent, metric))


def _and_below(kind: type) -> list[type]:
    """A class and all classes below it."""
    children: list[type] = type.__subclasses__(kind)
    return [kind, *(below for child in children for below in _and_below(child))]


def _adopt_unless_parent(metric: Any) -> None:
    if getattr(metric, "_name", None) is not None and _values.is_observable(metric):
        _values.attempt(metric._name, functools.partial(_adopt, metric))


def _adopt(metric: Any) -> None:
    if metric._type == "info" and metric._value:
        _values.publish_info(metric, metric._value)
    elif metric._type == "stateset":
        _values.bind_enum(metric)
    elif not isinstance(getattr(metric, "_value", getattr(metric, "_sum", None)), _values.Value):
        new = _values.values_of(metric)
        old = {name: getattr(metric, name) for name in new}
        pairs = [pair for name in new for pair in _paired(old[name], new[name])]
        for before, _ in pairs:
            before.get()  # A subclass with something else there keeps it.
        for name, value in new.items():
            setattr(metric, name, value)
        for before, after in pairs:
            _carry(before, after, metric._type)


def _paired(old: Any, new: Any) -> list[tuple[Any, Any]]:
    return list(zip(old, new)) if isinstance(new, list) else [(old, new)]


def _carry(before: Any, after: _values.Value, kind: str) -> None:
    amount = before.get()
    if kind == "gauge":
        after.set(amount)
    elif amount:
        after.inc(amount)
    exemplar = before.get_exemplar()
    if exemplar is not None:
        after.set_exemplar(exemplar)
