//! Series of a family, as they are looked at again and again.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use dyn_metrics_reader::select::{Sample, Selection, Selector};
use dyn_metrics_reader::{Labels, ValueRef};

/// Ids from here on are of single processes in a series.
const OF_PROCESSES: u64 = 1 << 63;

/// Looks after which series, files and processes are looked for that have come or gone.
const LOOKS_FOR_NEWS: u32 = 8;

/// How often everything is read, whether or not it seems to have changed: that a process has died shows in no word.
const READ_EVERY: Duration = Duration::from_millis(250);

/// A family of a segment, open for reading.
pub(super) struct Source {
    selection: Selection,
    looks: u32,
    read_at: Option<Instant>,
    /// In modes that show processes one by one: those that live.
    processes: Processes,
}

/// Processes that have set a series, told apart as series are.
#[derive(Default)]
struct Processes {
    /// By series and process.
    known: HashMap<(u64, u64), Process>,
    /// How many were ever met.
    met: u64,
    readings: u64,
}

struct Process {
    id: u64,
    labels: Labels,
    /// The reading that it was in last.
    seen: u64,
}

impl Source {
    /// Of the segment at `path`. Neither needs to exist yet.
    pub(super) fn new(path: &Path, family: &str) -> Self {
        let selection = Selection::new(path, Selector::new(family));
        Self { selection, looks: 0, read_at: None, processes: Processes::default() }
    }

    /// Whether it is worth reading.
    pub(super) fn has_news(&mut self, now: Instant) -> bool {
        self.looks = (self.looks + 1) % LOOKS_FOR_NEWS;
        if self.looks == 0 {
            self.selection.refresh();
        }
        let is_old = || self.read_at.is_none_or(|at| now.saturating_duration_since(at) >= READ_EVERY);
        self.selection.has_changed() || is_old()
    }

    /// Looks for all that has come or gone, as before the first reading.
    pub(super) fn refresh(&mut self) {
        self.selection.refresh();
    }

    /// Tells each series that there is: its number, which stays its own, its labels and its value.
    pub(super) fn read(&mut self, mut tell: impl FnMut(u64, &Labels, Option<f64>)) {
        self.read_at = Some(Instant::now());
        let Self { selection, processes, .. } = self;
        let shows_processes = selection.family().is_some_and(|f| f.kind.is_per_process() && f.mode.is_all());
        selection.read(|sample| {
            if shows_processes {
                processes.tell_each(&sample, &mut tell);
            } else {
                tell(sample.id, sample.labels, sample.value.map(as_number));
            }
        });
        processes.end_reading();
    }
}

impl Processes {
    /// Tells what each process has set that lives, as a series with a label `pid`.
    fn tell_each(&mut self, sample: &Sample<'_>, tell: &mut impl FnMut(u64, &Labels, Option<f64>)) {
        let Self { known, met, readings } = self;
        for process in sample.processes.iter().filter(|process| process.alive) {
            let process_of_series = known.entry((sample.id, process.process_id)).or_insert_with(|| {
                *met += 1;
                let labels = sample.labels.with("pid", &process.pid.to_string());
                Process { id: OF_PROCESSES + *met, labels, seen: 0 }
            });
            process_of_series.seen = *readings;
            tell(process_of_series.id, &process_of_series.labels, Some(process.value.as_f64()));
        }
    }

    /// Forgets those that were not in this reading.
    fn end_reading(&mut self) {
        self.known.retain(|_, process| process.seen == self.readings);
        self.readings += 1;
    }
}

/// What of a value is compared.
fn as_number(value: ValueRef<'_>) -> f64 {
    match value {
        ValueRef::Counter(number) | ValueRef::Gauge(number) => number.as_f64(),
        ValueRef::Tally { count, .. } => count as f64,
        ValueRef::Histogram { buckets, .. } => {
            buckets.iter().fold(0, |all: u64, bucket| all.wrapping_add(*bucket)) as f64
        }
        ValueRef::Info => 1.0,
        ValueRef::StateSet { bits, .. } => bits as f64,
    }
}
