//! What a victim does between its two marks, and what was there before.

use std::os::unix::fs::FileExt;
use std::path::Path;

use dyn_metrics::{Builder, Counter, Gauge, GaugeMode, Opts, Registry};
use dyn_metrics_layout::{header, index};

use crate::bytes;
use crate::step::broken;
use crate::step::second::Everything;
use crate::step::tracee::mark;
use crate::step::updates;

/// What a scenario gives.
pub type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Name of the segment in a scenario's directory.
pub const SEGMENT: &str = "segment";

/// A step in the life of a segment.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// What processes do before, one after the other, each of them dead before the next; the last one's answer is
    /// the victim's note.
    pub prepare: &'static [fn(&Path) -> Outcome<String>],
    /// What the victim does, with its two marks.
    pub run: fn(&Path, &str) -> Outcome<()>,
    /// It is meant to start from zero: what was counted before may be gone afterwards.
    pub loses: bool,
    /// Family of which a sample may vanish: that of the oldest dead process.
    pub vanishing: Option<&'static str>,
    /// The victim's updates go to the shared blocks.
    pub shared: bool,
    /// The segment is of before a reboot: gauges stay private.
    pub rebooted: bool,
}

/// With nothing before, and nothing special.
pub const PLAIN: Scenario = Scenario {
    name: "",
    prepare: &[],
    run: attach,
    loses: false,
    vanishing: None,
    shared: false,
    rebooted: false,
};

/// Every scenario of the protocols.
pub const SCENARIOS: &[Scenario] = &[
    Scenario { name: "create", ..PLAIN },
    Scenario { name: "create-by-renaming", run: attach_by_renaming, ..PLAIN },
    Scenario { name: "attach", prepare: &[everything], ..PLAIN },
    Scenario { name: "attach-after-reboot", prepare: &[everything, reboot], rebooted: true, ..PLAIN },
    Scenario { name: "first-family", prepare: &[empty], run: family, ..PLAIN },
    Scenario { name: "family", prepare: &[everything], run: family, ..PLAIN },
    Scenario { name: "kinds", prepare: &[empty], run: kinds, ..PLAIN },
    Scenario { name: "index-table", prepare: &[until_the_next_table], run: fill, ..PLAIN },
    Scenario { name: "series", prepare: &[everything], run: series, ..PLAIN },
    Scenario { name: "overflow", prepare: &[at_the_limit], run: overflow, ..PLAIN },
    Scenario {
        name: "removal",
        prepare: &[everything],
        run: remove,
        vanishing: Some("deaths_by_model_total"),
        ..PLAIN
    },
    Scenario { name: "removed-series-again", prepare: &[everything, removed], run: again, ..PLAIN },
    Scenario { name: "growth", prepare: &[until_the_chunk_is_full], run: growth, ..PLAIN },
    Scenario { name: "gauge-claim", prepare: &[registered], run: set_gauges, ..PLAIN },
    Scenario {
        name: "gauge-take-over",
        prepare: &[everything],
        run: set_gauges,
        vanishing: Some("deaths_all"),
        ..PLAIN
    },
    Scenario {
        name: "gauge-retained",
        prepare: &[everything, everything],
        run: set_gauges,
        vanishing: Some("deaths_all"),
        ..PLAIN
    },
    Scenario { name: "block", prepare: &[registered], run: block, ..PLAIN },
    Scenario { name: "shared-block", prepare: &[registered], run: block, shared: true, ..PLAIN },
    Scenario { name: "fresh", prepare: &[everything], run: fresh, loses: true, ..PLAIN },
    Scenario {
        name: "fresh-by-renaming",
        prepare: &[everything],
        run: fresh_by_renaming,
        loses: true,
        ..PLAIN
    },
    Scenario { name: "replace-damaged", prepare: &[everything, damage], ..PLAIN },
    Scenario { name: "replace-replaced", prepare: &[everything, damage, everything, damage], ..PLAIN },
];

/// The scenario with this name, be it one of the protocols, of the updates or a broken twin.
#[must_use]
pub fn named(name: &str) -> Option<&'static Scenario> {
    let all = SCENARIOS.iter().chain(updates::SCENARIOS).chain(broken::SCENARIOS);
    all.into_iter().find(|scenario| scenario.name == name)
}

