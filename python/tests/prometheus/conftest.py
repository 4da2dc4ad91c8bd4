"""Segments for programs, and what an exporter serves of them."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import urllib.request
from typing import Callable, Iterator

import pytest

from programs import Segment


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
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", root / "target"))
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
