//! The front end: plays the clients, routes their requests to the workers and measures what comes back.
//!
//! One thread owns all state. A thread for each worker only reads its socket and notes when each message came.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use dyn_metrics::Registry;
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::geteuid;

use super::DemoError;
use super::arrivals::Arrivals;
use super::flights::Flights;
use super::metrics::FrontendMetrics;
use super::process::Stop;
use super::wire::{Item, Reply};

/// Longest time without a look at the stop flag.
const TICK: Duration = Duration::from_millis(50);
/// Longest wait for the workers at the start.
const START_LIMIT: Duration = Duration::from_secs(10);
/// A worker that does not take its requests for so long is given up.
const SEND_LIMIT: Duration = Duration::from_secs(2);

/// What the threads that read report.
enum Event {
    Connected { connection: u64, worker: u32, stream: UnixStream },
    Stepped { connection: u64, active_blocks: u32, items: Vec<Item>, at: Instant },
    Lost { connection: u64 },
}

struct Frontend {
    flights: Flights<UnixStream>,
    events: Receiver<Event>,
}

/// Runs the front end for `workers` workers until `stop` is set, and then until the requests under way have ended, for
/// `drain` at most. Standard input is the socket it listens on.
pub fn run(workers: u32, seed: u64, shm: &Path, drain: Duration, stop: &Stop) -> Result<(), DemoError> {
    let listener = inherited_listener().map_err(|source| DemoError::io("listen for workers", source))?;
    let registry = Registry::builder().path(shm).role("frontend").open();
    let registry = registry.map_err(DemoError::segment)?;
    let metrics = FrontendMetrics::register(&registry).map_err(DemoError::segment)?;
    let (sender, events) = mpsc::channel();
    thread::spawn(move || accept(&listener, &sender));
    let mut frontend = Frontend { flights: Flights::new(metrics), events };
    frontend.wait_for_workers(workers, stop);
    frontend.serve(Arrivals::new(seed, workers), stop);
    frontend.shut_down(drain);
    Ok(())
}

fn inherited_listener() -> io::Result<UnixListener> {
    io::stdin().as_fd().try_clone_to_owned().map(UnixListener::from)
}

fn accept(listener: &UnixListener, events: &Sender<Event>) {
    for (connection, stream) in (0..).zip(listener.incoming()) {
        match stream {
            Ok(stream) if is_ours(&stream) => {
                let events = events.clone();
                thread::spawn(move || read(connection, stream, &events));
            }
            Ok(_) => eprintln!("front end: refused a connection from another user"),
            Err(error) => {
                eprintln!("front end: cannot accept a worker: {error}");
                thread::sleep(TICK);
            }
        }
    }
}

/// Abstract sockets have no permissions, so the other side is asked who it is.
fn is_ours(stream: &UnixStream) -> bool {
    getsockopt(stream, PeerCredentials).is_ok_and(|peer| peer.uid() == geteuid().as_raw())
}

fn read(connection: u64, mut stream: UnixStream, events: &Sender<Event>) {
    while let Ok(Some(reply)) = Reply::read(&mut stream) {
        let at = Instant::now();
        let event = match reply {
            Reply::Step { active_blocks, items } => Event::Stepped { connection, active_blocks, items, at },
            Reply::Hello { worker } => match writing_half(&stream) {
                Ok(stream) => Event::Connected { connection, worker, stream },
                Err(error) => {
                    eprintln!("front end: cannot use the socket of worker {worker}: {error}");
                    break;
                }
            },
        };
        if events.send(event).is_err() {
            return;
        }
    }
    // Nobody listens any more when the front end is on its way out.
    let _ = events.send(Event::Lost { connection });
}

fn writing_half(stream: &UnixStream) -> io::Result<UnixStream> {
    let half = stream.try_clone()?;
    half.set_write_timeout(Some(SEND_LIMIT))?;
    Ok(half)
}

impl Frontend {
    fn wait_for_workers(&mut self, workers: u32, stop: &Stop) {
        let limit = Instant::now() + START_LIMIT;
        while self.flights.backends() < workers as usize && !stop.requested() && Instant::now() < limit {
            self.handle_events(TICK);
        }
    }

    fn serve(&mut self, mut arrivals: Arrivals, stop: &Stop) {
        let start = Instant::now();
        let mut next = arrivals.next();
        while let Some(request) = next.filter(|_| !stop.requested()) {
            // Counted from when it was to come, not from when this thread found time for it.
            let due = start + request.at;
            let now = Instant::now();
            if due <= now {
                self.flights.arrive(request, due);
                next = arrivals.next();
                self.handle_events(Duration::ZERO);
            } else {
                self.handle_events(TICK.min(due - now));
            }
            self.flights.expire(Instant::now());
        }
    }

    /// Lets requests under way finish, within limits, so that every one that was started also ends in the counts.
    fn shut_down(&mut self, drain: Duration) {
        self.flights.drain();
        let limit = Instant::now() + drain;
        while !self.flights.is_empty() && Instant::now() < limit {
            self.handle_events(TICK);
        }
        self.flights.abandon(Instant::now());
    }

    /// Handles what has come, after waiting `wait` at most for the first.
    fn handle_events(&mut self, wait: Duration) {
        let mut event = self.events.recv_timeout(wait).ok();
        while let Some(happened) = event {
            self.handle(happened);
            event = self.events.try_recv().ok();
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Connected { connection, worker, stream } => {
                self.flights.connected(connection, worker, stream, Instant::now());
            }
            Event::Stepped { connection, active_blocks, items, at } => {
                self.flights.stepped(connection, active_blocks, &items, at);
            }
            Event::Lost { connection } => self.flights.lost(connection, Instant::now()),
        }
    }
}
