"""prometheus_client with its metrics in the segment, so that all processes appear on one exporter.

In code of your own::

    import dyn_metrics.prometheus as prometheus_client
    from dyn_metrics.prometheus import Counter, Histogram, generate_latest

These metric classes are subclasses of prometheus_client's; everything else is prometheus_client's own.

For code that is not yours: :func:`install`, or ``DYN_METRICS_PROMETHEUS=1`` in the environment, or
``python -m dyn_metrics.run script.py``. Then prometheus_client's own metric objects write into the segment, those of
libraries too.

Needs prometheus_client: ``pip install 'dyn-metrics[prometheus]'``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ._install import install, is_installed, uninstall

if TYPE_CHECKING:
    from prometheus_client import *  # noqa: F403

_OWN = ["install", "is_installed", "uninstall"]
_METRICS = ["Counter", "Enum", "Gauge", "Histogram", "Info", "Summary"]


def _theirs(module: str = "") -> Any:
    try:
        return importlib.import_module("prometheus_client" + module)
    except ModuleNotFoundError as error:
        if error.name != "prometheus_client":
            raise
        text = "dyn_metrics.prometheus needs prometheus_client: pip install 'dyn-metrics[prometheus]'"
        raise ModuleNotFoundError(text, name="prometheus_client") from None


def __getattr__(name: str) -> Any:
    if name == "__all__":
        return [*_theirs().__all__, *_OWN]
    if name.startswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in _METRICS:
        _theirs()
        from . import _metrics

        return getattr(_metrics, name)
    from ._modules import SUBMODULES

    if name in SUBMODULES:
        return importlib.import_module(f"{__name__}.{name}")
    return getattr(_theirs(), name)


def __dir__() -> list[str]:
    return sorted({*_theirs().__all__, *_OWN})


def _find_submodules() -> None:
    from . import _modules

    _modules.install_finder()


_find_submodules()
