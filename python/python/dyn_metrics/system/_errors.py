"""What starting a system and asking it may raise, beside what all of dyn_metrics raises."""

from __future__ import annotations

from ..errors import DynMetricsError


class ListenError(DynMetricsError, OSError):
    """The server can't listen there: the port is taken (``errno`` is ``EADDRINUSE``), or the address is not ours."""

    __module__ = "dyn_metrics.system"


class StoppedError(DynMetricsError, RuntimeError):
    """There is no system: not started, stopped, or in the process that this one was forked from."""

    __module__ = "dyn_metrics.system"
