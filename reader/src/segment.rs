//! One segment, followed across collections.

use std::ops::Range;
use std::path::Path;
use std::time::Instant;

use dyn_metrics_layout::callbacks::SocketName;
use dyn_metrics_layout::header::{Header, RESERVED_END, STATE, STATE_SUPERSEDED, Statistic};
use dyn_metrics_layout::record;
use dyn_metrics_layout::sync::{AtomicU64, Ordering, load_acquire};

use crate::callbacks::CallbackSocket;
use crate::catalog::{Catalog, Source};
use crate::cells::{Chosen, Extents};
use crate::error::{Error, Result};
use crate::file::SegmentFile;
use crate::gauges;
use crate::map::Map;
use crate::processes::Processes;
use crate::ranges::Ranges;
use crate::skip::{Reason, SkipLog};

/// An open segment with everything that was read of it so far.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) file: SegmentFile,
    map: Map,
    pub(crate) catalog: Catalog,
    extents: Extents,
    /// The words of all extents, each the sum of all blocks at the last reading.
    sums: Vec<u64>,
    pub(crate) processes: Processes,
    taken: Ranges,
    /// Most bytes that were ever seen allocated for the file.
    allocated: u64,
    pub(crate) log: SkipLog,
    /// What is read by [`Self::reading_chosen`].
    chosen: Chosen,
    signs: Signs,
}

/// Words that change when something is registered, or another file takes the name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Signs {
    reserved_end: u64,
    state: u64,
    /// Series registered in the chosen family.
    series: u64,
    /// Record of that family.
    family: Option<u64>,
}

/// What a glance at a segment says of the last look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Glance {
    /// Nothing has happened since.
    Same,
    /// Something was registered, or is just being.
    Grown,
    /// A chosen series was removed or has new cells, another file has the name, or this one was truncated.
    Changed,
}

impl Segment {
    /// Whether a process may still count into it, with a slot or without.
    pub(crate) fn is_in_use(&self) -> bool {
        self.processes.any_alive() || self.file.is_in_use()
    }

    /// Where living processes answer who wants their callbacks run.
    pub(crate) fn callback_sockets(&self) -> impl Iterator<Item = CallbackSocket> {
        let (id, owner) = (self.file.header().segment_id, self.file.uid());
        self.processes.callback_sockets().map(move |(process_id, uid, number)| CallbackSocket {
            directory: self.file.path().parent().unwrap_or(Path::new("/")).to_owned(),
            name: SocketName::new(id, process_id, number),
            owners: [owner, uid],
        })
    }

