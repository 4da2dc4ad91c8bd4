//! Requests under way, with sockets that only remember and a clock that only the test moves.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use dyn_metrics::Registry;

use super::*;
use crate::demo::arrivals::Endpoint;

/// A worker's socket: keeps what is written, or fails once it is broken.
#[derive(Clone, Default)]
struct Wire(Rc<RefCell<(Vec<u8>, bool)>>);

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (written, broken) = &mut *self.0.borrow_mut();
        if *broken {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        written.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Wire {
    fn broken() -> Self {
        let wire = Self::default();
        wire.0.borrow_mut().1 = true;
        wire
    }

    /// What was written since the last time.
    fn orders(&self) -> Vec<Order> {
        let bytes = std::mem::take(&mut self.0.borrow_mut().0);
        let mut stream = bytes.as_slice();
        std::iter::from_fn(|| Order::read(&mut stream).unwrap()).map(|(order, _)| order).collect()
    }

    fn jobs(&self) -> Vec<u64> {
        let id = |order| if let Order::Generate(job) = order { Some(job.id) } else { None };
        self.orders().into_iter().filter_map(id).collect()
    }
}

struct Fixture {
    flights: Flights<Wire>,
    now: Instant,
    registry: Registry,
    _directory: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let registry = Registry::open_at(directory.path().join("segment")).unwrap();
        let flights = Flights::new(FrontendMetrics::register(&registry).unwrap());
        Self { flights, now: Instant::now(), registry, _directory: directory }
    }

    /// Connects worker `worker`, which serves the first model if it is 0 or 1.
    fn worker(&mut self, connection: u64, worker: u32) -> Wire {
        let wire = Wire::default();
        self.flights.connected(connection, worker, wire.clone(), self.now);
        wire
    }

    fn arrive(&mut self, id: u64, fate: Fate) {
        self.flights.arrive(request(id, fate), self.now);
    }

    fn pass(&mut self, milliseconds: u64) {
        self.now += Duration::from_millis(milliseconds);
    }

    fn token(&mut self, connection: u64, id: u64, end: Option<End>) {
        let item = Item { id, tokens: 1, cached_tokens: 0, end };
        self.flights.stepped(connection, 4, &[item], self.now);
    }

    /// Requests that ended with this `error_type`.
    fn ended(&self, error_type: &str) -> u64 {
        let opts = dyn_metrics::Opts::new("dynamo_frontend_requests_total", "LLM requests processed");
        let labels = ["model", "endpoint", "request_type", "status", "error_type"];
        let family: dyn_metrics::Family<dyn_metrics::Counter> = self.registry.family(&opts, &labels).unwrap();
        let status = if error_type.is_empty() { "success" } else { "error" };
        family
            .get(&[MODELS[0].name, "chat_completions", "stream", status, error_type])
            .map_or(0, |counter| counter.value())
    }

    fn inflight(&self) -> i64 {
        self.flights.metrics.models[0].inflight.value()
    }

    fn queued(&self) -> i64 {
        self.flights.metrics.models[0].queued.value()
    }
}

fn request(id: u64, fate: Fate) -> Request {
    Request {
        id,
        at: Duration::ZERO,
        model: 0,
        endpoint: Endpoint::ChatCompletions,
        streaming: true,
        prompt_tokens: 100,
        output_tokens: 3,
        prefix: None,
        fate,
    }
}

#[test]
fn a_request_goes_to_a_worker_and_ends_with_its_last_token() {
    let mut fixture = Fixture::new();
    let wire = fixture.worker(1, 0);
    fixture.arrive(7, Fate::Served);
    assert_eq!(wire.jobs(), [7]);
    assert_eq!((fixture.inflight(), fixture.queued()), (1, 1));
    fixture.pass(40);
    fixture.token(1, 7, None);
    assert_eq!((fixture.inflight(), fixture.queued()), (1, 0));
    fixture.token(1, 7, None);
    fixture.token(1, 7, Some(End::Stop));
    assert!(fixture.flights.is_empty());
    assert_eq!((fixture.inflight(), fixture.queued(), fixture.ended("")), (0, 0, 1));
    assert_eq!(fixture.flights.metrics.models[0].output_tokens_total.value(), 3);
}

#[test]
fn requests_go_to_the_worker_with_the_fewest() {
    let mut fixture = Fixture::new();
    let (first, second) = (fixture.worker(1, 0), fixture.worker(2, 1));
    let other_model = fixture.worker(3, 2);
    for id in 0..4 {
        fixture.arrive(id, Fate::Served);
    }
    assert_eq!((first.jobs(), second.jobs()), (vec![0, 2], vec![1, 3]));
    assert_eq!(other_model.jobs(), Vec::<u64>::new());
}

