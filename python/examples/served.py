"""A FastAPI application with an endpoint of each worker's own: liveness, readiness, health.

    DYN_SYSTEM_ENABLED=true DYN_SYSTEM_PORT=0 uvicorn served:app --workers 2

The port is in the log, in the gauge ``dynamo_system_port``, and in ``dyn-metrics dump --format json``.
"""

import asyncio
from contextlib import asynccontextmanager

from fastapi import FastAPI

from dyn_metrics import IntCounter, IntGauge, system

DONE = IntCounter("served_requests", "Requests answered")
PENDING = IntGauge("served_running_requests", "Requests being answered")
loaded = asyncio.Event()


@system.readiness(interval=1)
def model() -> None:
    if not loaded.is_set():
        raise RuntimeError("the model is being loaded")


@asynccontextmanager
async def lifespan(app: FastAPI):
    serving = asyncio.get_running_loop()
    # On the loop that serves: what blocks it shows in /health after a second, and asks for a restart after two minutes.
    beat = system.add_beat("event_loop", 1.0, probe="health", interval=0.5)
    system.add_beat("event_loop_dead", 120.0, beat, probe="liveness")

    @system.health_check("answers", interval=1, loop=serving)
    async def answers() -> str:
        return f"{len(asyncio.all_tasks())} tasks"

    async def beats() -> None:
        while True:
            beat.beat()
            await asyncio.sleep(0.1)

    beating = asyncio.create_task(beats())
    server = system.start_from_env(version="1.4.2")
    if server is not None:
        print(f"health at {server.url}/health", flush=True)
    loaded.set()
    yield
    if server is not None:
        system.set_state("draining")
    beating.cancel()
    # Not on this loop: answers that are on their way may take a while.
    await asyncio.to_thread(system.stop)


app = FastAPI(lifespan=lifespan)


@app.get("/square")
async def square(n: int) -> dict[str, int]:
    with PENDING.track_inprogress():
        DONE.inc()
        return {"square": n * n}


@app.post("/block")
async def block(seconds: float) -> None:
    """What must not happen: the loop stands still."""
    import time

    time.sleep(seconds)
