//! The front end's book of requests under way: which worker has which, what arrived when, how each ended.
//!
//! Time and sockets come from outside, so that it can be tested without either.

use std::collections::{BTreeMap, VecDeque};
use std::io::Write;
use std::time::{Duration, Instant};

use dyn_metrics::Gauge;

use super::arrivals::{Fate, Request};
use super::engine::{End, Job};
use super::metrics::FrontendMetrics;
use super::models::{MODELS, Model};
use super::wire::{Item, Order};

/// Longest wait for a worker that serves the model.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often a request is sent to another worker when its own is lost.
const MIGRATION_LIMIT: u32 = 1;
/// Requests that one worker may have at once before more are turned away.
const OVERLOAD: usize = 256;

/// All requests under way, and the workers behind `W`.
pub struct Flights<W> {
    metrics: FrontendMetrics,
    backends: BTreeMap<u64, Backend<W>>,
    flights: BTreeMap<u64, Flight>,
    /// Those that no worker has yet, oldest first.
    pending: VecDeque<u64>,
}

struct Backend<W> {
    worker: u32,
    stream: W,
    inflight: usize,
    blocks: Gauge,
}

struct Flight {
    request: Request,
    arrived: Instant,
    /// Connection of the worker that has it.
    backend: Option<u64>,
    last_token: Option<Instant>,
    tokens: u32,
    migrations: u32,
}

impl Flight {
    fn order(&self) -> Order {
        let request = &self.request;
        Order::Generate(Job {
            id: request.id,
            prompt_tokens: request.prompt_tokens,
            output_tokens: request.output_tokens,
            prefix: request.prefix,
            fail_after: match request.fate {
                Fate::Faulty { after_tokens } => Some(after_tokens),
                Fate::Served | Fate::Cancelled { .. } => None,
            },
        })
    }

    /// Whether the client has gone away by now.
    fn is_cancelled(&self) -> bool {
        matches!(self.request.fate, Fate::Cancelled { after_tokens } if self.tokens > after_tokens)
    }

    fn fits(&self) -> bool {
        let length = MODELS[self.request.model].context_length;
        self.request.prompt_tokens.saturating_add(self.request.output_tokens) <= length
    }
}

impl<W: Write> Flights<W> {
    /// No requests, no workers.
    pub fn new(metrics: FrontendMetrics) -> Self {
        Self { metrics, backends: BTreeMap::new(), flights: BTreeMap::new(), pending: VecDeque::new() }
    }

    /// Workers that are connected.
    pub fn backends(&self) -> usize {
        self.backends.len()
    }

    /// Whether no request is under way.
    pub fn is_empty(&self) -> bool {
        self.flights.is_empty()
    }

    /// A client sends a request.
    pub fn arrive(&mut self, request: Request, now: Instant) {
        let model = &self.metrics.models[request.model];
        self.metrics.started(&request);
        model.inflight.inc();
        model.queued.inc();
        model.input_tokens.observe(f64::from(request.prompt_tokens));
        let id = request.id;
        let flight =
            Flight { request, arrived: now, backend: None, last_token: None, tokens: 0, migrations: 0 };
        let fits = flight.fits();
        self.flights.insert(id, flight);
        if fits { self.dispatch(id, now) } else { self.finish(id, "validation", now) }
    }

    /// A worker is ready behind `stream`.
    pub fn connected(&mut self, connection: u64, worker: u32, stream: W, now: Instant) {
        let blocks = self.metrics.worker_blocks(worker);
        self.backends.insert(connection, Backend { worker, stream, inflight: 0, blocks });
        for id in std::mem::take(&mut self.pending) {
            self.dispatch(id, now);
        }
    }

    /// A worker has finished a step.
    pub fn stepped(&mut self, connection: u64, active_blocks: u32, items: &[Item], now: Instant) {
        let Some(backend) = self.backends.get(&connection) else { return };
        backend.blocks.set(i64::from(active_blocks));
        let worker = backend.worker;
        for item in items {
            self.item(connection, worker, item, now);
        }
    }

