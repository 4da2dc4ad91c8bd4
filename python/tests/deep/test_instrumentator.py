"""The real prometheus-fastapi-instrumentator, unchanged, in several workers of uvicorn and of gunicorn."""

from __future__ import annotations

import http.client
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from typing import Iterator

import pytest

APP = """
import os
from fastapi import FastAPI
from prometheus_fastapi_instrumentator import Instrumentator

app = FastAPI()


@app.get("/work/{number}")
def work(number: int):
    return {"pid": os.getpid()}


Instrumentator(should_instrument_requests_inprogress=True, inprogress_name="inprogress").instrument(app).expose(app)
"""

SERVERS = {
    "uvicorn": ["-m", "uvicorn", "app:app", "--workers", "3", "--uds"],
    # With the application loaded before the workers are forked.
    "gunicorn": ["-m", "gunicorn", "app:app", "--preload", "-w", "3", "-k", "uvicorn_worker.UvicornWorker", "-b"],
}


SHOW = """
from prometheus_client import CollectorRegistry, generate_latest, multiprocess
registry = CollectorRegistry()
multiprocess.MultiProcessCollector(registry)
print(generate_latest(registry).decode())
"""


@pytest.fixture
def directory() -> Iterator[pathlib.Path]:
    path = pathlib.Path(tempfile.mkdtemp(dir="/dev/shm"))
    yield path
    shutil.rmtree(path)


def get(address: pathlib.Path, path: str) -> str:
    """The body of a GET, on a connection of its own: whichever worker takes it."""
    connection = http.client.HTTPConnection("localhost")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(address))
    connection.request("GET", path, headers={"Connection": "close"})
    answer = connection.getresponse()
    assert answer.status == 200
    return answer.read().decode()


def show(environment: dict[str, str]) -> list[str]:
    """The lines of the segment's exposition."""
    command = [sys.executable, "-c", SHOW]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("multiprocess", [False, True])
def test_all_workers_count_as_one(server: str, multiprocess: bool, directory: pathlib.Path) -> None:
    (directory / "app.py").write_text(APP)
    address, files = directory / "socket", directory / "files"
    files.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    environment |= {"DYN_METRICS_PROMETHEUS": "1", "DYN_METRICS_SHM": str(directory / "segment")}
    if multiprocess:
        environment["PROMETHEUS_MULTIPROC_DIR"] = str(files)
    bind = str(address) if server == "uvicorn" else f"unix:{address}"
    command = [sys.executable, *SERVERS[server], bind]
    with open(directory / "log", "w") as log:
        process = subprocess.Popen(command, cwd=directory, env=environment, stdout=log, stderr=log)
    try:
        pids: set[str] = set()
        answered = 0
        while len(pids) < 2 or answered < 100:
            assert process.poll() is None, (directory / "log").read_text()
            try:
                pids.add(get(address, "/work/1"))
            except (FileNotFoundError, ConnectionRefusedError):
                continue  # not up yet
            answered += 1
        expected = f'http_requests_total{{handler="/work/{{number}}",method="GET",status="2xx"}} {float(answered)}'
        # A worker counts a request after it has answered.
        attempts = (show(environment) for _ in range(100))
        assert any(expected in page for page in attempts), show(environment)
        killed = int(next(iter(pids)).partition(":")[2].strip("}"))
        os.kill(killed, signal.SIGKILL)
        assert expected in show(environment)
        if multiprocess:
            assert expected in get(address, "/metrics").splitlines()
        assert list(files.iterdir()) == []
    finally:
        process.terminate()
        process.wait()
