"""A pipeline of processes: some in Python, one in C++, and one series that all of them count.

    python pipeline.py [ITEMS] [PEER]

Workers in Python tokenize texts; PEER, the program that peer.cpp makes, does its share of the same work. Each of them
counts ``pipeline_items_total{stage="tokenize"}``; nobody collects anything from anybody.
"""

import multiprocessing
import subprocess
import sys

from dyn_metrics import Counter, Gauge, Histogram, IntCounter, snapshot

ITEMS = IntCounter("pipeline_items", "Items done", ["stage"])
TOKENS = Counter("pipeline_tokens", "Tokens seen")
SECONDS = Histogram("pipeline_seconds", "Time an item takes", ["stage"], unit="seconds", buckets=[0.001, 0.01, 0.1])
BUSY = Gauge("pipeline_busy_workers", "Workers that have something to do")


def tokenize(text):
    with BUSY.track_inprogress(), SECONDS.labels("tokenize").time():
        tokens = text.split()
    TOKENS.inc(len(tokens))
    ITEMS.labels("tokenize").inc()
    return tokens


def length(tokens):
    with SECONDS.labels("length").time():
        total = sum(map(len, tokens))
    ITEMS.labels("length").inc()
    return total


def main(items=1000, peer=None):
    texts = [f"the {number} quick brown foxes" for number in range(items)]
    beside = subprocess.Popen([peer, str(items)]) if peer else None
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        lengths = pool.map(length, pool.imap(tokenize, texts, chunksize=50), chunksize=50)
    if beside and beside.wait() != 0:
        sys.exit("the peer failed")
    print(f"{sum(lengths)} letters")
    for name in ("pipeline_items_total", "pipeline_tokens_total"):
        for series in snapshot()[name]["series"]:
            print(name, series["labels"], series["value"])


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]), *sys.argv[2:])
