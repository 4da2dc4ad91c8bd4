"""Installs dyn_metrics.prometheus when prometheus_client is imported; imported at start when DYN_METRICS_PROMETHEUS is on.

It waits, so that a process which does not use prometheus_client pays next to nothing.
"""

import sys


class _Waiting:
    # It stays in the list afterwards: another thread that is going through it would miss a finder.
    _waits = True

    def find_spec(self, fullname, path=None, target=None):
        if self._waits and fullname == "prometheus_client":
            self._waits = False
            try:
                from dyn_metrics.prometheus import install

                install()
            except Exception as error:  # The program worked without us.
                _say(f"DYN_METRICS_PROMETHEUS: {error}")
        return None


def _say(text):
    try:
        sys.stderr.write(text + "\n")
    except Exception:  # A program without a standard error, or with a closed one.
        pass


sys.meta_path.insert(0, _Waiting())
