//! A hundred thousand random requests, right and wrong ones: each gets its answer or a clear end.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::thread;

use dyn_metrics_tests::clients::{Client, Regular, Use, allow_descriptors};
use dyn_metrics_tests::requests::{Random, Request, right, spoil};
use dyn_metrics_tests::served::{SAMPLE, Served};

/// What may answer a wrong request; 200 where it was wrong in a way that doesn't matter.
const STATUSES: [u16; 7] = [200, 400, 404, 405, 408, 414, 431];

/// Clients at a time.
const THREADS: u64 = 4;

/// How wrong requests ended, and how many right ones there were.
type Tally = BTreeMap<String, u64>;

/// Some right requests and a wrong one, all in one write; then what comes back until the end.
fn converse(address: SocketAddr, random: &mut Random, tally: &mut Tally) -> u64 {
    let rights: Vec<Request> = (0..random.below(8)).map(|_| right(random)).collect();
    // None for HEAD: where such a one is spoiled, nobody can tell whether an answer's body comes.
    let last = std::iter::repeat_with(|| right(random)).find(|request| !request.to_head);
    let last = last.expect("there is always another").bytes;
    let wrong = spoil(random, last);
    let sent =
        [rights.iter().map(|request| request.bytes.as_slice()).collect::<Vec<_>>().concat(), wrong].concat();
    let mut client = Client::connect(address).expect("a connection");
    // The exporter may refuse before it has read everything.
    let _ = client.send(&sent).and_then(|()| client.half_close());
    for request in &rights {
        let answer = client.answer(request.to_head).expect("an answer").expect("an answer before the end");
        assert_eq!(answer.status, request.status, "{:?}", String::from_utf8_lossy(&sent));
        *tally.entry("right, answered".to_owned()).or_default() += 1;
    }
    let end = rest(&mut client, &sent);
    *tally.entry(format!("wrong, {end}")).or_default() += 1;
    rights.len() as u64 + 1
}

/// What a wrong request brings: answers and an end, whether it has become none, one or several.
fn rest(client: &mut Client, sent: &[u8]) -> String {
    let mut what = "closed".to_owned();
    for _ in 0..100 {
        match client.answer(false) {
            Ok(Some(answer)) => {
                assert!(STATUSES.contains(&answer.status), "{answer:?} {:?}", String::from_utf8_lossy(sent));
                what = format!("status {}", answer.status);
            }
            Ok(None) => return what,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return "reset".to_owned(),
            Err(error) => panic!("{error}: {:?}", String::from_utf8_lossy(sent)),
        }
    }
    panic!("answers without end to {:?}", String::from_utf8_lossy(sent));
}

fn talk(address: SocketAddr, seed: u64, requests: u64) -> Tally {
    let (mut random, mut tally, mut sent) = (Random::new(seed), Tally::new(), 0);
    while sent < requests {
        sent += converse(address, &mut random, &mut tally);
    }
    tally
}

/// A number from the environment.
fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().expect("a number"))
}

#[test]
fn random_requests_get_answers_or_a_clear_end() {
    allow_descriptors(1024);
    let (requests, seed) = (number("DYN_METRICS_REQUESTS", 100_000), number("DYN_METRICS_SEED", 1));
    let served = Served::start();
    let address = served.exporter.address;
    talk(address, seed ^ 0xffff, 2_000);
    let before = Use::of(&served.exporter);
    let regular = Regular::start(address, SAMPLE);
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| thread::spawn(move || talk(address, seed + (thread << 32), requests / THREADS)))
        .collect();
    let mut tally = Tally::new();
    for thread in threads {
        for (end, count) in thread.join().expect("every request is answered") {
            *tally.entry(end).or_default() += count;
        }
    }
    let scrapes = regular.end();
    let after = before.again(&served.exporter);
    println!("seed {seed}: {tally:?}, beside them {scrapes:?}, before {before:?}, after {after:?}");
    assert!(tally.values().sum::<u64>() >= requests);
    assert!(tally["wrong, status 400"] > requests / 100, "wrong ones are among them: {tally:?}");
    assert!(after.memory <= before.memory + (8 << 10), "{before:?} {after:?}");
}
