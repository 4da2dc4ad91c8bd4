"""An ASGI application whose workers count as one: no port of its own for metrics, no files, nothing to set up before a fork.

    uvicorn app:app --workers 3
    gunicorn app:app --workers 3 --worker-class uvicorn_worker.UvicornWorker

``GET /metrics`` shows what all workers have counted, whichever of them answers; in production dyn-metrics-exporter serves that.
"""

import json
import os

from dyn_metrics import Counter, Gauge, Histogram, generate_latest

REQUESTS = Counter("app_requests", "Requests answered", ["path", "status"])
SECONDS = Histogram("app_request_seconds", "Time to answer", ["path"], unit="seconds")
RUNNING = Gauge("app_running_requests", "Requests being answered")  # the sum over the workers that live
WORKERS = Gauge("app_worker_requests", "Requests answered by a worker", multiprocess_mode="liveall")  # one sample each


async def square(query):
    return 200, json.dumps({"square": int(query.decode() or 0) ** 2, "worker": os.getpid()}).encode()


async def metrics(query):
    return 200, generate_latest()


ROUTES = {"/square": square, "/metrics": metrics}


async def answer(path, query):
    """Status and body. What is counted by a path is one of the paths there are: others would be a series each."""
    route = path if path in ROUTES else "other"
    with RUNNING.track_inprogress(), SECONDS.labels(route).time():
        try:
            status, body = await ROUTES[path](query) if path in ROUTES else (404, b"not found\n")
        except ValueError as error:
            status, body = 400, f"{error}\n".encode()
    REQUESTS.labels(route, status).inc()
    WORKERS.inc()
    return status, body


async def app(scope, receive, send):
    if scope["type"] == "http":
        status, body = await answer(scope["path"], scope["query_string"])
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": body})
    elif scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
