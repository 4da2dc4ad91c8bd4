"""Checks as calls: functions, and those that come with the library."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable
from typing import TypedDict, Union

from .._native import Beat, Counter, Gauge, IntCounter, IntGauge, SystemCheck
from ._process import PROCESS, Entry, Spec
from ._threads import Function, Loop, Result

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from typing_extensions import Unpack

    _Probe = Literal["liveness", "readiness", "health"]


class Options(TypedDict, total=False):
    """How a check is registered; times in seconds."""

    probe: _Probe
    interval: float
    timeout: float
    threshold: int
    success_threshold: int
    informative: bool


def spec(name: str, options: Options) -> Spec:
    """The options with what they are unless given."""
    return Spec(
        name,
        options.get("probe", "readiness"),
        not options.get("informative", False),
        options.get("interval", 5.0),
        options.get("timeout", 1.0),
        options.get("threshold", 1),
        options.get("success_threshold", 1),
    )


def add_check(name: str, function: Function, *, loop: Loop = None, **options: Unpack[Options]) -> None:
    """Add a function as a check. The options are those of every ``add_`` function:

    probe: which it feeds, ``liveness``, ``readiness`` (unless given) or ``health``. interval: seconds from the start of a run to
    that of the next, 5. timeout: longest run in seconds, 1. threshold: failures in a row that count, 1.
    success_threshold: the same of successes. informative: shown, and fails no probe.

    loop: on which an ``async`` function runs, or a function that gives it; otherwise on one of its own.
    Errors: :class:`~dyn_metrics.InvalidValueError`, :class:`~dyn_metrics.ConflictError` for a name that is taken.

    >>> from dyn_metrics import system
    >>> system.add_check("doc_lambda", lambda: True, probe="health")
    >>> system.remove("doc_lambda")
    True
    """
    PROCESS.add(Entry(spec(name, options), None, function, loop))


def _add(name: str, check: SystemCheck, options: Options) -> None:
    PROCESS.add(Entry(spec(name, options), check))


def add_beat(name: str, limit: float, beat: Beat | None = None, **options: Unpack[Options]) -> Beat:
    """Fails when there was no beat for ``limit`` seconds: a loop stands still. Returns what the loop beats.

    >>> from dyn_metrics import system
    >>> loop = system.add_beat("doc_loop", 5.0, probe="health")
    >>> loop.beat()  # on every turn
    >>> system.add_beat("doc_loop_dead", 120.0, loop, probe="liveness") is loop
    True
    >>> system.remove("doc_loop") and system.remove("doc_loop_dead")
    True
    """
    beat = Beat() if beat is None else beat
    _add(name, SystemCheck.beat(beat, limit), options)
    return beat


def add_progress(
    name: str, done: Counter | IntCounter, pending: Gauge | IntGauge, limit: float, **options: Unpack[Options]
) -> None:
    """Fails when ``done`` has not moved for ``limit`` seconds while ``pending``, this process's own, is above 0: a frozen engine.

    Reads both without the interpreter. The counter is the total of all processes: give it a label of its own where several count
    the same.
    """
    _add(name, SystemCheck.progress(done, pending, limit), options)


def add_etcd(
    name: str,
    url: str,
    *,
    lease: int | None = None,
    keep_alive: bool = False,
    key_prefix: str | None = None,
    **options: Unpack[Options],
) -> None:
    """Fails when the etcd at ``http://HOST:PORT`` has no answer, no leader or an alarm.

    lease: it must not have expired. keep_alive: renews it at each run while the liveness probe passes. key_prefix: a key
    must begin so. Never feeds liveness.
    """
    _add(name, SystemCheck.etcd(url, lease, keep_alive, key_prefix), options)


def add_nats(
    name: str, url: str, *, service: str | None = None, instance: str | None = None, **options: Unpack[Options]
) -> None:
    """Fails when the NATS at ``nats://HOST:PORT`` does not answer, or nobody of ``service`` does. Never feeds liveness."""
    _add(name, SystemCheck.nats(url, service, instance), options)


def add_space(name: str, path: str | os.PathLike[str], least_bytes: int, **options: Unpack[Options]) -> None:
    """Fails when the filesystem of ``path`` has less space left."""
    _add(name, SystemCheck.space(path, least_bytes), options)


def add_canary(
    name: str,
    probe_request: Callable[[], Union[Result, Awaitable[Result]]],
    *,
    when: Callable[[], bool] | None = None,
    clean_up: Callable[[str], object] | None = None,
    loop: Loop = None,
    **options: Unpack[Options],
) -> None:
    """Sends a request of the application's own making while ``when()`` says that it is idle; fails when that fails or is late.

    clean_up: called with ``"now"`` from another thread when a request is over its limit, to end it, and with ``"done"``
    whenever one has returned. An ``async`` request is cancelled over its limit.
    """
    limit = options.get("timeout", 1.0)

    def check() -> Result | Awaitable[Result]:
        if when is not None and not when():
            return "not sent: the process is at work"
        request = _Request(clean_up, limit)
        try:
            found = probe_request()
        except BaseException:
            request.end()
            raise
        if found is None or isinstance(found, (bool, str)) or not isinstance(found, Awaitable):
            request.end()
            return found
        return request.wait(found)

    PROCESS.add(Entry(spec(name, options), None, check, loop))


class _Request:
    """One request of a canary: a timer that ends it."""

    def __init__(self, clean_up: Callable[[str], object] | None, limit: float) -> None:
        self._clean_up = clean_up
        self._timer: threading.Timer | None = None
        if clean_up is not None:
            self._timer = threading.Timer(limit, clean_up, ["now"])
            self._timer.daemon = True
            self._timer.start()

    def end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            # One that has begun ends first.
            self._timer.join()
        self._done()

    def _done(self) -> None:
        if self._clean_up is not None:
            self._clean_up("done")

    async def wait(self, found: Awaitable[Result]) -> Result:
        try:
            return await found
        finally:
            try:
                if self._timer is not None:
                    self._timer.cancel()
                    # The loop goes on meanwhile: what ends the request may wait for it.
                    while self._timer.is_alive():
                        await asyncio.sleep(0.005)
            finally:
                self._done()
