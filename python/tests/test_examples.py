"""What is in examples/, and the Python block of the repository's README, run as they are."""

import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from conftest import ROOT, TARGET, cannot
from dyn_metrics import Registry
from dyn_metrics.testing import Segment

EXAMPLES = Path(__file__).parent.parent / "examples"

SERVERS = {
    "uvicorn": ["-m", "uvicorn", "app:app", "--workers", "3", "--uds", "{}"],
    "gunicorn": ["-m", "gunicorn", "app:app", "-w", "3", "-k", "uvicorn_worker.UvicornWorker", "-b", "unix:{}"],
    # The application, and so its metrics, before the fork.
    "gunicorn preload": ["-m", "gunicorn", "app:app", "--preload", "-w", "3", "-k", "uvicorn_worker.UvicornWorker", "-b", "unix:{}"],
}


@contextmanager
def serving(server: str, directory: Path) -> Iterator[Path]:
    """A server with three workers on a socket, which answers."""
    address = directory / "socket"
    command = [sys.executable, *(word.format(address) for word in SERVERS[server])]
    environment = {**os.environ, "DYN_METRICS_SHM": str(directory / "segment")}
    with open(directory / "log", "w") as log:
        process = subprocess.Popen(command, cwd=EXAMPLES, env=environment, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 120
        while not answers(address):
            assert process.poll() is None and time.monotonic() < deadline, (directory / "log").read_text()
            time.sleep(0.05)
        yield address
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def get(address: Path, target: str) -> tuple[int, str]:
    """An answer, on a connection of its own: whichever worker takes it."""
    connection = http.client.HTTPConnection("localhost")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(address))
    connection.request("GET", target, headers={"Connection": "close"})
    answer = connection.getresponse()
    with connection.sock or answer:
        return answer.status, answer.read().decode()


def answers(address: Path) -> bool:
    try:
        return get(address, "/nothing")[0] == 404
    except (FileNotFoundError, ConnectionRefusedError, http.client.RemoteDisconnected):
        return False


@pytest.mark.parametrize("server", SERVERS)
def test_all_workers_of_the_application_count_as_one(server: str, directory: Path) -> None:
    with serving(server, directory) as address:
        workers: set[str] = set()
        answered = 0
        while len(workers) < 2 or answered < 100:
            status, body = get(address, f"/square?{answered}")
            assert status == 200 and f'"square": {answered**2},' in body
            workers.add(re.findall(r'"worker": (\d+)', body)[0])
            answered += 1
        assert get(address, "/square?x")[0] == 400
        page = get(address, "/metrics")[1].splitlines()
        assert f'app_requests_total{{path="/square",status="200"}} {answered}' in page
        assert 'app_requests_total{path="/square",status="400"} 1' in page
        assert f'app_request_seconds_count{{path="/square"}} {answered + 1}' in page
        assert "app_running_requests 1" in page, "the request for this page"
        each = [int(line.split()[-1]) for line in page if line.startswith("app_worker_requests{")]
        other = [int(line.split()[-1]) for line in page if line.startswith('app_requests_total{path="other"')]
        assert sum(each) == answered + 1 + other[0] and len([n for n in each if n]) >= 2


def compiled(source: Path, out: Path, *more: str) -> Path:
    """A program in C++ with the library, and more arguments of the compiler."""
    if shutil.which("c++") is None:
        cannot("a C++ compiler")
    subprocess.run(["make", "-s", "cpp-library"], cwd=ROOT, check=True, capture_output=True)
    root = TARGET / "cpp/root/opt"
    library = [f"-I{root}/include", f"-L{root}/lib", "-ldyn_metrics", f"-Wl,-rpath,{root}/lib"]
    subprocess.run(["c++", "-std=c++17", "-Wall", "-Wextra", "-Werror", source, *library, *more, "-o", out], check=True)
    return out


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The part in C++, compiled as its head says."""
    return compiled(EXAMPLES / "peer.cpp", tmp_path_factory.mktemp("peer") / "peer")


def test_python_and_cpp_count_one_pipeline(peer: Path, directory: Path) -> None:
    segment = directory / "segment"
    done = subprocess.run(
        [sys.executable, EXAMPLES / "pipeline.py", "400", peer],
        env={**os.environ, "DYN_METRICS_SHM": str(segment)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "pipeline_items_total {'stage': 'tokenize'} 800" in done.stdout.splitlines(), done.stdout
    found = Segment(Registry(path=segment))
    found.assert_value("pipeline_items_total", 400, stage="length")
    found.assert_value("pipeline_tokens_total", 400 * 5 + 400 * 4)
    found.assert_count("pipeline_seconds", 800, stage="tokenize")
    found.assert_value("pipeline_busy_workers", 0)


def test_the_readmes_python_and_cpp_count_one_series(directory: Path) -> None:
    def block(language: str) -> str:
        (found,) = re.findall(rf"```{language}\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
        return str(found)

    segment = directory / "segment"
    environment = {**os.environ, "DYN_METRICS_SHM": str(segment)}
    subprocess.run([sys.executable, "-c", block("python")], env=environment, check=True)
    source = directory / "readme.cpp"
    source.write_text(block("cpp"))
    subprocess.run([compiled(source, directory / "readme")], env=environment, check=True)
    found = Segment(Registry(path=segment))
    found.assert_value("llm_requests_total", 2, model="llama-3-8b", status="success")
    found.assert_value("llm_requests_running", 0)


def moving(page: str, language: str) -> list[str]:
    """The programs of a page of docs/moving: before and after."""
    programs = re.findall(rf"```{language}\n(.*?)```", (ROOT / "docs/moving" / page).read_text(), re.S)
    assert len(programs) == 2
    return programs


Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples(page: str) -> Samples:
    """What a page exposes, without times of creation and metrics about dyn-metrics itself."""
    families = text_string_to_metric_families(page)
    found = {}
    for sample in (sample for family in families for sample in family.samples):
        if "le" in sample.labels:  # 1 and 1.0 are the same bound
            sample.labels["le"] = str(float(sample.labels["le"]))
        if not sample.name.startswith("dyn_metrics_") and not sample.name.endswith("_created"):
            found[sample.name, tuple(sorted(sample.labels.items()))] = sample.value
    return found


def exposed(command: list[str], directory: Path) -> Samples:
    """What a program prints, as samples."""
    environment = {**os.environ, "DYN_METRICS_SHM": str(directory / "segment")}
    return samples(subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout)


def test_a_python_program_that_has_moved_exposes_the_same_series(directory: Path) -> None:
    programs = moving("prometheus-python.md", "python")
    before, after = (exposed([sys.executable, "-c", program], directory) for program in programs)
    assert len(before) == 8 and after == before


def test_a_cpp_program_that_has_moved_exposes_the_same_series(directory: Path) -> None:
    peer = subprocess.run(["pkg-config", "--cflags", "--libs", "prometheus-cpp-core"], capture_output=True, text=True)
    if peer.returncode != 0:
        cannot("prometheus-cpp")
    found = []
    for name, program in zip(("before", "after"), moving("prometheus-cpp.md", "cpp")):
        (directory / f"{name}.cpp").write_text(program)
        built = compiled(directory / f"{name}.cpp", directory / name, *peer.stdout.split())
        found.append(exposed([str(built)], directory))
    assert len(found[0]) == 8 and found[1] == found[0]
