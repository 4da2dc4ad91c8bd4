//! The results of one check: thresholds, time-outs and reasons, without any clock or thread of its own.

use std::time::{Duration, Instant, SystemTime};

use crate::Spec;
use crate::check::Outcome;

/// Longest reason that is kept, in bytes.
const MAX_REASON: usize = 1024;

/// How a check is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It hasn't passed yet, nor failed often enough.
    Starting,
    /// It passes.
    Ok,
    /// It fails.
    Failing,
}

impl Status {
    /// Its name: `starting`, `ok` or `failing`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ok => "ok",
            Self::Failing => "failing",
        }
    }
}

/// What is known of a check.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) status: Status,
    /// What the last result said.
    pub(crate) reason: String,
    pub(crate) consecutive_failures: u32,
    consecutive_successes: u32,
    /// When the last result came, and how long its run took.
    pub(crate) last: Option<(Instant, Duration)>,
    pub(crate) last_success: Option<SystemTime>,
    run: Option<Run>,
}

/// A run that goes on.
#[derive(Clone, Copy, Debug)]
struct Run {
    since: Instant,
    /// Failures that were noted for it already.
    missed: u32,
}

impl Default for Record {
    fn default() -> Self {
        Self {
            status: Status::Starting,
            reason: "it has not run yet".to_owned(),
            consecutive_failures: 0,
            consecutive_successes: 0,
            last: None,
            last_success: None,
            run: None,
        }
    }
}

impl Record {
    /// A run begins.
    pub(crate) fn begin(&mut self, now: Instant) {
        self.run = Some(Run { since: now, missed: 0 });
    }

    /// The run ends. What it says counts only if it was in time; otherwise it has failed already.
    pub(crate) fn end(&mut self, spec: &Spec, now: Instant, outcome: Outcome) {
        self.look(spec, now);
        let Some(Run { since, missed }) = self.run.take() else { return };
        let took = now.saturating_duration_since(since);
        if missed == 0 {
            self.note(spec, outcome);
        } else {
            self.reason = format!("answered after {}, limit {}", seconds(took), seconds(spec.timeout));
        }
        self.last = Some((now, took));
    }

    /// Notes what is overdue: a run over its limit, and each further one that it keeps from beginning. True when the run
    /// has just gone over its limit.
    pub(crate) fn look(&mut self, spec: &Spec, now: Instant) -> bool {
        let Some(run) = self.run else { return false };
        let Some(over) = now.saturating_duration_since(run.since).checked_sub(spec.timeout) else {
            return false;
        };
        let missed =
            1 + u32::try_from(over.as_nanos() / spec.interval.as_nanos().max(1)).unwrap_or(u32::MAX - 1);
        for _ in run.missed..missed.min(run.missed.saturating_add(1000)) {
            self.fail(spec);
        }
        let waited = now.saturating_duration_since(run.since);
        self.reason = format!("no answer for {}, limit {}", seconds(waited), seconds(spec.timeout));
        self.last = Some((now, waited));
        self.run = Some(Run { missed, ..run });
        run.missed == 0
    }

    /// Whether a run goes on.
    pub(crate) const fn is_running(&self) -> bool {
        self.run.is_some()
    }

    fn note(&mut self, spec: &Spec, outcome: Outcome) {
        match outcome {
            Ok(detail) => {
                self.reason = tidy(&detail);
                self.consecutive_failures = 0;
                self.consecutive_successes = self.consecutive_successes.saturating_add(1);
                self.last_success = Some(SystemTime::now());
                if self.consecutive_successes >= spec.successes {
                    self.status = Status::Ok;
                }
            }
            Err(reason) => {
                self.reason = Some(tidy(&reason))
                    .filter(|reason| !reason.is_empty())
                    .unwrap_or_else(|| "it failed and gave no reason".to_owned());
                self.fail(spec);
            }
        }
    }

    fn fail(&mut self, spec: &Spec) {
        self.consecutive_successes = 0;
        self.consecutive_failures = self.consecutive_failures.saturating_add(1);
        if self.consecutive_failures >= spec.failures {
            self.status = Status::Failing;
        }
    }
}

