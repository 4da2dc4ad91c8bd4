"""The Python part of `make bench`: appends its tables to report.md and writes python.tsv.

    python bench/report.py --out target/bench [--only python] [--quick] [--slices N]

`--only` takes the words that the other parts take; these tables are `python_calls` and `python_import`.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from calls import EMPTY, OURS_ONLY, STATEMENTS, Contender, measure

#: Most milliseconds that importing should take.
IMPORT_BAR = 30
#: What the drop-in is judged by, beside prometheus_client in one process.
DROP_IN = ("inc", "labels, inc", "observe", "set")
IMPORT = "from time import perf_counter_ns as now; t = now(); import {}; print(now() - t)"


def table(heads: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown; all but the first column are figures."""
    widths = [max(len(row[at]) for row in [heads, *rows]) for at in range(len(heads))]

    def line(cells: list[str]) -> str:
        return "| " + " | ".join(c.rjust(w) if at else c.ljust(w) for at, (c, w) in enumerate(zip(cells, widths))) + " |\n"

    rule = "| " + " | ".join("-" * (w - bool(at)) + ":" * bool(at) for at, w in enumerate(widths)) + " |\n"
    return line(heads) + rule + "".join(map(line, rows))


def short(number: float) -> str:
    return f"{number:.3g}" if number < 100 else f"{number:.0f}"


def verdict(found: float, least: float) -> str:
    return "met" if found >= least else f"missed {least / found:.2f}x"


def calls(slices: int, rounds: int, tsv: list[str]) -> str:
    """Costs, and bars."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as shm, tempfile.TemporaryDirectory() as files:
        path = os.path.join(shm, "segment")
        dyn = Contender("dyn", DYN_METRICS_SHM=path)
        others = [Contender("single"), Contender("multi", PROMETHEUS_MULTIPROC_DIR=files)]
        others.append(Contender("drop-in", DYN_METRICS_SHM=path + "-drop-in"))
        measure([dyn, *others], slices, rounds)
        for contender in (dyn, *others):
            contender.end()
    names = ["dyn-metrics", "prometheus_client", "its multiprocess mode", "drop-in"]
    costs, bars = [], []
    for name, (statement, least_single, least_multi) in STATEMENTS.items():
        costs.append([f"`{statement}`", *(short(one.net(statement)) for one in (dyn, *others))])
        for one, contender in zip((dyn, *others), names):
            least, middle = one.net(statement), one.net_median(statement)
            tsv.append(f"{contender}\t{name}\t{middle:.3f}\t{least:.3f}\t{one.net(statement) / dyn.net(statement):.4f}\n")
        beside = [("prometheus_client", others[0], least_single), ("its multiprocess mode", others[1], least_multi)]
        for what, other, bar in beside:
            if bar:
                found, middle = other.net(statement) / dyn.net(statement), other.net_median(statement) / dyn.net_median(statement)
                bars.append([f"`{statement}`, {what}", f">= {bar}", short(found), short(middle), verdict(found, bar)])
        if name in DROP_IN:
            found = others[0].net(statement) / others[2].net(statement)
            middle = others[0].net_median(statement) / others[2].net_median(statement)
            bars.append([f"`{statement}`, drop-in, beside prometheus_client", ">= 1", short(found), short(middle), verdict(found, 1)])
    for name, statement in OURS_ONLY.items():
        costs.append([name, short(dyn.net(statement)), "-", "-", "-"])
        tsv.append(f"bare\t{name}\t{dyn.net_median(statement):.3f}\t{dyn.net(statement):.3f}\t\n")
    head = (
        f"CPython {sys.version.split()[0]}, prometheus_client {version('prometheus_client')}. Nanoseconds a call without the loop"
        f" around it, which takes {short(dyn.best[EMPTY])}; minima of {slices} slices.\n\n"
    )
    found = table(["call", *names], costs)
    return f"{head}{found}\n{table(['how many times as fast', 'bar', 'measured', 'of medians', 'verdict'], bars)}"


def importing(times: int, tsv: list[str]) -> str:
    """What the first import in a process takes, files in the page cache and compiled."""
    rows = []
    for name, bar in [("dyn_metrics", IMPORT_BAR), ("prometheus_client", None)]:
        command = [sys.executable, "-I", "-c", IMPORT.format(name)]
        found = [int(subprocess.check_output(command)) / 1e6 for _ in range(times + 1)][1:]
        least, middle = min(found), statistics.median(found)
        judged = ["-", "-"] if bar is None else [f"<= {bar}", "met" if least <= bar else f"missed {least / bar:.2f}x"]
        rows.append([f"`import {name}`", short(least), short(middle), *judged])
        tsv.append(f"{name}\timport\t{middle * 1e6:.0f}\t{least * 1e6:.0f}\t\n")
    return table(["what", "least ms", "median ms", "bar", "verdict"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", default="")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--slices", type=int)
    arguments, _ = parser.parse_known_args()
    words = [word for word in arguments.only.split(",") if word]
    slices = arguments.slices or (5 if arguments.quick else 31)
    tsv, text = ["contender\top\tmedian_ns\tmin_ns\tratio\n"], ""
    for name, title, make in [
        ("python_calls", "Python", lambda: calls(slices, 20_000 if arguments.quick else 100_000, tsv)),
        ("python_import", "Importing", lambda: importing(slices, tsv)),
    ]:
        if not words or any(word in name for word in words):
            print(f"{title} ...", file=sys.stderr)
            text += f"\n### {title}\n\n{make()}"
    if not text:
        return
    print(text)
    arguments.out.mkdir(parents=True, exist_ok=True)
    with open(arguments.out / "report.md", "a") as report:
        report.write(text)
    (arguments.out / "python.tsv").write_text("".join(tsv))


if __name__ == "__main__":
    main()
