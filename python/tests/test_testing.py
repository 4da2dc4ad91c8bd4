"""The pytest plugin, as a project uses that has metrics."""

import os
from pathlib import Path

import pytest

APP = """
from dyn_metrics import Counter, Enum, Gauge, Histogram

requests = Counter("app_requests", "Requests", ["model"])
running = Gauge("app_running", "Running", multiprocess_mode="all")
seconds = Histogram("app_seconds", "Time", buckets=[0.5, 1])
phase = Enum("app_phase", "Phase", states=["idle", "busy"])

def answer(model):
    requests.labels(model).inc()
    running.set(3)
    seconds.observe(0.75)
    phase.state("busy")
"""

TESTS = """
import os, subprocess, sys, pytest
import app

@pytest.mark.parametrize("times", [1, 2])
def test_what_a_test_adds_is_seen_alone(dyn_metrics_segment, times):
    for _ in range(times):
        app.answer("llama")
    dyn_metrics_segment.assert_value("app_requests_total", times, model="llama")
    dyn_metrics_segment.assert_value("app_requests", times, model="llama")
    dyn_metrics_segment.assert_value("app_running", 3)
    dyn_metrics_segment.assert_count("app_seconds", times)
    dyn_metrics_segment.assert_sum("app_seconds", 0.75 * times)
    assert dyn_metrics_segment.buckets("app_seconds") == {0.5: 0, 1.0: times, float("inf"): 0}
    assert dyn_metrics_segment.states("app_phase") == {"busy"}
    assert not dyn_metrics_segment.has("app_requests_total", model="other")

def test_a_private_segment_has_only_what_is_made_in_it(private_segment):
    assert not private_segment.has("app_requests_total")
    private_segment.registry.counter("other", "Other", ["a"]).labels("b").inc(2)
    private_segment.assert_value("other_total", 2, a="b")
    private_segment.assert_exposed('other_total{a="b"} 2')
    assert "app_requests" not in private_segment.exposition()

@pytest.fixture(autouse=True)
def used():
    with open("used", "a") as file:
        print(os.environ["DYN_METRICS_SHM"], file=file)
    yield

def test_processes_write_into_the_private_segment(private_segment):
    with open("used", "a") as file:
        print(private_segment.path, file=file)
    subprocess.run([sys.executable, "-c", "import app; app.answer('child')"], check=True)
    private_segment.assert_value("app_requests_total", 1, model="child")
    private_segment.assert_count("app_seconds", 1)
"""

DROP_IN = """
def test_what_prometheus_client_counts_is_in_the_segment(private_segment):
    from dyn_metrics.prometheus import install
    install(private_segment.registry)
    import prometheus_client
    prometheus_client.Counter("theirs", "h", ["a"]).labels("b").inc(3)
    prometheus_client.Histogram("theirs_seconds", "h").observe(0.25)
    prometheus_client.Gauge("theirs_depth", "h").set(4)
    private_segment.assert_value("theirs_total", 3, a="b")
    private_segment.assert_count("theirs_seconds", 1)
    private_segment.assert_sum("theirs_seconds", 0.25)
    private_segment.assert_value("theirs_depth", 4)
    private_segment.assert_exposed('theirs_total{a="b"} 3')

def test_the_classes_of_the_drop_in_count_in_the_common_one(dyn_metrics_segment):
    from dyn_metrics.prometheus import Counter, install
    install()
    Counter("mine", "h").inc()
    dyn_metrics_segment.assert_value("mine", 1)
"""

WRONG = """
import pytest

@pytest.mark.parametrize("ask", [
    lambda s: s.assert_value("c_total", 2),
    lambda s: s.assert_value("c_total", 1, a="b"),
    lambda s: s.assert_value("absent", 1),
    lambda s: s.assert_value("h", 1),
    lambda s: s.assert_count("c_total", 1),
    lambda s: s.assert_count("h", 2),
    lambda s: s.assert_sum("h", 0.6),
    lambda s: s.assert_exposed("c_total 2"),
])
def test_wrong(private_segment, ask):
    private_segment.registry.counter("c", "h").inc()
    private_segment.registry.histogram("h", "h").observe(0.5)
    ask(private_segment)
"""


def outcomes(pytester: pytest.Pytester, tests: str) -> dict[str, int]:
    pytester.makepyfile(app=APP, test_app=tests)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    return result.parseoutcomes()


def test_a_project_tests_its_metrics(pytester: pytest.Pytester) -> None:
    assert outcomes(pytester, TESTS) == {"passed": 4}
    used = (pytester.path / "used").read_text().split()
    assert len(set(used)) == 2
    assert not any(Path(segment).parent.exists() for segment in used)


def test_a_project_tests_the_metrics_of_prometheus_client(pytester: pytest.Pytester) -> None:
    pytest.importorskip("prometheus_client")
    assert outcomes(pytester, DROP_IN) == {"passed": 2}


def test_a_wrong_expectation_fails_and_says_what_is_there(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_wrong=WRONG)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    assert result.parseoutcomes() == {"failed": 8}
    result.stdout.fnmatch_lines(
        [
            "*AssertionError: value of c_total with labels {}: found 1, expected 2",
            "*AssertionError: 0 series of c_total have the labels {'a': 'b'}; all have *",
            "*AssertionError: no metric 'absent'; there are *",
            "*AssertionError: h is a histogram: ask for its count, sum, buckets or state",
            "*AssertionError: c_total is a counter: it has no count",
            "*AssertionError: count of h with labels {}: found 1, expected 2",
            "*AssertionError: sum of h with labels {}: found 0.5, expected 0.6",
            "*AssertionError: no line 'c_total 2' in",
        ]
    )


def test_metrics_made_while_conftest_is_imported_are_private_too(pytester: pytest.Pytester, directory: Path) -> None:
    machine = directory / "machine"
    pytester.makeconftest("import dyn_metrics; dyn_metrics.Counter('early', 'h').inc()")
    pytester.makepyfile("def test_it(dyn_metrics_segment): assert dyn_metrics_segment.has('early_total')")
    os.environ["DYN_METRICS_SHM"], before = str(machine), os.environ["DYN_METRICS_SHM"]
    try:
        assert pytester.runpytest_subprocess("-p", "no:cacheprovider").parseoutcomes() == {"passed": 1}
    finally:
        os.environ["DYN_METRICS_SHM"] = before
    assert not machine.exists()
