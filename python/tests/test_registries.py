"""Registries of every kind, levels of a hierarchy, thresholds: components are the same over all of them."""

import math
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, run

import dyn_metrics
from dyn_metrics import Component, DistributedRuntime, Endpoint, InvalidTypeError, InvalidValueError, MetricsRegistry, Namespace, Registry, Scheme

CONFORMANCE = ROOT / "tests" / "data" / "conformance"
KINDS = ("shm", "prometheus", "null")


def samples(page: str) -> dict[str, float]:
    """Samples that are not about the segment itself, as any registry may spell them: bounds as numbers, no process's number."""
    found = {}
    for line in page.split("\n"):
        if line and not line.startswith(("#", "dyn_metrics_")):
            series, value = line.rsplit(" ", 1)
            series = re.sub(r'le="([^"]+)"', lambda le: f"le={float(le[1])!r}", series)
            found[re.sub(r'{?,?pid="\d+"}?', "", series)] = float(value)
    return found


def alike(found: dict[str, float], expected: dict[str, float]) -> None:
    assert found.keys() == expected.keys()
    for series, value in found.items():
        assert value == expected[series] or math.isnan(value) and math.isnan(expected[series]), series


def replayed(script: Path, where: str) -> str:
    command = [sys.executable, str(Path(__file__).with_name("replay.py")), str(script), where]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    # Not as text: a carriage return in a label's value is no end of a line.
    return done.stdout.decode().removesuffix("# EOF\n")


def test_the_conformance_script_is_done_over_every_registry(directory: Path) -> None:
    left_out = set((CONFORMANCE / "not_in_python.txt").read_text().split("\n"))
    steps = (CONFORMANCE / "script.txt").read_text().split("\n")
    script = directory / "script"
    script.write_text("\n".join(step for step in steps if step not in left_out) + "\n")
    expected = samples(replayed(script, str(directory / "segment")))
    assert len(expected) > 100
    alike(samples(replayed(script, "kind:prometheus")), expected)
    assert replayed(script, "kind:null") == ""


def of(kind: str, directory: Path) -> Registry:
    return Registry(path=directory / "segment") if kind == "shm" else Registry.of_kind(kind)


def work(registry: MetricsRegistry) -> list[Any]:
    """Every way to update a metric, and what is read back."""
    prefix = registry.child("every_")
    requests = prefix.counter("requests", "Requests", ["model"])
    for _ in range(3):
        requests.labels("llama").inc()
    requests.labels(model="llama").inc(2)
    requests.with_label_values(["llama"]).inc(0.5)
    assert requests.labels("llama") is requests.labels("llama")
    whole, busy = prefix.int_counter("whole", "Whole"), prefix.duration_counter("busy_seconds", "Busy")
    whole.inc()
    whole.inc(4)
    busy.inc(0.25)
    with busy.time():
        pass
    errors = prefix.counter("errors", "Errors")
    for error in (KeyError, OSError):
        with pytest.raises(error), errors.count_exceptions(KeyError):
            raise error
    load, queued, age = prefix.gauge("load", "Load"), prefix.int_gauge("queued", "Queued"), prefix.duration_gauge("age_seconds", "Age")
    load.set(2)
    load.inc()
    load.dec(0.5)
    queued.set(7)
    queued.inc(2)
    queued.dec()
    with queued.track_inprogress():
        inside = queued.value()
    age.set(1.5)
    latency = prefix.histogram("latency_seconds", "Latency", buckets=[0.5, 1])
    for value in (0.25, 0.75, 5, math.inf, math.nan):
        latency.observe(value)
    timed = prefix.histogram("timed_seconds", "Timed")

    @timed.time()
    def function() -> str:
        return "done"

    assert function() == "done"
    with timed.time():
        pass
    size, state = prefix.summary("size_bytes", "Sizes"), prefix.enum("state", "State", states=["on", "off"])
    size.observe(3)
    state.state("off")
    prefix.info("build", "Build").info({"version": "1"})
    read = [requests.labels("llama").value(), whole.value(), busy.value() >= 0.25, errors.value(), load.value(), queued.value()]
    return [*read, inside, age.value(), latency.count(), latency.sum(), timed.count(), size.count(), size.sum(), state.value()]


