//! Follows segments across collections.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use dyn_metrics_layout::Error as Fault;

use crate::discover::{Expected, Group, discover};
use crate::encode::text::Page;
use crate::error::Error;
use crate::file::{FileId, stat};
use crate::merge::Plan;
use crate::report;
use crate::segment::{Reading, Segment};
use crate::snapshot::{Report, SegmentState, Snapshot};
use crate::values::{self, Scratch, Sink};

/// Tells the time; a test replaces it.
pub type Clock = Arc<dyn Fn() -> Instant + Send + Sync>;

/// Follows the segments of one or more patterns across collections; owns their maps and what was read once.
///
/// Threads: one collection at a time; the collector may move between threads. Cost of a collection: a few
/// system calls for each segment, and reading what is registered; descriptions are read once.
///
/// ```
/// use dyn_metrics_reader::{Collector, encode};
///
/// let mut collector = Collector::new(&["/dev/shm/dynamo".to_owned()]);
/// let mut page = Vec::new();
/// encode::text::encode(&collector.collect(), &mut page);
/// assert!(page.starts_with(b"# HELP "));
/// ```
pub struct Collector {
    patterns: Vec<String>,
    clock: Clock,
    followed: Vec<Followed>,
    foreign: HashSet<(FileId, (i64, i64))>,
    opened: u64,
    plan: Plan,
    plan_of: Vec<(u64, u64)>,
    scratch: Scratch,
}

/// A segment that is served.
pub(crate) struct Followed {
    pub(crate) segment: Segment,
    pub(crate) place: Place,
    /// The name to which it belongs.
    group: PathBuf,
    /// Position of that name among all.
    rank: usize,
    /// Whether the last look found it under a name.
    found: bool,
    serial: u64,
}

/// How a served segment is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// By the name itself.
    Named,
    /// By the name of a superseded file.
    Superseded,
    /// Not any more.
    Unlinked,
}

/// A path that could not be served.
pub(crate) struct Failure {
    pub(crate) rank: usize,
    pub(crate) path: PathBuf,
    pub(crate) is_superseded: bool,
    pub(crate) state: SegmentState,
}

impl Collector {
    /// A collector for `patterns`: each a file, a directory or a glob. Nothing needs to exist yet.
    #[must_use]
    pub fn new(patterns: &[String]) -> Self {
        Self::with_clock(patterns, Arc::new(Instant::now))
    }

    /// As [`Self::new`], with a clock of the caller's.
    #[must_use]
    pub fn with_clock(patterns: &[String], clock: Clock) -> Self {
        Self {
            patterns: patterns.to_vec(),
            clock,
            followed: Vec::new(),
            foreign: HashSet::new(),
            opened: 0,
            plan: Plan::default(),
            plan_of: Vec::new(),
            scratch: Scratch::default(),
        }
    }

    /// Looks for segments anew and reads everything.
    ///
    /// Errors: none; a segment that can't be read, and every part that is skipped, is in the snapshot. Panics:
    /// none, whatever the files hold. Waits for nobody.
    pub fn collect(&mut self) -> Snapshot {
        let mut families = Vec::new();
        let Report { segments, stats } = self.read_into(&mut families);
        Snapshot { families, segments, stats }
    }

    /// As [`Self::collect`], and appends what [`crate::encode::text::encode`] makes of the snapshot to `out`.
    ///
    /// What never changes of the text is kept from one call to the next. Cost while nothing is registered: reading
    /// the numbers and writing them, no allocation for a series.
    pub fn render(&mut self, out: &mut Vec<u8>) -> Report {
        let report = self.read_into(&mut Page::new(out));
        let families = self.plan.families.iter().map(|planned| {
            let (segment, number) = planned.describes;
            let family = &self.followed[segment].segment.catalog.families[number];
            (&*family.name, family.kind)
        });
        crate::encode::self_metrics::encode(families, &report.segments, &report.stats, out);
        report
    }

    fn read_into(&mut self, sink: &mut impl Sink) -> Report {
        let mut failures = self.find();
        self.refresh(&mut failures);
        let series = self.read(&mut failures, sink);
        report::report(series, &self.followed, failures)
    }

    /// Looks which files there are.
    fn find(&mut self) -> Vec<Failure> {
        let groups = discover(&self.patterns);
        let mut search = Search { failures: Vec::new(), foreign: HashSet::new() };
        for followed in &mut self.followed {
            followed.found = false;
        }
        for (rank, group) in groups.iter().enumerate() {
            // The name before the superseded files: whoever replaces it meanwhile is found there.
            self.find_file(&group.path, Place::Named, rank, group, &mut search);
            for path in &group.superseded {
                self.find_file(path, Place::Superseded, rank, group, &mut search);
            }
        }
        self.foreign = search.foreign;
        self.place_unlinked(&groups);
        search.failures
    }

