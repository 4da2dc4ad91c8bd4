//! One update each, killed at every instruction: in or out, never half.

use std::collections::BTreeMap;
use std::path::Path;

use dyn_metrics::{DurationCounter, FloatGauge, Gauge, GaugeMode, Opts};

use crate::step::deaths::{Prepared, sample};
use crate::step::judge::reader;
use crate::step::page::Page;
use crate::step::scenario::{Outcome, PLAIN, Scenario, gauge, options, pin, registered};
use crate::step::second::Everything;
use crate::step::tracee::mark;

macro_rules! updates {
    ($($name:literal $shared:literal $run:path,)*) => {
        /// The updates.
        pub const SCENARIOS: &[Scenario] = &[
            $(Scenario { name: $name, prepare: &[registered], run: $run, shared: $shared, ..PLAIN },)*
        ];
    };
}

updates! {
    "inc" false inc,
    "inc-by" false inc_by,
    "add-float" false add_float,
    "add-duration" false add_duration,
    "observe" false observe,
    "tally" false tally,
    "gauge-set" false gauge_set,
    "gauge-add" false gauge_add,
    "gauge-set-recent" false gauge_set_recent,
    "gauge-add-recent" false gauge_add_recent,
    "gauge-add-float" false gauge_add_float,
    "labelled-inc" false labelled,
    "shared-inc" true inc,
    "shared-add-float" true add_float,
    "shared-observe" true observe,
    "shared-tally" true tally,
}

/// Everything, with cells and blocks in place: only an update is left to do.
fn warm(directory: &Path) -> Outcome<Everything> {
    pin();
    let all = Everything::register(&options(directory).open()?)?;
    // The second finds what the first has installed.
    all.update(3);
    all.update(3);
    Ok(all)
}

macro_rules! update {
    ($(fn $name:ident($all:ident) { $update:expr })*) => {
        $(fn $name(directory: &Path, _: &str) -> Outcome<()> {
            let $all = warm(directory)?;
            mark();
            $update;
            mark();
            Ok(())
        })*
    };
}

update! {
    fn inc(all) { all.counter.inc() }
    fn inc_by(all) { all.counter.inc_by(1000) }
    fn add_float(all) { all.float.inc_by(0.1) }
    fn observe(all) { all.histogram.observe(0.7) }
    fn tally(all) { all.tally.observe(0.7) }
}

fn add_duration(directory: &Path, _: &str) -> Outcome<()> {
    let registry = options(directory).open()?;
    let counter: DurationCounter = registry.duration_counter("deaths_busy_seconds_total", "Time")?;
    pin();
    let time = std::time::Duration::from_millis(1500);
    counter.inc_by(time);
    counter.inc_by(time);
    mark();
    counter.inc_by(time);
    mark();
    Ok(())
}

fn labelled(directory: &Path, _: &str) -> Outcome<()> {
    warm(directory)?;
    let family = crate::step::scenario::filling(&options(directory).open()?)?;
    family.with(&["some"]).inc();
    mark();
    family.with(&["some"]).inc();
    mark();
    Ok(())
}

/// A gauge that was set and is then set or added to.
fn one_gauge(directory: &Path, name: &str, mode: GaugeMode, update: impl Fn(&Gauge)) -> Outcome<()> {
    let gauge = gauge(&options(directory).open()?, name, mode)?;
    gauge.set(4);
    mark();
    update(&gauge);
    mark();
    Ok(())
}

fn gauge_set(directory: &Path, _: &str) -> Outcome<()> {
    one_gauge(directory, "deaths_running", GaugeMode::Sum, |gauge| gauge.set(9))
}

fn gauge_add(directory: &Path, _: &str) -> Outcome<()> {
    one_gauge(directory, "deaths_running", GaugeMode::Sum, |gauge| gauge.add(5))
}

fn gauge_set_recent(directory: &Path, _: &str) -> Outcome<()> {
    one_gauge(directory, "deaths_recent", GaugeMode::MostRecent, |gauge| gauge.set(9))
}

fn gauge_add_recent(directory: &Path, _: &str) -> Outcome<()> {
    one_gauge(directory, "deaths_recent", GaugeMode::MostRecent, |gauge| gauge.add(5))
}

fn gauge_add_float(directory: &Path, _: &str) -> Outcome<()> {
    let opts = Opts::new("deaths_level", "A gauge").mode(GaugeMode::Max);
    let gauge: FloatGauge = options(directory).open()?.create(&opts)?;
    gauge.set(0.25);
    mark();
    gauge.add(0.5);
    mark();
    Ok(())
}

/// What killing an update everywhere came to.
#[derive(Debug, Default)]
pub struct Killed {
    /// Instructions of the update: each of them was deadly.
    pub points: usize,
    /// Those that lie in a restartable sequence.
    pub in_sequences: usize,
    /// Which it didn't come by.
    pub missed: usize,
    /// Deaths by what they left.
    pub left: BTreeMap<&'static str, usize>,
    /// What is wrong, with where.
    pub wrong: Vec<String>,
}

/// What a death has left of an update, as a reader shows it; none when that is half of it.
fn left(before: &Page, now: &Page, done: &Page) -> Option<&'static str> {
    if now == before {
        return Some("out");
    }
    if now == done {
        return Some("in");
    }
    // A histogram's or tally's observation is two sequences: first the count, then the sum.
    let mut counted = done.clone();
    for (name, value) in &mut counted.0 {
        if name.ends_with("_sum") {
            *value = before.value(name);
        }
    }
    (*now == counted).then_some("counted, not yet in the sum")
}

/// Kills the update of this scenario at each of its instructions, `most` at most.
///
/// # Errors
/// Those of tracing.
pub fn kill(prepared: &Prepared<'_>, most: usize) -> std::io::Result<Killed> {
    let walk = prepared.walk()?;
    let mut killed =
        Killed { points: walk.own.len(), in_sequences: walk.in_sequences.len(), ..Killed::default() };
    for place in sample(&walk.own, most) {
        let look = |slide: &crate::step::image::Slide| {
            let mut attached = reader(slide.path());
            let before = Page::of(&mut attached);
            (attached, before)
        };
        let Some((slide, (mut attached, before))) = prepared.die_at(place, look) else {
            killed.missed += 1;
            continue;
        };
        let done = done(&before, &walk);
        let now = Page::of(&mut attached);
        match left(&before, &now, &done) {
            Some(what) => *killed.left.entry(what).or_default() += 1,
            None => killed.wrong.push(format!("death at {place:#x}: {now:?} of {before:?} and {done:?}")),
        }
        let report = dyn_metrics_reader::check::check(slide.path().join(crate::step::scenario::SEGMENT));
        if !report.as_ref().is_ok_and(dyn_metrics_reader::check::Report::is_sound) {
            killed.wrong.push(format!("death at {place:#x}: {report:?}"));
        }
    }
    Ok(killed)
}

/// What a reader shows once the update is done, as the way through it has found; other victims differ in nothing
/// that a reader shows but their pids.
fn done(before: &Page, walk: &crate::step::walk::Walk) -> Page {
    let pages = [&walk.before, walk.after()]
        .map(|image| Page::of(&mut reader(crate::step::image::Slide::new(image).path())));
    let mut done = before.clone();
    for (name, value) in &pages[1].0 {
        if !name.contains("pid=") && pages[0].value(name) != *value {
            done.0.insert(name.clone(), *value);
        }
    }
    done
}
