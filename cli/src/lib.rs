//! The program `dyn-metrics`: looks into segments, checks them, and shows a service that counts into one.
//!
//! | verb | answers |
//! | --- | --- |
//! | `dump` | what do the metrics say? |
//! | `check` | is the file sound? |
//! | `info` | what is this file, and who writes it? |
//! | `describe` | which metrics are there? |
//! | `demo` | what does all this look like in a running service? |
//!
//! A library so that tests can run what the verbs write on damaged segments without starting a program for each.

#![forbid(unsafe_code)]

mod check;
mod demo;
mod describe;
mod dump;
mod error;
mod info;
mod processes;
mod quantile;
mod segment;
pub mod shown;
mod table;
mod text;
mod time;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::LazyLock;

use clap::{Parser, Subcommand};
use dyn_metrics_layout::FORMAT_VERSION;
use dyn_metrics_reader::guard;

use error::CliError;
use text::Style;

static VERSION: LazyLock<String> =
    LazyLock::new(|| format!("{} (segment format {FORMAT_VERSION})", env!("CARGO_PKG_VERSION")));

const EXAMPLES: &str = "\
Examples:
  dyn-metrics dump
      show the metrics in /dev/shm/dynamo
  dyn-metrics dump /dev/shm/dynamo --family '*_requests_*' --label model=llama-3-8b
      show some of them
  dyn-metrics check /tmp/copy-of-a-segment
      verify a file, which may be a copy or have lost all its writers
  dyn-metrics info
      show what the segment is, and the processes in it
  dyn-metrics describe > METRICS.md
      list its metrics for a document
  dyn-metrics demo --seconds 30
      run a small LLM service that counts into /dev/shm/dynamo-demo

Every verb takes the segment as its argument or with --shm; without either it is DYN_METRICS_SHM, else \
/dev/shm/dynamo, for demo /dev/shm/dynamo-demo. dump and describe take a directory or a glob as well. Nothing but demo writes to a \
segment.

Exit status: 0 fine, 1 ran with problems (faults found, something could not be read), 2 could not start.";

/// Looks into dyn-metrics segments.
#[derive(Debug, Parser)]
#[command(name = "dyn-metrics", version = VERSION.as_str(), after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Dump(dump::DumpArgs),
    Check(check::CheckArgs),
    Info(info::InfoArgs),
    Describe(describe::DescribeArgs),
    Demo(demo::DemoArgs),
    /// One process of the demo.
    #[command(hide = true)]
    DemoProcess(demo::ProcessArgs),
}

/// How a verb that could start has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Fine,
    /// What is wrong has been said.
    Problems,
}

/// Runs the program with this process's arguments.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Err(error) = guard::install() {
        complain(&format!("running without a guard against truncated segments: {error}"));
    }
    match run(arguments.verb) {
        Ok(Outcome::Fine) => ExitCode::SUCCESS,
        Ok(Outcome::Problems) => ExitCode::from(1),
        // Whoever reads has seen enough: `dyn-metrics dump | head`.
        Err(error) if error.is_broken_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error.to_string());
            ExitCode::from(error.exit_status())
        }
    }
}

fn run(verb: Verb) -> Result<Outcome, CliError> {
    let fine = |()| Outcome::Fine;
    match verb {
        Verb::Dump(args) => dump::run(&args),
        Verb::Check(args) => check::run(&args),
        Verb::Info(args) => info::run(&args),
        Verb::Describe(args) => describe::run(&args),
        Verb::Demo(args) => Ok(demo::run(args, print_dump).map(fine)?),
        Verb::DemoProcess(args) => Ok(demo::run_process(&args).map(fine)?),
    }
}

/// What the demo shows at its end.
fn print_dump(path: &Path) -> io::Result<()> {
    dump::print(&path.to_string_lossy(), Style::of_stdout()).map(drop).map_err(CliError::into_io)
}

/// One line to standard error, if anybody is there.
fn complain(what: &str) {
    let _ = writeln!(io::stderr(), "dyn-metrics: {}", text::clean(what));
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_version_names_the_format() {
        let version = Arguments::command().render_version();
        assert!(version.contains(&format!("segment format {FORMAT_VERSION}")), "{version}");
    }
}
