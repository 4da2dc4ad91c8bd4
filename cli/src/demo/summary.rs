//! What the demo tells about itself while it runs, read from the segment like any other reader would.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use dyn_metrics_reader::{Collector, FamilySnapshot, LeftOut, SegmentReport, SegmentState, Snapshot, Value};

use super::metrics::{
    DEMO_INFO, INFLIGHT_REQUESTS, OUTPUT_TOKENS_TOTAL, REQUESTS_TOTAL, TIME_TO_FIRST_TOKEN,
};
use crate::quantile::{Quantile, quantile};

/// Observations that a median of the last moments needs; with fewer, that of the whole run is shown.
const ENOUGH: u64 = 5;
/// How often a line is printed when it cannot be rewritten: every second of those that come each second.
const PLAIN_INTERVAL: Duration = Duration::from_millis(1_800);

/// Follows the demo's metrics through the reader.
pub struct Summary {
    collector: Collector,
    at: Instant,
    last: Totals,
}

/// What is read at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
struct Totals {
    requests: f64,
    tokens: f64,
    inflight: f64,
    bounds: Vec<f64>,
    /// Times to first token, one count for each bound and one beyond.
    buckets: Vec<u64>,
}

/// One line of the live summary.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    seconds: u64,
    requests: f64,
    requests_per_second: f64,
    tokens_per_second: f64,
    first_token: Option<f64>,
    inflight: f64,
    workers_alive: usize,
    workers: usize,
}

impl Summary {
    /// Follows the segment at `path`.
    pub fn new(path: &Path) -> Self {
        Self { collector: Collector::new(&pattern(path)), at: Instant::now(), last: Totals::default() }
    }

    /// Reads the segment, `seconds` after the start, and compares with the last time.
    pub fn line(&mut self, seconds: u64, workers_alive: usize, workers: usize) -> Line {
        let now = Instant::now();
        let totals = Totals::of(&self.collector.collect());
        let line = compare(&self.last, &totals, now - self.at);
        self.at = now;
        self.last = totals;
        Line { seconds, workers_alive, workers, ..line }
    }
}

/// Whether at `path`, or superseded beside it, lies anything else than a segment that a demo has made: metrics of
/// another service, but also what is empty, damaged, in another format or may not be read.
pub fn is_foreign(path: &Path) -> bool {
    let snapshot = Collector::new(&pattern(path)).collect();
    let is_foreign = |report: &SegmentReport| match &report.state {
        SegmentState::Missing => false,
        state if state.is_served() => !report.families.iter().any(|family| *family.name == *DEMO_INFO),
        _ => true,
    };
    snapshot.segments.iter().any(is_foreign) || snapshot.left_out != LeftOut::default()
}

fn pattern(path: &Path) -> [String; 1] {
    [path.to_string_lossy().into_owned()]
}

fn compare(before: &Totals, now: &Totals, elapsed: Duration) -> Line {
    let seconds = elapsed.as_secs_f64().max(1e-9);
    let recent: Vec<u64> = if before.buckets.len() == now.buckets.len() {
        now.buckets.iter().zip(&before.buckets).map(|(now, before)| now.saturating_sub(*before)).collect()
    } else {
        now.buckets.clone()
    };
    let enough = recent.iter().sum::<u64>() >= ENOUGH;
    Line {
        seconds: 0,
        requests: now.requests,
        requests_per_second: (now.requests - before.requests) / seconds,
        tokens_per_second: (now.tokens - before.tokens) / seconds,
        first_token: quantile(&now.bounds, if enough { &recent } else { &now.buckets }, 0.5)
            .map(Quantile::value),
        inflight: now.inflight,
        workers_alive: 0,
        workers: 0,
    }
}

impl Totals {
    fn of(snapshot: &Snapshot) -> Self {
        let mut totals = Self {
            requests: sum(snapshot, REQUESTS_TOTAL),
            tokens: sum(snapshot, OUTPUT_TOKENS_TOTAL),
            inflight: sum(snapshot, INFLIGHT_REQUESTS),
            ..Self::default()
        };
        let series = family(snapshot, TIME_TO_FIRST_TOKEN).into_iter().flat_map(|family| &family.series);
        for series in series {
            if let Value::Histogram { bounds, buckets, .. } = &series.value {
                totals.bounds = bounds.to_vec();
                totals.buckets.resize(buckets.len(), 0);
                totals.buckets.iter_mut().zip(buckets).for_each(|(total, count)| *total += count);
            }
        }
        totals
    }
}

