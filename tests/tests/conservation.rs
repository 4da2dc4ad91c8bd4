//! Nothing that was counted is lost, whatever disturbs the threads that count.

use dyn_metrics_reader::Value;
use dyn_metrics_tests::reading::{assert_whole, number, series};
use dyn_metrics_tests::stage::{Peer, Stage};

/// Value `i % modulus` is observed `runs * ceil((each - i) / modulus)` times.
fn observed(each: u64, modulus: u64, runs: u64) -> Vec<u64> {
    (0..modulus).map(|value| runs * ((each + modulus - 1 - value) / modulus)).collect()
}

/// Has all peers count at the same time; the sum of what they acknowledge.
fn count(peers: &mut [Peer], kinds: &str, disturbance: &str, threads: u64, each: u64) -> u64 {
    for peer in &mut *peers {
        peer.tell(&format!("count {kinds} {disturbance} {threads} {each}"));
    }
    peers.iter_mut().map(|peer| peer.answer().unwrap().parse::<u64>().unwrap()).sum()
}

/// Checks the totals exactly. `by_value` are the histogram's observations of 0, 1 and 2.
fn check_main(stage: &Stage, updates: u64, by_value: &[u64]) {
    let snapshot = stage.snapshot();
    assert_whole(&snapshot);
    assert_eq!(number(&snapshot, "work_total"), Some(updates as f64));
    assert_eq!(by_value.iter().sum::<u64>(), updates);
    let Value::Histogram { buckets, sum, .. } = &series(&snapshot, "work_seconds", &[]).unwrap().value else {
        panic!("a histogram")
    };
    assert_eq!(buckets, by_value);
    assert_eq!(*sum, (by_value[1] + 2 * by_value[2]) as f64);
}

fn check_all(stage: &Stage, updates: u64, by_value: &[u64], tallied: &[u64]) {
    check_main(stage, updates, by_value);
    let snapshot = stage.snapshot();
    assert_eq!(number(&snapshot, "work_halves_total"), Some(updates as f64 / 2.0));
    assert_eq!(number(&snapshot, "work_busy_seconds_total"), Some(updates as f64 / 1e9));
    let sum = tallied.iter().zip(0..).map(|(count, value)| count * value).sum::<u64>() as f64;
    assert_eq!(series(&snapshot, "work_bytes", &[]).unwrap().value, Value::Tally { count: updates, sum });
}

/// `processes` (each with these options) x 4 threads x `each` updates.
fn conserves(options: &[&str], kinds: &str, disturbance: &str, each: u64) {
    let stage = Stage::new();
    let mut peers: Vec<_> = options.iter().map(|option| stage.peer_with(&[option])).collect();
    let updates = count(&mut peers, kinds, disturbance, 4, each);
    let runs = 4 * peers.len() as u64;
    assert_eq!(updates, runs * each);
    let by_value = observed(each, 3, runs);
    if kinds == "all" {
        check_all(&stage, updates, &by_value, &observed(each, 4, runs));
    } else {
        check_main(&stage, updates, &by_value);
    }
}

const ON: &str = "DYN_METRICS_RSEQ=on";
const OFF: &str = "DYN_METRICS_RSEQ=off";

/// Whether restartable sequences are to be had here; in CI they must be.
fn have_sequences() -> bool {
    let path = Stage::new().peer_with(&[ON]).ask("path").unwrap();
    assert!(path == "rseq" || std::env::var_os("CI").is_none(), "{path}");
    if path != "rseq" {
        eprintln!("SKIPPED: {path}");
    }
    path == "rseq"
}

#[test]
fn eight_processes_of_four_threads_lose_nothing_with_restartable_sequences() {
    if !have_sequences() {
        return;
    }
    conserves(&[ON; 8], "main", "none", 1_000_000);
}

#[test]
fn eight_processes_of_four_threads_lose_nothing_in_the_shared_block() {
    assert_eq!(Stage::new().peer_with(&[OFF]).ask("path").unwrap(), "shared: DYN_METRICS_RSEQ=off");
    conserves(&[OFF; 8], "main", "none", 1_000_000);
}

#[test]
fn processes_with_and_without_restartable_sequences_share_their_series() {
    conserves(&[ON, OFF, ON, OFF], "all", "none", 200_000);
}

#[test]
fn every_kind_is_conserved_while_all_threads_share_one_cpu() {
    conserves(&[ON; 4], "all", "pinned", 200_000);
    conserves(&[ON, OFF], "all", "pinned", 100_000);
}

#[test]
fn every_kind_is_conserved_while_threads_move_from_cpu_to_cpu() {
    conserves(&[ON; 4], "all", "moving", 100_000);
    conserves(&[ON, OFF], "all", "moving", 50_000);
}

#[test]
fn updates_in_signal_handlers_are_conserved() {
    for options in [[ON, ON], [ON, OFF]] {
        let stage = Stage::new();
        let mut peers = options.map(|option| stage.peer_with(&[option]));
        // A multiple of 12, as the handlers' runs are: the sums then depend on the number of updates alone.
        let updates = count(&mut peers, "all", "signals", 4, 240_000);
        assert!(updates > 2 * 4 * 240_000, "no signal was handled");
        check_all(&stage, updates, &[updates / 3; 3], &[updates / 4; 4]);
    }
}

#[test]
fn handles_and_readers_agree_on_the_total() {
    let stage = Stage::new();
    let mut peers = [ON, OFF].map(|option| stage.peer_with(&[option]));
    let updates = count(&mut peers, "all", "none", 2, 10_000);
    for peer in &mut peers {
        for (kind, name) in [("counter", "work_total"), ("tally", "work_bytes")] {
            peer.done(&format!("register {kind} {name}"));
            assert_eq!(peer.number(&format!("value {name}")), updates as f64, "{name}");
        }
    }
}
