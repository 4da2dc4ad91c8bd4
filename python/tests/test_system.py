"""The process's own server from Python: its three probes, what a check may be, and what becomes of it."""

import asyncio
import ctypes
import doctest
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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import ROOT, run
from dyn_metrics import ConflictError, InvalidTypeError, InvalidValueError, Registry, system

HEALTH = ROOT / "docs/HEALTH.md"

OFTEN: system.Options = {"interval": 0.02, "timeout": 0.5}


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    yield
    system.stop()
    for name in list(system._process.PROCESS.entries):
        system.remove(name)


def start(registry: Registry, **options: Any) -> system.System:
    return system.start(host="127.0.0.1", port=0, registry=registry, **options)


def get(path: str, url: str | None = None, **headers: str) -> tuple[int, str, str]:
    """Status, media type and body."""
    running = system.current()
    base = url if url is not None or running is None else running.url
    try:
        with urllib.request.urlopen(urllib.request.Request(f"{base}{path}", headers=headers), timeout=30) as answer:
            return answer.status, answer.headers["content-type"], answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["content-type"], error.read().decode()


def found(name: str, url: str | None = None) -> dict[str, Any]:
    """What ``/health`` says of a check."""
    checks = json.loads(get("/health", url)[2])["checks"]
    return next((check for check in checks if check["name"] == name), {"status": "none", "reason": ""})


