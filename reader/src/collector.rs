//! Follows segments across collections.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use dyn_metrics_layout::Error as Fault;
use nix::unistd::geteuid;

use crate::discover::{Expected, Group, discover};
use crate::encode::text::Page;
use crate::error::{Error, Result};
use crate::file::{FileId, Stat};
use crate::left_out::{LeftOut, LeftOutReason};
use crate::merge::Plan;
use crate::report;
use crate::segment::{Reading, Segment};
use crate::snapshot::{PatternReport, Report, SegmentState, Snapshot};
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
    pub(crate) clock: Clock,
    /// Users besides root and this process's own whose files are served where they are found.
    allowed: Vec<u32>,
    /// Served, in the order in which they are merged.
    pub(crate) followed: Vec<Followed>,
    /// Followed, but copies of others: not served.
    copies: Vec<Followed>,
    foreign: Foreign,
    shrunk: Shrunk,
    opened: u64,
    plan: Plan,
    plan_of: Vec<(u64, u64)>,
    scratch: Scratch,
}

/// Files that were opened and left out, so that they aren't opened again.
type Foreign = HashMap<(FileId, (i64, i64)), LeftOutReason>;

/// Files that were truncated while they were served: which segment each was, and what was found then.
type Shrunk = HashMap<FileId, ([u64; 2], Error)>;