/// One line of bounded length, whatever a check says.
pub(crate) fn tidy(text: &str) -> String {
    let mut line = String::new();
    for c in text.trim_matches(|c: char| c.is_control() || c.is_whitespace()).chars() {
        if line.len() + c.len_utf8() > MAX_REASON {
            line.push('…');
            break;
        }
        line.push(if c.is_control() { ' ' } else { c });
    }
    line
}

/// A time in seconds, as people read it: `0.25 s`, `5 s`.
pub(crate) fn seconds(time: Duration) -> String {
    let rounded = if time < Duration::from_secs(10) { 1000.0 } else { 10.0 };
    format!("{} s", (time.as_secs_f64() * rounded).round() / rounded)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn spec() -> Spec {
        Spec::new("c").every(2 * SECOND).timeout(SECOND)
    }

    /// A run of no length.
    fn run(record: &mut Record, spec: &Spec, outcome: Outcome) -> (Status, u32) {
        let now = Instant::now();
        record.begin(now);
        record.end(spec, now, outcome);
        (record.status, record.consecutive_failures)
    }

    #[test]
    fn results_count_from_their_thresholds_on() {
        let spec = spec().failures(2).successes(2);
        let (mut record, ok, bad) = (Record::default(), || Ok(String::new()), || Err("no".to_owned()));
        assert_eq!(record.status, Status::Starting);
        assert_eq!(run(&mut record, &spec, ok()), (Status::Starting, 0));
        assert_eq!(run(&mut record, &spec, ok()), (Status::Ok, 0));
        assert_eq!(run(&mut record, &spec, bad()), (Status::Ok, 1));
        assert_eq!(record.reason, "no");
        assert_eq!(run(&mut record, &spec, ok()), (Status::Ok, 0));
        assert_eq!(run(&mut record, &spec, bad()), (Status::Ok, 1));
        assert_eq!(run(&mut record, &spec, bad()), (Status::Failing, 2));
        assert_eq!(run(&mut record, &spec, ok()), (Status::Failing, 0));
        assert_eq!(run(&mut record, &spec, bad()), (Status::Failing, 1));
        assert_eq!(run(&mut record, &spec, ok()), (Status::Failing, 0));
        assert_eq!(run(&mut record, &spec, ok()), (Status::Ok, 0));
    }

    #[test]
    fn a_run_without_answer_fails_at_its_limit_and_once_for_each_run_it_holds_up() {
        let (spec, start, mut record) = (spec(), Instant::now(), Record::default());
        run(&mut record, &spec, Ok(String::new()));
        record.begin(start);
        assert!(!record.look(&spec, start + SECOND / 2));
        assert_eq!((record.status, record.consecutive_failures), (Status::Ok, 0));
        assert!(record.look(&spec, start + SECOND), "it has just gone over");
        assert!(!record.look(&spec, start + SECOND + SECOND / 2));
        assert_eq!((record.status, record.consecutive_failures), (Status::Failing, 1));
        assert_eq!(record.reason, "no answer for 1.5 s, limit 1 s");
        record.look(&spec, start + 5 * SECOND);
        assert_eq!(record.consecutive_failures, 3);
        assert_eq!(record.reason, "no answer for 5 s, limit 1 s");
        record.end(&spec, start + 6 * SECOND, Ok(String::new()));
        assert_eq!((record.status, record.consecutive_failures), (Status::Failing, 3), "too late to count");
        assert_eq!(record.reason, "answered after 6 s, limit 1 s");
        assert_eq!(run(&mut record, &spec, Ok(String::new())), (Status::Ok, 0));
    }

    #[test]
    fn reasons_are_one_line_of_bounded_length() {
        let (spec, mut record) = (spec(), Record::default());
        run(&mut record, &spec, Err("\n two\nlines\0\t".to_owned()));
        assert_eq!(record.reason, "two lines");
        run(&mut record, &spec, Err("ü".repeat(1 << 20)));
        assert!(record.reason.len() <= MAX_REASON + '…'.len_utf8() && record.reason.ends_with('…'));
        run(&mut record, &spec, Err(" \n".to_owned()));
        assert_eq!(record.reason, "it failed and gave no reason");
    }

    #[test]
    fn times_are_rounded_for_people() {
        let shown = [0.25, 5.0, 0.0004, 12.34].map(|time| seconds(Duration::from_secs_f64(time)));
        assert_eq!(shown, ["0.25 s", "5 s", "0 s", "12.3 s"]);
    }
}