def wait_for(wanted: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 60
    while not (seen := wanted()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
    return seen


def wait_for_check(name: str, status: str, reason: str = "") -> dict[str, Any]:
    seen: dict[str, Any] = {}

    def is_so() -> bool:
        seen.update(found(name))
        return bool(seen["status"] == status and reason in seen["reason"])

    try:
        wait_for(is_so)
    except AssertionError:
        raise AssertionError(seen) from None
    return seen


def test_the_three_probes_differ(registry: Registry) -> None:
    broken: set[str] = set()

    @system.liveness(**OFTEN)
    def alive() -> bool:
        return "alive" not in broken

    @system.readiness(**OFTEN)
    def model() -> None:
        if "model" in broken:
            raise RuntimeError("no model")

    @system.health_check("cache", interval=0.02, informative=True)
    def cache() -> str:
        if "cache" in broken:
            raise RuntimeError("cold")
        return "12 entries"

    assert alive() and model() is None and cache() == "12 entries", "functions stay what they are"
    start(registry, version="1.2.3")
    for name in ("alive", "model", "cache"):
        wait_for_check(name, "ok")
    assert found("cache")["reason"] == "12 entries"
    assert [get(path)[0] for path in ("/liveness", "/readiness", "/health")] == [200, 200, 200]
    assert system.report()["version"] == "1.2.3" and system.report()["passes"]
    broken.add("cache")
    wait_for_check("cache", "failing", "cold")
    assert (get("/health")[0], system.report()["status"]) == (200, "degraded")
    broken.add("model")
    assert wait_for_check("model", "failing")["reason"] == "no model"
    assert [get(path)[0] for path in ("/liveness", "/readiness", "/health")] == [200, 503, 503]
    broken.add("alive")
    assert wait_for_check("alive", "failing")["reason"] == "it failed and gave no reason"
    assert get("/live?verbose=0")[::2] == (503, "not_live\n")


def test_states_and_a_start_that_waits(registry: Registry) -> None:
    running = start(registry, starts_until_told=True)
    assert running.state == "starting" and get("/readiness?verbose=0")[::2] == (503, "starting\n")
    system.set_state("ready")
    assert get("/readiness")[0] == 200
    system.set_state("draining")
    assert get("/readiness?verbose=0")[2] == "draining\n" and get("/liveness")[0] == 200
    with pytest.raises(InvalidValueError, match='state: found "asleep", expected starting, ready or draining'):
        system.set_state("asleep")


def test_what_a_check_says_and_raises(registry: Registry) -> None:
    class Odd(Exception):
        def __str__(self) -> str:
            raise ValueError

    def raises(error: BaseException) -> Callable[[], None]:
        def check() -> None:
            raise error

        return check

    cases: dict[str, tuple[Any, str]] = {
        "key": (raises(KeyError("weights")), "KeyError: 'weights'"),
        "empty": (raises(TimeoutError()), "TimeoutError"),
        "odd": (raises(Odd()), "Odd"),
        "exit": (raises(SystemExit("stop")), "stop"),
        "interrupt": (raises(KeyboardInterrupt()), "KeyboardInterrupt"),
        "surrogate": (raises(ValueError("\udc80")), "\\udc80"),
        "lines": (raises(ValueError("a\nb")), "a b"),
        "number": (lambda: 42, "it returned 42, expected None, a bool or a str"),
        "generator": (raises(StopIteration(3)), "3"),
    }
    for name, (function, _) in cases.items():
        system.add_check(name, function, **OFTEN)
    system.add_check("long", lambda: "x" * 100_000, **OFTEN)
    start(registry)
    for name, (_, reason) in cases.items():
        assert wait_for_check(name, "failing")["reason"] == reason
    assert len(wait_for_check("long", "ok")["reason"]) <= 1025
    assert get("/liveness")[0] == 200


def test_a_hung_check_fails_late_and_its_thread_goes_on(registry: Registry) -> None:
    gate = threading.Event()
    runs: list[int] = []

    @system.readiness(interval=0.02, timeout=0.1)
    def hangs() -> None:
        runs.append(1)
        gate.wait()

    start(registry)
    seen = wait_for(lambda: (check := found("hangs"))["consecutive_failures"] > 3 and check)
    assert seen["reason"].startswith("no answer for ") and seen["reason"].endswith(" s, limit 0.1 s")
    assert len(runs) == 1, "one call at a time"
    gate.set()
    wait_for_check("hangs", "ok")


def test_the_server_answers_while_somebody_holds_the_interpreter(registry: Registry) -> None:
    @system.health_check("busy", interval=0.05, timeout=0.2)
    def busy() -> None:
        pass

    system.add_beat("loop", 0.3, probe="health", interval=0.05)
    running = start(registry, format=lambda report: f"{report['status']} in our way")
    wait_for_check_text(running.url)
    # Asks from outside for as long as the interpreter is held; a line for each answer.
    asker = """if 1:
        import sys, time, urllib.error, urllib.request
        print("asking", flush=True)
        end = time.monotonic() + 3
        while time.monotonic() < end:
            for path in ("/liveness", "/health", "/metrics"):
                began = time.monotonic()
                try:
                    answer = urllib.request.urlopen(sys.argv[1] + path, timeout=30)
                except urllib.error.HTTPError as error:
                    answer = error
                print(began, time.monotonic(), path, answer.status, " ".join(answer.read().decode().split()), flush=True)
            time.sleep(0.1)
    """
    with subprocess.Popen([sys.executable, "-c", asker, running.url], stdout=subprocess.PIPE, text=True) as asking:
        assert asking.stdout is not None and asking.stdout.readline() == "asking\n"
        began = time.monotonic()
        ctypes.PyDLL(None).sleep(2)  # with the interpreter's lock, as a long call in C
        ended = time.monotonic()
        lines = [line.split(" ", 4) for line in asking.stdout]
    assert ended - began >= 2
    held = [(path, int(status), body) for since, until, path, status, body in lines if began < float(since) and float(until) < ended]
    assert {path for path, _, _ in held} == {"/liveness", "/health", "/metrics"}, "answered meanwhile"
    assert all(status == 200 for path, status, _ in held if path != "/health")
    late = [json.loads(body) for path, _, body in held if path == "/health" and body.startswith("{")]
    reasons = [check["reason"] for report in late for check in report["checks"] if check["status"] == "failing"]
    assert any("s, limit 0.2 s" in reason and "no answer" in reason for reason in reasons), reasons
    assert any("stalled: no beat" in reason for reason in reasons), reasons
    wait_for_check_text(running.url)


def wait_for_check_text(url: str) -> None:
    wait_for(lambda: get("/readiness", url)[2] == "ready in our way")


def test_async_checks_have_a_loop_of_their_own_or_the_one_given(registry: Registry) -> None:
    threads: dict[str, str] = {}
    ready = threading.Event()
    served = asyncio.new_event_loop()

    @system.readiness(**OFTEN)
    async def own() -> str:
        await asyncio.sleep(0)
        threads["own"] = threading.current_thread().name
        return "by itself"

    @system.readiness(loop=lambda: served, **OFTEN)
    async def given() -> None:
        await asyncio.sleep(0)
        threads["given"] = threading.current_thread().name

    @system.health_check(interval=0.02, timeout=0.05)
    async def cancelled() -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            ready.set()
            raise

    start(registry)
    wait_for_check("own", "ok", "by itself")
    wait_for_check("given", "failing", "its event loop does not run")
    wait_for_check("cancelled", "failing", "limit 0.05 s")
    assert ready.wait(30)
    loop = threading.Thread(target=served.run_forever, name="serving")
    loop.start()
    wait_for_check("given", "ok")
    assert threads == {"own": "check-own", "given": "serving"}
    # What stops the loop shows, and only there.
    gate = threading.Event()
    served.call_soon_threadsafe(gate.wait)
    wait_for_check("given", "failing", "no answer for")
    assert found("own")["status"] == "ok"
    gate.set()
    wait_for_check("given", "ok")
    served.call_soon_threadsafe(served.stop)
    loop.join()
    wait_for_check("given", "failing")
    system.stop()
    served.close()


class Engine:
    """Has checks, which wait for an instance."""

    broken = ""

    @system.liveness(**OFTEN)
    def turns(self) -> bool:
        return self.broken != "turns"

    @system.health_check("queue", interval=0.02)
    async def queue(self) -> None:
        if self.broken == "queue":
            raise RuntimeError("full")

    @classmethod
    @system.health_check("kind", interval=0.02)
    def kind(cls) -> str:
        return cls.__name__


class Better(Engine):
    def turns(self) -> bool:
        """Overridden, and so no check."""
        return False


def test_methods_are_bound_when_an_instance_is_registered(registry: Registry) -> None:
    first, second = Engine(), Engine()
    assert system.register(first) == ["turns", "queue", "kind"]
    start(registry)
    assert system.register(second, "second_") == ["second_turns", "second_queue", "second_kind"]
    for name in ("turns", "queue", "second_turns", "second_queue"):
        wait_for_check(name, "ok")
    assert wait_for_check("kind", "ok")["reason"] == "Engine"
    second.broken = "queue"
    wait_for_check("second_queue", "failing", "full")
    assert found("queue")["status"] == "ok"
    with pytest.raises(ConflictError):
        system.register(Engine(), "second_")
    assert system.register(Better(), "better_") == ["better_queue", "better_kind"]
    assert wait_for_check("better_kind", "ok")["reason"] == "Better"
    with pytest.raises(InvalidTypeError, match="found object without a decorated method"):
        system.register(object())
    assert system.remove("second_queue") and found("second_queue")["status"] == "none"


def test_one_name_too_many_leaves_none() -> None:
    system.add_check("x_queue", lambda: None)
    with pytest.raises(ConflictError):
        system.register(Engine(), "x_")
    assert not system.remove("x_turns") and system.remove("x_queue")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"interval": 0}, "found interval 0ns, expected 10ms to 86400s"),
        ({"interval": float("nan")}, "found interval NaN s, expected seconds, 0 or more"),
        ({"timeout": -1}, "found timeout -1 s, expected seconds, 0 or more"),
        ({"threshold": 0}, "found failure threshold 0, expected 1 to 1000"),
        ({"success_threshold": -5}, "found success threshold 0, expected 1 to 1000"),
        ({"probe": "live"}, 'found probe "live", expected liveness, readiness or health'),
    ],
)
def test_bad_options_are_refused_when_they_are_given(options: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidValueError, match=text):
        system.add_check("bad", lambda: None, **options)
    assert not system.remove("bad")


