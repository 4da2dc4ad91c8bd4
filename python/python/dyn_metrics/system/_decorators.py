"""Checks by decorators: functions at once, methods when an instance is registered."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar, overload

from ..errors import InvalidTypeError
from ._checks import Options, spec
from ._process import PROCESS, Entry
from ._threads import Loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._checks import _Probe

_F = TypeVar("_F", bound=Callable[..., Any])

#: Where a method keeps what it was decorated with.
_MARKS = "__dyn_checks__"


def _decorator(name: str | None, loop: Loop, options: Options) -> Callable[[_F], _F]:
    def decorate(function: _F) -> _F:
        plain = getattr(function, "__func__", function)  # of a staticmethod or classmethod
        own = name if name is not None else getattr(plain, "__name__", None)
        if own is None:
            raise InvalidTypeError(f"found {function!r:.100}, a check without a name, expected name=")
        parameters = _required(plain)
        if parameters == 0:
            PROCESS.add(Entry(spec(own, options), None, function, loop))
        elif parameters == 1 and _is_method(plain):
            setattr(plain, _MARKS, [*getattr(plain, _MARKS, []), (own, loop, options)])
        else:
            raise InvalidTypeError(f'check "{own}": found a function with {parameters} arguments, expected none')
        return function

    return decorate


def _required(function: Callable[..., Any]) -> int:
    empty, several = inspect.Parameter.empty, (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = inspect.signature(function).parameters.values()
    return sum(parameter.default is empty and parameter.kind not in several for parameter in parameters)


def _is_method(function: Callable[..., Any]) -> bool:
    scope: str = getattr(function, "__qualname__", "").rpartition(".")[0]
    return scope != "" and not scope.endswith("<locals>")


@overload
def liveness(function: _F, /) -> _F: ...
@overload
def liveness(
    function: None = None, /, *, name: str | None = None, loop: Loop = None, **options: Unpack[Options]
) -> Callable[[_F], _F]: ...
def liveness(function: Any = None, /, *, name: str | None = None, loop: Loop = None, **options: Any) -> Any:
    """Make a function or method a check that feeds the liveness probe: its failure asks for a restart of the process.

    With and without options, those of :func:`add_check`. Name: the function's, unless given. The function stays as it is.

    >>> from dyn_metrics import system
    >>> @system.liveness
    ... def doc_not_deadlocked() -> bool:
    ...     return True
    >>> doc_not_deadlocked()
    True
    >>> system.remove("doc_not_deadlocked")
    True
    """
    decorate = _decorator(name, loop, {"probe": "liveness", **options})  # type: ignore[typeddict-item]
    return decorate if function is None else decorate(function)


@overload
def readiness(function: _F, /) -> _F: ...
@overload
def readiness(
    function: None = None, /, *, name: str | None = None, loop: Loop = None, **options: Unpack[Options]
) -> Callable[[_F], _F]: ...
def readiness(function: Any = None, /, *, name: str | None = None, loop: Loop = None, **options: Any) -> Any:
    """Make a function or method a check that feeds the readiness probe: while it fails, no requests. See :func:`liveness`."""
    decorate = _decorator(name, loop, {"probe": "readiness", **options})  # type: ignore[typeddict-item]
    return decorate if function is None else decorate(function)


def health_check(
    name: str | None = None,
    interval: float = 5.0,
    timeout: float = 1.0,
    threshold: int = 1,
    *,
    success_threshold: int = 1,
    probe: _Probe = "health",
    informative: bool = False,
    loop: Loop = None,
) -> Callable[[_F], _F]:
    """Make a function or method a check that ``/health`` shows, and with ``probe`` one that feeds another probe, too.

    >>> from dyn_metrics import system
    >>> class Engine:
    ...     @system.health_check("doc_queue", interval=1, threshold=3)
    ...     async def queue(self) -> str:
    ...         return "empty"
    >>> system.register(Engine())
    ['doc_queue']
    >>> system.remove("doc_queue")
    True
    """
    if name is not None and not isinstance(name, str):
        raise InvalidTypeError(f"health_check: found name {name!r:.100}, expected a str; its decorator is health_check(), with parentheses")
    options: Options = {
        "probe": probe,
        "interval": interval,
        "timeout": timeout,
        "threshold": threshold,
        "success_threshold": success_threshold,
        "informative": informative,
    }
    return _decorator(name, loop, options)


def register(instance: object, prefix: str = "", *, loop: Loop = None) -> list[str]:
    """Add the checks that the methods of an instance were decorated with; returns their names, for :func:`remove`.

    prefix: put before the names, for the second instance of a class. loop: for those without a loop of their own. The
    instance is kept as long as its checks are there. All or none are added.
    Errors: :class:`~dyn_metrics.InvalidTypeError` where there are none, otherwise as :func:`add_check`.
    """
    names: list[str] = []
    try:
        for attribute in _marked(instance):
            bound = getattr(instance, attribute)
            for name, own, options in getattr(bound.__func__, _MARKS):
                PROCESS.add(Entry(spec(prefix + name, options), None, bound, own if own is not None else loop))
                names.append(prefix + name)
    except BaseException:
        for name in names:
            PROCESS.remove(name)
        raise
    if not names:
        raise InvalidTypeError(f"found {type(instance).__name__} without a decorated method, expected a check")
    return names


def _marked(instance: object) -> list[str]:
    """Names of decorated methods in the order of their definition, of base classes first; an override without a decorator is none."""
    kind = instance if isinstance(instance, type) else type(instance)
    names = dict.fromkeys(name for base in reversed(kind.__mro__) for name in vars(base))
    found = {name: inspect.getattr_static(kind, name) for name in names}
    return [name for name, what in found.items() if hasattr(getattr(what, "__func__", what), _MARKS)]