@pytest.mark.parametrize("kind", KINDS)
def test_metrics_of_every_registry_take_every_update(kind: str, directory: Path) -> None:
    registry = of(kind, directory).child("zone_", {"zone": kind})
    values = work(registry)
    text = registry.prometheus_format_str()
    if kind == "null":
        assert values == [0, 0, False, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, None] and text == ""
        return
    assert values == [5.5, 5, True, 1, 2.5, 8, 9, 1.5, 4, 6, 2, 1, 3, "off"]
    assert f'zone_every_requests_total{{model="llama",zone="{kind}"}} 5.5\n' in text
    assert f'zone_every_latency_seconds_count{{zone="{kind}"}} 4\n' in text
    assert set(text.splitlines()) <= set(registry.generate_latest().decode().splitlines())


CREATED = {
    "counter": "counter",
    "intcounter": "counter",
    "durationcounter": "counter",
    "gauge": "gauge",
    "intgauge": "gauge",
    "durationgauge": "gauge",
    "histogram": "histogram",
    "tally": "summary",
    "info": "gauge",
    "stateset": "gauge",
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_interface_has_the_methods_of_every_language(kind: str, directory: Path) -> None:
    class Service(MetricsRegistry):
        registry = of(kind, directory).child("made_")

    service = Service()
    assert (service.prefix, service.labels) == ("made_", {})
    for name, shown in CREATED.items():
        more: dict[str, Any] = {"states": ["a", "b"]} if name == "stateset" else {}
        ending = {"counter": "_total", "info": "_info"}.get(name if name == "info" else shown, "")
        made = getattr(service, f"create_{name}")(f"{name}{ending}", "Help", {"a": "1"}, **more)
        assert made.name == f"made_{name}{ending}"
        for vec in ("_vec", "vec"):
            family = getattr(service, f"create_{name}{vec}")(f"{name}{ending}", "Help", ["a"], **more)
            assert family.labelnames == ("a",) and type(family.labels("1")) is type(made)
            if name != "info":
                assert getattr(service.registry, f"create_{name}{vec}")(f"{name}{ending}", "Help", ["a"], **more).name == made.name
        text = service.prometheus_format_str()
        assert text == service.prometheus_metrics_fmt()
        assert (f"# TYPE made_{name}{ending} {shown}\n" in text) == (kind != "null")
    with pytest.raises(InvalidTypeError, match="label values: found str"):
        service.create_counter_vec("counter_total", "Help", ["a"]).with_label_values("1")


def test_levels_add_their_labels_and_leave_values_alone(registry: Registry) -> None:
    runtime = DistributedRuntime(registry)
    namespace = runtime.namespace("my-model/7b")
    component = namespace.component("backend")
    endpoint = component.endpoint("generate")
    assert [type(level) for level in (namespace, component, endpoint)] == [Namespace, Component, Endpoint]
    assert [level.name for level in (runtime, namespace, component, endpoint)] == ["", "my-model/7b", "backend", "generate"]
    for level in (runtime, namespace, component, endpoint):
        level.create_intcounter_vec("requests_total", "Requests", ["model"]).labels("m").inc()
    dyn_metrics.Counter("direct", "Made by its class", registry=endpoint).inc()
    lines = runtime.prometheus_format_str().splitlines()
    assert [line for line in lines if line.startswith("dynamo_requests_total")] == [
        'dynamo_requests_total{component="backend",endpoint="generate",model="m",namespace="my-model/7b"} 1',
        'dynamo_requests_total{component="backend",model="m",namespace="my-model/7b"} 1',
        'dynamo_requests_total{model="m"} 1',
        'dynamo_requests_total{model="m",namespace="my-model/7b"} 1',
    ]
    assert 'dynamo_direct_total{component="backend",endpoint="generate",namespace="my-model/7b"} 1' in lines
    assert endpoint.labels == {"namespace": "my-model/7b", "component": "backend", "endpoint": "generate"}
    assert runtime.namespace("").labels == {}, "a level without a name has no label"


def test_upstream_s_scheme_has_its_prefix_and_labels(registry: Registry) -> None:
    scheme = Scheme.upstream(worker_id="w1", labels={"zone": "a"})
    endpoint = DistributedRuntime(registry, scheme).namespace("n").component("c").endpoint("e")
    assert endpoint.prefix == "dynamo_component_"
    names = {"worker_id": "w1", "zone": "a", "dynamo_namespace": "n", "dynamo_component": "c", "dynamo_endpoint": "e"}
    assert endpoint.labels == names
    assert DistributedRuntime(registry, Scheme(prefix="mine_")).prefix == "mine_"


@pytest.mark.parametrize(
    "mistake",
    [
        lambda runtime: runtime.create_counter("c", "", {"namespace": "mine"}),
        lambda runtime: runtime.child("", {"endpoint": "mine"}),
        lambda runtime: runtime.namespace("n").child("deep_").counter("c", "", ["component"]),
        lambda runtime: runtime.namespace("n").child("", {"namespace": "other"}),
        lambda runtime: DistributedRuntime(runtime, Scheme(labels={"namespace": "mine"})).namespace("n"),
        lambda runtime: DistributedRuntime(runtime, Scheme(prefix="a b")),
        lambda runtime: runtime.create_gauge("a b", ""),
    ],
)
def test_mistakes_in_a_hierarchy_are_refused(mistake: Callable[[DistributedRuntime], Any], registry: Registry) -> None:
    with pytest.raises(InvalidValueError):
        mistake(DistributedRuntime(registry))


def test_levels_may_be_handed_to_other_processes(registry: Registry) -> None:
    runtime = DistributedRuntime(registry, Scheme(worker_id="w"))
    for level in (runtime, runtime.namespace("n").component("c"), runtime.namespace("n").child("x_", {"zone": "a"}).with_max_level(3)):
        again = pickle.loads(pickle.dumps(level))
        assert type(again) is type(level)
        assert (again.prefix, again.labels, again.path) == (level.prefix, level.labels, level.path)
    metric = pickle.loads(pickle.dumps(runtime.namespace("n").counter("pickled", "Pickled")))
    metric.inc()
    assert 'dynamo_pickled_total{namespace="n",worker_id="w"} 1' in runtime.prometheus_format_str()
    null = pickle.loads(pickle.dumps(Registry.null().child("a_")))
    assert (null.kind, null.prefix) == ("null", "a_")


def test_the_environment_chooses_the_process_s_registry(directory: Path) -> None:
    program = """if True:
    import dyn_metrics as m
    m.Counter("rooted", "Rooted").inc()
    m.DistributedRuntime().namespace("n").create_counter("deep_total", "Deep").inc(2)
    text = m.REGISTRY.prometheus_format_str()
    print(m.REGISTRY.kind, "rooted_total 1" in text, 'dynamo_deep_total{namespace="n"} 2' in text, m.generate_latest().decode() == "")
    """
    shm = str(directory / "root")
    assert run(program, DYN_METRICS_SHM=shm, DYN_METRICS_REGISTRY="").split() == ["shm", "True", "True", "False"]
    assert run(program, DYN_METRICS_SHM=shm + "2", DYN_METRICS_REGISTRY="prometheus").split() == ["prometheus", "True", "True", "False"]
    assert run(program, DYN_METRICS_SHM=shm + "3", DYN_METRICS_REGISTRY="null").split() == ["null", "False", "False", "True"]
    assert not Path(shm + "2").exists() and not Path(shm + "3").exists(), "no segment is made that nobody asked for"
    refused = "import dyn_metrics as m\ntry: m.Counter('c', '')\nexcept ValueError as error: print(error)"
    assert 'DYN_METRICS_REGISTRY: found "influx", expected' in run(refused, DYN_METRICS_REGISTRY="influx")


def test_a_registry_that_is_no_segment_says_so(directory: Path) -> None:
    null = Registry.null()
    assert str(null.path) in ("", ".") and repr(null) == 'Registry.of_kind("null")' and null.registry is null
    with pytest.raises(InvalidValueError, match="registry null: it has no snapshot"):
        null.snapshot()
    with pytest.raises(InvalidValueError, match='found "nothing", expected shm'):
        Registry.of_kind("nothing")
    with pytest.raises(InvalidValueError):
        null.counter("a b", "")


@pytest.mark.parametrize("kind", KINDS[:2])
def test_a_threshold_shows_what_is_important_and_all_goes_on_counting(kind: str, directory: Path) -> None:
    registry = of(kind, directory).child("threshold_")
    for level in (0, 3, 9):
        registry.counter(f"of_{level}", "", level=level).inc()

    def shown(some: Registry) -> list[str]:
        return re.findall(r"^threshold_of_(\d)_total 1", some.prometheus_format_str(), re.M)

    assert shown(registry) == ["0", "3", "9"]
    assert shown(registry.with_max_level(3)) == ["0", "3"]
    assert shown(registry.with_max_level(0).child("of_")) == ["0"]
    if kind == "shm":
        assert [family["level"] for family in registry.with_max_level(3)] == [0, 3]
        assert b"\nthreshold_of_9_total" not in registry.with_max_level(3).generate_latest()
    with pytest.raises(OverflowError):
        registry.with_max_level(256)
