//! A sequence that is delayed anywhere, preempted, moved and interrupted there, by several processes, counts
//! each update once; one that isn't armed doesn't.

use std::process::Command;
use std::time::Duration;

use dyn_metrics_tests::delays::{Totals, rseq_area, run_processes, time_for_each};
use dyn_metrics_tests::servers::program;

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
    run_processes(|path| {
        let mut command = Command::new(program("peer"));
        command.arg("delays").arg(path).args([place, armed, "4", &time.as_millis().to_string()]);
        command
    })
}

fn conserves(place: &str) {
    if !have_sequences() {
        return;
    }
    let (acknowledged, found) = run(place, "armed", time_for_each(4.0));
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
