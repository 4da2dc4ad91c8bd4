//! The program as its user sees it: what it prints, where, and with which exit status.

mod bad_input;
mod check;
mod demo;
mod describe;
mod dump;
mod info;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use dyn_metrics::{Counter, GaugeMode, Histogram, Opts, Registry};
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_dyn-metrics");

/// The program, with an environment that says nothing to it.
fn program() -> Command {
    let mut command = Command::new(PROGRAM);
    command.env_remove("DYN_METRICS_SHM").env_remove("NO_COLOR");
    command
}

/// What a run gave.
struct Run {
    status: Option<i32>,
    out: String,
    err: String,
}

fn run(arguments: &[&str]) -> Run {
    finish(&program().args(arguments).output().expect("the program"))
}

fn finish(output: &Output) -> Run {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    Run { status: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
}

/// A segment that this process counts into.
struct Fixture {
    directory: TempDir,
    _registry: Registry,
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir_in("/dev/shm").expect("a directory in memory");
        let builder = Registry::builder().path(directory.path().join("segment"));
        let registry = builder.role("worker").process_label("rank", "0").open().expect("a segment");
        count(&registry).expect("metrics");
        Self { directory, _registry: registry }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("segment")
    }

    fn segment(&self) -> String {
        text(&self.path())
    }

    /// A copy, in which nobody lives.
    fn copy(&self) -> PathBuf {
        let copy = self.directory.path().join("copy");
        std::fs::copy(self.path(), &copy).expect("a copy");
        copy
    }
}

fn text(path: &Path) -> String {
    path.to_str().expect("UTF-8").to_owned()
}

/// One metric of each kind, and what else looks different.
fn count(registry: &Registry) -> Result<(), dyn_metrics::Error> {
    let requests = Opts::new("llm_requests_total", "Requests answered");
    let requests = registry.family::<Counter>(&requests.label("service", "chat"), &["model", "status"])?;
    requests.with(&["llama", "ok"]).inc_by(3);
    requests.with(&["模型/7b", ""]).inc();
    registry.counter("llm_tokens_total", "Tokens generated")?.inc_by(12_345_678_901);
    registry.duration_counter("llm_busy_seconds_total", "Time spent")?.inc_by(Duration::from_millis(1500));

    let first_token = Opts::new("llm_first_token_seconds", "Time to first token").unit("seconds");
    let first_token =
        registry.family::<Histogram>(&first_token.bounds(&[0.0625, 0.125, 0.5, 1.0]), &["model"])?;
    first_token.with(&["llama"]).observe_n(0.09375, 8);
    first_token.with(&["llama"]).observe_n(0.75, 2);
    drop(first_token.with(&["idle"]));
    let batch = registry.create::<dyn_metrics::Tally>(&Opts::new("llm_batch_bytes", "").unit("bytes"))?;
    batch.observe(100.0);
    batch.observe(300.0);

    registry.gauge("llm_running", "Requests being answered")?.set(4);
    let usage = Opts::new("llm_cache_usage_ratio", "Highest share of the cache in use").mode(GaugeMode::Max);
    registry.create::<dyn_metrics::FloatGauge>(&usage)?.set(0.75);
    registry.state_set("llm_state", "State of the engine", &["starting", "ready", "draining"])?.set("ready");
    registry.info("llm_build_info", "What runs", &[("cuda", "12 4"), ("version", "1.2")])?;

    let users = Opts::new("llm_users_total", "Requests by user").max_series(1);
    let users = registry.family::<Counter>(&users, &["user"])?;
    users.with(&["ann"]).inc();
    users.with(&["bob"]).inc_by(2);
    registry.family::<Counter>(&Opts::new("llm_errors_total", "Errors"), &["kind"])?;
    Ok(())
}

#[test]
fn the_version_names_the_format() {
    let version = run(&["--version"]);
    assert_eq!(version.status, Some(0));
    let expected = format!("dyn-metrics 0.1.0 (segment format {})\n", dyn_metrics::FORMAT_VERSION);
    assert_eq!(version.out, expected);
}

#[test]
fn help_says_what_is_needed() {
    for (arguments, words) in [
        (
            &["--help"][..],
            &["dump", "check", "info", "describe", "demo", "DYN_METRICS_SHM", "/dev/shm/dynamo"][..],
        ),
        (&["dump", "--help"], &["--format", "--family", "--label", "--buckets", "--raw", "[SEGMENT]"]),
        (&["check", "--help"], &["--shm", "[SEGMENT]"]),
        (&["info", "--help"], &["--shm", "[SEGMENT]"]),
        (&["describe", "--help"], &["--shm", "[SEGMENT]", "--declared", "declared_json()"]),
        (&["demo", "--help"], &["--seconds", "--workers", "--listen", "--seed", "/dev/shm/dynamo-demo"]),
    ] {
        let help = run(arguments);
        assert_eq!(help.status, Some(0));
        for word in words.iter().chain(&["Examples:", "Exit status: 0 "]) {
            assert!(help.out.contains(word), "{arguments:?}: {word}");
        }
        assert!(!help.out.contains("demo-process"), "{arguments:?}");
    }
}

#[test]
fn wrong_arguments_are_status_2() {
    for arguments in [
        &[][..],
        &["look"],
        &["dump", ""],
        &["dump", "/a", "--shm", "/b"],
        &["dump", "--raw", "--format", "json"],
        &["dump", "--label", "model"],
        &["check", "--family", "a"],
        &["describe", "/a", "--declared", "-"],
    ] {
        let wrong = run(arguments);
        assert_eq!((wrong.status, wrong.out.as_str()), (Some(2), ""), "{arguments:?}");
    }
}

#[test]
fn the_segment_is_an_argument_an_option_or_in_the_environment() {
    let fixture = Fixture::new();
    let segment = fixture.segment();
    let with_environment = |arguments: &[&str], value: &str| {
        finish(&program().args(arguments).env("DYN_METRICS_SHM", value).output().expect("the program"))
    };
    for verb in ["dump", "check", "info"] {
        for run in [
            run(&[verb, &segment]),
            run(&[verb, "--shm", &segment]),
            with_environment(&[verb], &segment),
            with_environment(&[verb, &segment], "/nothing"),
            with_environment(&[verb, "--shm", &segment], "/nothing"),
        ] {
            assert_eq!((run.status, run.err.as_str()), (Some(0), ""), "{verb}");
            assert!(run.out.starts_with(&segment), "{verb}: {}", run.out);
        }
    }
    let missing = with_environment(&["dump"], "/nothing/here");
    assert_eq!(missing.err, "dyn-metrics: /nothing/here: no such file, expected a segment\n");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_problem() {
    let fixture = Fixture::new();
    for arguments in [
        &["dump"][..],
        &["dump", "--raw"],
        &["dump", "--format", "json"],
        &["check"],
        &["info"],
        &["describe"],
    ] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = program();
        let run = finish(
            &command.args(arguments).arg(fixture.segment()).stdout(writer).output().expect("the program"),
        );
        assert_eq!((run.status, run.err.as_str()), (Some(0), ""), "{arguments:?}");
    }
}