/// A segment that is served.
pub(crate) struct Followed {
    pub(crate) segment: Segment,
    pub(crate) place: Place,
    /// The name to which it belongs.
    group: PathBuf,
    /// Number of the first pattern that led to it.
    pattern: usize,
    /// Whether a pattern is that name.
    is_named: bool,
    /// Whether the last collection served it.
    was_served: bool,
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
            allowed: vec![0, geteuid().as_raw()],
            followed: Vec::new(),
            copies: Vec::new(),
            foreign: Foreign::new(),
            shrunk: Shrunk::new(),
            opened: 0,
            plan: Plan::default(),
            plan_of: Vec::new(),
            scratch: Scratch::default(),
        }
    }

    /// Serves what directories and globs lead to also when it belongs to one of these users. Without them it must be
    /// this process's own user or root, because whoever may create a file there could change others' numbers. A
    /// file that is named is served whoever owns it, with the superseded files beside it that have the same owner.
    #[must_use]
    pub fn allow_uids(mut self, uids: &[u32]) -> Self {
        self.allowed.extend(uids);
        self
    }

    /// Looks for segments anew and reads everything.
    ///
    /// Errors: none; a segment that can't be read, and every part that is skipped, is in the snapshot. Panics:
    /// none, whatever the files hold. Waits for nobody.
    pub fn collect(&mut self) -> Snapshot {
        let mut families = Vec::new();
        let Report { segments, patterns, left_out, stats } = self.read_into(&mut families);
        Snapshot { families, segments, patterns, left_out, stats }
    }

    /// As [`Self::collect`], and appends what [`crate::encode::text::encode`] makes of the snapshot to `out`.
    ///
    /// What never changes of the text is kept from one call to the next. Cost while nothing is registered: reading
    /// the numbers and writing them, no allocation for a series.
    pub fn render(&mut self, out: &mut Vec<u8>) -> Report {
        let report = self.read_into(&mut Page::new(out));
        crate::encode::self_metrics::encode((&report).into(), out);
        report
    }

    fn read_into(&mut self, sink: &mut impl Sink) -> Report {
        let (mut failures, patterns, left_out) = self.find();
        self.refresh(&mut failures);
        let series = self.read(&mut failures, sink);
        report::report(series, &self.followed, failures, patterns, left_out)
    }

    /// Looks for segments anew, and for what is new in them; returns what is wrong.
    pub(crate) fn look(&mut self) -> Option<Error> {
        let (mut failures, ..) = self.find();
        self.refresh(&mut failures);
        failures.into_iter().find_map(|failure| match failure.state {
            SegmentState::Unreadable(error) => Some(error),
            _ => None,
        })
    }

    /// Looks which files there are.
    fn find(&mut self) -> (Vec<Failure>, Vec<PatternReport>, LeftOut) {
        let mut search = Search::default();
        let (groups, patterns) = discover(&self.patterns, &mut search.left_out);
        self.followed.append(&mut self.copies);
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
        self.shrunk = search.shrunk;
        self.place_unlinked(&groups);
        (search.failures, patterns, search.left_out)
    }

    fn find_file(&mut self, path: &Path, place: Place, rank: usize, group: &Group, search: &mut Search) {
        let Some(Stat { id, changed, uid }) = Stat::of(path) else {
            // Let opening say what is wrong.
            return self.open(path, place, rank, group, search);
        };
        if let Some(followed) = self.followed.iter_mut().find(|followed| followed.segment.file.id() == id) {
            if !followed.found {
                followed.segment.file.set_path(path);
                (followed.place, followed.rank, followed.found) = (place, rank, true);
                followed.pattern = group.pattern;
                followed.is_named = group.expected == Expected::Segment;
                followed.group.clone_from(&group.path);
            }
            return;
        }
        if !self.trusts(uid, place, group) {
            return search.left_out.add(path, LeftOutReason::Owner);
        }
        if group.expected != Expected::Segment
            && let Some(reason) = self.foreign.get(&(id, changed))
        {
            search.foreign.insert((id, changed), *reason);
            return search.left_out.add(path, *reason);
        }
        self.open(path, place, rank, group, search);
    }

    /// Whether files of this user are served at this place.
    fn trusts(&self, uid: u32, place: Place, group: &Group) -> bool {
        let is_named = group.expected == Expected::Segment;
        self.allowed.contains(&uid)
            || (is_named && place == Place::Named)
            || (is_named && Stat::of(&group.path).is_some_and(|named| named.uid == uid))
    }

    fn open(&mut self, path: &Path, place: Place, rank: usize, group: &Group, search: &mut Search) {
        let before = Stat::of(path);
        // Said in the same words for as long as the file is there, also where nothing else could be said of it now.
        let shrank =
            before.and_then(|stat| self.shrunk.get(&stat.id).map(|shrank| (stat.id, shrank.clone())));
        search.shrunk.extend(shrank.clone());
        let found = Segment::open(path).map_err(|error| match &shrank {
            Some((_, (_, shrank))) if matches!(error, Error::Format { .. }) => shrank.clone(),
            _ => error,
        });
        match found {
            // Asked again of what was opened, which may be another file than the one before.
            Ok(segment) if !self.trusts(segment.file.uid(), place, group) => {
                search.left_out.add(path, LeftOutReason::Owner);
            }
            Ok(mut segment) => {
                if let Some((id, (segment_id, shrank))) = &shrank
                    && segment.file.id() == *id
                {
                    // A new file may have got the inode of the one that was truncated.
                    if segment.file.header().segment_id == *segment_id {
                        segment.note_truncation(shrank);
                    }
                    search.shrunk.remove(id);
                }
                self.opened += 1;
                self.followed.push(Followed {
                    segment,
                    place,
                    group: group.path.clone(),
                    pattern: group.pattern,
                    is_named: group.expected == Expected::Segment,
                    was_served: false,
                    rank,
                    found: true,
                    serial: self.opened,
                });
            }
            Err(error) => {
                let is_superseded = place == Place::Superseded;
                match verdict(error, group.expected, is_superseded) {
                    Verdict::Show(state) => {
                        search.failures.push(Failure { rank, path: path.to_owned(), is_superseded, state });
                    }
                    Verdict::LeaveOut(reason) => {
                        search.left_out.add(path, reason);
                        search.foreign.extend(before.map(|stat| ((stat.id, stat.changed), reason)));
                    }
                    Verdict::Vanished => {}
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
            followed.pattern = rank.map_or(self.patterns.len(), |rank| groups[rank].pattern);
        }
    }

    /// Reads what is new in each segment; segments that can't be read any more, and unlinked ones without
    /// processes, are let go.
    fn refresh(&mut self, failures: &mut Vec<Failure>) {
        let Self { clock, followed, shrunk, opened, .. } = self;
        followed.retain_mut(|followed| match followed.refresh(clock.as_ref(), opened) {
            Ok(()) => followed.place != Place::Unlinked || followed.segment.is_in_use(),
            Err(error) => {
                failures.push(followed.failure(error, shrunk));
                false
            }
        });
        self.set_copies_aside(failures);
        self.sort();
        let unlinked = |rank| self.followed.iter().any(|f| f.rank == rank && f.place == Place::Unlinked);
        failures.retain(|f| !(matches!(f.state, SegmentState::Missing) && unlinked(f.rank)));
    }

    /// Of copies of one segment, serves the one that living processes use, else the one served so far, else the one that
    /// is named or has the shorter name. Adding them up would count everything twice.
    fn set_copies_aside(&mut self, failures: &mut Vec<Failure>) {
        let mut ids: Vec<_> = self.followed.iter().map(|f| f.segment.file.header().segment_id).collect();
        ids.sort_unstable();
        if ids.windows(2).all(|pair| pair[0] != pair[1]) {
            self.followed.iter_mut().for_each(|followed| followed.was_served = true);
            return;
        }
        let preference = |followed: &Followed| {
            let Followed { segment, place, is_named, was_served, .. } = followed;
            let path = segment.file.path();
            let has_name = (*is_named, *place == Place::Named, Reverse(path.as_os_str().len()));
            (segment.is_in_use(), *was_served, has_name, Reverse(path.to_owned()))
        };
        let mut best: HashMap<[u64; 2], &Followed> = HashMap::new();
        for followed in &self.followed {
            let chosen = best.entry(followed.segment.file.header().segment_id).or_insert(followed);
            if preference(followed) > preference(chosen) {
                *chosen = followed;
            }
        }
        let best: HashMap<[u64; 2], (u64, PathBuf)> = best
            .into_iter()
            .map(|(id, chosen)| (id, (chosen.serial, chosen.segment.file.path().to_owned())))
            .collect();
        for mut followed in std::mem::take(&mut self.followed) {
            let (serial, original) = &best[&followed.segment.file.header().segment_id];
            followed.was_served = *serial == followed.serial;
            if followed.was_served {
                self.followed.push(followed);
                continue;
            }
            let (rank, path) = (followed.rank, followed.segment.file.path().to_owned());
            let state = SegmentState::Copy(original.clone());
            failures.push(Failure { rank, path, is_superseded: false, state });
            self.copies.push(followed);
        }
    }

    /// Brings segments into the order in which they are merged, where an earlier one wins: by patterns, then names by
    /// the age of the oldest file that belongs to them, of one name the file that has it and then the newest.
    fn sort(&mut self) {
        let mut ages: HashMap<PathBuf, u64> = HashMap::new();
        for followed in &self.followed {
            let created = followed.segment.file.header().created_unix_ns;
            let age = ages.entry(followed.group.clone()).or_insert(created);
            *age = created.min(*age);
        }
        self.followed.sort_by_cached_key(|followed| {
            let header = followed.segment.file.header();
            let is_named = followed.place == Place::Named;
            let of_name = (followed.pattern, ages[&followed.group], followed.rank);
            (of_name, !is_named, Reverse(header.created_unix_ns), header.segment_id)
        });
    }

    /// Reads all values, again where a segment shrank meanwhile, and returns the number of samples.
    fn read(&mut self, failures: &mut Vec<Failure>, sink: &mut impl Sink) -> usize {
        let mut is_first = true;
        loop {
            sink.restart();
            let key = self.version();
            let groups = self.group_numbers();
            let mut readings: Vec<Reading<'_>> =
                self.followed.iter_mut().map(|followed| followed.segment.reading()).collect();
            if key != self.plan_of {
                self.plan = Plan::new(&mut readings);
                self.plan_of = key;
            }
            let samples = values::read(&mut self.plan, &mut readings, &groups, &mut self.scratch, sink);
            let Self { clock, followed, shrunk, opened, .. } = self;
            let mut is_intact = true;
            followed.retain_mut(|followed| {
                let Err(error) = followed.segment.check_intact() else { return true };
                is_intact = false;
                let again = match is_first {
                    true => followed.start_again(error, clock.as_ref(), opened),
                    false => Err(error),
                };
                again.map_err(|error| failures.push(followed.failure(error, shrunk))).is_ok()
            });
            if is_intact {
                return samples;
            }
            is_first = false;
        }
    }

    /// Changes whenever families, series or their cells come or go, or files do.
    pub(crate) fn version(&self) -> Vec<(u64, u64)> {
        self.followed.iter().map(|f| (f.serial, f.segment.catalog.version)).collect()
    }

    /// For each segment a number that those of the same name share.
    pub(crate) fn group_numbers(&self) -> Vec<usize> {
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

    /// Reads what is new; of a file that was truncated what is left, as of another file.
    fn refresh(&mut self, clock: &dyn Fn() -> Instant, opened: &mut u64) -> Result<()> {
        self.segment.refresh(clock).or_else(|error| self.start_again(error, clock, opened))
    }

    fn start_again(&mut self, error: Error, clock: &dyn Fn() -> Instant, opened: &mut u64) -> Result<()> {
        self.segment.start_again(error, clock)?;
        *opened += 1;
        self.serial = *opened;
        Ok(())
    }

    fn failure(&self, error: Error, shrunk: &mut Shrunk) -> Failure {
        if matches!(error, Error::Shrank { .. }) {
            let file = &self.segment.file;
            shrunk.insert(file.id(), (file.header().segment_id, error.clone()));
        }
        Failure {
            rank: self.rank,
            path: self.segment.file.path().to_owned(),
            is_superseded: self.place == Place::Superseded,
            state: SegmentState::Unreadable(error),
        }
    }
}

/// What a search for files found besides segments.
#[derive(Default)]
struct Search {
    failures: Vec<Failure>,
    foreign: Foreign,
    shrunk: Shrunk,
    left_out: LeftOut,
}

/// What becomes of a file that can't be opened.
enum Verdict {
    Show(SegmentState),
    LeaveOut(LeftOutReason),
    Vanished,
}

fn verdict(error: Error, expected: Expected, is_superseded: bool) -> Verdict {
    let is_named = expected == Expected::Segment;
    match error {
        Error::NotFound { .. } if is_named && !is_superseded => Verdict::Show(SegmentState::Missing),
        Error::NotFound { .. } => Verdict::Vanished,
        error if is_named || is_superseded => Verdict::Show(SegmentState::Unreadable(error)),
        Error::PermissionDenied { .. } if expected == Expected::Anything => {
            Verdict::LeaveOut(LeftOutReason::PermissionDenied)
        }
        Error::NotAFile { .. }
        | Error::Format { source: Fault::BadMagic { .. } | Fault::TooShort { .. }, .. } => {
            Verdict::LeaveOut(LeftOutReason::NoSegment)
        }
        error => Verdict::Show(SegmentState::Unreadable(error)),
    }
}

#[cfg(test)]
mod tests;
