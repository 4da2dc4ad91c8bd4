//! What bindings need to update cells without a call into this library. Hidden: not for applications.
//!
//! Contract, frozen as [`LEVEL`] 1; whatever breaks a sentence of it raises the level:
//!
//! - **Cells** ([`cells`]). `packed` is 0 when every update goes to the shared block: word `i` is
//!   `shared[i]`, added to atomically (relaxed; a double by compare and exchange), or takes the cold path where `shared`
//!   is null. Otherwise its upper 32 bits are the signed offset of the thread's rseq area from the thread pointer, bits 16 to 31 the offset in
//!   bytes of word 0 in each block, bits 0 to 15 the length of `entries`. `entries[cpu]` is 0 or the address
//!   of the block of that CPU; it goes from 0 to an address once, and neither table nor block is ever
//!   released. Word `i` is added to in a restartable sequence that reads `cpu_id`, leaves for the cold path
//!   when that is not below the length or the entry is 0, and ends with the one store into the word. Additions to
//!   the shared block count at any time; they are only slower.
//! - **Cold path** ([`add_u64_cold`], [`add_f64_cold`]). Adds to the shared block and gives the CPU a block.
//!   Async-signal-safe, keeps `errno`. The cells of another registry than a segment have neither blocks nor words:
//!   every update takes this path, which hands it on. Of an observation the count comes first, from the same thread,
//!   then the sum, or [`count_cold`] where that is infinite.
//! - **Words**. A counter has one, in its handle's representation; a tally the count (u64) and the sum
//!   (double); a histogram one for each bucket (u64, `+Inf` last) and then the sum (double).
//! - **Buckets** ([`buckets`]). See [`Buckets`].
//! - **Gauges** ([`gauge`]). The word at `own` is 0 or an address, aligned to 8, plus a representation
//!   ([`Representation`]) in bits 0 and 1 plus 4 for "plain". In a forked child it is 0. When its low
//!   three bits are 4 plus the caller's representation, the caller may store its value's bits at the address
//!   (relaxed), or add to them atomically (relaxed; to a double what is no NaN, by compare and exchange). In every
//!   other case it asks the handle.
#![allow(unsafe_code, reason = "cold paths take back addresses that were handed out")]

pub use dyn_metrics_layout::Representation;
pub use dyn_metrics_layout::header::Statistic;
pub use dyn_metrics_layout::kind::Number;
use dyn_metrics_layout::{GaugeMode, Kind};

use crate::cells::{Amount, Cells};
use crate::family::Family;
use crate::foreign::ForeignFamily;
use crate::local::{Ordering, fence};
use crate::metric::Metric;
use crate::on_scrape;
use crate::opts::Opts;
use crate::origin::Identity;
use crate::registry::Registry;

/// Level of the contract above.
pub const LEVEL: u32 = 1;

/// What a sequence's abort handler must be preceded by: what glibc has registered.
pub const RSEQ_SIGNATURE_X86_64: u32 = 0x5305_3053;
/// The same on aarch64: an instruction, `brk` with an odd operand.
pub const RSEQ_SIGNATURE_AARCH64: u32 = 0xd428_bc00;
/// In a gauge's word: a bare store will do.
pub const GAUGE_PLAIN: usize = crate::gauge_cells::PLAIN;
/// In a gauge's word: everything that is not the address.
pub const GAUGE_FLAGS: usize = crate::gauge_cells::FLAGS;

/// A word of this process.
pub type Word = crate::local::AtomicUsize;

/// A word of the shared block.
pub type SharedWord = dyn_metrics_layout::sync::AtomicU64;

/// The cells of a counter, a tally or a histogram.
#[derive(Clone, Copy, Debug)]
pub struct RawCells {
    /// Addresses of the CPUs' blocks.
    pub entries: *const Word,
    /// Where the rseq area, the first word and the end of `entries` are.
    pub packed: u64,
    /// The words that all CPUs share; null where every update takes the cold path.
    pub shared: *const SharedWord,
    /// What the cold path needs.
    pub cold: *const (),
}

/// The cells of a handle, if they are per CPU.
pub fn cells<M: Metric>(handle: &M) -> Option<RawCells> {
    let (entries, packed, shared, cold) = handle.cells()?.to_raw();
    Some(RawCells { entries, packed, shared, cold })
}

