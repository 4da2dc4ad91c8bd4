//! What is wrong in a segment.

use std::fmt;

/// Most findings that are kept.
pub const MAX_FAULTS: usize = 10_000;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// What a process that dies leaves behind, or nothing to worry about.
    Note,
    /// What no correct writer leaves behind.
    Fault,
}

/// Something wrong in a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where it lies, in bytes from the start of the file.
    pub offset: u64,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong: found and expected.
    pub what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Note => "note",
            Severity::Fault => "fault",
        };
        write!(f, "{severity} at offset {}: {}", self.offset, self.what)
    }
}

/// A bounded list of findings.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    list: Vec<Fault>,
    omitted: u64,
}

impl Findings {
    /// Adds what no correct writer leaves behind.
    pub(crate) fn fault(&mut self, offset: u64, what: impl fmt::Display) {
        self.add(offset, Severity::Fault, what);
    }

    /// Adds what a death explains.
    pub(crate) fn note(&mut self, offset: u64, what: impl fmt::Display) {
        self.add(offset, Severity::Note, what);
    }

    /// Adds the findings of `other`.
    pub(crate) fn append(&mut self, other: Self) {
        let room = MAX_FAULTS.saturating_sub(self.list.len());
        self.omitted += other.omitted + other.list.len().saturating_sub(room) as u64;
        self.list.extend(other.list.into_iter().take(room));
    }

    /// The findings by offset, and how many more there were.
    pub(crate) fn into_sorted(mut self) -> (Vec<Fault>, u64) {
        self.list.sort_by_key(|finding| finding.offset);
        (self.list, self.omitted)
    }

    fn add(&mut self, offset: u64, severity: Severity, what: impl fmt::Display) {
        if self.list.len() < MAX_FAULTS {
            self.list.push(Fault { offset, severity, what: what.to_string() });
        } else {
            self.omitted += 1;
        }
    }
}
