//! `dyn-metrics describe`.

use std::io::Write;
use std::process::Stdio;

use dyn_metrics::{Counter, Family, Gauge, Histogram, Metrics, StateSet};

use crate::{Fixture, Run, finish, program, run, text};

#[derive(Metrics)]
#[metrics(prefix = "llm_", labels(service = "chat"))]
#[expect(dead_code, reason = "it is declared only")]
struct Declared {
    /// Requests answered, ok | not
    #[metric(label_names = ["model", "status"])]
    requests_total: Family<Counter>,
    /// Time to first token
    #[metric(unit = "seconds", buckets = [0.0625, 0.125, 1], level = 2)]
    first_token_seconds: Histogram,
    #[metric(mode = Max)]
    batch: Gauge,
    #[metric(states = ["starting", "ready"])]
    state: StateSet,
}

const HEAD: &str = "| Name | Type | Unit | Labels | Level | Help |\n| --- | --- | --- | --- | ---: | --- |\n";

const DECLARED: &str = "\
| `llm_requests_total` | counter | | `service`: `chat`; `model`; `status` | 0 | Requests answered, ok \\| not |
| `llm_first_token_seconds` | histogram: 3 buckets from 0.0625 to 1 | seconds | `service`: `chat` | 2 | Time to first token |
| `llm_batch` | gauge: max | | `service`: `chat` | 0 | |
| `llm_state` | stateset: starting, ready | | `service`: `chat` | 0 | |
";

fn piped(input: &str) -> Run {
    let mut command = program();
    command.args(["describe", "--declared", "-"]).stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("a reader");
    finish(&child.wait_with_output().expect("the program"))
}

#[test]
fn every_family_of_a_segment_is_described() {
    let fixture = Fixture::new();
    let described = run(&["describe", &fixture.segment()]);
    assert_eq!((described.status, described.err.as_str()), (Some(0), ""));
    let rows = described.out.strip_prefix(HEAD).expect("the head");
    assert_eq!(rows.lines().count(), 11, "{rows}");
    for row in [
        "| `llm_batch_bytes` | summary | bytes | | 0 | |",
        "| `llm_build_info` | info | | `cuda`: `12 4`; `version`: `1.2` | 0 | What runs |",
        "| `llm_busy_seconds_total` | counter | | | 0 | Time spent |",
        "| `llm_cache_usage_ratio` | gauge: max | | | 0 | Highest share of the cache in use |",
        "| `llm_errors_total` | counter | | | 0 | Errors |",
        "| `llm_first_token_seconds` | histogram: 4 buckets from 0.0625 to 1 | seconds | `model`: `idle`, `llama` | 0 | Time to first token |",
        "| `llm_requests_total` | counter | | `model`: `llama`, `模型/7b`; `service`: `chat`; `status`: `\"\"`, `ok` | 0 | Requests answered |",
        "| `llm_running` | gauge: livesum | | | 0 | Requests being answered |",
        "| `llm_state` | stateset: starting, ready, draining | | | 0 | State of the engine |",
        "| `llm_users_total` | counter | | `user`: `__overflow__`, `ann` | 0 | Requests by user |",
    ] {
        assert!(rows.lines().any(|line| line == row), "{row} in\n{rows}");
    }
    assert_eq!(run(&["describe", "--shm", &fixture.segment()]).out, described.out);
}

#[test]
fn of_many_values_the_first_are_named() {
    let directory = tempfile::tempdir_in("/dev/shm").expect("a directory in memory");
    let path = directory.path().join("segment");
    let registry = dyn_metrics::Registry::open_at(&path).expect("a segment");
    let opts = dyn_metrics::Opts::new("a_total", "A").level(9);
    let family = registry.family::<Counter>(&opts, &["n"]).expect("a family");
    (1..=7).for_each(|n| family.with(&[&n.to_string()]).inc());
    let row = "| `a_total` | counter | | `n`: `1`, `2`, `3`, `4`, `5` and 2 more | 9 | A |\n";
    assert_eq!(run(&["describe", &text(&path)]).out, format!("{HEAD}{row}"));
}

#[test]
fn what_a_struct_declares_is_described_from_a_file_or_a_pipe() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("declared.json");
    std::fs::write(&file, Declared::declared_json()).expect("a file");
    for described in [run(&["describe", "--declared", &text(&file)]), piped(&Declared::declared_json())] {
        assert_eq!((described.status, described.err.as_str()), (Some(0), ""));
        assert_eq!(described.out, format!("{HEAD}{DECLARED}"));
    }
    let twice = piped(&[Declared::declared_json(), Declared::declared_json()].concat());
    assert_eq!(twice.out, format!("{HEAD}{DECLARED}{DECLARED}"));
}

#[test]
fn what_nothing_declares_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = text(&directory.path().join("missing"));
    for (refused, expected) in [
        (run(&["describe", "--declared", &file]), format!("{file}: No such file or directory (os error 2)")),
        (piped(""), "-: found nothing".to_owned()),
        (piped("| Name |"), "-: expected value at line 1 column 1".to_owned()),
        (piped("{\"metrics\":[{\"labels\":{}}]}"), "-: metric 1: found no label_names".to_owned()),
    ] {
        let expected = format!("dyn-metrics: {expected}, expected what Metrics::declared_json() writes\n");
        assert_eq!((refused.status, refused.out.as_str(), refused.err), (Some(2), "", expected));
    }
}
