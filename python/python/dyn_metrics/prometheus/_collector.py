"""The segment as one of prometheus_client's collectors."""

from __future__ import annotations

import os
import warnings
from typing import Any, Iterator

from . import _values

_reader: tuple[Any, Any] | None = None


def _segment() -> tuple[list[Any], list[int]]:
    global _reader
    binder = _values.binder()
    if _reader is None or _reader[0] is not binder:
        _reader = (binder, binder.reader())
    from prometheus_client.utils import floatToGoString

    families, pids = _reader[1].collect(floatToGoString)
    return families, pids


def segment_metrics() -> Iterator[Any]:
    """Yield what all processes have counted, as prometheus_client's Metric objects."""
    from prometheus_client.metrics_core import Metric
    from prometheus_client.samples import Sample

    found = _values.attempt("", _segment)
    for name, documentation, kind, unit, samples in found[0] if found else ():
        # Not through the constructor: it would refuse what another program may well have registered.
        metric = Metric.__new__(Metric)
        metric.name, metric.documentation, metric.type, metric.unit = name, documentation, kind, unit
        metric.samples = [Sample(*sample) for sample in samples]
        yield metric


def begin(collector: Any, registry: Any, path: str | None) -> None:
    """Do what MultiProcessCollector's constructor does, but ask for no directory."""
    if path is None:
        path = _directory_from_environment()
    elif not os.path.isdir(path):
        raise ValueError("env PROMETHEUS_MULTIPROC_DIR is not set or not a directory")
    collector._path = path
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