def test_bad_checks_are_refused_when_they_are_given() -> None:
    system.add_check("twice", lambda: None)
    with pytest.raises(ConflictError, match='check "twice": found one of the same name, expected another name'):
        system.add_check("twice", lambda: None)
    with pytest.raises(InvalidValueError, match="expected 1 to 64 of A-Z"):
        system.liveness(lambda: True)
    with pytest.raises(InvalidTypeError, match="its decorator is health_check\\(\\), with parentheses"):
        system.health_check(lambda: True)  # type: ignore[arg-type]
    with pytest.raises(InvalidTypeError, match="found a function with 1 arguments, expected none"):

        @system.liveness
        def wants(argument: int) -> None: ...

    with pytest.raises(InvalidValueError, match="it asks others over the network, expected another probe than liveness"):
        system.add_etcd("etcd", "http://127.0.0.1:1", probe="liveness")
    with pytest.raises(InvalidValueError, match="expected http://HOST:PORT, without user or TLS"):
        system.add_etcd("etcd", "https://127.0.0.1")
    with pytest.raises(InvalidValueError, match="found keep_alive without a lease"):
        system.add_etcd("etcd", "http://127.0.0.1", keep_alive=True)
    with pytest.raises(InvalidValueError, match="NATS service: found \"a.b\""):
        system.add_nats("nats", "nats://127.0.0.1", service="a.b")
    with pytest.raises(InvalidTypeError, match="expected a Counter or an IntCounter"):
        system.add_progress("p", 3, 4, 1.0)  # type: ignore[arg-type]


