"""Classes of metrics."""

import subprocess

import pytest
from conftest import TARGET

import dyn_metrics
from dyn_metrics import ConflictError, Counter, DynMetricsError, Histogram, InvalidValueError, Metrics, Registry


class CacheMetrics(Metrics, prefix="cache_"):
    hits = dyn_metrics.int_counter("hits_total", "Hits")


class RouterMetrics(Metrics, prefix="router_", labels={"zone": "a"}):
    """What a router counts."""

    requests = dyn_metrics.counter("requests_total", "Requests routed", labels=["model"])
    latency = dyn_metrics.histogram("latency_seconds", "Time to route", unit="seconds", buckets=[0.1, 1], level=2)
    queued = dyn_metrics.gauge("queued", "Waiting", multiprocess_mode="livemax")
    phase = dyn_metrics.enum("phase", "Phase", states=["on", "off"])
    cache = dyn_metrics.nested(CacheMetrics, labels={"tier": "1"})


class EdgeMetrics(RouterMetrics):
    drops = dyn_metrics.int_counter("drops_total", "Dropped")


@pytest.mark.parametrize("kind", ["shm", "prometheus", "null"])
def test_an_object_registers_what_the_class_declares(kind: str, registry: Registry) -> None:
    home = registry if kind == "shm" else Registry.of_kind(kind).child("declared_")
    router, again = RouterMetrics(home), RouterMetrics(home)
    assert isinstance(router.requests, Counter) and isinstance(router.latency, Histogram)
    router.requests.labels("llama").inc()
    again.requests.labels("llama").inc()
    router.latency.observe(0.5)
    router.queued.set(3)
    router.phase.state("off")
    router.cache.hits.inc(4)
    edge = EdgeMetrics(home)
    edge.drops.inc()
    prefix, text = home.prefix, home.prometheus_format_str()
    for line in (
        'router_requests_total{model="llama",zone="a"} 2',
        'router_latency_seconds_bucket{zone="a",le="1"} 1',
        'router_queued{zone="a"} 3',
        'router_cache_hits_total{tier="1",zone="a"} 4',
        'router_drops_total{zone="a"} 1',
    ):
        assert (f"\n{prefix}{line}\n" in text) == (kind != "null"), line


def test_what_is_declared_can_be_listed_without_a_registry() -> None:
    declared = {one.field: one for one in EdgeMetrics.declared()}
    assert list(declared) == ["requests", "latency", "queued", "phase", "cache.hits", "drops"]
    latency, hits = declared["latency"], declared["cache.hits"]
    assert (latency.name, latency.type, latency.documentation) == ("router_latency_seconds", "histogram", "Time to route")
    assert (latency.unit, latency.buckets, latency.level, latency.labels) == ("seconds", (0.1, 1.0), 2, {"zone": "a"})
    assert (declared["requests"].labelnames, declared["phase"].states) == (("model",), ("on", "off"))
    assert (hits.name, hits.labels) == ("router_cache_hits_total", {"zone": "a", "tier": "1"})
    assert repr(hits).startswith("Declaration(field='cache.hits', name='router_cache_hits_total'")


def test_what_is_declared_becomes_a_table() -> None:
    class Usual(Metrics):
        usual = dyn_metrics.histogram("usual_seconds", "Usual", labels=["op"])

    done = subprocess.run(
        [TARGET / "debug" / "dyn-metrics", "describe", "--declared", "-"],
        input=EdgeMetrics.declared_json() + Usual.declared_json(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[2:] == [
        "| `router_requests_total` | counter | | `zone`: `a`; `model` | 0 | Requests routed |",
        "| `router_latency_seconds` | histogram: 2 buckets from 0.1 to 1 | seconds | `zone`: `a` | 2 | Time to route |",
        "| `router_queued` | gauge: livemax | | `zone`: `a` | 0 | Waiting |",
        "| `router_phase` | stateset: on, off | | `zone`: `a` | 0 | Phase |",
        "| `router_cache_hits_total` | counter | | `tier`: `1`; `zone`: `a` | 0 | Hits |",
        "| `router_drops_total` | counter | | `zone`: `a` | 0 | Dropped |",
        "| `usual_seconds` | histogram: 11 buckets from 0.005 to 10 | | `op` | 0 | Usual |",
    ]


def refused(expected: type[DynMetricsError], text: str, **fields: object) -> None:
    with pytest.raises(expected) as error:
        type("Broken", (Metrics,), fields)
    assert str(error.value).startswith("Broken.") and text in str(error.value)


def test_mistakes_are_found_when_the_class_is_made() -> None:
    good = dyn_metrics.counter("a_total", "")
    refused(InvalidValueError, 'a: metric name "a b_total" has', a=dyn_metrics.counter("a b", ""))
    refused(InvalidValueError, "bounds hold 2 before 1", a=dyn_metrics.histogram("h", "", buckets=[2, 1]))
    refused(InvalidValueError, "label", a=dyn_metrics.counter("a", "", labels=["1x"]))
    refused(InvalidValueError, "level: found 256", a=dyn_metrics.gauge("a", "", level=256))
    refused(InvalidValueError, "b: found 'a_total', which a is, too", a=good, b=dyn_metrics.counter("a", ""))
    refused(ConflictError, "b: metric", a=good, b=dyn_metrics.gauge("a_total", ""))
    with pytest.raises(TypeError, match="expected a class of metrics"):
        dyn_metrics.nested(int)  # type: ignore[type-var]


def test_a_conflict_with_others_names_the_field(registry: Registry) -> None:
    registry.gauge("router_latency_seconds", "Another's")
    with pytest.raises(ConflictError, match="^RouterMetrics.latency: "):
        RouterMetrics(registry)
