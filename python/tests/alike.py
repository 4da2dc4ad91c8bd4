"""The worker of system/examples/alike.rs in Python."""

import sys
import threading

from dyn_metrics import system

OFTEN: system.Options = {"interval": 0.05, "timeout": 30}


def raises(text: str) -> None:
    raise RuntimeError(text)


system.add_check("good", lambda: "12 entries", **OFTEN)
system.add_check("silent", lambda: None, probe="liveness", **OFTEN)
system.add_check("failing", lambda: raises("no model"), probe="health", **OFTEN)
system.add_check("empty", lambda: False, informative=True, **OFTEN)
system.add_check("raising", lambda: raises("on purpose"), informative=True, **OFTEN)
system.add_check("hung", lambda: threading.Event().wait(), probe="health", interval=0.05, timeout=0.2)
system.add_check("third", lambda: raises("not yet"), probe="health", threshold=1000, **OFTEN)
system.add_beat("beat", 0.001, informative=True, **OFTEN)
system.add_space("space", "/proc", 0, **OFTEN)
system.add_etcd("etcd", "http://127.0.0.1:1", informative=True, **OFTEN)
print(system.start(host="127.0.0.1", port=0, version="1.2.3").port, flush=True)
sys.stdin.readline()
system.set_state("draining")
sys.stdin.readline()