fn family<'a>(snapshot: &'a Snapshot, name: &str) -> Option<&'a FamilySnapshot> {
    snapshot.families.iter().find(|family| family.name == name)
}

fn sum(snapshot: &Snapshot, name: &str) -> f64 {
    let series = family(snapshot, name).into_iter().flat_map(|family| &family.series);
    series
        .map(|series| match &series.value {
            Value::Counter(number) | Value::Gauge(number) => number.as_f64(),
            _ => 0.0,
        })
        // Not `sum`, which makes -0 of nothing.
        .fold(0.0, |total, value| total + value)
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seconds, workers_alive, workers, inflight, requests, .. } = self;
        write!(
            f,
            "{seconds:>4} s  {workers_alive}/{workers} workers {inflight:>4} in flight {requests:>6} done"
        )?;
        write!(f, "  {:>5.1} req/s  {:>5.0} tok/s", self.requests_per_second, self.tokens_per_second)?;
        match self.first_token {
            Some(seconds) => write!(f, "  ttft p50 {:>3.0} ms", seconds * 1e3),
            None => write!(f, "  ttft p50   -"),
        }
    }
}

/// Standard output: a line that is rewritten on a terminal, or now and then a plain one; events between them.
pub struct Screen<W> {
    out: W,
    terminal: bool,
    last_plain: Option<Instant>,
}

impl Screen<io::Stdout> {
    /// Writes to standard output.
    pub fn stdout() -> Self {
        Self::new(io::stdout(), io::stdout().is_terminal())
    }
}

impl<W: Write> Screen<W> {
    fn new(out: W, terminal: bool) -> Self {
        Self { out, terminal, last_plain: None }
    }

    /// Shows the current state in place of the last.
    pub fn status(&mut self, line: &Line) -> io::Result<()> {
        if self.terminal {
            // Return, erase, and no wrapping for the length of the line: a wrapped one could not be rewritten.
            write!(self.out, "\r\x1b[2K\x1b[?7l{line}\x1b[?7h")?;
        } else if self.last_plain.is_none_or(|last| last.elapsed() >= PLAIN_INTERVAL) {
            self.last_plain = Some(Instant::now());
            writeln!(self.out, "{line}")?;
        }
        self.out.flush()
    }

    /// Prints a line that stays.
    pub fn print(&mut self, text: impl fmt::Display) -> io::Result<()> {
        if self.terminal {
            write!(self.out, "\r\x1b[2K")?;
        }
        writeln!(self.out, "{text}")?;
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: [f64; 3] = [0.0, 0.125, 0.625];

    fn totals(requests: f64, buckets: [u64; 4]) -> Totals {
        Totals { requests, bounds: BOUNDS.into(), buckets: buckets.into(), ..Totals::default() }
    }

    #[test]
    fn rates_and_the_median_are_those_since_the_last_line() {
        let line =
            compare(&totals(10.0, [0, 100, 0, 0]), &totals(40.0, [0, 100, 30, 0]), Duration::from_secs(2));
        assert_eq!(line.requests_per_second, 15.0);
        assert_eq!(line.first_token, Some(0.375));
    }

    #[test]
    fn the_median_of_the_run_stands_in_when_little_is_new() {
        let line =
            compare(&totals(10.0, [0, 100, 0, 0]), &totals(11.0, [0, 100, 1, 0]), Duration::from_secs(1));
        assert!(line.first_token.unwrap() < 0.125);
    }

    #[test]
    fn a_terminal_line_is_rewritten_and_a_plain_one_is_not() {
        let line = compare(&Totals::default(), &totals(12.0, [0, 8, 0, 0]), Duration::from_secs(1));
        let mut screen = Screen::new(Vec::new(), true);
        screen.status(&line).unwrap();
        screen.print("event").unwrap();
        let text = String::from_utf8(screen.out).unwrap();
        assert!(text.starts_with("\r\x1b[2K") && text.ends_with("\r\x1b[2Kevent\n"));

        let mut screen = Screen::new(Vec::new(), false);
        screen.status(&line).unwrap();
        screen.status(&line).unwrap();
        let text = String::from_utf8(screen.out).unwrap();
        assert_eq!(text.lines().count(), 1, "the second comes too early");
        assert!(text.contains("12 done   12.0 req/s") && text.contains("ttft p50  62 ms"), "{text}");
    }
}
