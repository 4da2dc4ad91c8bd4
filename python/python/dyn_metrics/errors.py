"""What registering a metric or opening a segment may raise.

Every class is a :class:`DynMetricsError` and also the builtin that one would expect, so code which catches
``ValueError`` or ``OSError`` goes on working. Updates (``inc``, ``set``, ``observe``) raise ``ValueError`` for a
negative increment of a counter and ``TypeError`` for what is no number, and nothing else.
"""

__all__ = [
    "ConflictError",
    "DynMetricsError",
    "InvalidTypeError",
    "InvalidValueError",
    "SegmentBusyError",
    "SegmentError",
    "SegmentFullError",
    "SegmentNotFoundError",
    "SegmentPermissionError",
]


class DynMetricsError(Exception):
    """Anything that dyn_metrics refuses."""

    __module__ = "dyn_metrics"


class InvalidValueError(DynMetricsError, ValueError):
    """A name, label, bound, state, amount or option that can't be; the text says which and of what metric."""

    __module__ = "dyn_metrics"


class InvalidTypeError(DynMetricsError, TypeError):
    """An argument of the wrong type; the text says which and of what metric."""

    __module__ = "dyn_metrics"


class ConflictError(DynMetricsError, ValueError):
    """The segment has a family of this name that differs; the text says in what, and who registered it."""

    __module__ = "dyn_metrics"


class SegmentError(DynMetricsError, OSError):
    """The file at the path can't be used: no segment, damaged, of another owner, or the kernel says no."""

    __module__ = "dyn_metrics"


class SegmentNotFoundError(SegmentError, FileNotFoundError):
    """The directory in which the segment should be made does not exist."""

    __module__ = "dyn_metrics"


class SegmentPermissionError(SegmentError, PermissionError):
    """The kernel denies access to the segment, or it belongs to somebody else."""

    __module__ = "dyn_metrics"


class SegmentFullError(SegmentError):
    """No space for more: ``errno`` is ``ENOSPC``."""

    __module__ = "dyn_metrics"


class SegmentBusyError(SegmentError, BlockingIOError):
    """Other processes use the segment that was to be replaced, or are replacing it."""

    __module__ = "dyn_metrics"
