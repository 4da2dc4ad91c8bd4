"""Decorators made of context managers."""

import copy
import functools
import inspect
from collections.abc import Callable
from typing import Any


def decorate(manager: Any, function: Callable[..., Any]) -> Callable[..., Any]:
    """``function``, each call of it in a copy of ``manager``; coroutine functions until they are done."""
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def coroutine(*args: Any, **keywords: Any) -> Any:
            with copy.copy(manager):
                return await function(*args, **keywords)

        return coroutine

    @functools.wraps(function)
    def wrapped(*args: Any, **keywords: Any) -> Any:
        with copy.copy(manager):
            return function(*args, **keywords)

    return wrapped
