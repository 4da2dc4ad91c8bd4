"""Run a program with prometheus_client's metrics in the segment.

``python -m dyn_metrics.run script.py [args]`` and ``python -m dyn_metrics.run -m module [args]`` do what Python does
without ``-m dyn_metrics.run``, after ``dyn_metrics.prometheus.install()``. ``DYN_METRICS_PROMETHEUS=1`` is set for the
processes that the program starts.
"""

from __future__ import annotations

import os
import runpy
import sys

_USAGE = "usage: python -m dyn_metrics.run (SCRIPT | -m MODULE) [ARGUMENT]..."


def main() -> None:
    """Run what the command line names."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["-m"]:
        module, arguments = arguments[1:2], arguments[1:]
    else:
        module = []
    if not arguments or (not module and arguments[0].startswith("-")):
        sys.exit(_USAGE)
    from dyn_metrics.prometheus import install

    os.environ["DYN_METRICS_PROMETHEUS"] = "1"
    install()
    sys.argv = arguments
    directory = os.getcwd() if module else os.path.dirname(os.path.abspath(arguments[0]))
    if not (sys.flags.isolated or getattr(sys.flags, "safe_path", False)):
        sys.path[0] = directory
    if module:
        runpy.run_module(module[0], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(arguments[0], run_name="__main__")


if __name__ == "__main__":
    main()
