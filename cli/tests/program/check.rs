//! `dyn-metrics check`.

use std::fs;

use crate::{Fixture, run, text};

#[test]
fn a_segment_in_use_and_its_copy_are_sound() {
    let fixture = Fixture::new();
    for path in [fixture.path(), fixture.copy()] {
        let path = text(&path);
        let check = run(&["check", &path]);
        assert_eq!((check.status, check.err.as_str()), (Some(0), ""), "{}", check.out);
        assert!(check.out.starts_with(&format!("{path}: sound\n")), "{}", check.out);
        let facts: Vec<Vec<_>> = check.out.lines().map(|line| line.split_whitespace().collect()).collect();
        for fact in [["families", "11"], ["series", "13"]] {
            assert!(facts.contains(&fact.to_vec()), "{fact:?} in\n{}", check.out);
        }
        for word in ["file", "reserved", "published", "wasted"] {
            assert!(facts.iter().any(|fact| fact[0] == word), "{word} in\n{}", check.out);
        }
    }
}

#[test]
fn a_damaged_record_is_a_fault_with_its_offset_and_the_rest_is_shown() {
    let fixture = Fixture::new();
    let copy = fixture.copy();
    let families = dyn_metrics_reader::raw::read(&copy).expect("a segment").families;
    let damaged = families.iter().find(|family| family.name == "llm_tokens_total").expect("the family");
    let mut bytes = fs::read(&copy).expect("a copy");
    bytes[damaged.offset as usize + 48] ^= 1;
    fs::write(&copy, bytes).expect("a copy");

    let check = run(&["check", &text(&copy)]);
    assert_eq!((check.status, check.err.as_str()), (Some(1), ""), "{}", check.out);
    let line = check.out.lines().find(|line| line.contains(&format!(" {} ", damaged.offset)));
    assert!(line.is_some_and(|line| line.contains("FAULT  at offset")), "{}", check.out);
    assert!(check.out.lines().next().is_some_and(|line| line.contains(" fault")), "{}", check.out);

    let dump = run(&["dump", &text(&copy)]);
    assert_eq!((dump.status, dump.err.lines().count()), (Some(1), 1), "{}", dump.err);
    assert!(dump.err.contains("skipped") && dump.err.contains("dyn-metrics check"), "{}", dump.err);
    assert!(
        dump.out.contains("llm_requests_total") && !dump.out.contains("llm_tokens_total"),
        "{}",
        dump.out
    );
    let info = run(&["info", &text(&copy)]);
    assert_eq!((info.status, info.err.lines().count()), (Some(1), 1), "{}", info.err);
}
