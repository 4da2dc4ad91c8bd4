"""Programs in processes of their own, and what the segment says after them."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from typing import Any, Callable, Iterator

import pytest

from dyn_metrics import Registry, _native

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


class Segment:
    """A segment's path, programs that write there, and its samples."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        ours = ("PROMETHEUS", "DYN_METRICS", "PYTEST")
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        self.environment["DYN_METRICS_SHM"] = str(path)
        self._files = 0

    def file(self, source: str) -> pathlib.Path:
        """The source as a file beside the segment."""
        self._files += 1
        path = self.path.parent / f"program{self._files}.py"
        path.write_text(source)
        return path

    def start(self, *arguments: str | pathlib.Path, **environment: str) -> subprocess.Popen[str]:
        """Start Python with these arguments."""
        command = [sys.executable, *map(str, arguments)]
        pipe = subprocess.PIPE
        environment = self.environment | environment
        return subprocess.Popen(command, env=environment, text=True, stdin=pipe, stdout=pipe, stderr=pipe)

    def run(self, *arguments: str | pathlib.Path, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run Python with these arguments; it must succeed."""
        with self.start(*arguments, **environment) as process:
            out, err = process.communicate()
        assert process.returncode == 0, out + err
        return subprocess.CompletedProcess(process.args, 0, out, err)

    def unchanged(self, source: str, *arguments: str, **environment: str) -> str:
        """Run a program that knows nothing of us by `python -m dyn_metrics.run`; what it printed."""
        done = self.run("-m", "dyn_metrics.run", self.file(source), *arguments, **environment)
        assert done.stderr == ""
        return done.stdout

    def families(self) -> dict[str, Any]:
        """Families by name: help, type, unit, samples."""
        families, _ = _native.PrometheusBinder(Registry(str(self.path))).reader().collect(str)
        return {family[0]: family[1:] for family in families}

    def samples(self) -> Samples:
        """Every sample, found by name and labels."""
        lists = [family[-1] for family in self.families().values()]
        return {(name, frozenset(labels.items())): value for samples in lists for name, labels, value in samples}

    def value(self, name: str, **labels: str) -> float | None:
        """One sample, or None."""
        return self.samples().get((name, frozenset(labels.items())))


@pytest.fixture
def segment() -> Iterator[Segment]:
    """A segment of the test's own, in memory."""
    directory = pathlib.Path(tempfile.mkdtemp(dir="/dev/shm"))
    yield Segment(directory / "segment")
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def exposition() -> Callable[[pathlib.Path], str]:
    """What the exporter, a program without Python, serves of a segment."""
    root = pathlib.Path(__file__).parents[3]
    target = root / os.environ.get("CARGO_TARGET_DIR", "target")
    subprocess.run(["cargo", "build", "-q", "-p", "dyn-metrics-exporter"], cwd=root, check=True)

    def scrape(path: pathlib.Path) -> str:
        command = [str(target / "debug/dyn-metrics-exporter"), "--shm", str(path), "--listen", "127.0.0.1:0"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as exporter:
            try:
                assert exporter.stderr is not None
                lines = iter(exporter.stderr.readline, "")
                address = next(found[1] for line in lines if (found := re.search(r"listening address=(\S+)", line)))
                with urllib.request.urlopen(f"http://{address}/metrics") as answer:
                    text: str = answer.read().decode()
                    return text
            finally:
                exporter.kill()

    return scrape