/// How every process of the scenarios opens the segment. Its role is what it was started for, so that who takes a
/// slot over writes other texts.
#[must_use]
pub fn options(directory: &Path) -> Builder {
    let role = std::env::args().nth(1).unwrap_or_default().repeat(8);
    Registry::builder().path(directory.join(SEGMENT)).max_bytes(256 << 10).processes(8).role(&role)
}

/// A family whose series fill the index.
///
/// # Errors
/// Those of registration.
pub fn filling(registry: &Registry) -> dyn_metrics::Result<dyn_metrics::Family<Counter>> {
    registry.family(&Opts::new("deaths_fill_total", "Fills"), &["n"])
}

/// A family with room for two series and their overflow.
///
/// # Errors
/// Those of registration.
pub fn limited(registry: &Registry) -> dyn_metrics::Result<dyn_metrics::Family<Counter>> {
    registry.family(&Opts::new("deaths_by_model_total", "Limited").max_series(2), &["model"])
}

fn word(directory: &Path, at: u64) -> Outcome<u64> {
    let mut bytes = [0; 8];
    std::fs::File::open(directory.join(SEGMENT))?.read_exact_at(&mut bytes, at)?;
    Ok(u64::from_le_bytes(bytes))
}

fn note() -> Outcome<String> {
    Ok("-".to_owned())
}

fn empty(directory: &Path) -> Outcome<String> {
    options(directory).open()?;
    note()
}

/// One of everything, counted.
fn everything(directory: &Path) -> Outcome<String> {
    Everything::register(&options(directory).open()?)?.update(5);
    note()
}

fn reboot(directory: &Path) -> Outcome<String> {
    let path = directory.join(SEGMENT);
    let mut bytes = std::fs::read(&path)?;
    bytes::put(&mut bytes, "boot_id", &[7; 16]);
    std::fs::write(path, bytes)?;
    note()
}

fn damage(directory: &Path) -> Outcome<String> {
    let file = std::fs::File::options().write(true).open(directory.join(SEGMENT))?;
    file.write_all_at(&[0xff; 8], bytes::field("hash_seed").offset as u64)?;
    note()
}

/// Whether a preparing process has damaged this file.
#[must_use]
pub fn is_damaged(path: &Path) -> bool {
    let mut seed = [0; 8];
    let file = std::fs::File::open(path);
    let read = file.and_then(|file| file.read_exact_at(&mut seed, bytes::field("hash_seed").offset as u64));
    read.is_ok() && seed == [0xff; 8]
}

/// One of everything, not counted.
pub(crate) fn registered(directory: &Path) -> Outcome<String> {
    Everything::register(&options(directory).open()?)?;
    note()
}

fn removed(directory: &Path) -> Outcome<String> {
    assert!(limited(&options(directory).open()?)?.remove(&["some"])?, "there was one");
    note()
}

fn at_the_limit(directory: &Path) -> Outcome<String> {
    let family = limited(&options(directory).open()?)?;
    family.with(&["a"]).inc_by(3);
    family.with(&["b"]).inc_by(4);
    note()
}

/// Registers series until the next one needs a new index table; says which one that is.
fn until_the_next_table(directory: &Path) -> Outcome<String> {
    let family = filling(&options(directory).open()?)?;
    let index = word(directory, bytes::field("index").offset as u64)?;
    for n in 0..2000 {
        let before = std::fs::read(directory.join(SEGMENT))?;
        family.with(&[&n.to_string()]).inc_by(2);
        if word(directory, index + index::NEXT)? != 0 {
            // Written over the file that this process has mapped: nobody else looks at it now.
            std::fs::write(directory.join(SEGMENT), before)?;
            return Ok(n.to_string());
        }
    }
    Err("no new index table".into())
}

/// Registers series until the file's last chunk has no space for another: large ones first.
fn until_the_chunk_is_full(directory: &Path) -> Outcome<String> {
    let family = filling(&options(directory).open()?)?;
    let chunk = u64::from(header::MIN_CHUNK);
    for n in 0..500 {
        let left = chunk - word(directory, header::RESERVED_END)? % chunk;
        if left < 400 {
            return note();
        }
        let len = if left > 8000 { 3000 } else { 1 };
        family.with(&[&format!("{n:0len$}")]).inc_by(2);
    }
    Err("no chunk was filled".into())
}

