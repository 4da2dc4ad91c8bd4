"""Metrics of many processes in one shared-memory segment."""

from ._native import Counter, Metric, Registry
from .errors import *  # noqa: F403
from .errors import __all__ as _errors

__all__ = ["Counter", "Metric", "Registry", *_errors]
