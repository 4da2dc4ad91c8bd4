"""Installs dyn_metrics.prometheus when prometheus_client is imported; imported at start when DYN_METRICS_PROMETHEUS is on.

It waits, so that a process which does not use prometheus_client pays next to nothing.
"""

import sys


class _Waiting:
    # It stays in the list afterwards: another thread that is going through it would miss a finder.
    waits = True

    def find_spec(self, fullname, path=None, target=None):
        if fullname != "prometheus_client" or not self.waits:
            return None
        for finder in sys.meta_path:
            find = None if finder is self else getattr(finder, "find_spec", None)
            spec = find(fullname, path, target) if find else None
            if spec is not None:
                if hasattr(spec.loader, "exec_module"):
                    spec.loader = _Loader(spec.loader)
                return spec
        return None


class _Loader:
    # Not in find_spec: there the interpreter's import lock is held, and what another thread imports may wait for it.
    def __init__(self, original):
        self._original = original

    def __getattr__(self, name):
        return getattr(self._original, name)

    def exec_module(self, module):
        module.__loader__ = module.__spec__.loader = self._original
        _waiting.waits = False
        try:
            from dyn_metrics.prometheus import install

            install()
        except Exception as error:  # The program worked without us.
            _say(f"DYN_METRICS_PROMETHEUS: {error}")
        self._original.exec_module(module)


def _say(text):
    try:
        sys.stderr.write(text + "\n")
    except Exception:  # A program without a standard error, or with a closed one.
        pass


_waiting = _Waiting()
sys.meta_path.insert(0, _waiting)
