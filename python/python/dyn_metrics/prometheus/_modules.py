"""prometheus_client's submodules under our name: `dyn_metrics.prometheus.exposition` and so on."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types
from typing import Any, Sequence

_PREFIX = __package__ + "."

SUBMODULES = [
    "aiohttp",
    "asgi",
    "bridge",
    "context_managers",
    "core",
    "decorator",
    "django",
    "exposition",
    "gc_collector",
    "metrics",
    "metrics_core",
    "mmap_dict",
    "multiprocess",
    "openmetrics",
    "parser",
    "platform_collector",
    "process_collector",
    "registry",
    "samples",
    "twisted",
    "utils",
    "validation",
    "values",
]


def theirs_named(submodule: str = "") -> types.ModuleType:
    """Import prometheus_client, or one of its submodules; say what to do where it is not there."""
    try:
        importlib.import_module("prometheus_client")
        return importlib.import_module("prometheus_client" + submodule)
    except ModuleNotFoundError as error:
        if error.name != "prometheus_client":
            raise
        text = "dyn_metrics.prometheus needs prometheus_client: pip install 'dyn-metrics[prometheus]'"
        raise ModuleNotFoundError(text, name=error.name) from None


class _Overlay(types.ModuleType):
    """A module that differs from another one in some names; everything else is read and set there."""

    def __getattr__(self, name: str) -> Any:
        return getattr(vars(self)["_theirs"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in vars(self) or name.startswith("__"):
            super().__setattr__(name, value)
        else:
            setattr(vars(self)["_theirs"], name, value)

    def __dir__(self) -> list[str]:
        return sorted({*dir(vars(self)["_theirs"]), *vars(self)})


def _own_names(name: str) -> dict[str, Any]:
    """What a submodule of ours has instead of what prometheus_client's has."""
    from . import _collector, _metrics, _values

    classes = {cls: getattr(_metrics, cls) for cls in ("Counter", "Enum", "Gauge", "Histogram", "Info", "Summary")}
    if name in ("core", "metrics"):
        return classes
    if name == "multiprocess":
        collector = _metrics.MultiProcessCollector
        return {"MultiProcessCollector": collector, "mark_process_dead": _collector.mark_process_dead}
    if name == "values":
        value = _values.Value
        makers = {"MultiProcessValue": _values.multi_process_value, "get_value_class": _values.value_class}
        return {"ValueClass": value, "MutexValue": value, **makers}
    return {}


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: types.ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        rest = fullname.removeprefix(_PREFIX)
        if rest == fullname or rest.partition(".")[0] not in SUBMODULES:
            return None
        return importlib.util.spec_from_loader(fullname, self)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        rest = spec.name.removeprefix(_PREFIX)
        theirs = theirs_named("." + rest)
        own = _own_names(rest)
        if not own:
            spec.loader_state = theirs.__spec__
            return theirs
        module = _Overlay(spec.name, theirs.__doc__)
        vars(module).update(own, _theirs=theirs)
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        # The import system has put our spec on a module that is not ours.
        spec = module.__spec__
        if spec is not None and spec.loader_state is not None:
            module.__spec__ = spec.loader_state


_finder = _Finder()


def install_finder() -> None:
    """Make `import dyn_metrics.prometheus.exposition` and the like work; the last resort, so it slows nothing."""
    if _finder not in sys.meta_path:
        sys.meta_path.append(_finder)
