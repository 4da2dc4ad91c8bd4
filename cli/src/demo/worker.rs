//! A worker: an engine behind a socket. Takes requests from the front end, sends back the tokens of each step.

use std::io::{ErrorKind, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use dyn_metrics::Registry;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, LogNormal};

use super::DemoError;
use super::engine::{Emission, Engine, Step};
use super::metrics::WorkerMetrics;
use super::models::{MODELS, Model};
use super::process::Stop;
use super::wire::{Item, Order, Reply};

/// How often an idle worker looks up.
const IDLE: Duration = Duration::from_millis(100);

/// An order and its size in bytes.
type Received = (Order, usize);

struct Worker {
    engine: Engine,
    metrics: WorkerMetrics,
    stream: UnixStream,
    orders: Receiver<Received>,
    started: Instant,
    jitter: Jitter,
}

/// Small differences between steps that should take the same time.
struct Jitter {
    rng: ChaCha8Rng,
    factor: LogNormal<f64>,
}

impl Jitter {
    fn new(seed: u64, worker: u32) -> Self {
        let rng = ChaCha8Rng::seed_from_u64(seed ^ (u64::from(worker) + 1) << 32);
        Self { rng, factor: LogNormal::new(0.0, 0.08).expect("the parameters are constants in range") }
    }

    fn apply(&mut self, duration: Duration) -> Duration {
        duration.mul_f64(self.factor.sample(&mut self.rng))
    }
}

/// Runs worker `index` until the front end closes its socket or `stop` is set.
pub fn run(index: u32, seed: u64, shm: &Path, socket: &str, stop: &Stop) -> Result<(), DemoError> {
    let started = Instant::now();
    let model = &MODELS[Model::of_worker(index)];
    let id = index.to_string();
    let registry = Registry::builder().path(shm).role("worker").process_label("worker_id", &id).open();
    let registry = registry.map_err(DemoError::segment)?;
    let metrics = WorkerMetrics::register(&registry, index, model).map_err(DemoError::segment)?;
    metrics.state("starting");
    let mut jitter = Jitter::new(seed, index);
    load_model(jitter.apply(model.load_time), stop);
    metrics.loaded(started.elapsed());

    let stream = match connect(socket) {
        Ok(stream) => stream,
        // The front end has gone while the model was loaded: the demo stops.
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => return Ok(()),
        Err(source) => return Err(DemoError::io("connect to the front end", source)),
    };
    let reader = stream.try_clone().map_err(|source| DemoError::io("share the socket", source))?;
    let (sender, orders) = mpsc::channel();
    thread::spawn(move || forward(reader, &sender));
    let mut worker = Worker { engine: Engine::new(model), metrics, stream, orders, started, jitter };
    if worker.send(&Reply::Hello { worker: index }) {
        worker.metrics.state("ready");
        worker.serve(stop);
    }
    Ok(())
}

fn connect(socket: &str) -> std::io::Result<UnixStream> {
    UnixStream::connect_addr(&SocketAddr::from_abstract_name(socket)?)
}

fn load_model(duration: Duration, stop: &Stop) {
    let end = Instant::now() + duration;
    while !stop.requested() && Instant::now() < end {
        thread::sleep(Duration::from_millis(20).min(end.saturating_duration_since(Instant::now())));
    }
}

/// Reads orders until the socket ends; then the sender is dropped, which tells the worker.
fn forward(mut stream: UnixStream, sender: &Sender<Received>) {
    while let Ok(Some(order)) = Order::read(&mut stream) {
        if sender.send(order).is_err() {
            return;
        }
    }
}

impl Worker {
    fn serve(&mut self, stop: &Stop) {
        while !stop.requested() && self.take_orders() {
            let now = self.started.elapsed();
            let Some(step) = self.engine.begin_step(now) else { continue };
            if !self.run_step(&step) {
                return;
            }
        }
    }

    /// Takes what has come; waits a little when there is nothing to do. False when the front end has gone.
    fn take_orders(&mut self) -> bool {
        let idle = self.engine.running() + self.engine.waiting() == 0;
        let mut wait = if idle { IDLE } else { Duration::ZERO };
        loop {
            match self.orders.recv_timeout(wait) {
                Ok(order) => self.take(order),
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => return false,
            }
            wait = Duration::ZERO;
        }
        self.show_load();
        true
    }

    fn take(&mut self, (order, bytes): Received) {
        match order {
            Order::Generate(job) => {
                self.metrics.received(bytes);
                self.engine.submit(job, self.started.elapsed());
            }
            Order::Cancel(id) => {
                if self.engine.cancel(id) {
                    self.metrics.aborted();
                }
            }
            Order::Drain => self.metrics.state("draining"),
        }
    }

    /// Computes one step, which here means to wait, and sends what it gave. False when the front end has gone.
    fn run_step(&mut self, step: &Step) -> bool {
        let begun = Instant::now();
        thread::sleep(self.jitter.apply(step.duration));
        let emissions = self.engine.end_step(self.started.elapsed());
        let generated = emissions.iter().map(|emission| emission.tokens).sum();
        self.metrics.stepped(step, generated, begun.elapsed());
        for (end, timing) in emissions.iter().filter_map(|emission| emission.end) {
            self.metrics.finished(end, &timing);
        }
        self.show_load();
        let items = emissions.iter().map(item).collect();
        self.send(&Reply::Step { active_blocks: self.engine.active_blocks(), items })
    }

    fn show_load(&mut self) {
        let engine = &self.engine;
        self.metrics.load(engine.running(), engine.waiting(), engine.active_blocks(), self.started.elapsed());
    }

    fn send(&mut self, reply: &Reply) -> bool {
        let frame = reply.encode();
        self.metrics.sent(frame.len());
        self.stream.write_all(&frame).is_ok()
    }
}

fn item(emission: &Emission) -> Item {
    Item {
        id: emission.id,
        tokens: emission.tokens,
        cached_tokens: emission.cached_tokens,
        end: emission.end.map(|(end, _)| end),
    }
}
