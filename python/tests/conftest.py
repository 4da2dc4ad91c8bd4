"""What the tests share: segments of their own, and programs that run in a process of their own."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

#: The repository, and where it is built.
ROOT = Path(__file__).resolve().parents[2]
TARGET = ROOT / os.environ.get("CARGO_TARGET_DIR", "target")

# Before the first metric of this process: nothing of the tests belongs into the machine's own segment. A child that
# multiprocessing starts anew imports this, too, and ends without cleaning up: it has its parent's directory.
if os.environ.get("DYN_METRICS_SHM") != os.environ.get("DYN_METRICS_TESTS_SHM", ""):
    _DIRECTORY = tempfile.TemporaryDirectory(prefix="dyn-metrics-", dir="/dev/shm")
    os.environ["DYN_METRICS_SHM"] = os.environ["DYN_METRICS_TESTS_SHM"] = os.path.join(_DIRECTORY.name, "root")

from dyn_metrics import Registry  # noqa: E402


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory in shared memory."""
    with tempfile.TemporaryDirectory(prefix="dyn-metrics-", dir="/dev/shm") as name:
        yield Path(name)


@pytest.fixture
def registry(directory: Path) -> Registry:
    """A segment of the test's own."""
    return Registry(path=directory / "segment")


def run(program: str, *args: object, **environment: str) -> str:
    """What ``program`` prints, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, args)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def cannot(reason: str) -> None:
    """Where something is missing that a test needs: an error in CI, otherwise said."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(f"SKIPPED: {reason}")