/// Adds `n` to word `index`, by the cold path; ignored beyond the series' words.
///
/// # Safety
/// `cold` comes from [`cells`].
pub unsafe fn add_u64_cold(cold: *const (), index: usize, n: u64) {
    // SAFETY: as the caller promises.
    unsafe { Cells::add_cold(cold, index, Amount::Whole(n)) };
}

/// Adds `x` to word `index`, a double, by the cold path; ignored beyond the series' words.
///
/// # Safety
/// As [`add_u64_cold`].
pub unsafe fn add_f64_cold(cold: *const (), index: usize, x: f64) {
    // SAFETY: as the caller promises.
    unsafe { Cells::add_cold(cold, index, Amount::Double(x)) };
}

/// Adds `n` to word `index`, by whichever path is there; ignored beyond the series' words, and of gauges.
#[inline]
pub fn add_u64<M: Metric>(handle: &M, index: usize, n: u64) {
    if let Some(cells) = handle.cells().filter(|cells| index < cells.words()) {
        cells.add_u64(index, n);
    }
}

/// As [`add_u64`], of a word that is a double.
#[inline]
pub fn add_f64<M: Metric>(handle: &M, index: usize, x: f64) {
    if let Some(cells) = handle.cells().filter(|cells| index < cells.words()) {
        cells.add_f64(index, x);
    }
}

/// Sum of word `index` over all processes; 0 beyond the series' words, and of gauges.
pub fn sum_u64<M: Metric>(handle: &M, index: usize) -> u64 {
    handle.cells().filter(|cells| index < cells.words()).map_or(0, |cells| cells.sum_u64(index))
}

/// Counts a value that was dropped, or stayed out of a sum; nothing of gauges.
pub fn count<M: Metric>(handle: &M, statistic: Statistic) {
    if let Some(cells) = handle.cells() {
        cells.count(statistic);
    }
}

/// Counts a value that was dropped, or stayed out of a sum.
///
/// # Safety
/// As [`add_u64_cold`].
pub unsafe fn count_cold(cold: *const (), statistic: Statistic) {
    // SAFETY: as the caller promises.
    unsafe { Cells::count_cold(cold, statistic) };
}

/// How a histogram finds the bucket of a value; never released.
///
/// With a table (`below` not empty): `cell = (bits(value) as i64 >> shift) - first`, clamped to `0..=last`;
/// `b = below[cell]`; the bucket is `b + (padded[b] < value)`. Without: the number of `padded` below `value`.
#[derive(Clone, Copy, Debug)]
pub struct Buckets {
    /// The bounds, and infinity behind them.
    pub padded: &'static [f64],
    /// For each cell of the table the number of bounds below it; `last + 1` of them.
    pub below: &'static [u16],
    /// Bits of a double that cells don't tell apart.
    pub shift: u32,
    /// The first cell.
    pub first: i64,
    /// Number of the last cell.
    pub last: i64,
}

/// The buckets of a handle, if it is a histogram that has some.
pub fn buckets<M: Metric>(handle: &M) -> Option<Buckets> {
    let (padded, below, shift, first, last) = handle.buckets()?.parts();
    Some(Buckets { padded, below, shift, first, last })
}

/// The word that says where a gauge's value is.
pub fn gauge<M: Metric>(handle: &M) -> Option<&'static Word> {
    Some(handle.gauge()?.own_word())
}

/// Sets a gauge's value, which may be a negative duration; nothing where `handle` is no gauge.
pub fn set<M: Metric>(handle: &M, number: Number) {
    crate::metrics::set(handle.gauge(), number);
}

/// Adds to a gauge's value; nothing where `handle` is no gauge.
pub fn add<M: Metric>(handle: &M, number: Number) {
    crate::metrics::add(handle.gauge(), number);
}

/// This process's value of a gauge, in `representation`; 0 where `handle` is no gauge.
pub fn value<M: Metric>(handle: &M, representation: Representation) -> Number {
    crate::metrics::value(handle.gauge(), representation)
}

/// A word where a binding keeps its own object for a series in one representation: 0 until it has stored one.
/// None of private handles. There is one for each copy of this library in a process, so one binding may use
/// it.
pub fn attachment<M: Metric>(handle: &M, representation: Representation) -> Option<&'static Word> {
    handle.identity()?.attachments().get(representation as usize)
}

