//! Hostile segments: inputs that fuzzing kept, replayed, and random ones.

use std::path::{Path, PathBuf};

use dyn_metrics_tests::bytes::Random;
use dyn_metrics_tests::hostile::Target;
use dyn_metrics_tests::hostile::mutate::{MAX_INPUT, mutate};
use dyn_metrics_tests::hostile::stage::Stage;

/// The inputs of a target, by name.
fn corpus(target: Target) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target.name());
    let entries = directory.read_dir().unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut inputs: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    inputs.sort();
    inputs
}

fn replay(target: Target) {
    let mut stage = Stage::new();
    let inputs = corpus(target);
    assert!(inputs.len() > 50, "{} inputs", inputs.len());
    for input in inputs {
        println!("{}", input.display());
        target.run(&mut stage, &std::fs::read(&input).expect("an input"));
    }
}

/// Inputs that nobody has chosen, each made of the one before.
fn run_random(target: Target, times: u32) {
    let mut stage = Stage::new();
    let times = std::env::var("HOSTILE_INPUTS").ok().and_then(|times| times.parse().ok()).unwrap_or(times);
    let mut random = Random::new(2026);
    let mut input = [0; MAX_INPUT];
    let mut len = 0;
    for _ in 0..times {
        len = mutate(&mut input, if random.below(8) == 0 { 0 } else { len }, random.number() as u32);
        println!("{:?}", &input[..len]);
        target.run(&mut stage, &input[..len]);
    }
}

macro_rules! targets {
    ($($replayed:ident $random:ident $target:ident $times:literal)*) => {$(
        #[test]
        fn $replayed() {
            replay(Target::$target);
        }

        #[test]
        fn $random() {
            run_random(Target::$target, $times);
        }
    )*};
}

targets! {
    kept_segments_stop_no_writer random_segments_stop_no_writer Attach 300
    kept_segments_stop_no_snapshot random_segments_stop_no_snapshot Snapshot 1000
    kept_segments_stop_no_rendering random_segments_stop_no_rendering Render 1000
    kept_segments_stop_no_check random_segments_stop_no_check Check 1000
    kept_segments_stop_no_dump random_segments_stop_no_dump Dump 500
    segments_that_changed_once_stop_no_reader random_changes_stop_no_reader Race 100
}
