"""The one system of a process, and the checks that it was given."""

from __future__ import annotations

import atexit
import json
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Union

from .._native import REGISTRY, Registry, System, SystemCalls, SystemCheck
from ..errors import ConflictError
from . import _threads
from ._errors import StoppedError


class Spec(NamedTuple):
    """How a check is registered."""

    name: str
    probe: str
    required: bool
    interval: float
    timeout: float
    failures: int
    successes: int


@dataclass(frozen=True)
class Entry:
    """A check: the library's, or a function and its loop."""

    spec: Spec
    check: SystemCheck | None = None
    function: _threads.Function | None = None
    loop: _threads.Loop = None

    def open(self) -> tuple[SystemCheck, SystemCalls | None]:
        """The check as a system takes it, and of a function what ends its thread."""
        if self.check is not None:
            return self.check, None
        assert self.function is not None
        calls = SystemCalls()
        _threads.start_check(calls, self.spec.name, self.function, self.loop)
        return SystemCheck.called(calls), calls


Given = tuple[SystemCheck, str, str, bool, float, float, int, int]
_Make = Callable[[Union[SystemCalls, None], list[Given]], Union[System, None]]


class _Process:
    """Checks by name, and the running system, if any."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.entries: dict[str, Entry] = {}
        self.system: System | None = None

    def add(self, entry: Entry) -> None:
        SystemCheck.validate(entry.check, *entry.spec)
        with self.lock:
            name = entry.spec.name
            if name in self.entries:
                raise ConflictError(f'check "{name}": found one of the same name, expected another name')
            if self.system is not None:
                check, calls = entry.open()
                try:
                    self.system.add(check, *entry.spec)
                except BaseException:
                    if calls is not None:
                        calls.close()
                    raise
            self.entries[name] = entry

    def remove(self, name: str) -> bool:
        with self.lock:
            if self.system is not None:
                self.system.remove(name)
            return self.entries.pop(name, None) is not None

    def start(self, format: _threads.Format | None, make: _Make) -> System | None:
        system: System | None = None
        with self.lock:
            if self.system is not None:
                raise ConflictError(f"found a system at {self.system.url}, expected none; stop it first")
            opened: list[SystemCalls] = []
            try:
                if format is not None:
                    opened.append(SystemCalls())
                    _threads.start_format(opened[0], format)
                checks: list[Given] = []
                for entry in self.entries.values():
                    check, calls = entry.open()
                    checks.append((check, *entry.spec))
                    opened += [] if calls is None else [calls]
                system = make(opened[0] if format is not None else None, checks)
            finally:
                if system is None:
                    for calls in opened:
                        calls.close()
            if system is None:
                return None
            atexit.unregister(stop)
            atexit.register(stop)
            self.system = system
            return system

    def stop(self) -> None:
        with self.lock:
            system, self.system = self.system, None
        if system is not None:
            system.stop()

    def running(self) -> System:
        system = self.system
        if system is None:
            raise StoppedError("found no system, expected a running one; call start()")
        return system

    def forget(self) -> None:
        """In a forked child: its threads are not there, and somebody else may have held the lock."""
        self.lock = threading.RLock()
        self.system = None


PROCESS = _Process()
os.register_at_fork(after_in_child=PROCESS.forget)


def start(
    *,
    host: str | None = None,
    port: int | None = None,
    health_path: str | None = None,
    live_path: str | None = None,
    version: str | None = None,
    registry: Registry = REGISTRY,
    scope: str = "process",
    starts_until_told: bool = False,
    format: _threads.Format | None = None,
) -> System:
    """Start the server with all checks that were given.

    host: 0.0.0.0 unless given. port: 8081 unless given; 0 takes a free one. health_path, live_path: one more path each.
    version: the application's, for the answers. registry: its segment is shown; where that can't be opened, ``/metrics`` says so
    and probes are served. scope: what ``/metrics`` shows, ``process`` or ``segment``. starts_until_told: stays
    ``starting`` until :func:`set_state`. format: gets the report as a dict and gives a text, or media type and
    text; where it raises or takes longer than 0.25 s, the answer is in our format.

    Errors: :class:`ListenError`, :class:`~dyn_metrics.InvalidValueError`, :class:`~dyn_metrics.ConflictError` while one runs.
    """
    found = PROCESS.start(
        format,
        lambda calls, checks: System.start(
            False, registry, host, port, health_path, live_path, scope, version, starts_until_told, calls, checks
        ),
    )
    assert found is not None
    return found


def start_from_env(
    *,
    version: str | None = None,
    registry: Registry = REGISTRY,
    scope: str = "process",
    starts_until_told: bool = False,
    format: _threads.Format | None = None,
) -> System | None:
    """Start what the environment asks for: None unless ``DYN_SYSTEM_ENABLED`` is true. See :func:`start`.

    Errors: as :func:`start`; also for a variable that can't be used.
    """
    return PROCESS.start(
        format,
        lambda calls, checks: System.start(True, registry, None, None, None, None, scope, version, starts_until_told, calls, checks),
    )


def current() -> System | None:
    """The running system; None where none runs, as in a forked child."""
    return PROCESS.system


def stop() -> None:
    """Stop the server, if it runs; the port is free then. Checks stay as they were given. A check that runs is not waited for."""
    PROCESS.stop()


def set_state(state: str) -> None:
    """Say where the process is in its life: ``starting``, ``ready`` or ``draining``.

    Errors: :class:`StoppedError`, :class:`~dyn_metrics.InvalidValueError`.
    """
    PROCESS.running().set_state(state)


def report(probe: str = "health") -> dict[str, Any]:
    """What a probe would be answered with, as a dict; and ``passes``.

    Errors: :class:`StoppedError`, :class:`~dyn_metrics.InvalidValueError`.
    """
    passes, text = PROCESS.running().report(probe)
    found: dict[str, Any] = json.loads(text)
    return {**found, "passes": passes}


def remove(name: str) -> bool:
    """Forget a check; False when there is none of this name."""
    return PROCESS.remove(name)