/// A handle whose cells nobody else sees: a histogram with these bounds, a state set with these states, where they
/// can be used, and else with the default's. What it needs is never released, so the caller limits their number.
pub fn private<M: Metric>(bounds: Option<&[f64]>, states: &[&str]) -> M {
    let wanted = Opts::new("private", "");
    match (M::KIND, bounds) {
        (Kind::Histogram, Some(bounds)) if wanted.clone().bounds(bounds).check(M::KIND, &[]).is_ok() => {
            let buckets = crate::metrics::Buckets::new(bounds);
            M::private(Some(Box::leak(Box::new(buckets))), &[])
        }
        (Kind::StateSet, _) if wanted.states(states).check(M::KIND, &[]).is_ok() => {
            let states: Vec<String> = states.iter().map(|&state| state.to_owned()).collect();
            M::private(None, states.leak())
        }
        _ => M::default(),
    }
}

/// Which segment the registry's name leads to now, or what is used instead of one: a number that no other of this process
/// has.
///
/// # Errors
/// As a registration's, where the segment has to be opened anew.
pub fn segment(registry: &Registry) -> crate::error::Result<usize> {
    registry.place()
}

/// As `try_with`, for a binding that remembers handles itself: with a number above 0 when this one may be remembered
/// for these values. A higher number than before says that the family has moved to another segment: what was
/// remembered with a lower one is to be forgotten.
///
/// # Errors
/// As `try_with`.
pub fn look_up<M: Metric>(family: &Family<M>, values: &[&str]) -> crate::error::Result<(M, u64)> {
    let made = family.try_with(values)?;
    Ok(family.remembered(values).unwrap_or((made, 0)))
}

pub use crate::remove::Removals;
pub use crate::threads::spawn_quiet;

/// The word that grows whenever a series of the family is removed, before it is gone, in the segment with this number:
/// for a binding that remembers handles itself. None when the family has moved on. While it is what it was, all that
/// was remembered counts; otherwise [`is_removed`] says what doesn't.
pub fn removals<M: Metric>(family: &Family<M>, number: u64) -> Option<&'static SharedWord> {
    family.removals(number)
}

/// Whether the series of a handle was removed, or is about to be. A full fence comes before the look.
pub fn is_removed<M: Metric>(handle: &M) -> bool {
    fence(Ordering::SeqCst);
    handle.identity().is_some_and(Identity::is_gone)
}

/// A series, to ask later whether it was removed.
#[derive(Clone, Copy, Debug)]
pub struct Series(Identity);

impl Series {
    /// That of a handle; none of a private one.
    pub fn of<M: Metric>(handle: &M) -> Option<Self> {
        handle.identity().map(Self)
    }

    /// As [`is_removed`].
    #[must_use]
    pub fn is_removed(self) -> bool {
        fence(Ordering::SeqCst);
        self.0.is_gone()
    }
}

/// Has a family whose segment was replaced go on in the new one, as a look-up of new values would: for a binding that
/// has seen another family of the same name move.
///
/// # Errors
/// As a registration's.
pub fn follow<M: Metric>(family: &Family<M>) -> crate::error::Result<()> {
    family.follow()
}

/// A handle whose cells nobody else sees, with the bounds and states of a family's series.
pub fn private_like<M: Metric>(family: &Family<M>) -> M {
    family.core().private()
}

/// What a series is registered as.
#[derive(Clone, Debug)]
pub struct Description {
    /// Its family's exposed name.
    pub name: &'static str,
    /// Its family's help, the first registration's.
    pub help: &'static str,
    /// Its family's unit; may be empty.
    pub unit: &'static str,
    /// Its family's type.
    pub kind: Kind,
    /// How the gauges of several processes combine.
    pub mode: GaugeMode,
    /// Its family's priority level.
    pub level: u8,
    /// Its labels, sorted by name.
    pub labels: Vec<(String, String)>,
}

/// What the series of a handle is registered as; none of private handles, and where its record is damaged.
pub fn describe<M: Metric>(handle: &M) -> Option<Description> {
    let origin = match handle.identity()? {
        Identity::Segment(origin) => origin,
        Identity::Foreign(series) => {
            let ForeignFamily { name, help, unit, kind, mode, level, .. } = series.family;
            let (kind, mode, level, labels) = (*kind, *mode, *level, series.labels.clone());
            return Some(Description { name, help, unit, kind, mode, level, labels });
        }
    };
    let family = origin.family;
    Some(Description {
        name: &family.name,
        help: &family.help,
        unit: &family.unit,
        kind: family.kind,
        mode: family.mode,
        level: family.level,
        labels: origin.labels().ok()?,
    })
}