    fn find_file(&mut self, path: &Path, place: Place, rank: usize, group: &Group, search: &mut Search) {
        let Some((id, changed)) = stat(path) else {
            // Let opening say what is wrong.
            return self.open(path, place, rank, group, search);
        };
        if let Some(followed) = self.followed.iter_mut().find(|followed| followed.segment.file.id() == id) {
            if !followed.found {
                followed.segment.file.set_path(path);
                (followed.place, followed.rank, followed.found) = (place, rank, true);
                followed.group.clone_from(&group.path);
            }
            return;
        }
        if group.expected != Expected::Segment && self.foreign.contains(&(id, changed)) {
            search.foreign.insert((id, changed));
            return;
        }
        let failures = search.failures.len();
        let followed = self.followed.len();
        self.open(path, place, rank, group, search);
        if search.failures.len() == failures && self.followed.len() == followed {
            search.foreign.insert((id, changed));
        }
    }

    fn open(&mut self, path: &Path, place: Place, rank: usize, group: &Group, search: &mut Search) {
        match Segment::open(path) {
            Ok(segment) => {
                self.opened += 1;
                let (serial, group) = (self.opened, group.path.clone());
                self.followed.push(Followed { segment, place, group, rank, found: true, serial });
            }
            Err(error) => {
                let is_superseded = place == Place::Superseded;
                if let Some(state) = state_of(error, group.expected, is_superseded) {
                    search.failures.push(Failure { rank, path: path.to_owned(), is_superseded, state });
                }
            }
        }
    }

    /// Gives segments that nothing leads to any more a place behind those of their name.
    fn place_unlinked(&mut self, groups: &[Group]) {
        for followed in self.followed.iter_mut().filter(|followed| !followed.found) {
            followed.place = Place::Unlinked;
            let rank = groups.iter().position(|group| group.path == followed.group);
            followed.rank = rank.unwrap_or(groups.len());
        }
    }

    /// Reads what is new in each segment; segments that can't be read any more, and unlinked ones without
    /// processes, are let go.
    fn refresh(&mut self, failures: &mut Vec<Failure>) {
        let clock = self.clock.as_ref();
        self.followed.retain_mut(|followed| match followed.segment.refresh(clock) {
            Ok(()) => followed.place != Place::Unlinked || followed.segment.processes.any_alive(),
            Err(error) => {
                failures.push(followed.failure(error));
                false
            }
        });
        self.followed.sort_by_key(|followed| {
            let header = followed.segment.file.header();
            let is_named = followed.place == Place::Named;
            (followed.rank, !is_named, Reverse(header.created_unix_ns), header.segment_id)
        });
        let unlinked = |rank| self.followed.iter().any(|f| f.rank == rank && f.place == Place::Unlinked);
        failures.retain(|f| !(matches!(f.state, SegmentState::Missing) && unlinked(f.rank)));
    }

    /// Reads all values, again without a segment that shrank meanwhile, and returns the number of samples.
    fn read(&mut self, failures: &mut Vec<Failure>, sink: &mut impl Sink) -> usize {
        loop {
            sink.restart();
            let key: Vec<_> = self.followed.iter().map(|f| (f.serial, f.segment.catalog.version)).collect();
            let groups = self.group_numbers();
            let mut readings: Vec<Reading<'_>> =
                self.followed.iter_mut().map(|followed| followed.segment.reading()).collect();
            if key != self.plan_of {
                self.plan = Plan::new(&mut readings);
                self.plan_of = key;
            }
            let samples = values::read(&mut self.plan, &mut readings, &groups, &mut self.scratch, sink);
            let before = self.followed.len();
            self.followed.retain(|followed| match followed.segment.check_intact() {
                Ok(()) => true,
                Err(error) => {
                    failures.push(followed.failure(error));
                    false
                }
            });
            if self.followed.len() == before {
                return samples;
            }
        }
    }

    /// For each segment a number that those of the same name share.
    fn group_numbers(&self) -> Vec<usize> {
        let mut numbers = BTreeMap::new();
        let number = |followed: &Followed| {
            let next = numbers.len();
            *numbers.entry(followed.group.clone()).or_insert(next)
        };
        self.followed.iter().map(number).collect()
    }
}

impl Followed {
    pub(crate) const fn rank(&self) -> usize {
        self.rank
    }

    fn failure(&self, error: Error) -> Failure {
        Failure {
            rank: self.rank,
            path: self.segment.file.path().to_owned(),
            is_superseded: self.place == Place::Superseded,
            state: SegmentState::Unreadable(error),
        }
    }
}

/// What a search for files found besides segments.
struct Search {
    failures: Vec<Failure>,
    /// Files that are no segments, so that they aren't opened again.
    foreign: HashSet<(FileId, (i64, i64))>,
}

/// How a file that can't be opened shows; none for one that may be left out.
fn state_of(error: Error, expected: Expected, is_superseded: bool) -> Option<SegmentState> {
    let is_named = expected == Expected::Segment;
    match error {
        Error::NotFound { .. } => (is_named && !is_superseded).then_some(SegmentState::Missing),
        error if is_named || is_superseded => Some(SegmentState::Unreadable(error)),
        Error::PermissionDenied { .. } if expected == Expected::Anything => None,
        Error::NotAFile { .. } => None,
        Error::Format { source: Fault::BadMagic { .. } | Fault::TooShort { .. }, .. } => None,
        error => Some(SegmentState::Unreadable(error)),
    }
}

#[cfg(test)]
mod tests;
