//! Measures dyn-metrics beside its peers: `make bench`.
//!
//! Contenders take turns in one process, A B C A B C ..., so that whatever else the machine does hits all
//! alike. `docs/PERFORMANCE.md` says what is compared and what came out.
//!
//! | question | module |
//! | --- | --- |
//! | what is an operation, what is it fed with? | `op`, in the library |
//! | how are slices timed? | `pool`, in the library |
//! | how does each library do it? | `peers`, a file each |
//! | operations, without restartable sequences too | `operations` |
//! | the same in C++, beside prometheus-cpp | `cpp`, `benches/cpp` |
//! | rendering; scraping over HTTP; memory | `rendering`, `http`, `memory` |
//! | scraping with many CPUs' blocks; after many processes | `blocks`, `processes` |
//! | instruction counts | `callgrind` |
//! | what is printed and written | `report` |

#![forbid(unsafe_code)]

mod args;
mod blocks;
mod callgrind;
mod cpp;
mod http;
mod memory;
mod operations;
mod peers;
mod processes;
mod rendering;
mod report;

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::args::Arguments;
use crate::peers::ours::Home;
use crate::report::Results;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if !arguments.child.is_empty() {
        return child(&arguments);
    }
    let home = match Home::new() {
        Ok(home) => home,
        Err(error) => {
            eprintln!("no private directory in /dev/shm: {error}");
            return ExitCode::from(2);
        }
    };
    if let Err(error) = remove_when_stopped(home.root()) {
        eprintln!("signals: {error}");
    }
    let results = measure(&arguments, &home);
    let report = results.report();
    println!("{report}");
    match results.write(&arguments.out(), &report) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", arguments.out().display());
            ExitCode::FAILURE
        }
    }
}

/// Ctrl-C and SIGTERM end the program, but first remove its segments.
fn remove_when_stopped(root: &Path) -> std::io::Result<()> {
    let (root, mut signals) = (root.to_owned(), Signals::new([SIGINT, SIGTERM])?);
    std::thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            let _ = std::fs::remove_dir_all(&root);
            std::process::exit(128 + signal);
        }
    });
    Ok(())
}

/// What a process does that this program has started.
fn child(arguments: &Arguments) -> ExitCode {
    let words: Vec<&str> = arguments.child.iter().map(String::as_str).collect();
    match words[..] {
        ["fallback", segment] => operations::fallback_child(arguments, segment),
        ["count", directory] => callgrind::child(directory),
        ["live", segment] => processes::child(segment),
        ["create", segment] => blocks::create(segment),
        _ => {
            eprintln!("no such child: {words:?}");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

/// Everything that was asked for. What can't be measured becomes a note.
fn measure(arguments: &Arguments, home: &Home) -> Results {
    let mut results = Results { ops: operations::run(arguments, home), ..Results::default() };
    let mut note = |what: &str, error: std::io::Error| {
        eprintln!("{what}: {error}");
        results.notes.push(format!("Not measured: {what}: {error}"));
    };
    let take = |what: &str, name: &str| {
        let wanted = arguments.wants(name);
        if wanted {
            eprintln!("{what} ...");
        }
        wanted
    };
    if take("without restartable sequences", "fallback") {
        operations::fallback(arguments, home)
            .map_or_else(|error| note("the fallback", error), |rows| results.ops.extend(rows));
    }
    match cpp::run(arguments, home) {
        Ok(rows) => results.cpp = rows,
        Err(error) => note("C++", error),
    }
    if take("rendering", "render") {
        results.render = rendering::run(arguments, home);
    }
    for (name, what, run) in SCRAPES {
        if take(what, name) {
            match run(arguments, home) {
                Ok(rows) => results.scrapes.extend(rows),
                Err(error) => note(what, error),
            }
        }
    }
    if take("memory of the exporter", "memory") {
        match memory::run(arguments, home) {
            Ok(growth) => results.growth.push(growth),
            Err(error) => note("memory of the exporter", error),
        }
    }
    if take("instructions", "callgrind") {
        match callgrind::run(home) {
            Ok(counts) => results.counts = counts,
            Err(error) => note("instruction counts", error),
        }
    }
    results
}

type Scrape = fn(&Arguments, &Home) -> std::io::Result<Vec<dyn_metrics_benches::rows::RenderRow>>;

/// Scrapes: the word that asks for them, what they are, how.
const SCRAPES: [(&str, &str, Scrape); 3] = [
    ("http", "scrapes over HTTP", http::run),
    ("blocks", "scrapes with many CPUs' blocks", blocks::run),
    ("processes", "scrapes after many processes", processes::run),
];