def test_checks_that_come_with_the_library(registry: Registry, directory: Path) -> None:
    done, pending = registry.int_counter("done", "Done"), registry.int_gauge("pending", "Pending")
    fractions, level = registry.counter("fractions", "Fractions"), registry.gauge("level", "Level")
    system.add_progress("engine", done, pending, 0.3, **OFTEN)
    system.add_progress("other", fractions, level, 0.3, **OFTEN)
    system.add_space("enough", directory, 1, **OFTEN)
    system.add_space("more", directory, 2**64 - 1, **OFTEN)
    system.add_etcd("etcd", "http://127.0.0.1:1", key_prefix="/w/", lease=7, keep_alive=True, interval=0.05)
    system.add_nats("nats", "nats://127.0.0.1:1", service="generate", instance="x", interval=0.05)
    beat = system.add_beat("loop", 0.3, **OFTEN)
    start(registry)
    wait_for_check("engine", "ok", "nothing pending")
    wait_for_check("enough", "ok", "bytes free")
    wait_for_check("more", "failing", "bytes free, expected 18446744073709551615")
    wait_for_check("etcd", "failing", "http://127.0.0.1:1: no connection: Connection refused")
    wait_for_check("nats", "failing", "nats://127.0.0.1:1: no connection: Connection refused")
    wait_for_check("loop", "failing", "stalled: no beat for")
    wait_for(lambda: (beat.beat(), found("loop")["status"] == "ok")[1])  # type: ignore[func-returns-value]
    pending.set(2)
    level.set(0.5)
    wait_for_check("engine", "failing", "stalled: 2 pending, and the count stays at 0")
    wait_for_check("other", "failing", "stalled: 0.5 pending, and the count stays at 0")
    wait_for(lambda: (done.inc(), fractions.inc(0.5), found("engine")["status"] == "ok" == found("other")["status"])[2])  # type: ignore[func-returns-value]
    assert found("segment")["status"] == "ok" and get("/liveness")[0] == 200


