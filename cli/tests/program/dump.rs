//! `dyn-metrics dump`.

use std::path::Path;

use serde_json::{Value, json};

use crate::{Fixture, Run, run, text};

fn dump(fixture: &Fixture, arguments: &[&str]) -> Run {
    run(&[&["dump", &fixture.segment()], arguments].concat())
}

/// What comes after the segment and its processes, which are different each time.
fn metrics(out: &str) -> &str {
    out.split_once("\n\n").expect("an empty line").1
}

/// Compares with a file beside this one, or writes it with `BLESS=1`.
fn assert_golden(found: &str, name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/program").join(name);
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, found).expect("a golden file");
    }
    let expected = std::fs::read_to_string(&path).expect("a golden file; BLESS=1 writes it");
    assert!(found == expected, "{name} differs; BLESS=1 writes what was found:\n{found}");
}

#[test]
fn the_table_is_as_the_golden_file_has_it() {
    let fixture = Fixture::new();
    let dump = dump(&fixture, &[]);
    assert_eq!((dump.status, dump.err.as_str()), (Some(0), ""));
    assert_golden(metrics(&dump.out), "dump.golden.txt");
}

#[test]
fn a_copy_of_a_segment_shows_what_the_dead_have_left() {
    let fixture = Fixture::new();
    let copy = run(&["dump", &text(&fixture.copy())]);
    assert_eq!((copy.status, copy.err.as_str()), (Some(0), ""));
    assert!(copy.out.contains("processes: 0 alive, 1 dead; gauges of live"), "{}", copy.out);
    let living = dump(&fixture, &[]).out;
    let counters = |out: &str| metrics(out).split("\n\n").filter(|f| f.contains("_total")).count();
    assert_eq!(counters(&copy.out), counters(&living));
    assert_golden(metrics(&copy.out), "dump-of-a-copy.golden.txt");
}

#[test]
fn the_head_names_segment_and_processes() {
    let fixture = Fixture::new();
    let out = dump(&fixture, &[]).out;
    let mut lines = out.lines();
    let first = format!("{}: 11 families, 13 series, ", fixture.segment());
    assert!(lines.next().is_some_and(|line| line.starts_with(&first)), "{out}");
    assert!(lines.next().is_some_and(|line| line.contains(" UTC, ")), "{out}");
    assert_eq!(lines.next(), Some("  processes: 1 alive, 0 dead"));
    let heading: Vec<_> = lines.next().into_iter().flat_map(str::split_whitespace).collect();
    assert_eq!(heading, ["pid", "role", "labels", "command", "attached"]);
    let process: Vec<_> = lines.next().into_iter().flat_map(str::split_whitespace).collect();
    assert_eq!(process[..4], [&std::process::id().to_string(), "alive", "worker", "rank=0"]);
}

#[test]
fn families_and_labels_can_be_chosen() {
    let fixture = Fixture::new();
    let chosen =
        dump(&fixture, &["--family", "*_requests_*", "--family", "*_token_*", "--label", "model=llama"]);
    let expected = "\
llm_first_token_seconds  histogram, seconds
  Time to first token
    model  count   sum   mean   ~p50  ~p90   ~p99  distribution
    llama     10  2.25  0.225  0.102  0.75  0.975  0.0625 █·▂ 1

llm_requests_total  counter
  Requests answered
    model  service  status  value
    llama  chat     ok          3
";
    assert_eq!((chosen.status, chosen.err.as_str()), (Some(0), ""));
    assert_eq!(chosen.out, expected);
}

#[test]
fn a_choice_that_matches_nothing_says_so() {
    let fixture = Fixture::new();
    let none = dump(&fixture, &["--family", "nothing*"]);
    let expected = format!("dyn-metrics: {}: no series matches\n", fixture.segment());
    assert_eq!((none.status, none.out.as_str(), none.err), (Some(1), "", expected));
}

