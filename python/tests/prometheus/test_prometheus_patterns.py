"""Programs that use prometheus_client the way that well-known ones do, unchanged."""

from __future__ import annotations

import pathlib

from programs import Segment, segment  # noqa: F401

# An engine: a front end and workers, metrics in the default registry, exposed through a registry of its own; old metrics are
# unregistered before new ones are made.
ENGINE = """
import multiprocessing
import os
import tempfile

if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
    directory = tempfile.TemporaryDirectory()
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = directory.name

import prometheus_client
from prometheus_client import REGISTRY, CollectorRegistry, make_asgi_app, multiprocess

LABELS = ["model_name", "engine"]


def engine_metrics(engine):
    values = {"model_name": "m", "engine": str(engine)}
    return {
        "running": prometheus_client.Gauge(
            "vllm:num_requests_running", "Running", multiprocess_mode="mostrecent", labelnames=LABELS
        ).labels(**values),
        "tokens": prometheus_client.Counter("vllm:prompt_tokens", "Tokens", labelnames=LABELS).labels("m", str(engine)),
        "ttft": prometheus_client.Histogram(
            "vllm:time_to_first_token_seconds", "TTFT", buckets=[0.001, 0.1, 1.0], labelnames=LABELS
        ).labels(**values),
        "config": prometheus_client.Gauge(
            "vllm:cache_config_info", "Config", multiprocess_mode="mostrecent", labelnames=["block_size", "engine"]
        ).labels(block_size="16", engine=str(engine)),
        "lora": prometheus_client.Gauge(
            "vllm:lora_requests_info", "LoRA", multiprocess_mode="livemostrecent", labelnames=["running_lora_adapters"]
        ),
    }


def unregister():
    for collector in list(REGISTRY._collector_to_names):
        if hasattr(collector, "_name") and "vllm" in collector._name:
            REGISTRY.unregister(collector)


def worker(engine):
    unregister()
    made = engine_metrics(engine)
    made["running"].set(engine + 2)
    made["tokens"].inc(100)
    made["ttft"].observe(0.05)
    made["config"].set(1)
    made["lora"].labels("a,b").set_to_current_time()
    # Several observations at once, on the buckets themselves, as SGLang does.
    ttft = made["ttft"]
    ttft._sum.inc(1.5)
    for i, bound in enumerate(ttft._upper_bounds):
        if 0.5 <= bound:
            ttft._buckets[i].inc(3)
            break


async def ask(app):
    sent = []

    async def send(message):
        sent.append(message)

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": []}
    await app(scope, receive, send)
    return "".join(m.get("body", b"").decode() for m in sent)


if __name__ == "__main__":
    import asyncio

    engine_metrics("unused")
    unregister()
    front = prometheus_client.Counter("http_requests", "Requests", ["handler"])
    front.labels("/v1").inc()
    processes = [multiprocessing.get_context("spawn").Process(target=worker, args=(n,)) for n in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)
    print(asyncio.run(ask(make_asgi_app(registry=registry))))
    multiprocess.mark_process_dead(os.getpid(), os.environ["PROMETHEUS_MULTIPROC_DIR"])
    assert os.listdir(os.environ["PROMETHEUS_MULTIPROC_DIR"]) == []
"""


def test_an_engine_shows_all_its_processes_on_its_own_endpoint(segment: Segment) -> None:
    lines = set(segment.unchanged(ENGINE).splitlines())
    assert {
        'vllm:num_requests_running{engine="0",model_name="m"} 2.0',
        'vllm:num_requests_running{engine="1",model_name="m"} 3.0',
        'vllm:prompt_tokens_total{engine="0",model_name="m"} 100.0',
        'vllm:prompt_tokens_total{engine="1",model_name="m"} 100.0',
        'vllm:time_to_first_token_seconds_bucket{engine="0",le="0.1",model_name="m"} 1.0',
        'vllm:time_to_first_token_seconds_bucket{engine="0",le="1.0",model_name="m"} 4.0',
        'vllm:time_to_first_token_seconds_count{engine="1",model_name="m"} 4.0',
        'vllm:time_to_first_token_seconds_sum{engine="1",model_name="m"} 1.55',
        'vllm:cache_config_info{block_size="16",engine="0"} 1.0',
        'http_requests_total{handler="/v1"} 1.0',
        "# TYPE vllm:prompt_tokens_total counter",
        "# TYPE vllm:time_to_first_token_seconds histogram",
    } <= lines


# A middleware: metrics behind a factory that may be called twice, a default registry, a custom collector beside them, and an
# endpoint that makes a registry for each request.
MIDDLEWARE = """
import os
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, Summary, generate_latest, multiprocess
from prometheus_client.core import GaugeMetricFamily


def latency(registry=REGISTRY):
    try:
        return Histogram("http_request_duration_seconds", "Duration", ["method", "handler"], registry=registry)
    except ValueError as error:
        assert "Duplicated timeseries" in error.args[0]
        return None


class Queue:
    def collect(self):
        yield GaugeMetricFamily("queue_length", "Waiting", value=3)


duration, again = latency(), latency()
assert again is None
total = Counter("http_requests_total", "Requests", labelnames=("method", "status", "handler"))
size = Summary("http_request_size_bytes", "Size", ["handler"])
inprogress = Gauge("http_requests_inprogress", "In progress", ["method"], multiprocess_mode="livesum")
REGISTRY.register(Queue())
with inprogress.labels("GET").track_inprogress(), duration.labels("GET", "/").time():
    total.labels("GET", "2xx", "/").inc()
    size.labels("/").observe(100)

own = generate_latest(REGISTRY).decode().splitlines()
assert {"queue_length 3.0", 'http_requests_total{handler="/",method="GET",status="2xx"} 1.0'} <= set(own)
assert any(line.startswith("process_cpu_seconds_total") for line in own)

for _ in range(3):
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)
    registry.register(Queue())
    page = generate_latest(registry).decode().splitlines()
    assert {
        "queue_length 3.0",
        'http_requests_total{handler="/",method="GET",status="2xx"} 1.0',
        'http_request_size_bytes_sum{handler="/"} 100.0',
        'http_request_duration_seconds_count{handler="/",method="GET"} 1.0',
        'http_requests_inprogress{method="GET"} 0.0',
    } <= set(page), page
"""


def test_a_middleware_works_with_its_default_registry_and_with_one_for_each_request(
    segment: Segment, tmp_path: pathlib.Path
) -> None:
    segment.unchanged(MIDDLEWARE)
    segment.path.unlink()
    segment.unchanged(MIDDLEWARE, PROMETHEUS_MULTIPROC_DIR=str(tmp_path))
    assert list(tmp_path.iterdir()) == []
