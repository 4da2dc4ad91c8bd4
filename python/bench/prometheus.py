"""Updates through prometheus_client's own objects, without and with the drop-in, slice by slice in turn.

``python bench/prometheus.py [--slices N] [--calls N]`` prints the least nanoseconds for each operation, the medians
behind them, and how many times as fast the drop-in is. Two processes take turns, so that what happens to the machine happens to both.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import tempfile
import timeit
from multiprocessing.connection import Connection

OPERATIONS = {
    "counter.inc()": "c.inc()",
    "counter.inc(2.5)": "c.inc(2.5)",
    "counter.labels(a, b).inc()": "v.labels('get', 'ok').inc()",
    "gauge.set(x)": "g.set(3.25)",
    "gauge.inc()": "g.inc()",
    "summary.observe(x)": "s.observe(0.3)",
    "histogram.observe(x)": "h.observe(0.3)",
    "value.inc(1)": "n.inc(1)",
    "value.get()": "n.get()",
}


def measure(drop_in: str, calls: int, segment: str, pipe: Connection) -> None:
    """Answer the name of an operation with its nanoseconds."""
    os.environ["DYN_METRICS_SHM"] = segment
    if drop_in == "install":
        from dyn_metrics.prometheus import install

        install()
    if drop_in == "import":
        from dyn_metrics.prometheus import Counter, Gauge, Histogram, Summary
    else:
        from prometheus_client import Counter, Gauge, Histogram, Summary

    names = {
        "c": Counter("bench_c", "-"),
        "v": Counter("bench_v", "-", ["method", "status"]),
        "g": Gauge("bench_g", "-"),
        "s": Summary("bench_s", "-"),
        "h": Histogram("bench_h", "-"),
    }
    names["n"] = names["c"]._value
    timers = {name: timeit.Timer(text, globals=names) for name, text in OPERATIONS.items()}
    for timer in timers.values():
        timer.timeit(calls // 10)
    pipe.send("ready")
    while name := pipe.recv():
        pipe.send(timers[name].timeit(calls) / calls * 1e9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=15)
    parser.add_argument("--calls", type=int, default=50_000)
    given = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    ways = ["none", "install", "import"]
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        pipes = []
        for way in ways:
            ours, theirs = spawn.Pipe()
            segment = os.path.join(directory, "segment")
            spawn.Process(target=measure, args=(way, given.calls, segment, theirs), daemon=True).start()
            ours.recv()
            pipes.append(ours)
        row = "{:<28}" + "{:>20}" * 3 + "{:>9}" * 2
        print(row.format("ns: least (median)", "prometheus_client", "install()", "import", "", ""))
        for name in OPERATIONS:
            slices: list[list[float]] = [[], [], []]
            for _ in range(given.slices):
                for pipe, found in zip(pipes, slices):
                    pipe.send(name)
                    found.append(pipe.recv())
            least = [min(found) for found in slices]
            cells = [f"{min(found):.0f} ({statistics.median(found):.0f})" for found in slices]
            ratios = [f"{least[0] / of:.2f}x" for of in least[1:]]
            print(row.format(name, *cells, *ratios))
        for pipe in pipes:
            pipe.send("")


if __name__ == "__main__":
    main()
