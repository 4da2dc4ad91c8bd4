"""Callbacks in an asyncio loop. Not for applications."""

from __future__ import annotations

TYPE_CHECKING = False  # to import typing takes longer than all of this package

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from typing import Any


def in_loop(callback: Callable[[Any], Any], loop: asyncio.AbstractEventLoop | None) -> Callable[[Any], None]:
    """A callable that runs ``callback`` in ``loop`` and waits for its end: what comes meanwhile is coalesced."""
    import inspect

    is_coroutine = inspect.iscoroutinefunction(callback) or inspect.iscoroutinefunction(
        getattr(callback, "__call__", None)  # noqa: B004
    )
    if loop is None and not is_coroutine:
        return callback

    import asyncio
    from concurrent.futures import CancelledError

    if loop is None:
        loop = asyncio.get_running_loop()
    home = loop

    async def called(event: Any) -> None:
        if is_coroutine:
            await callback(event)
        else:
            callback(event)

    def call(event: Any) -> None:
        if home.is_closed():
            return
        coroutine = called(event)
        try:
            future = asyncio.run_coroutine_threadsafe(coroutine, home)
        except RuntimeError:  # closed meanwhile
            coroutine.close()
            return
        try:
            future.result()
        except CancelledError:
            pass

    return call