    /// Opens and maps the segment at `path`.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        Self::of(SegmentFile::open(path)?)
    }

    fn of(file: SegmentFile) -> Result<Self> {
        let map = map(&file, file.len()?)?;
        let mut log = SkipLog::default();
        let catalog = Catalog::new(common_labels(&file, &mut log));
        let (extents, processes, taken) = (Extents::default(), Processes::default(), Ranges::default());
        let (chosen, signs) = (Chosen::default(), Signs::default());
        Ok(Self {
            file,
            map,
            catalog,
            extents,
            sums: Vec::new(),
            processes,
            taken,
            allocated: 0,
            log,
            chosen,
            signs,
        })
    }

    /// Notes that the file has become shorter than it was when `shrank` was found.
    pub(crate) fn note_truncation(&mut self, shrank: &Error) {
        let Error::Shrank { found, expected, .. } = shrank else { return };
        if found < expected {
            let what = format_args!("found {found} bytes, expected {expected}: somebody truncated the file");
            self.log.note(Reason::Truncated, *found, what);
        } else {
            // Grown again meanwhile; or a hole that a filesystem without space can't fill.
            self.log.note(Reason::Hole, 0, "a page was gone when it was read: somebody punched a hole");
        }
    }

    /// Reads what is left of a file that was truncated from the start.
    ///
    /// # Errors
    /// `shrank` itself when nothing is left that can be read, or something else is wrong.
    pub(crate) fn start_again(&mut self, shrank: Error, clock: &dyn Fn() -> Instant) -> Result<()> {
        if !matches!(shrank, Error::Shrank { .. }) {
            return Err(shrank);
        }
        let Ok(mut again) = self.file.again().and_then(Self::of) else { return Err(shrank) };
        again.log = std::mem::take(&mut self.log);
        again.note_truncation(&shrank);
        *self = again;
        self.refresh(clock, u8::MAX).map_err(|_| shrank)
    }

    /// Checks that the file is what it was, maps what it has grown by, and reads what is new in its tables; of series
    /// of families above `level` not what has become of them.
    pub(crate) fn refresh(&mut self, clock: &dyn Fn() -> Instant, level: u8) -> Result<()> {
        self.check_intact()?;
        let len = self.file.len()?;
        if len > self.map.len() {
            self.map = map(&self.file, len)?;
        }
        self.look_for_holes();
        let source = Source { file: &self.file, map: &self.map };
        self.processes.refresh(source, clock());
        self.catalog.refresh(source, &mut self.taken, &mut self.log);
        self.extents.refresh(source, &mut self.catalog, &mut self.taken, &mut self.log, level);
        Ok(())
    }

    /// Notes that the file has lost bytes and not its length: by a hole that was punched, or because it was truncated and
    /// grown again. A writer makes a file whole when it attaches, so none has holes that is in use.
    ///
    /// What a writer stores into again is allocated again: a hole there can't be told from values that were reset.
    fn look_for_holes(&mut self) {
        let Some(found) = self.file.allocated() else { return };
        let before = self.allocated;
        self.allocated = before.max(found);
        let len = self.map.len();
        if found >= len {
            return;
        }
        let expected = if self.file.is_in_use() { len } else { before.min(len) };
        if found < expected {
            let what = format_args!(
                "found {found} bytes allocated, expected {expected}: somebody punched a hole, or truncated the file"
            );
            self.log.note(Reason::Hole, 0, what);
        }
    }

    /// Whether everything that was read since the last look can be trusted.
    ///
    /// # Errors
    /// [`Error::Shrank`] when the file was truncated, [`Error::Format`] when its header was overwritten.
    pub(crate) fn check_intact(&self) -> Result<()> {
        let (found, expected) = (self.file.len()?, self.map.len());
        if found < expected || self.map.was_hit() {
            return Err(Error::Shrank { path: self.file.path().to_owned(), found, expected });
        }
        let mut bytes = vec![0; self.file.header_bytes().len()];
        let filled = self.file.read_some(0, &mut bytes);
        let header =
            Header::decode(&bytes[..filled], found).map_err(|e| Error::format(self.file.path(), e))?;
        if header == *self.file.header() {
            Ok(())
        } else {
            let what =
                dyn_metrics_layout::Error::Corrupt { what: "header", offset: 0, found: 0, expected: 0 };
            Err(Error::format(self.file.path(), what))
        }
    }

    /// Reads totals: these words, or all.
    pub(crate) fn sum(&mut self, words: Option<&[Range<usize>]>) {
        let source = Source { file: &self.file, map: &self.map };
        self.extents.sum(source, &mut self.sums, words);
    }

    /// Everything that one pass of reading values needs; totals are as [`Self::sum`] found them.
    pub(crate) fn reading(&mut self) -> Reading<'_> {
        let Self { file, map, catalog, sums, processes, log, .. } = self;
        Reading { source: Source { file, map }, catalog, processes, sums, log }
    }

    /// Takes note of what [`Self::glance`] compares with; before a look, so that none of what comes meanwhile is missed.
    pub(crate) fn mark(&mut self) {
        self.signs = self.signs_now();
    }

    /// Chooses series by their numbers in the catalog, all of the family whose record lies at `family`.
    pub(crate) fn choose(&mut self, family: Option<u64>, numbers: &[u32]) {
        self.chosen = self.extents.choose(&self.catalog, numbers);
        self.signs.family = family;
    }

    /// Takes note of blocks that came since series were chosen.
    pub(crate) fn choose_again(&mut self) {
        self.extents.choose_holes(&mut self.chosen);
    }

    /// Looks whether the chosen series are what they were at the last look, and finds new blocks of theirs. Cost: a few
    /// words and one for each series, and a few system calls.
    pub(crate) fn glance(&mut self) -> Glance {
        let is_mapped = self.file.len().is_ok_and(|len| len >= self.map.len()) && !self.map.was_hit();
        let signs = self.signs_now();
        let Self { file, map, extents, taken, log, chosen, .. } = self;
        let has_news = extents.refresh_chosen(Source { file, map }, chosen, taken, log);
        if has_news || !is_mapped || signs.state != self.signs.state {
            Glance::Changed
        } else if signs == self.signs {
            Glance::Same
        } else {
            Glance::Grown
        }
    }

    fn signs_now(&self) -> Signs {
        let family = self.signs.family;
        let series =
            family.and_then(|family| self.map.view().get::<record::State>(record::state_offset(family)).ok());
        let series = series.map_or(0, |state| load_acquire(&state.series));
        Signs { reserved_end: self.word(RESERVED_END), state: self.word(STATE), series, family }
    }

    /// Where the numbers of the chosen series are that are totals, and what says so.
    pub(crate) fn places_of_totals(&self, each: impl FnMut(Place, u64, u32)) {
        self.extents.places(&self.chosen, each);
    }

    /// Where the values of the gauge are whose record lies at `series`, and what says so.
    pub(crate) fn places_of_gauge(&self, series: u64, each: impl FnMut(Place, u64, u32)) {
        gauges::places(Source { file: &self.file, map: &self.map }, series, each);
    }

    /// Words of it; none where it is too short.
    pub(crate) fn words(&self, offset: u64, count: usize) -> Option<&[AtomicU64]> {
        self.map.view().words(offset, count).ok()
    }

    /// As [`Self::reading`]; of the totals only those of chosen series are read.
    pub(crate) fn reading_chosen(&mut self) -> Reading<'_> {
        let Self { file, map, catalog, extents, sums, processes, log, chosen, .. } = self;
        let source = Source { file, map };
        extents.sum_chosen(source, chosen, sums);
        Reading { source, catalog, processes, sums, log }
    }

    /// Whether its header says that another segment has its name.
    pub(crate) fn is_marked_superseded(&self) -> bool {
        self.word(STATE) == STATE_SUPERSEDED
    }

    /// Offset of the first byte nobody has reserved, within the limits.
    pub(crate) fn bytes_used(&self) -> u64 {
        self.word(RESERVED_END).min(self.file.header().max_bytes)
    }

    /// Bytes of the file as it is mapped.
    pub(crate) const fn bytes_file(&self) -> u64 {
        self.map.len()
    }

    /// What the segment counts of refused and lost things.
    pub(crate) fn statistics(&self) -> Vec<(Statistic, u64)> {
        Statistic::ALL.iter().map(|(statistic, _)| (*statistic, self.word(statistic.offset()))).collect()
    }

    /// Label sets refused by the family whose record lies at `family`.
    pub(crate) fn refused(&self, family: u64) -> u64 {
        let state = self.map.view().get::<record::State>(record::state_offset(family));
        state.map_or(0, |state| state.refused.load(Ordering::Relaxed))
    }

    fn word(&self, offset: u64) -> u64 {
        self.map.view().word(offset).map_or(0, load_acquire)
    }
}

/// What a word is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// It is a part of a value.
    Value,
    /// It says where values are.
    Link,
}

/// One pass of reading values.
pub(crate) struct Reading<'s> {
    pub(crate) source: Source<'s>,
    pub(crate) catalog: &'s Catalog,
    pub(crate) processes: &'s Processes,
    pub(crate) sums: &'s [u64],
    pub(crate) log: &'s mut SkipLog,
}

fn map(file: &SegmentFile, len: u64) -> Result<Map> {
    Map::new(file.file(), len).map_err(|error| Error::io(file.path(), "map", error))
}

fn common_labels(file: &SegmentFile, log: &mut SkipLog) -> Vec<(String, String)> {
    let header = file.header();
    let block = header.common_labels(file.header_bytes());
    match record::check_labels(block, header.common_count as usize, 1024) {
        Ok(()) => record::labels(block).map(|(n, v)| (n.to_owned(), v.to_owned())).collect(),
        Err(fault) => {
            log.note(Reason::CommonLabels, 1024, fault);
            Vec::new()
        }
    }
}