#[test]
fn a_directory_and_a_glob_show_what_is_in_them() {
    let fixture = Fixture::new();
    let directory = fixture.path().with_file_name("");
    for pattern in [text(&directory), text(&directory.join("seg*"))] {
        let run = run(&["dump", &pattern, "--format", "prometheus", "--family", "llm_tokens_total"]);
        assert_eq!((run.status, run.err.as_str()), (Some(0), ""));
        assert!(run.out.ends_with("llm_tokens_total 12345678901\n"), "{}", run.out);
    }
    // A copy beside it is no second service.
    let copy = fixture.copy();
    let run = run(&["dump", &text(&directory), "--format", "prometheus", "--family", "llm_tokens_total"]);
    assert!(run.out.ends_with("llm_tokens_total 12345678901\n"), "{}", run.out);
    let expected =
        format!("dyn-metrics: {}: a copy of {}; shown without it\n", text(&copy), fixture.segment());
    assert_eq!((run.status, run.err), (Some(1), expected));
}

#[test]
fn buckets_of_other_formats_are_refused() {
    let fixture = Fixture::new();
    for format in ["json", "prometheus"] {
        let run = dump(&fixture, &["--buckets", "--format", format]);
        assert_eq!((run.status, run.out.as_str()), (Some(2), ""));
        assert!(run.err.contains("--buckets is for tables"), "{}", run.err);
    }
}

#[test]
fn buckets_are_shown_on_request() {
    let fixture = Fixture::new();
    let out = dump(&fixture, &["--family", "llm_first_token_seconds", "--buckets"]).out;
    for line in
        ["    model=llama", "      <=  0.125  8  ██████████████████████████████", "      <=    0.5  0"]
    {
        assert!(out.lines().any(|found| found == line), "{line:?} in\n{out}");
    }
}

#[test]
fn json_holds_the_same_numbers() {
    let fixture = Fixture::new();
    let out = dump(&fixture, &["--format", "json", "--family", "llm_[rt]*"]).out;
    let json: Value = serde_json::from_str(&out).expect("JSON");
    let families: Vec<_> = json["families"].as_array().expect("a list").iter().collect();
    let names: Vec<_> = families.iter().map(|family| family["name"].as_str().expect("a name")).collect();
    assert_eq!(names, ["llm_requests_total", "llm_running", "llm_tokens_total"]);
    assert_eq!(families[2]["series"], json!([{"labels": {}, "value": 12_345_678_901_u64}]));
    let labels = json!({"model": "模型/7b", "service": "chat", "status": ""});
    assert_eq!(families[0]["series"][1], json!({"labels": labels, "value": 1}));
    assert_eq!(json["segments"][0]["path"], fixture.segment());
    assert_eq!(json["segments"][0]["processes"][0]["alive"], true);
}

#[test]
fn prometheus_text_has_self_metrics_unless_something_is_chosen() {
    let fixture = Fixture::new();
    let all = dump(&fixture, &["--format", "prometheus"]).out;
    assert!(
        all.contains("\nllm_requests_total{model=\"llama\",service=\"chat\",status=\"ok\"} 3\n"),
        "{all}"
    );
    assert!(all.contains("\ndyn_metrics_segment_up{"), "{all}");
    let chosen = dump(&fixture, &["--format", "prometheus", "--family", "llm_tokens_total"]).out;
    let expected = "\
# HELP llm_tokens_total Tokens generated
# TYPE llm_tokens_total counter
llm_tokens_total 12345678901
";
    assert_eq!(chosen, expected);
}

#[test]
fn raw_shows_the_structures_with_their_offsets() {
    let fixture = Fixture::new();
    let raw = dump(&fixture, &["--raw"]);
    assert_eq!((raw.status, raw.err.as_str()), (Some(0), ""));
    let sections = ["header", "statistics", "processes", "index tables", "families", "series", "gauge cells"];
    for section in sections.iter().chain(&["extents", "blocks"]) {
        assert!(raw.out.lines().any(|line| line == *section), "{section}");
    }
    let found = dyn_metrics_reader::raw::read(fixture.path()).expect("a segment");
    for (offset, name) in found.families.iter().map(|family| (family.offset, family.name.as_str())) {
        let is_it = |line: &str| {
            let words: Vec<_> = line.split_whitespace().collect();
            words.first() == Some(&offset.to_string().as_str()) && words.contains(&name)
        };
        assert!(raw.out.lines().any(is_it), "{name} at {offset}");
    }
    assert!(raw.out.contains("integer at word "), "{}", raw.out);
    assert!(raw.out.contains("overflow"), "{}", raw.out);
}