    /// A worker has gone: what it had not begun goes to another, the rest has failed.
    pub fn lost(&mut self, connection: u64, now: Instant) {
        let Some(backend) = self.backends.remove(&connection) else { return };
        backend.blocks.set(0);
        let orphans = self.flights.iter().filter(|(_, flight)| flight.backend == Some(connection));
        for id in orphans.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.migrate(id, now);
        }
    }

    /// Gives up requests that have waited too long for a worker.
    pub fn expire(&mut self, now: Instant) {
        let flights = &self.flights;
        let late = |id: &u64| flights.get(id).is_none_or(|flight| now - flight.arrived > PATIENCE);
        let expired: Vec<u64> = self.pending.iter().copied().filter(late).collect();
        self.pending.retain(|id| !expired.contains(id));
        for id in expired {
            self.finish(id, "unavailable", now);
        }
    }

    /// Tells all workers that nothing more will come.
    pub fn drain(&mut self) {
        for backend in self.backends.values_mut() {
            // A worker that cannot be told is noticed by its reader.
            let _ = backend.stream.write_all(&Order::Drain.encode());
        }
    }

    /// Gives up all requests, because the service stops.
    pub fn abandon(&mut self, now: Instant) {
        for id in self.flights.keys().copied().collect::<Vec<_>>() {
            self.finish(id, "cancelled", now);
        }
        self.pending.clear();
    }

    /// Sends a request to the worker of its model that has the fewest, or lets it wait for one.
    fn dispatch(&mut self, id: u64, now: Instant) {
        let Some(flight) = self.flights.get_mut(&id) else { return };
        let model = flight.request.model;
        let candidates =
            self.backends.iter_mut().filter(|(_, backend)| Model::of_worker(backend.worker) == model);
        let Some((connection, backend)) = candidates.min_by_key(|(_, backend)| backend.inflight) else {
            return self.pending.push_back(id);
        };
        if backend.inflight >= OVERLOAD {
            return self.finish(id, "overload", now);
        }
        let connection = *connection;
        flight.backend = Some(connection);
        backend.inflight += 1;
        let begun = Instant::now();
        let sent = backend.stream.write_all(&flight.order().encode());
        self.metrics.send_seconds.observe(begun.elapsed().as_secs_f64());
        if sent.is_err() {
            self.lost(connection, now);
        }
    }

    fn migrate(&mut self, id: u64, now: Instant) {
        let Some(flight) = self.flights.get_mut(&id) else { return };
        flight.backend = None;
        if flight.tokens > 0 || flight.migrations >= MIGRATION_LIMIT {
            return self.finish(id, "internal", now);
        }
        flight.migrations += 1;
        self.metrics.migrated(flight.request.model);
        self.dispatch(id, now);
    }

    fn item(&mut self, connection: u64, worker: u32, item: &Item, now: Instant) {
        let Some(flight) = self.flights.get_mut(&item.id) else { return };
        if flight.backend != Some(connection) {
            return;
        }
        if item.tokens > 0 {
            observe_token(&self.metrics, flight, worker, item, now);
        }
        match item.end {
            Some(End::Error) => self.finish(item.id, "internal", now),
            Some(End::Stop | End::Length) => self.finish(item.id, "", now),
            None if flight.is_cancelled() => self.cancel(connection, item.id, now),
            None => {}
        }
    }

    fn cancel(&mut self, connection: u64, id: u64, now: Instant) {
        self.finish(id, "cancelled", now);
        let Some(backend) = self.backends.get_mut(&connection) else { return };
        if backend.stream.write_all(&Order::Cancel(id).encode()).is_err() {
            self.lost(connection, now);
        }
    }

    /// Takes a request off the book; `error_type` is empty for success.
    fn finish(&mut self, id: u64, error_type: &str, now: Instant) {
        let Some(flight) = self.flights.remove(&id) else { return };
        if let Some(backend) = flight.backend.and_then(|connection| self.backends.get_mut(&connection)) {
            backend.inflight -= 1;
        }
        let model = &self.metrics.models[flight.request.model];
        model.inflight.dec();
        if flight.tokens == 0 {
            model.queued.dec();
        } else {
            model.output_tokens.observe(f64::from(flight.tokens));
        }
        model.duration.observe((now - flight.arrived).as_secs_f64());
        self.metrics.finished(&flight.request, error_type);
    }
}

fn observe_token(metrics: &FrontendMetrics, flight: &mut Flight, worker: u32, item: &Item, now: Instant) {
    let model = &metrics.models[flight.request.model];
    match flight.last_token.replace(now) {
        Some(last) => model.inter_token_latency.observe((now - last).as_secs_f64()),
        None => {
            let seconds = (now - flight.arrived).as_secs_f64();
            model.queued.dec();
            model.time_to_first_token.observe(seconds);
            model.cached_tokens.observe(f64::from(item.cached_tokens));
            metrics.worker_ttft(worker, seconds);
        }
    }
    flight.tokens += item.tokens;
    model.output_tokens_total.inc_by(u64::from(item.tokens));
}

#[cfg(test)]
mod tests;
