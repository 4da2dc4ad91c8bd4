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
from ._modules import SUBMODULES, install_finder, theirs_named

if TYPE_CHECKING:
    from prometheus_client import *  # noqa: F403

_OWN = ["install", "is_installed", "uninstall"]
_METRICS = ["Counter", "Enum", "Gauge", "Histogram", "Info", "Summary"]


def __getattr__(name: str) -> Any:
    if name == "__all__":
        return [*theirs_named().__all__, *_OWN]
    # Nor do the import system's questions about our own submodules lead to prometheus_client.
    if name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in _METRICS:
        theirs_named()
        from . import _metrics

        return getattr(_metrics, name)
    if name in SUBMODULES:
        return importlib.import_module(f"{__name__}.{name}")
    return getattr(theirs_named(), name)


def __dir__() -> list[str]:
    return sorted({*theirs_named().__all__, *_OWN})


install_finder()
