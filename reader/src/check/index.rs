//! Whether every record is found by a search, and once.

use std::collections::HashMap;

use crate::inspect::{Content, Findings, Inspection, index_contains};

/// What makes two records the same.
#[derive(PartialEq, Eq, Hash)]
enum Identity<'r> {
    Family(&'r str),
    Series(u64, &'r [(String, String)]),
}

/// Finds records that a search misses, and identities that appear twice.
pub(super) fn check(inspection: &Inspection, findings: &mut Findings) {
    let mut seen = HashMap::new();
    for (offset, record) in &inspection.records {
        if !index_contains(inspection, *offset, record.identity_hash) {
            findings.fault(*offset, "a search of the index doesn't find this record");
        }
        let identity = match &record.content {
            Content::Family(family) => Identity::Family(&family.name),
            Content::Series(series) => Identity::Series(series.family, &series.labels),
        };
        if let Some(other) = seen.insert(identity, *offset) {
            findings.fault(*offset, format_args!("the record at {other} has the same identity"));
        }
    }
    if inspection.search_steps.get() == 0 {
        findings.fault(inspection.header().index, "the index is too long to search it for every record");
    }
}
