"""The segment as one of prometheus_client's collectors."""

from __future__ import annotations

import os
import warnings
from typing import Any, Iterable, Iterator

from . import _values

_reader: tuple[Any, Any] | None = None


def _segment() -> tuple[list[Any], list[tuple[int, int]]]:
    global _reader
    binder = _values.binder()
    if _reader is None or _reader[0] is not binder:
        _reader = (binder, binder.reader())
    from prometheus_client.utils import floatToGoString

    families, processes = _reader[1].collect(floatToGoString)
    return families, processes


def metrics(collector: Any) -> Iterator[Any]:
    """Yield what all processes have counted, and what the kernel knows of those alive, as Metric objects."""
    found = _values.attempt("", _segment)
    if found is None:
        return
    families, processes = found
    for name, documentation, kind, unit, samples in families:
        yield _metric(name, documentation, kind, unit, samples)
    if not _has_process_collector(collector._registry):
        here = os.stat("/proc/self/ns/pid").st_ino
        yield from _process_metrics(sorted({pid for pid, namespace in processes if namespace == here}))


def _metric(name: str, documentation: str, kind: str, unit: str, samples: Iterable[Any]) -> Any:
    from prometheus_client.metrics_core import Metric
    from prometheus_client.samples import Sample

    # Not through the constructor: it would refuse what another program may well have registered.
    metric = Metric.__new__(Metric)
    metric.name, metric.documentation, metric.type, metric.unit = name, documentation, kind, unit
    metric.samples = [Sample(*sample) for sample in samples]
    return metric


def _has_process_collector(registry: Any) -> bool:
    from prometheus_client.process_collector import ProcessCollector

    return any(isinstance(one, ProcessCollector) for one in getattr(registry, "_collector_to_names", ()))


def _process_metrics(pids: list[int]) -> Iterable[Any]:
    """Collect what a ProcessCollector does, of each process, with its pid as a label."""
    from prometheus_client.process_collector import ProcessCollector

    current = 0
    collector = ProcessCollector(pid=lambda: current, registry=None)
    families: dict[str, Any] = {}
    for current in pids:
        for metric in collector.collect():
            empty = _metric(metric.name, metric.documentation, metric.type, metric.unit, ())
            samples = families.setdefault(metric.name, empty).samples
            labels = {"pid": str(current)}
            samples.extend(sample._replace(labels=sample.labels | labels) for sample in metric.samples)
    return families.values()


def begin(collector: Any, registry: Any, path: str | None) -> None:
    """Do what MultiProcessCollector's constructor does, but ask for no directory."""
    if path is None:
        path = _directory_from_environment()
    elif not os.path.isdir(path):
        raise ValueError("env PROMETHEUS_MULTIPROC_DIR is not set or not a directory")
    collector._path = path
    collector._registry = registry
    if registry:
        registry.register(collector)


def _directory_from_environment() -> str | None:
    if "prometheus_multiproc_dir" in os.environ and "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = os.environ["prometheus_multiproc_dir"]
        text = "prometheus_multiproc_dir is deprecated in favor of PROMETHEUS_MULTIPROC_DIR"
        warnings.warn(text, DeprecationWarning, stacklevel=4)
    return os.environ.get("PROMETHEUS_MULTIPROC_DIR")


def mark_process_dead(pid: Any, path: Any = None) -> None:
    """Do nothing: the kernel tells readers who has died."""
