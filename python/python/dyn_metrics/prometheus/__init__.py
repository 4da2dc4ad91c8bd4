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

from ._install import install as install
from ._install import is_installed as is_installed
from ._install import uninstall as uninstall
from ._modules import SUBMODULES, install_finder, theirs_named

if TYPE_CHECKING:
    # At run time __getattr__ finds them.
    __all__ = [
        "CONTENT_TYPE_LATEST",
        "CONTENT_TYPE_PLAIN_0_0_4",
        "CONTENT_TYPE_PLAIN_1_0_0",
        "CollectorRegistry",
        "Counter",
        "Enum",
        "GCCollector",
        "GC_COLLECTOR",
        "Gauge",
        "Histogram",
        "Info",
        "Metric",
        "MetricsHandler",
        "PLATFORM_COLLECTOR",
        "PROCESS_COLLECTOR",
        "PlatformCollector",
        "ProcessCollector",
        "REGISTRY",
        "Summary",
        "delete_from_gateway",
        "disable_created_metrics",
        "enable_created_metrics",
        "generate_latest",
        "install",
        "instance_ip_grouping_key",
        "is_installed",
        "make_asgi_app",
        "make_wsgi_app",
        "push_to_gateway",
        "pushadd_to_gateway",
        "start_http_server",
        "start_wsgi_server",
        "uninstall",
        "write_to_textfile",
    ]
    from prometheus_client import CONTENT_TYPE_LATEST as CONTENT_TYPE_LATEST
    from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4 as CONTENT_TYPE_PLAIN_0_0_4
    from prometheus_client import CONTENT_TYPE_PLAIN_1_0_0 as CONTENT_TYPE_PLAIN_1_0_0
    from prometheus_client import CollectorRegistry as CollectorRegistry
    from prometheus_client import GCCollector as GCCollector
    from prometheus_client import GC_COLLECTOR as GC_COLLECTOR
    from prometheus_client import Metric as Metric
    from prometheus_client import MetricsHandler as MetricsHandler
    from prometheus_client import PLATFORM_COLLECTOR as PLATFORM_COLLECTOR
    from prometheus_client import PROCESS_COLLECTOR as PROCESS_COLLECTOR
    from prometheus_client import PlatformCollector as PlatformCollector
    from prometheus_client import ProcessCollector as ProcessCollector
    from prometheus_client import REGISTRY as REGISTRY
    from prometheus_client import delete_from_gateway as delete_from_gateway
    from prometheus_client import disable_created_metrics as disable_created_metrics
    from prometheus_client import enable_created_metrics as enable_created_metrics
    from prometheus_client import generate_latest as generate_latest
    from prometheus_client import instance_ip_grouping_key as instance_ip_grouping_key
    from prometheus_client import make_asgi_app as make_asgi_app
    from prometheus_client import make_wsgi_app as make_wsgi_app
    from prometheus_client import push_to_gateway as push_to_gateway
    from prometheus_client import pushadd_to_gateway as pushadd_to_gateway
    from prometheus_client import start_http_server as start_http_server
    from prometheus_client import start_wsgi_server as start_wsgi_server
    from prometheus_client import write_to_textfile as write_to_textfile

    from ._metrics import Counter as Counter
    from ._metrics import Enum as Enum
    from ._metrics import Gauge as Gauge
    from ._metrics import Histogram as Histogram
    from ._metrics import Info as Info
    from ._metrics import Summary as Summary

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
