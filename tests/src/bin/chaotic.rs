//! Chaos: see `src/chaos/mod.rs`.
//!
//! `chaotic drive [NAME=VALUE ...]` starts workers and an exporter in a directory of its own, kills, stops, forks and
//! replaces them at random, and prints what it did and what went wrong; 0 when nothing did. Names and what they are
//! unless given: `seed` (random), `seconds=60`, `increments=1000000000`, `kills=1000`, `limit=1200` (seconds),
//! `processes=8`, `threads=3`, `series=20000`, `twin=none`. Variables such as `DYN_METRICS_CHAOS_KILLS` overrule them.
//! `chaotic work ...` is a worker.

use std::process::ExitCode;

use dyn_metrics_tests::chaos::options::Options;
use dyn_metrics_tests::chaos::{driver, worker};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let ended = match arguments.split_first() {
        Some((verb, rest)) if verb == "drive" => drive(rest),
        Some((verb, rest)) if verb == "work" => worker::run(rest).map(|never| match never {}),
        _ => Err("usage: see the first lines of this program".to_owned()),
    };
    ended.unwrap_or_else(|error| {
        eprintln!("chaotic: {error}");
        ExitCode::from(2)
    })
}

fn drive(arguments: &[String]) -> Result<ExitCode, String> {
    let options = Options::parse(arguments, |name| std::env::var(name).ok())?;
    // First of all, so that it is known whatever happens.
    println!("DYN_METRICS_CHAOS_SEED={}", options.seed);
    let directory = tempfile::tempdir_in("/dev/shm").map_err(|error| error.to_string())?;
    let report = driver::run(&options, directory.path()).map_err(|error| error.to_string())?;
    print!("{report}");
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
