//! `dyn-metrics info`.

use std::fs;

use crate::{Fixture, run, text};

/// The value of a fact.
fn fact<'o>(out: &'o str, name: &str) -> &'o str {
    let line = out.lines().find(|line| line.split_whitespace().next() == Some(name));
    line.unwrap_or_else(|| panic!("no {name} in\n{out}")).trim_start().trim_start_matches(name).trim_start()
}

#[test]
fn info_says_what_a_segment_is() {
    let fixture = Fixture::new();
    let info = run(&["info", &fixture.segment()]);
    assert_eq!((info.status, info.err.as_str()), (Some(0), ""));
    let out = &info.out;
    assert_eq!(fact(out, "format"), format!("version {}, no features", dyn_metrics::FORMAT_VERSION));
    assert_eq!(fact(out, "boot"), "this one");
    assert_eq!(fact(out, "state"), "current");
    assert_eq!(fact(out, "families"), "11");
    assert_eq!(fact(out, "series"), "13, 1 of them for overflow");
    assert!(fact(out, "processes").starts_with("1 alive, 0 dead, "), "{out}");
    assert!(fact(out, "created").contains(" UTC, "), "{out}");
    assert_eq!(fact(out, "superseded"), "no files");
    assert_eq!(info.out.matches("rank=0").count(), 1);
    assert!(info.out.contains("  1  look-ups that got the overflow series"), "{out}");
}

#[test]
fn superseded_files_are_named_and_merged() {
    let fixture = Fixture::new();
    let superseded = fixture.path().with_file_name("segment.superseded-1");
    let earlier = fixture.path().with_file_name("earlier");
    let registry = dyn_metrics::Registry::open_at(&earlier).expect("a segment");
    let tokens = registry.counter("llm_tokens_total", "Tokens generated").expect("a counter");
    tokens.inc_by(12_345_678_901);
    fs::rename(&earlier, &superseded).expect("a superseded file");
    let out = run(&["info", &fixture.segment()]).out;
    assert_eq!(fact(&out, "superseded"), "segment.superseded-1");
    let dump = run(&["dump", &fixture.segment(), "--format", "prometheus", "--family", "llm_tokens_total"]);
    assert!(dump.out.ends_with("llm_tokens_total 24691357802\n"), "{}", dump.out);

    fs::remove_file(fixture.path()).expect("the segment");
    let dump = run(&["dump", &fixture.segment()]);
    let expected =
        format!("dyn-metrics: {}: no such file; shown are its superseded files\n", fixture.segment());
    assert_eq!((dump.status, dump.err), (Some(1), expected));
    assert!(dump.out.starts_with(&format!("{} (superseded): ", text(&superseded))), "{}", dump.out);
}