#[test]
fn requests_wait_for_a_worker_and_give_up_after_a_while() {
    let mut fixture = Fixture::new();
    fixture.arrive(1, Fate::Served);
    fixture.pass(4_000);
    fixture.arrive(2, Fate::Served);
    fixture.pass(2_000);
    fixture.flights.expire(fixture.now);
    assert_eq!(fixture.ended("unavailable"), 1);
    let wire = fixture.worker(1, 0);
    assert_eq!(wire.jobs(), [2]);
}

#[test]
fn when_a_worker_is_lost_what_had_begun_fails_and_the_rest_moves() {
    let mut fixture = Fixture::new();
    let first = fixture.worker(1, 0);
    fixture.arrive(1, Fate::Served);
    fixture.arrive(2, Fate::Served);
    assert_eq!(first.jobs(), [1, 2]);
    fixture.token(1, 1, None);
    let second = fixture.worker(2, 1);
    fixture.flights.lost(1, fixture.now);
    assert_eq!(fixture.ended("internal"), 1);
    assert_eq!(second.jobs(), [2]);
    fixture.flights.lost(2, fixture.now);
    assert_eq!(fixture.ended("internal"), 2, "a request moves once");
    assert_eq!((fixture.inflight(), fixture.queued()), (0, 0));
}

#[test]
fn a_worker_that_cannot_be_written_to_is_lost() {
    let mut fixture = Fixture::new();
    fixture.flights.connected(1, 0, Wire::broken(), fixture.now);
    let second = fixture.worker(2, 1);
    fixture.arrive(1, Fate::Served);
    assert_eq!(second.jobs(), [1]);
    assert_eq!(fixture.flights.backends(), 1);
}

#[test]
fn a_client_that_goes_away_cancels_its_request() {
    let mut fixture = Fixture::new();
    let wire = fixture.worker(1, 0);
    fixture.arrive(1, Fate::Cancelled { after_tokens: 1 });
    fixture.token(1, 1, None);
    assert!(!fixture.flights.is_empty());
    fixture.token(1, 1, None);
    assert_eq!(fixture.ended("cancelled"), 1);
    assert_eq!(wire.orders().last(), Some(&Order::Cancel(1)));
    fixture.token(1, 1, None);
    assert_eq!(
        fixture.flights.metrics.models[0].output_tokens_total.value(),
        2,
        "a late token counts no more"
    );
}

#[test]
fn an_engine_failure_is_an_internal_error() {
    let mut fixture = Fixture::new();
    let wire = fixture.worker(1, 0);
    fixture.arrive(1, Fate::Faulty { after_tokens: 0 });
    assert!(matches!(wire.orders()[..], [Order::Generate(Job { fail_after: Some(0), .. })]));
    let item = Item { id: 1, tokens: 0, cached_tokens: 0, end: Some(End::Error) };
    fixture.flights.stepped(1, 0, &[item], fixture.now);
    assert_eq!((fixture.ended("internal"), fixture.inflight(), fixture.queued()), (1, 0, 0));
}

#[test]
fn a_prompt_beyond_the_context_is_refused_at_once() {
    let mut fixture = Fixture::new();
    let wire = fixture.worker(1, 0);
    let request = Request { prompt_tokens: MODELS[0].context_length, ..request(1, Fate::Served) };
    fixture.flights.arrive(request, fixture.now);
    assert_eq!((fixture.ended("validation"), fixture.inflight()), (1, 0));
    assert_eq!(wire.jobs(), Vec::<u64>::new());
}

#[test]
fn a_worker_with_too_many_requests_gets_no_more() {
    let mut fixture = Fixture::new();
    fixture.worker(1, 0);
    for id in 0..=OVERLOAD as u64 {
        fixture.arrive(id, Fate::Served);
    }
    assert_eq!(fixture.ended("overload"), 1);
    assert_eq!(fixture.inflight(), OVERLOAD as i64);
}

#[test]
fn every_request_that_started_has_ended_after_the_stop() {
    let mut fixture = Fixture::new();
    let wire = fixture.worker(1, 0);
    fixture.arrive(1, Fate::Served);
    fixture.token(1, 1, None);
    fixture.arrive(2, Fate::Served);
    fixture.flights.drain();
    assert_eq!(wire.orders().last(), Some(&Order::Drain));
    fixture.flights.abandon(fixture.now);
    assert!(fixture.flights.is_empty());
    assert_eq!((fixture.ended("cancelled"), fixture.inflight(), fixture.queued()), (2, 0, 0));
}