/// As [`Registry::on_scrape`], of a callback that says itself whether it has failed (false) and lasts until
/// [`end_callback`] gets the number that this gives.
pub fn on_scrape(registry: &Registry, work: Box<dyn FnMut() -> bool + Send>) -> usize {
    let key = on_scrape::new_key();
    registry.add_callback(Some(key), work).keep();
    key
}

/// Ends what [`on_scrape()`] has begun; false when it had ended.
pub fn end_callback(number: usize) -> bool {
    on_scrape::remove_key(number)
}

/// Has a gauge set to what `function` gives whenever somebody asks, in its unit, or a counter to the total that it gives,
/// until [`clear_function`], in place of an earlier one; false of metrics of other kinds, and those that nobody else sees.
pub fn set_function<M: Metric>(handle: &M, function: Box<dyn FnMut() -> Option<f64> + Send>) -> bool {
    let set = on_scrape::set_number_function(handle, function);
    set.is_some_and(|set| {
        let is_registered = set.is_registered();
        set.keep();
        is_registered
    })
}

/// Ends what [`set_function`] has set; false when nothing was.
pub fn clear_function<M: Metric>(handle: &M) -> bool {
    on_scrape::clear_function(handle)
}

/// Ends all on-scrape callbacks of this process, and waits for those that run for at most `limit`; false when some still do.
pub fn end_callbacks(limit: std::time::Duration) -> bool {
    on_scrape::end_all(limit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Counter, FloatGauge, Histogram, Info, StateSet, Tally};
    use dyn_metrics_layout::extent;
    use std::sync::atomic::Ordering;

    fn registry() -> (tempfile::TempDir, Registry) {
        let directory = tempfile::tempdir_in("/dev/shm").unwrap();
        let registry = Registry::builder().path(directory.path().join("s")).max_bytes(1 << 20);
        let registry = registry.open().unwrap();
        (directory, registry)
    }

    #[test]
    fn the_cold_path_counts_and_gives_the_cpu_a_block() {
        let (_directory, registry) = registry();
        let counter = registry.counter("c_total", "").unwrap();
        let cells = cells(&counter).unwrap();
        // SAFETY: from cells().
        unsafe { add_u64_cold(cells.cold, 0, 5) };
        // SAFETY: as above; there is no word 7.
        unsafe { add_u64_cold(cells.cold, 7, 5) };
        assert_eq!(counter.value(), 5);
        let entries = (0..cells.packed as u16 as usize).map(|cpu| {
            // SAFETY: below the table's length.
            unsafe { &*cells.entries.wrapping_add(cpu) }.load(Ordering::Acquire)
        });
        assert_eq!(entries.filter(|entry| *entry != 0).count(), usize::from(cells.packed != 0));
    }

    #[test]
    fn words_are_reached_by_their_index_and_none_beyond() {
        let (_directory, registry) = registry();
        let histogram = registry.histogram("h", "", &[1.0]).unwrap();
        add_u64(&histogram, 1, 3);
        add_f64(&histogram, 2, 4.5);
        add_u64(&histogram, 3, 9);
        add_f64(&histogram, 4, 9.0);
        assert_eq!((histogram.buckets(), histogram.sum()), (vec![0, 3], 4.5));
        assert_eq!((sum_u64(&histogram, 1), sum_u64(&histogram, 3)), (3, 0));
        let gauge = registry.float_gauge("g", "").unwrap();
        add_f64(&gauge, 0, 1.0);
        assert_eq!((sum_u64(&gauge, 0), gauge.value()), (0, 0.0));
    }

    #[test]
    fn what_is_added_to_the_shared_words_is_counted() {
        let (_directory, registry) = registry();
        let tally = registry.tally("t", "").unwrap();
        tally.observe(0.5);
        let own = Tally::default();
        for (tally, before) in [(&tally, 1), (&own, 0)] {
            let shared = cells(tally).unwrap().shared;
            // SAFETY: a tally has two words.
            let [count, sum] = [0, 1].map(|word| unsafe { &*shared.wrapping_add(word) });
            extent::add_shared(count, 2);
            extent::add_shared_float(sum, 2.5);
            assert_eq!((tally.count(), tally.sum()), (before + 2, 0.5 * before as f64 + 2.5));
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "reads a pointer's bytes as a number, as C does: Miri has no number for them")]
    fn a_gauges_word_leads_to_its_value() {
        let (_directory, registry) = registry();
        let gauge = registry.float_gauge("g", "").unwrap();
        let own = super::gauge::<FloatGauge>(&gauge).unwrap();
        assert_eq!(own.load(Ordering::Acquire), 0);
        gauge.set(1.5);
        let word = own.load(Ordering::Acquire);
        assert_eq!(word & GAUGE_FLAGS, GAUGE_PLAIN | Representation::Float as usize);
        // SAFETY: the word leads to the value, which nobody else writes.
        let bits = unsafe { ((word & !GAUGE_FLAGS) as *const u64).read_volatile() };
        assert_eq!(f64::from_bits(bits), 1.5);
        // SAFETY: as above.
        let value = unsafe { &*((word & !GAUGE_FLAGS) as *const SharedWord) };
        extent::add_shared_float(value, 2.5);
        gauge.add(0.5);
        assert_eq!(gauge.value(), 4.5);
    }

    #[test]
    fn the_table_of_buckets_is_used_as_documented() {
        let histogram = Histogram::default();
        let found = buckets(&histogram).unwrap();
        for value in [-1.0_f64, 0.0, 0.005, 0.0051, 0.3, 10.0, 11.0] {
            let cell = ((value.to_bits() as i64 >> found.shift) - found.first).clamp(0, found.last);
            let below = usize::from(found.below[cell as usize]);
            let bucket = below + usize::from(found.padded[below] < value);
            assert_eq!(bucket, histogram.bounds().partition_point(|bound| *bound < value), "{value}");
        }
    }

    #[test]
    fn private_handles_have_no_series() {
        let counter = Counter::default();
        assert!(describe(&counter).is_none() && attachment(&counter, Representation::Integer).is_none());
        assert_eq!(cells(&counter).unwrap().packed, 0);
        let (_directory, registry) = registry();
        let info = registry.info("build_info", "", &[("version", "1")]).unwrap();
        assert_eq!(describe::<Info>(&info).unwrap().labels, [("version".to_owned(), "1".to_owned())]);
    }

    #[test]
    fn what_may_be_remembered_has_a_number_that_grows_with_each_segment() {
        let (directory, registry) = registry();
        let opts = Opts::new("f_total", "").max_series(2);
        let family = registry.family::<Counter>(&opts, &["a"]).unwrap();
        let number = |value: &str| look_up(&family, &[value]).unwrap().1;
        assert_eq!((number("x"), number("x"), number("y")), (1, 1, 1));
        assert_eq!(number("z"), 0, "the overflow series");
        assert!(look_up(&family, &["x", "y"]).is_err());
        std::fs::remove_file(directory.path().join("s")).unwrap();
        let _new = Registry::builder().path(directory.path().join("s")).max_bytes(1 << 20).open().unwrap();
        let (handle, number) = loop {
            let found = look_up(&family, &["z"]).unwrap();
            if found.1 != 0 {
                break found;
            }
        };
        handle.inc();
        assert_eq!((number, handle.value()), (2, 1));
    }

    #[test]
    fn private_handles_have_the_bounds_and_states_that_were_asked_for() {
        let histogram: Histogram = private(Some(&[1.0, 2.0]), &[]);
        histogram.observe(1.5);
        assert_eq!((histogram.bounds(), histogram.buckets()), (&[1.0, 2.0][..], vec![0, 1, 0]));
        let unusable: Histogram = private(Some(&[2.0, 1.0]), &[]);
        assert_eq!(unusable.bounds(), Histogram::default().bounds());
        let set: StateSet = private(None, &["off", "on"]);
        assert!(set.set("on") && set.is_on("on") && !set.set("of"));
        assert!(private::<StateSet>(None, &["a", "a"]).states().is_empty());
        let (_directory, registry) = registry();
        let opts = Opts::new("h", "").bounds(&[7.0]);
        let like = private_like(&registry.family::<Histogram>(&opts, &["a"]).unwrap());
        assert!(like.bounds() == [7.0] && describe(&like).is_none());
    }
}
