//! The restartable sequences of the C++ header: what they arm, and that they lose nothing where they are delayed.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use dyn_metrics_tests::delays::{Totals, run_processes, time_for_each};
use dyn_metrics_tests::servers::have;

use crate::cells::{built, compilers, have_sequences};
use crate::library::{assert_done, compiler, directory, here};

/// As they are, with loops in between, and without the store that arms them.
const WAYS: [&[&str]; 4] = [&["-O0"], &["-O2"], &["-O2", "-DDELAYED"], &["-O1", "-DDELAYED", "-DUNARMED"]];

/// Compiles the test that brings an rseq area of its own, in every way, and runs it by `run`.
fn run_sequences(name: &str, flags: &[&str], run: impl Fn(&Path) -> Command) {
    let directory = directory();
    for (at, way) in WAYS.into_iter().enumerate() {
        let out = directory.path().join(at.to_string());
        let mut command = compiler(name, "-std=c++17");
        command.args(flags).args(way).arg("-DDYNM_TEST_UNPINNED").arg("-o").arg(&out);
        assert_done(command.arg(here().join("tests/cpp/sequences.cpp")));
        assert_done(&mut run(&out));
    }
}

#[test]
fn sequences_update_one_word_and_arm_what_the_kernel_accepts() {
    for name in compilers() {
        run_sequences(name, &[], |program| Command::new(program));
    }
}

#[test]
fn sequences_for_aarch64_update_one_word_and_arm_what_the_kernel_accepts() {
    if !have("aarch64-linux-gnu-g++") || !have("qemu-aarch64") {
        return;
    }
    let emulated = |program: &Path| {
        let mut command = Command::new("qemu-aarch64");
        command.args(["-L", "/usr/aarch64-linux-gnu"]).arg(program);
        command
    };
    run_sequences("aarch64-linux-gnu-g++", &[], emulated);
    if compilers().contains(&"clang++") {
        run_sequences("clang++", &["--target=aarch64-linux-gnu"], emulated);
    }
}

/// Three processes of four threads: what they have acknowledged, and what is there.
fn run(program: &Path, place: &str, time: Duration) -> (Totals, Totals) {
    run_processes(|path| {
        let mut command = Command::new(program);
        command.arg(path).args([place, "4", &time.as_millis().to_string()]);
        command
    })
}

fn conserves(place: &str) {
    if !have_sequences() {
        return;
    }
    let directory = directory();
    for name in compilers() {
        let program = built(name, directory.path(), name, &["delays.cpp"], &["-O2"]);
        let (acknowledged, found) = run(&program, place, time_for_each(1.0));
        assert_eq!(found, acknowledged, "{name}");
        assert!(found.doubles > 1000 && found.integers == 3 * found.doubles, "{name}: {found:?}");
    }
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
fn without_the_store_that_arms_them_sequences_lose_doubles() {
    if !have_sequences() {
        return;
    }
    let directory = directory();
    let program = built("c++", directory.path(), "twin", &["delays.cpp"], &["-O2", "-DUNARMED"]);
    for _ in 0..40 {
        let (acknowledged, found) = run(&program, "pinned", Duration::from_millis(300));
        if found.doubles != acknowledged.doubles {
            return;
        }
    }
    panic!("a sequence that isn't armed has lost nothing: the delays are at the wrong places");
}
