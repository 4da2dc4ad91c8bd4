"""examples/served.py: a FastAPI application under uvicorn, with an endpoint of each worker's own."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).parent.parent.parent / "examples"


def ask(url: str, method: str = "GET") -> tuple[int, str]:
    try:
        answer = urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=60)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        return answer.status, answer.read().decode()


def wait_for(wanted: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 120
    while True:
        try:
            found = wanted()
        except urllib.error.URLError:
            found = None
        if found:
            return found
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def test_a_blocked_event_loop_is_live_and_shown_as_stalled(directory: Path) -> None:
    environment = {**os.environ, "DYN_METRICS_SHM": str(directory / "segment"), "PYTHONUNBUFFERED": "1"}
    environment |= {"DYN_SYSTEM_ENABLED": "true", "DYN_SYSTEM_PORT": "0", "DYN_SYSTEM_HOST": "127.0.0.1"}
    command = [sys.executable, "-m", "uvicorn", "served:app", "--port", "0"]
    log = directory / "log"
    with open(log, "w") as output:
        process = subprocess.Popen(command, cwd=EXAMPLES, env=environment, stdout=output, stderr=output)
    try:
        health = wait_for(lambda: re.findall(r"health at (http://127.0.0.1:\d+)/health", log.read_text()))[0]
        served = wait_for(lambda: re.findall(r"running on (http://127.0.0.1:\d+) ", log.read_text()))[0]
        wait_for(lambda: ask(f"{health}/health")[0] == 200)
        assert ask(f"{health}/readiness?verbose=0") == (200, "ready\n") and ask(f"{served}/square?n=3")[1] == '{"square":9}'
        assert "served_requests_total 1" in ask(f"{health}/metrics")[1].splitlines()
        blocking = threading.Thread(target=ask, args=(f"{served}/block?seconds=5", "POST"))
        blocking.start()

        def stalled() -> bool:
            checks = {check["name"]: check for check in json.loads(ask(f"{health}/health")[1])["checks"]}
            assert ask(f"{health}/liveness")[0] == 200
            return "stalled: no beat" in checks["event_loop"]["reason"] and "no answer for" in checks["answers"]["reason"]

        wait_for(stalled)
        blocking.join()
        wait_for(lambda: ask(f"{health}/health")[0] == 200)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) in (0, -signal.SIGTERM), log.read_text()
    finally:
        process.kill()
        process.wait()
