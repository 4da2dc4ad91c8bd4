"""What a call costs: ours, prometheus_client's in one process and in multiprocess mode, the same objects with the drop-in, and
a bare PyO3 call. `report.py` makes tables of it for `make bench`.

    python bench/calls.py [--slices 31] [--rounds 100000]

Each contender has a process of its own; they take turns, slice by slice, so that what else the machine does falls on
all. A slice is a loop over one statement, of a millisecond or two; shown is the minimum over the slices, less that of an empty loop
("net"), with the loop ("timeit"), and the ratios of both to the smallest prometheus_client's.
Needs prometheus_client in the interpreter that runs it, and nobody else on the machine.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from statistics import median
from time import perf_counter_ns

EMPTY = "pass"
# Name -> statement, and the least ratios to prometheus_client in one process and in multiprocess mode.
STATEMENTS = {
    "inc": ("c.inc()", 15, 40),
    "inc by 2": ("c.inc(2)", None, None),
    "inc by 0.5": ("c.inc(0.5)", None, None),
    "labels, inc": ('l.labels("llama", "ok").inc()', 20, 35),
    "observe": ("h.observe(0.3)", 20, 55),
    "set": ("g.set(3)", None, None),
    "gauge inc": ("g.inc()", None, None),
    "summary observe": ("s.observe(0.3)", None, None),
    "time": ("with h.time(): pass", None, None),
    "labels by name, inc": ('l.labels(model="llama", status="ok").inc()', None, None),
    "fresh labels, inc": ('l.labels("lla" + MA, "ok").inc()', None, None),
}
OURS_ONLY = {"bare PyO3 call": "bare.nothing()", "bare PyO3 call, one argument": "bare.nothing_of()"}


def metrics(contender: str) -> dict[str, object]:
    """The metrics that the statements use."""
    if contender == "dyn":
        import dyn_metrics as library
        from dyn_metrics._native import Bare

        names: dict[str, object] = {"bare": Bare()}
    else:
        if contender == "drop-in":
            import dyn_metrics.prometheus

            dyn_metrics.prometheus.install()
        import prometheus_client as library  # type: ignore[no-redef]

        names = {}
    names["c"] = library.Counter("c", "h")
    names["l"] = library.Counter("l", "h", ["model", "status"])
    names["h"] = library.Histogram("h", "h")
    names["g"] = library.Gauge("g", "h")
    names["s"] = library.Summary("s", "h")
    names["MA"] = "ma"
    return names


def loop(statement: str, names: dict[str, object]) -> Callable[[int], int]:
    """A function that runs the statement so many times and returns nanoseconds."""
    source = f"""
def run(rounds, {", ".join(names)}):
    start = now()
    for _ in repeat(None, rounds):
        {statement}
    return now() - start
"""
    scope: dict[str, object] = {"now": perf_counter_ns}
    exec("from itertools import repeat\n" + source, scope)
    run: Callable[..., int] = scope["run"]  # type: ignore[assignment]
    return lambda rounds: run(rounds, *names.values())


def serve(contender: str) -> None:
    """Answers lines "ROUNDS STATEMENT" with nanoseconds."""
    names, loops = metrics(contender), dict[str, Callable[[int], int]]()
    for line in sys.stdin:
        rounds, statement = line.rstrip("\n").split(" ", 1)
        if statement not in loops:
            loops[statement] = loop(statement, names)
            loops[statement](1000)
        print(loops[statement](int(rounds)), flush=True)


class Contender:
    """A process that measures."""

    def __init__(self, name: str, **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--serve", name],
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.best: dict[str, float] = {}
        self.slices: dict[str, list[float]] = {}

    def slice(self, statement: str, rounds: int) -> None:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(f"{rounds} {statement}\n")
        self.process.stdin.flush()
        passed = int(self.process.stdout.readline()) / rounds
        self.best[statement] = min(passed, self.best.get(statement, passed))
        self.slices.setdefault(statement, []).append(passed)

    def net(self, statement: str) -> float:
        return self.best[statement] - self.best[EMPTY]

    def net_median(self, statement: str) -> float:
        return median(self.slices[statement]) - median(self.slices[EMPTY])

    def end(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


def measure(contenders: list[Contender], slices: int, rounds: int, names: Iterable[str] = STATEMENTS) -> None:
    statements = [EMPTY, *(STATEMENTS[name][0] for name in names)]
    for _ in range(slices):
        for statement in statements:
            for contender in contenders:
                contender.slice(statement, rounds if contender is contenders[0] else rounds // 50)
        for statement in OURS_ONLY.values():
            contenders[0].slice(statement, rounds)


def report(dyn: Contender, single: Contender, multi: Contender) -> bool:
    """Prints the table; whether every bar is met."""
    print(f"CPython {sys.version.split()[0]}; ns a call, net of the loop, which takes {dyn.best[EMPTY]:.1f}")
    print(f"{'':24}{'dyn':>8}{'single':>8}{'multi':>8}{'single/dyn':>12}{'(timeit)':>9}{'multi/dyn':>11}{'(timeit)':>9}  bars")
    met = True
    for name, (statement, least_single, least_multi) in STATEMENTS.items():
        ratios = [other.net(statement) / dyn.net(statement) for other in (single, multi)]
        whole = [other.best[statement] / dyn.best[statement] for other in (single, multi)]
        bars = ""
        if least_single and least_multi:
            reached = ratios[0] >= least_single and ratios[1] >= least_multi
            met = met and reached
            bars = f"  {least_single}, {least_multi}: {'met' if reached else 'MISSED'}"
        costs = "".join(f"{contender.net(statement):8.1f}" for contender in (dyn, single, multi))
        print(f"{name:24}{costs}{ratios[0]:12.1f}{whole[0]:9.1f}{ratios[1]:11.1f}{whole[1]:9.1f}{bars}")
    for name, statement in OURS_ONLY.items():
        print(f"{name:32}{dyn.net(statement):8.1f}")
    return met


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--slices", type=int, default=31)
    parser.add_argument("--rounds", type=int, default=100_000)
    parser.add_argument("--serve")
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve)
        return 0
    with tempfile.TemporaryDirectory(dir="/dev/shm") as shm, tempfile.TemporaryDirectory() as files:
        dyn = Contender("dyn", DYN_METRICS_SHM=os.path.join(shm, "segment"))
        contenders = [dyn, Contender("single"), Contender("multi", PROMETHEUS_MULTIPROC_DIR=files)]
        measure(contenders, arguments.slices, arguments.rounds)
        for contender in contenders:
            contender.end()
        return 0 if report(*contenders) else 1


if __name__ == "__main__":
    sys.exit(main())
