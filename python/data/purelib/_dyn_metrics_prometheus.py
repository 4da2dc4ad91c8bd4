"""Installs dyn_metrics.prometheus when prometheus_client is imported; imported at start when DYN_METRICS_PROMETHEUS is on.

It waits, so that a process which does not use prometheus_client pays next to nothing.
"""

import sys


class _Waiting:
    def find_spec(self, fullname, path=None, target=None):
        if fullname == "prometheus_client":
            sys.meta_path.remove(self)
            try:
                from dyn_metrics.prometheus import install

                install()
            except Exception as error:  # The program worked without us.
                print(f"DYN_METRICS_PROMETHEUS: {error}", file=sys.stderr)
        return None


sys.meta_path.insert(0, _Waiting())