def test_canaries_fly_when_idle_and_are_ended_and_cleaned_up(registry: Registry) -> None:
    idle = threading.Event()
    ended = threading.Event()
    log: list[str] = []

    def request() -> None:
        ended.wait()
        ended.clear()
        raise RuntimeError("cancelled")

    def clean_up(why: str) -> None:
        log.append(why)
        if why == "now":
            ended.set()

    async def slow() -> None:
        await asyncio.sleep(3600)

    system.add_canary("canary", request, when=idle.is_set, clean_up=clean_up, interval=0.02, timeout=0.1)
    system.add_canary("async", slow, clean_up=lambda why: None, interval=0.02, timeout=0.1)
    system.add_canary("quick", lambda: "1 token", **OFTEN)
    start(registry)
    wait_for_check("canary", "ok", "not sent: the process is at work")
    wait_for_check("async", "failing", "limit 0.1 s")
    wait_for_check("quick", "ok", "1 token")
    assert not log
    idle.set()
    wait_for_check("canary", "failing", "limit 0.1 s")
    wait_for(lambda: len(log) >= 4)
    assert log[:4] == ["now", "done", "now", "done"]
    idle.clear()
    wait_for_check("canary", "ok")


def test_ending_a_canary_may_take_the_loop_that_it_runs_on(registry: Registry) -> None:
    served = asyncio.new_event_loop()
    thread = threading.Thread(target=served.run_forever)
    log: list[str] = []

    async def slow() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0.3)  # meanwhile its end begins, by the timer

    async def abort() -> None:
        await asyncio.sleep(0.6)  # meanwhile the request ends

    def clean_up(why: str) -> None:
        if why == "now":
            asyncio.run_coroutine_threadsafe(abort(), served).result()
        log.append(why)

    system.add_canary("canary", slow, clean_up=clean_up, loop=served, interval=0.02, timeout=0.1)
    thread.start()
    start(registry)
    wait_for(lambda: len(log) >= 4)
    assert log[:4] == ["now", "done", "now", "done"]
    system.remove("canary")
    system.stop()
    served.call_soon_threadsafe(served.stop)
    thread.join()


def test_answers_in_a_format_of_ones_own(registry: Registry) -> None:
    def shape(report: dict[str, Any]) -> str | tuple[str, str]:
        if report["probe"] == "liveness":
            raise RuntimeError("on purpose")
        if report["probe"] == "readiness":
            return "application/xml", f"<{report['status']}/>"
        return f"all is {report['status']}"

    start(registry, format=shape)
    # On a busy machine one may take too long, and is answered in our format.
    wait_for(lambda: get("/readiness") == (200, "application/xml", "<ready/>"))
    wait_for(lambda: get("/health") == (200, "text/plain; charset=utf-8", "all is healthy"))
    assert json.loads(get("/liveness")[2])["status"] == "live", "ours where it raises"
    assert get("/readiness?verbose=0")[2] == "ready\n"


def test_metrics_are_this_process_s(registry: Registry, directory: Path) -> None:
    registry.counter("mine", "Mine").inc(3)
    start(registry)
    page = get("/metrics")[2]
    assert "mine_total 3" in page.splitlines() and 'dynamo_health_check_status{check="segment"}' in page
    system.stop()
    other = Registry(path=directory / "nowhere" / "segment")
    start(other)
    assert get("/metrics")[0] == 503 and get("/liveness")[0] == 200
    wait_for_check("segment", "failing", "no segment: ")


def test_one_system_at_a_time_and_its_port_is_free_afterwards(registry: Registry) -> None:
    first = start(registry)
    with pytest.raises(ConflictError, match="found a system at http://127.0.0.1:"):
        start(registry)
    url, port = first.url, first.port
    assert first.address == ("127.0.0.1", port)
    system.stop()
    system.stop()
    assert system.current() is None
    with pytest.raises(system.StoppedError):
        system.report()
    with pytest.raises(urllib.error.URLError):
        get("/live", url)
    again = system.start(host="127.0.0.1", port=port, registry=registry)
    assert again.port == port and get("/live")[0] == 200


