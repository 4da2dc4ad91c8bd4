"""Workers in Rust, Python and C++ with the same checks give the same answers."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import ROOT, TARGET, cannot

CHECKS = 11  # of alike.rs, and the segment's


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path | str]]:
    for tool in ("cargo", "c++"):
        if shutil.which(tool) is None:
            cannot(tool)
    subprocess.run(["cargo", "build", "-q", "-p", "dyn-metrics-system", "--example", "alike"], cwd=ROOT, check=True)
    subprocess.run(["make", "-s", "cpp-library"], cwd=ROOT, check=True, capture_output=True)
    root, program = TARGET / "cpp/root/opt", tmp_path_factory.mktemp("alike") / "alike"
    library = [f"-I{root}/include", f"-L{root}/lib", "-ldyn_metrics", f"-Wl,-rpath,{root}/lib", "-pthread"]
    subprocess.run(["c++", "-std=c++17", "-Wall", "-Werror", ROOT / "cpp/tests/cpp/alike.cpp", *library, "-o", program], check=True)
    (example,) = re.findall(r"```cpp\n(.*?)```", (ROOT / "docs/HEALTH.md").read_text(), re.S)
    source = program.with_suffix(".cpp")
    source.write_text(example)
    subprocess.run(["c++", "-std=c++17", "-Wall", "-Werror", source, *library, "-o", program.with_name("documented")], check=True)
    return {"documented": [program.with_name("documented")], "rust": [TARGET / "debug/examples/alike"], "python": [sys.executable, Path(__file__).parent / "alike.py"], "cpp": [program]}


@pytest.fixture
def workers(commands: dict[str, list[Path | str]], directory: Path) -> Iterator[dict[str, "subprocess.Popen[str]"]]:
    # Each has a segment of its own.
    running = {}
    try:
        for language in ("rust", "python", "cpp"):
            command = commands[language]
            (directory / language).mkdir()
            environment = {**os.environ, "DYN_METRICS_SHM": str(directory / language / "segment")}
            running[language] = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment)
        yield running
    finally:
        for process in running.values():
            process.kill()
            process.communicate()


def ask(port: int, path: str, **headers: str) -> tuple[int, str, str]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
    try:
        answer = urllib.request.urlopen(request, timeout=30)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        return answer.status, answer.headers["content-type"], answer.read().decode()


#: What differs by the moment, the process and the place.
TIMES = {"uptime_seconds", "age_seconds", "duration_seconds", "consecutive_failures", "pid"}


def told(text: str) -> Any:
    """The JSON, with its fields in their order, without what differs by the moment."""

    def without(pairs: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
        return [(name, name if name in TIMES else value) for name, value in pairs]

    # Only Rust has panics beside failures, and says so.
    text = text.replace("it panicked: on purpose", "on purpose")
    text = re.sub(r"(no answer for|no beat for) [0-9.e-]+ s", r"\1 TIME", text)
    text = re.sub(r"/dev/shm/[^\"]*/segment", "SEGMENT", text)
    return json.loads(re.sub(r"[0-9]+ bytes free", "N bytes free", text), object_pairs_hook=without)


def settled(port: int) -> bool:
    """Whether every check has said what it goes on to say."""
    checks = {check["name"]: check for check in json.loads(ask(port, "/health")[2])["checks"]}
    failing = {name for name, check in checks.items() if check["status"] == "failing"}
    return (
        len(checks) == CHECKS
        and failing == {"failing", "empty", "raising", "hung", "beat", "etcd"}
        and checks["third"]["reason"] == "not yet"
        and all(checks[name]["status"] == "ok" for name in ("good", "silent", "space", "segment"))
    )


def answers(port: int) -> list[Any]:
    found: list[Any] = []
    for path in ("/liveness", "/readiness", "/health"):
        status, kind, body = ask(port, path)
        found += [(path, status, kind, told(body)), ask(port, f"{path}?verbose=0")]
    found.append(ask(port, "/health?verbose=maybe"))
    found.append(ask(port, "/"))
    return found


def test_workers_in_three_languages_answer_alike(workers: dict[str, "subprocess.Popen[str]"]) -> None:
    ports = {}
    for language, process in workers.items():
        assert process.stdout is not None
        ports[language] = int(process.stdout.readline())
    deadline = time.monotonic() + 60
    for language, port in ports.items():
        while not settled(port):
            assert time.monotonic() < deadline, (language, ask(port, "/health")[2])
            time.sleep(0.05)
    rust = answers(ports["rust"])
    assert [answer[0] for answer in rust[1:6:2]] == [200, 200, 503]
    assert rust == answers(ports["python"])
    assert rust == answers(ports["cpp"])
    for process in workers.values():
        assert process.stdin is not None
        process.stdin.write("drain\n")
        process.stdin.flush()
    for port in ports.values():
        while ask(port, "/readiness?verbose=0")[2] != "draining\n":
            assert time.monotonic() < deadline
            time.sleep(0.05)
    rust = answers(ports["rust"])
    assert [answer[0] for answer in rust[1:6:2]] == [200, 503, 503]
    assert rust == answers(ports["python"]) == answers(ports["cpp"])


def test_the_example_in_the_documentation_runs(commands: dict[str, list[Path | str]], directory: Path) -> None:
    subprocess.run(commands["documented"], env={**os.environ, "DYN_METRICS_SHM": str(directory / "segment")}, check=True, timeout=60)
