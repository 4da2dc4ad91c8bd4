"""The process's own server: liveness, readiness, health and metrics over HTTP, and the checks behind them.

>>> from dyn_metrics import system
>>> @system.readiness(interval=10)
... def doc_model() -> None:
...     pass  # an exception is a failure with its text
>>> server = system.start(host="127.0.0.1", port=0, version="1.2.3")
>>> server.port > 0
True
>>> system.report("liveness")["status"]
'live'
>>> system.stop()

:func:`start_from_env` starts it only where ``DYN_SYSTEM_ENABLED`` says so. ``docs/HEALTH.md`` has the paths, the
answers and the variables. A process has one system at a time. Checks may be given before it starts and while it runs; they
stay, and a later start takes them all again.

What a check may be: a function, an ``async`` function, or a method, without arguments. None, True or a text mean that all is
well; False and an exception that it is not, the latter with its text. It is called on a thread of its own, one call at a time.
A call over its limit is a failure, and the next begins when it has returned.

The server's threads never take the interpreter's lock. While somebody holds it, say a long call in C, probes are answered, and
the checks in Python fail as late.

``async`` functions run on an event loop of their own, which lives as long as the check; with ``loop`` on that one, where they
see what stops it. Over its limit the task is cancelled.

Methods wait for :func:`register`, which takes them of an instance.

Forks: threads stay behind. In a forked child there is no system, and the checks are as they were given: start one there.
At the end of the interpreter the server stops by itself.
"""

from __future__ import annotations

from .._native import Beat, System
from ._checks import (
    Options,
    add_beat,
    add_canary,
    add_check,
    add_etcd,
    add_nats,
    add_progress,
    add_space,
)
from ._decorators import health_check, liveness, readiness, register
from ._errors import ListenError, StoppedError
from ._process import current, remove, report, set_state, start, start_from_env, stop

__all__ = [
    "Beat",
    "ListenError",
    "Options",
    "StoppedError",
    "System",
    "add_beat",
    "add_canary",
    "add_check",
    "add_etcd",
    "add_nats",
    "add_progress",
    "add_space",
    "current",
    "health_check",
    "liveness",
    "readiness",
    "register",
    "remove",
    "report",
    "set_state",
    "start",
    "start_from_env",
    "stop",
]
