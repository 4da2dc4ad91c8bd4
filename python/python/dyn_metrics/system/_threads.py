"""The threads on which checks and formats in Python run."""

from __future__ import annotations

import asyncio
import inspect
import json
import threading
from collections.abc import Awaitable, Callable
from typing import Any, Union

from .._native import SystemCalls

Result = Union[None, bool, str]
Function = Callable[[], Union[Result, Awaitable[Result]]]
Loop = Union[asyncio.AbstractEventLoop, Callable[[], asyncio.AbstractEventLoop], None]
Format = Callable[[dict[str, Any]], Union[str, tuple[str, str]]]

#: Longest text that is handed over; less of it is kept.
_LONGEST = 4096


class Failed(Exception):
    """A failure with this text; without one the check gave no reason."""


def start(calls: SystemCalls, name: str, answer: Callable[[str], tuple[str, str]], close: Callable[[], None]) -> None:
    """Starts a thread that answers ``calls`` by ``answer`` until they end."""

    def serve() -> None:
        try:
            while (call := calls.next()) is not None:
                try:
                    text, content_type = answer(call.argument)
                    call.answer(True, _clean(text), content_type)
                except BaseException as error:  # also what would end a program: it is a failure of the check
                    call.answer(False, text_of(error))
                del call
        finally:
            close()

    try:
        threading.Thread(target=serve, name=name, daemon=True).start()
    except RuntimeError:
        calls.close()
        raise


def start_check(calls: SystemCalls, name: str, function: Function, loop: Loop) -> None:
    """Starts the thread of a check."""
    runner = _Runner(function, loop)
    start(calls, f"check-{name}", lambda limit: (_outcome(runner.run(float(limit))), ""), runner.close)


def start_format(calls: SystemCalls, function: Format) -> None:
    """Starts the thread of a format."""

    def answer(report: str) -> tuple[str, str]:
        found = function(json.loads(report))
        content_type, body = ("text/plain; charset=utf-8", found) if isinstance(found, str) else found
        return body, content_type

    start(calls, "dyn-format", answer, lambda: None)


def text_of(error: BaseException) -> str:
    """What an exception says; where that alone says nothing, its type, too."""
    name = type(error).__name__
    if isinstance(error, Failed):
        name = ""
    try:
        text = str(error)
    except Exception:
        text = ""
    if isinstance(error, KeyError):
        text = f"{name}: {text}"
    return _clean(text or name)


def _clean(text: str) -> str:
    return text[:_LONGEST].encode("utf-8", "backslashreplace").decode()


def _outcome(found: object) -> str:
    if found is None or found is True:
        return ""
    if found is False:
        raise Failed
    if isinstance(found, str):
        return found
    raise Failed(f"it returned {found!r:.100}, expected None, a bool or a str")


class _Runner:
    """Calls a function, and runs what it gives to be awaited."""

    def __init__(self, function: Function, loop: Loop) -> None:
        self._function = function
        self._loop = loop
        self._own: asyncio.AbstractEventLoop | None = None

    def run(self, limit: float) -> object:
        found = self._function()
        if not inspect.isawaitable(found):
            return found
        if self._loop is not None:
            return _run_elsewhere(found, self._loop, limit)
        if self._own is None:
            self._own = asyncio.new_event_loop()
        return self._own.run_until_complete(asyncio.wait_for(found, limit))

    def close(self) -> None:
        if self._own is not None:
            self._own.close()


def _run_elsewhere(found: Awaitable[Result], given: Loop, limit: float) -> object:
    """Runs it on somebody's loop, and waits until it has ended: one at a time."""
    try:
        loop = given() if callable(given) else given
        if loop is None or not loop.is_running():
            raise Failed("its event loop does not run")
        return _wait(_Task(found, loop), loop, limit)
    finally:
        # A loop that ends may never have begun with it.
        if inspect.iscoroutine(found) and inspect.getcoroutinestate(found) == inspect.CORO_CREATED:
            found.close()


def _wait(task: _Task, loop: asyncio.AbstractEventLoop, limit: float) -> object:
    if not task.ended.wait(limit):
        loop.call_soon_threadsafe(task.cancel)
        while not task.ended.wait(1):
            if not loop.is_running():
                raise Failed("its event loop does not run any more")
    return task.result()


class _Task:
    """A task of another thread's loop."""

    def __init__(self, found: Awaitable[Result], loop: asyncio.AbstractEventLoop) -> None:
        self.ended = threading.Event()
        self._found = found
        self._task: asyncio.Task[Result] | None = None
        loop.call_soon_threadsafe(self._begin, loop)

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        self._task = loop.create_task(self._run())
        self._task.add_done_callback(lambda _: self.ended.set())

    async def _run(self) -> Result:
        return await self._found

    def cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def result(self) -> Result:
        assert self._task is not None
        return self._task.result()
