"""One process with three copies of the library: this package, a shared object in Rust and libdyn_metrics.so."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from conftest import ROOT, TARGET, cannot, run

#: What the three do, in a process of their own; the argument says with which of them it begins.
PROGRAM = """
import ctypes, json, os, subprocess, sys, threading
import dyn_metrics

segment, library, rust_half, tool, first = sys.argv[1:]

class Options(ctypes.Structure):  # dynm_metric_options
    _fields_ = [("struct_size", ctypes.c_size_t), ("metric_type", ctypes.c_uint32), ("mode", ctypes.c_uint32),
                ("name", ctypes.c_char_p), ("help", ctypes.c_char_p), ("unit", ctypes.c_char_p),
                ("labels", ctypes.c_void_p), ("label_count", ctypes.c_size_t),
                ("bounds", ctypes.POINTER(ctypes.c_double)), ("bound_count", ctypes.c_size_t),
                ("states", ctypes.c_void_p), ("state_count", ctypes.c_size_t),
                ("level", ctypes.c_uint32), ("keep_dead", ctypes.c_uint32), ("max_series", ctypes.c_uint32),
                ("flags", ctypes.c_uint32)]

COUNTER, GAUGE, HISTOGRAM, LIVEALL = 1, 5, 8, 2

class C:
    def __init__(self):
        self.so = ctypes.CDLL(library)
        self.so.dynm_last_error.restype = ctypes.c_char_p
        self.root = ctypes.c_void_p()
        self.done(self.so.dynm_root(ctypes.byref(self.root)))
        bounds = (ctypes.c_double * 2)(0.1, 1.0)
        self.counter = self.made(COUNTER, b"both_total")
        self.gauge = self.made(GAUGE, b"both_gauge", mode=LIVEALL)
        self.histogram = self.made(HISTOGRAM, b"both_seconds", bounds=bounds, bound_count=2)
    def done(self, status):
        assert status == 0, (status, self.so.dynm_last_error())
    def made(self, kind, name, **options):
        metric = ctypes.c_void_p()
        options = Options(ctypes.sizeof(Options), metric_type=kind, name=name, help=b"", **options)
        self.done(self.so.dynm_register(self.root, ctypes.byref(options), ctypes.byref(metric)))
        return metric
    def count(self, times):
        for _ in range(times):
            self.done(self.so.dynm_counter_inc(self.counter))
            self.done(self.so.dynm_observe(self.histogram, ctypes.c_double(0.5)))
    def set(self, value):
        self.done(self.so.dynm_gauge_set_i64(self.gauge, ctypes.c_int64(value)))
    def add(self, n):
        self.done(self.so.dynm_gauge_add_i64(self.gauge, ctypes.c_int64(n)))

class Rust:
    def __init__(self):
        self.so = ctypes.CDLL(rust_half)
        self.so.rust_gauge.restype = ctypes.c_int64
        self.so.rust_open(segment.encode())
    def count(self, times):
        self.so.rust_count(ctypes.c_uint64(times), ctypes.c_double(0.5), b"llama")
    def set(self, value):
        self.so.rust_set(ctypes.c_int64(value))

class Python:
    def __init__(self):
        self.counter = dyn_metrics.IntCounter("both", "")
        self.gauge = dyn_metrics.IntGauge("both_gauge", "", multiprocess_mode="liveall")
        self.histogram = dyn_metrics.Histogram("both_seconds", "", buckets=[0.1, 1])
    def count(self, times):
        for _ in range(times):
            self.counter.inc()
            self.histogram.observe(0.5)
    def set(self, value):
        self.gauge.set(value)

kinds = {"c": C, "rust": Rust, "python": Python}
three = {first: kinds[first]()}
three.update((name, kind()) for name, kind in kinds.items() if name != first)
c, rust, python = three["c"], three["rust"], three["python"]

def gauges():
    values = [series["value"] for series in dyn_metrics.snapshot()["both_gauge"]["series"]]
    return {"samples": values, "rust": rust.so.rust_gauge(), "python": python.gauge.value()}

said = {"set": [], "first": None}
threads = [threading.Thread(target=one.count, args=(2000,)) for one in three.values()]
for thread in threads: thread.start()
for thread in threads: thread.join()
for value, one in enumerate([*three.values(), *three.values()], 10):
    one.set(value)
    said["set"].append(gauges())
c.add(100)
python.gauge.inc(1000)
said["added"] = gauges()
said["info"] = subprocess.run([tool, "info", segment], capture_output=True, text=True, check=True).stdout
said["page"] = dyn_metrics.generate_latest().decode()

# In each child all three look for a slot and a cell at the same time.
said["children"] = []
for _ in range(20):
    reading, writing = os.pipe()
    if os.fork() == 0:
        try:
            start = threading.Barrier(3)
            def claim(one):
                start.wait()
                one.set(7)
            claims = [threading.Thread(target=claim, args=(one,)) for one in three.values()]
            for thread in claims: thread.start()
            for thread in claims: thread.join()
            c.add(1)
            page = dyn_metrics.generate_latest().decode()
            mine = [line for line in page.splitlines() if line.startswith(f'both_gauge{{pid="{os.getpid()}"}}')]
            alive = [line.split()[-1] for line in page.splitlines() if line.startswith("dyn_metrics_processes{")]
            found = {**gauges(), "mine": [line.split()[-1] for line in mine], "alive": alive}
            os.write(writing, json.dumps(found).encode())
        finally:
            os._exit(0)
    os.close(writing)
    said["children"].append(json.loads(os.read(reading, 1 << 16)))
    os.close(reading)
    os.wait()
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def libraries() -> list[Path]:
    """libdyn_metrics.so, a shared object that uses the crate, and the program dyn-metrics."""
    if not (ROOT / "cpp").exists():
        cannot("the sources of the C library")
    subprocess.run(["make", "-s", "cpp-library"], cwd=ROOT, check=True, capture_output=True)
    subprocess.run(["cargo", "build", "-q", "-p", "dyn-metrics-cli"], cwd=ROOT, check=True)
    return [TARGET / "cpp/library/libdyn_metrics.so", TARGET / "debug/examples/librust_half.so", TARGET / "debug/dyn-metrics"]


@pytest.mark.parametrize("rseq", ["auto", "off"])
@pytest.mark.parametrize("first", ["python", "rust", "c"])
def test_rust_c_and_python_in_one_process_are_one_writer(
    libraries: list[Path], directory: Path, first: str, rseq: str
) -> None:
    segment = str(directory / "segment")
    said = json.loads(run(PROGRAM, segment, *libraries, first, DYN_METRICS_SHM=segment, DYN_METRICS_RSEQ=rseq))
    for value, seen in enumerate(said["set"], 10):
        assert seen["samples"] == [value], "one cell, which is set by all"
        if value >= 13:  # A copy looks for the cell at its first update, and reads 0 before.
            assert (seen["rust"], seen["python"]) == (value, value)
    assert said["added"] == {"samples": [1115], "rust": 1115, "python": 1115}
    assert "1 alive, 0 dead" in said["info"], said["info"]
    lines = said["page"].splitlines()
    assert "both_total 6000" in lines
    assert 'both_seconds_bucket{le="+Inf"} 6000' in lines and "both_seconds_sum 3000" in lines
    for name in ("both_total", "both_gauge{", "both_seconds_count"):
        assert sum(line.startswith(name) for line in lines) == 1, name
    for child in said["children"]:
        assert (child["rust"], child["python"], child["mine"], child["alive"]) == (8, 8, ["8"], ["2"])
