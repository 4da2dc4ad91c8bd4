//! More clients than the exporter has places, or descriptors: all who ask as they should get a whole page.

use std::process::Command;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use dyn_metrics_tests::clients::{Client, Regular, SCRAPE, Use, allow_descriptors};
use dyn_metrics_tests::served::{SAMPLE, Served, segment};
use dyn_metrics_tests::servers::{Exporter, have, wait_for};

/// About twice the number of places.
const CLIENTS: usize = 1000;

const SCRAPES: &str = "dyn_metrics_exporter_scrapes_total";

/// Has all clients do something at once, each on a thread of its own.
fn at_once(clients: usize, client: impl Fn() + Send + Sync + 'static) {
    let (barrier, client) = (Arc::new(Barrier::new(clients)), Arc::new(client));
    let threads: Vec<_> = (0..clients)
        .map(|_| {
            let (barrier, client) = (Arc::clone(&barrier), Arc::clone(&client));
            let small = thread::Builder::new().stack_size(256 << 10);
            let run = move || {
                barrier.wait();
                client();
            };
            small.spawn(run).expect("a thread")
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().expect("every client succeeds"));
}

fn connect(served: &Served) -> Client {
    Client::connect(served.exporter.address).expect("a connection")
}

#[test]
fn a_thousand_scrapes_at_once_all_succeed() {
    allow_descriptors(4096);
    let served = Served::start();
    let before = Use::of(&served.exporter);
    let address = served.exporter.address;
    at_once(CLIENTS, move || {
        let mut client = Client::connect(address).expect("a connection");
        let (page, _) = client.scrape().expect("a page");
        assert!(page.samples.contains_key(SAMPLE));
    });
    let (page, _) = connect(&served).scrape().expect("a page");
    assert_eq!(page.samples[SCRAPES], 1001.0, "each was asked for once");
    let after = before.again(&served.exporter);
    assert!(after.memory <= before.memory + (64 << 10), "{before:?} {after:?}");
    println!("1000 scrapes at once: {before:?}, {after:?}");
}

/// Clients that have connected before the first asks, and have all asked half a second later: the exporter gives them
/// one. A machine that is too busy tries again, until others give it time.
fn connected_and_asked(served: &Served) -> Vec<Client> {
    let first = Instant::now();
    while first.elapsed() < Duration::from_secs(180) {
        let began = Instant::now();
        let mut clients: Vec<Client> = (0..CLIENTS).map(|_| connect(served)).collect();
        // One who was closed has asked too late.
        let sent = clients.iter_mut().all(|client| client.send(SCRAPE).is_ok());
        if sent && began.elapsed() < Duration::from_millis(500) {
            return clients;
        }
        drop(clients);
        // Those that wait in vain would keep the next ones from connecting.
        thread::sleep(Duration::from_secs(1));
    }
    panic!("a thousand clients never asked within half a second");
}

#[test]
fn a_thousand_clients_that_connect_before_the_first_asks_all_succeed() {
    allow_descriptors(4096);
    let served = Served::start();
    let clients = connected_and_asked(&served);
    for (number, mut client) in clients.into_iter().enumerate() {
        let answer = client.answer(false).expect("an answer").expect("an answer before the end");
        answer.page().unwrap_or_else(|error| panic!("client {number}: {error}"));
    }
    let (page, _) = connect(&served).scrape().expect("a page");
    assert!(page.samples[SCRAPES] >= 1001.0);
}

#[test]
fn a_thousand_clients_that_keep_their_connections_are_told_before_these_are_closed() {
    allow_descriptors(4096);
    let served = Served::start();
    let address = served.exporter.address;
    at_once(CLIENTS, move || {
        let mut client = Client::connect(address).expect("a connection");
        for _ in 0..5 {
            let (_, stays_open) = client.scrape().expect("a page");
            if !stays_open {
                client = Client::connect(address).expect("a connection");
            }
        }
    });
    let (page, _) = connect(&served).scrape().expect("a page");
    assert_eq!(page.samples[SCRAPES], 5001.0);
}

#[test]
fn with_few_descriptors_silent_clients_keep_neither_others_nor_segments_out() {
    if !have("prlimit") {
        return;
    }
    let served = Served::start_by(segment(100, 1), |exporter| {
        let mut command = Command::new("prlimit");
        command.arg("--nofile=64:64");
        if nix::unistd::geteuid().is_root() {
            command.args(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]);
        }
        command.arg(exporter.get_program());
        command
    });
    let regular = Regular::start(served.exporter.address, SAMPLE);
    let silent: Vec<Client> = (0..100).map(|_| connect(&served)).collect();
    wait_for("places", || {
        served.exporter.log().iter().any(|line| line.contains("limit reached")).then_some(())
    });
    for _ in 0..3 {
        let (page, _) = connect(&served).scrape().expect("a page");
        assert!(page.samples.contains_key(SAMPLE), "the segment can be opened");
    }
    drop(silent);
    println!("{:?}", regular.end());
}

#[test]
fn an_exporter_that_can_accept_nobody_neither_spins_nor_ends() {
    if !have("prlimit") {
        return;
    }
    // As ourselves: to change another user's limits takes a capability that containers don't have.
    let (_directory, path, _registry) = segment(100, 1);
    let exporter = Exporter::start(&[path.to_str().expect("UTF-8")]);
    let mut early = Client::connect(exporter.address).expect("a connection");
    early.scrape().expect("a page");
    let before = Use::of(&exporter);
    let limit = |files: &str| {
        let mut command = Command::new("prlimit");
        command.arg(format!("--pid={}", exporter.child.0.id())).arg(format!("--nofile={files}:"));
        assert!(command.status().expect("prlimit").success());
    };
    // What it has open stays open; there will be no more.
    limit("3");
    let mut late = Client::connect(exporter.address).expect("a connection");
    late.send(SCRAPE).expect("a request");
    let warned = || exporter.log().iter().filter(|line| line.contains("cannot accept clients")).count();
    wait_for("a warning", || (warned() > 0).then_some(()));
    // Three of its own attempts.
    thread::sleep(Duration::from_secs(3));
    let after = Use::of(&exporter);
    assert!(after.ticks - before.ticks < 100, "a third of a processor: {before:?} {after:?}");
    assert_eq!(warned(), 1);
    limit("1024");
    let page = late.answer(false).expect("an answer").expect("an answer before the end").page();
    assert!(page.expect("a page").samples.contains_key(SAMPLE));
}