def test_a_taken_port_is_an_error(registry: Registry) -> None:
    taken = start(registry).port
    code = f"""if 1:
        from dyn_metrics import system
        try:
            system.start(host="127.0.0.1", port={taken})
        except system.ListenError as error:
            print(error.errno, error.strerror)
    """
    assert run(code) == (
        f"98 cannot listen on 127.0.0.1:{taken}: the address is already in use, choose another DYN_SYSTEM_PORT, or 0 for any\n"
    )


def test_the_environment_starts_it(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    assert system.start_from_env(registry=registry) is None
    monkeypatch.setenv("DYN_SYSTEM_ENABLED", "maybe")
    with pytest.raises(InvalidValueError, match='DYN_SYSTEM_ENABLED: found "maybe", expected true or false'):
        system.start_from_env(registry=registry)
    monkeypatch.setenv("DYN_SYSTEM_ENABLED", "true")
    monkeypatch.setenv("DYN_SYSTEM_PORT", "65536")
    with pytest.raises(InvalidValueError, match="DYN_SYSTEM_PORT"):
        system.start_from_env(registry=registry)
    monkeypatch.setenv("DYN_SYSTEM_PORT", "0")
    monkeypatch.setenv("DYN_SYSTEM_HOST", "127.0.0.1")
    monkeypatch.setenv("DYN_SYSTEM_LIVE_PATH", "/up")
    running = system.start_from_env(registry=registry)
    assert running is not None and get("/up?verbose=0")[2] == "live\n"


def test_the_interpreter_ends_while_a_check_runs(registry: Registry) -> None:
    code = """if 1:
        import sys, threading, time
        from dyn_metrics import Registry, system
        began = threading.Event()
        @system.readiness(interval=0.02)
        def sleeps():
            began.set()
            time.sleep(3600)
        @system.readiness(interval=0.01)
        async def quick(): pass
        system.start(host="127.0.0.1", port=0, registry=Registry(path=sys.argv[1]), format=lambda report: "x")
        began.wait()
        print("ends")
    """
    for _ in range(5):
        assert run(code, registry.path) == "ends\n"


def test_a_forked_child_has_none_and_starts_its_own(registry: Registry) -> None:
    @system.readiness(**OFTEN)
    def model() -> None: ...

    parent = start(registry)
    wait_for_check("model", "ok")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            assert system.current() is None
            with pytest.raises(system.StoppedError, match="started in process"):
                parent.set_state("ready")
            parent.stop()
            own = start(registry)
            assert own.port != parent.port
            wait_for_check("model", "ok")
            system.stop()
            code = 0
        finally:
            os._exit(code)
    try:
        assert wait_for(lambda: os.waitpid(child, os.WNOHANG)[0]) == child
    except AssertionError:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise
    assert get("/live")[0] == 200


def test_the_examples_in_docstrings_run() -> None:
    texts = {name: getattr(system, name).__doc__ for name in system.__all__}
    texts = {"system": system.__doc__, **{name: text for name, text in texts.items() if text and ">>>" in text}}
    assert set(texts) >= {"system", "add_check", "add_beat", "liveness", "health_check"}
    runner = doctest.DocTestRunner()
    for name, text in texts.items():
        assert text is not None
        runner.run(doctest.DocTestParser().get_doctest(text, {}, name, None, 0))
    assert runner.summarize(verbose=False).failed == 0


@pytest.mark.skipif(not HEALTH.exists(), reason="a source distribution has no docs/")
def test_the_example_in_the_documentation_runs(registry: Registry) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", HEALTH.read_text(), re.S)
    run(example, DYN_METRICS_SHM=str(registry.path))


def test_everything_public_has_documentation() -> None:
    for name in system.__all__:
        assert getattr(system, name).__doc__, name
    assert [name for name in vars(system) if name in system.__all__ and not hasattr(system, name)] == []
