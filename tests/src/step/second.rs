//! A process that goes on after a death: it attaches, registers and counts.

use std::io::{BufRead, Write};
use std::path::Path;

use dyn_metrics::{Counter, FloatCounter, Gauge, GaugeMode, Histogram, Registry, StateSet, Tally};

use crate::step::scenario::{Outcome, filling, gauge, limited, options};

/// Metrics of every kind.
#[derive(Debug)]
pub struct Everything {
    /// A counter.
    pub counter: Counter,
    /// A counter of doubles.
    pub float: FloatCounter,
    /// A tally.
    pub tally: Tally,
    /// A histogram.
    pub histogram: Histogram,
    gauges: [Gauge; 4],
    states: StateSet,
    filling: dyn_metrics::Family<Counter>,
    limited: dyn_metrics::Family<Counter>,
}

impl Everything {
    /// Registers them.
    ///
    /// # Errors
    /// Those of registration.
    pub fn register(registry: &Registry) -> dyn_metrics::Result<Self> {
        let gauge = |name, mode| gauge(registry, name, mode);
        Ok(Self {
            counter: registry.counter("deaths_total", "A counter")?,
            float: registry.float_counter("deaths_float_total", "A counter of doubles")?,
            tally: registry.tally("deaths_bytes", "A tally")?,
            histogram: registry.histogram("deaths_seconds", "A histogram", &[0.1, 1.0])?,
            gauges: [
                gauge("deaths_running", GaugeMode::Sum)?,
                gauge("deaths_high", GaugeMode::Max)?,
                gauge("deaths_recent", GaugeMode::MostRecent)?,
                gauge("deaths_all", GaugeMode::All)?,
            ],
            states: registry.state_set("deaths_state", "A state set", &["down", "up"])?,
            filling: filling(registry)?,
            limited: limited(registry)?,
        })
    }

    /// Updates each of them once.
    pub fn update(&self, n: u32) {
        self.counter.inc_by(n.into());
        self.float.inc_by(f64::from(n) / 4.0);
        self.tally.observe(n.into());
        self.histogram.observe(n.into());
        self.set_gauges(n.into());
        self.states.set("up");
        self.filling.with(&["some"]).inc_by(n.into());
        self.limited.with(&["some"]).inc_by(n.into());
    }

    /// Sets each gauge.
    pub fn set_gauges(&self, n: i64) {
        for gauge in &self.gauges {
            gauge.set(n);
        }
    }

    /// Whether nobody else sees what it counts.
    fn is_private(&self, note: &str) -> bool {
        let labelled =
            [self.filling.with(&[note]), self.limited.with(&["other"]), self.filling.with(&["new"])];
        self.counter.is_private() || labelled.iter().any(Counter::is_private)
    }
}

/// What the second process adds to each number; what a reader shows must change by this much.
pub const ADDED: u32 = 11;

/// Attaches, registers what there is and more, counts; says what its handles told before and afterwards, a line each:
/// name, before, after.
fn go_on(directory: &Path, note: &str) -> Outcome<String> {
    let registry = options(directory).open()?;
    let all = Everything::register(&registry)?;
    let others = [
        registry.counter("deaths_new_total", "Registered by the victim")?,
        registry.counter("deaths_other_total", "Not the victim's")?,
    ];
    if all.is_private(note) || others.iter().any(Counter::is_private) {
        return Err("a handle is private".into());
    }
    let numbers = || {
        [
            ("deaths_total", all.counter.value() as f64),
            ("deaths_float_total", all.float.value()),
            ("deaths_bytes_count", all.tally.count() as f64),
            ("deaths_bytes_sum", all.tally.sum()),
            ("deaths_seconds_count", all.histogram.count() as f64),
            ("deaths_seconds_sum", all.histogram.sum()),
            ("deaths_new_total", others[0].value() as f64),
            ("deaths_other_total", others[1].value() as f64),
        ]
    };
    let before = numbers();
    all.update(ADDED);
    all.filling.with(&[note]).inc_by(ADDED.into());
    all.limited.with(&["other"]).inc_by(ADDED.into());
    others.iter().for_each(|other| other.inc_by(ADDED.into()));
    let pairs = before.iter().zip(numbers());
    Ok(pairs.map(|((name, before), (_, after))| format!("{name} {before} {after}\n")).collect())
}

/// Answers requests on standard input, `go-on|fresh DIRECTORY NOTE` on each line, by a child for each, which goes on
/// there, or starts from zero, and dies.
///
/// # Errors
/// Those of input and output.
pub fn serve() -> Outcome<()> {
    let mut answers = std::io::stdout();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let [what, directory, note] = line.split(' ').collect::<Vec<_>>()[..] else {
            return Err("usage: go-on|fresh DIRECTORY NOTE".into());
        };
        let work = || match what {
            "go-on" => go_on(Path::new(directory), note),
            _ => Ok(options(Path::new(directory)).fresh(true).open().map(|_| String::new())?),
        };
        let (reader, writer) = nix::unistd::pipe()?;
        let child = crate::forks::child(|| {
            let answer = work().unwrap_or_else(|error| format!("error {error}\n"));
            let _ =
                std::fs::File::from(writer.try_clone().expect("a descriptor")).write_all(answer.as_bytes());
        });
        drop(writer);
        let answer = std::io::read_to_string(std::fs::File::from(reader))?;
        let ended = nix::sys::wait::waitpid(child, None)?;
        write!(answers, "{answer}ended {ended:?}\n\n")?;
        answers.flush()?;
    }
    Ok(())
}
