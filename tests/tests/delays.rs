//! A sequence that is delayed anywhere, preempted, moved and interrupted there, by several processes, counts
//! each update once; one that isn't armed doesn't.

use std::process::{Command, Stdio};
use std::time::Duration;

use dyn_metrics_tests::delays::{Cells, Totals, rseq_area};
use dyn_metrics_tests::servers::{Guard, program};

/// Seconds for each case, from `DYN_METRICS_DELAYS_SECONDS`.
fn seconds() -> f64 {
    let wanted = std::env::var("DYN_METRICS_DELAYS_SECONDS").ok();
    wanted.map_or(4.0, |seconds| seconds.parse().expect("DYN_METRICS_DELAYS_SECONDS: a number"))
}

/// Whether restartable sequences are to be had here; in CI they must be.
fn have_sequences() -> bool {
    let have = rseq_area().is_some();
    assert!(have || std::env::var_os("CI").is_none(), "no rseq area is registered");
    if !have {
        eprintln!("SKIPPED: no rseq area is registered");
    }
    have
}

/// Three processes of four threads: what they have acknowledged, and what is there.
fn run(place: &str, armed: &str, time: Duration) -> (Totals, Totals) {
    let directory = tempfile::tempdir_in("/dev/shm").expect("a directory in /dev/shm");
    let path = directory.path().join("cells");
    let cells = Cells::open(&path).expect("cells");
    let start = |_| {
        let mut command = Command::new(program("peer"));
        command.arg("delays").arg(&path).args([place, armed, "4", &time.as_millis().to_string()]);
        Guard(command.stdout(Stdio::piped()).spawn().expect("a process"))
    };
    let processes: Vec<Guard> = (0..3).map(start).collect();
    let mut acknowledged = Totals::default();
    for mut process in processes {
        let text = std::io::read_to_string(process.0.stdout.take().expect("a pipe")).expect("text");
        assert!(process.0.wait().expect("it ends").success(), "a process failed: {text}");
        let numbers: Vec<u64> = text.split_whitespace().map(|n| n.parse().expect("a number")).collect();
        acknowledged.integers += numbers[0];
        acknowledged.doubles += numbers[1];
    }
    (acknowledged, cells.totals())
}

fn conserves(place: &str) {
    if !have_sequences() {
        return;
    }
    let (acknowledged, found) = run(place, "armed", Duration::from_secs_f64(seconds()));
    assert_eq!(found, acknowledged);
    assert!(found.doubles > 1000 && found.integers == 3 * found.doubles, "{found:?}");
    eprintln!("{place}: {} updates, none lost", found.integers + found.doubles);
}

fn twin_loses(place: &str) {
    if !have_sequences() {
        return;
    }
    for round in 1..=40 {
        let (acknowledged, found) = run(place, "unarmed", Duration::from_millis(300));
        if found != acknowledged {
            eprintln!("{place}: lost in round {round}: {acknowledged:?} acknowledged, {found:?} found");
            return;
        }
    }
    panic!("a sequence that isn't armed has lost nothing: the delays are at the wrong places");
}

#[test]
fn delayed_sequences_on_one_cpu_lose_nothing() {
    conserves("pinned");
}

#[test]
fn delayed_sequences_that_move_from_cpu_to_cpu_lose_nothing() {
    conserves("moving");
}

#[test]
fn without_the_store_that_arms_them_sequences_on_one_cpu_lose_updates() {
    twin_loses("pinned");
}

#[test]
fn without_the_store_that_arms_them_sequences_that_move_lose_updates() {
    twin_loses("moving");
}