/// Has the process stay on one CPU, so that each victim finds the same blocks.
pub(crate) fn pin() {
    crate::work::move_to(crate::work::cpus()[0]);
}

fn attach(directory: &Path, _: &str) -> Outcome<()> {
    let options = options(directory);
    mark();
    let opened = options.open();
    mark();
    opened?;
    Ok(())
}

fn attach_by_renaming(directory: &Path, note: &str) -> Outcome<()> {
    broken::deny_unnamed()?;
    attach(directory, note)
}

fn fresh(directory: &Path, _: &str) -> Outcome<()> {
    let options = options(directory).fresh(true);
    mark();
    let opened = options.open();
    mark();
    opened?;
    Ok(())
}

fn fresh_by_renaming(directory: &Path, note: &str) -> Outcome<()> {
    broken::deny_unnamed()?;
    fresh(directory, note)
}

fn family(directory: &Path, _: &str) -> Outcome<()> {
    let registry = options(directory).open()?;
    mark();
    let counter = registry.counter("deaths_new_total", "Registered by the victim");
    mark();
    assert!(!counter?.is_private(), "the counter is everybody's");
    Ok(())
}

fn kinds(directory: &Path, _: &str) -> Outcome<()> {
    let registry = options(directory).open()?;
    mark();
    let all = Everything::register(&registry);
    mark();
    all?;
    Ok(())
}

fn fill(directory: &Path, note: &str) -> Outcome<()> {
    let family = filling(&options(directory).open()?)?;
    mark();
    let counter = family.with(&[note]);
    mark();
    assert!(!counter.is_private(), "the counter is everybody's");
    Ok(())
}

fn series(directory: &Path, _: &str) -> Outcome<()> {
    let family = filling(&options(directory).open()?)?;
    pin();
    mark();
    let counter = family.with(&["new"]);
    counter.inc_by(6);
    mark();
    assert!(!counter.is_private(), "the counter is everybody's");
    Ok(())
}

fn overflow(directory: &Path, _: &str) -> Outcome<()> {
    let family = limited(&options(directory).open()?)?;
    pin();
    mark();
    family.with(&["c"]).inc_by(6);
    family.with(&["d"]).inc_by(6);
    mark();
    Ok(())
}

fn remove(directory: &Path, _: &str) -> Outcome<()> {
    let family = limited(&options(directory).open()?)?;
    mark();
    let removed = family.remove(&["some"]);
    mark();
    assert!(removed?, "there was one");
    Ok(())
}

fn again(directory: &Path, _: &str) -> Outcome<()> {
    let family = limited(&options(directory).open()?)?;
    pin();
    mark();
    let counter = family.with(&["some"]);
    counter.inc_by(6);
    mark();
    assert!(!counter.is_private(), "the counter is everybody's");
    Ok(())
}

fn growth(directory: &Path, _: &str) -> Outcome<()> {
    let registry = options(directory).open()?;
    mark();
    let counter = registry.counter("deaths_late_total", "Finds no space in the last chunk");
    mark();
    counter?.inc();
    Ok(())
}

fn set_gauges(directory: &Path, _: &str) -> Outcome<()> {
    let all = Everything::register(&options(directory).open()?)?;
    mark();
    all.set_gauges(2);
    mark();
    Ok(())
}

fn block(directory: &Path, _: &str) -> Outcome<()> {
    let all = Everything::register(&options(directory).open()?)?;
    pin();
    mark();
    all.counter.inc_by(3);
    all.counter.inc_by(3);
    all.float.inc_by(0.5);
    mark();
    Ok(())
}

/// A gauge of this mode.
///
/// # Errors
/// Those of registration.
pub fn gauge(registry: &Registry, name: &str, mode: GaugeMode) -> dyn_metrics::Result<Gauge> {
    registry.create(&Opts::new(name, "A gauge").mode(mode).keep_dead(1))
}
