//! Whether what is exported is what was acknowledged, plus at most what was in flight.

use std::collections::BTreeMap;

use dyn_metrics_reader::{SeriesSnapshot, Snapshot, Statistic, Value};

use super::ledger::{Ledger, Life, Total, Totals};
use super::series::{Group, LOWEST_FROM, OBSERVED, TALLIED, What};
use crate::reading;

/// What a comparison found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Counts acknowledged and not exported.
    pub lost: u64,
    /// Counts exported and never begun.
    pub surplus: u64,
    /// Counts exported.
    pub exported: u64,
    /// Counts acknowledged.
    pub acknowledged: u64,
    /// Counts begun and not acknowledged, of which any number may be exported.
    pub in_flight: u64,
    /// Series compared.
    pub series: u64,
    /// What is wrong, in words.
    pub faults: Vec<String>,
}

/// Compares a snapshot with what was acknowledged `before` it was begun, and what was begun `after` it was complete.
///
/// `at_rest`: nobody counts any more, so the words of a series belong together.
#[must_use]
pub fn audit(snapshot: &Snapshot, before: &Totals, after: &Totals, at_rest: bool) -> Outcome {
    let mut audit = Audit { before, after, dropped: dropped(snapshot), outcome: Outcome::default() };
    let mut found = BTreeMap::new();
    for family in snapshot.families.iter().filter(|family| family.name.starts_with("chaos_")) {
        for series in &family.series {
            audit.read(&family.name, series, &mut found, at_rest);
        }
    }
    for (what, value) in &found {
        audit.compare(*what, *value);
    }
    for (what, total) in before.iter().filter(|(what, total)| total.done > 0 && !found.contains_key(what)) {
        if !what.group.is_set() && total.done > audit.slack(*what) {
            audit.outcome.lost += total.done;
            audit
                .outcome
                .faults
                .push(format!("{what:?}: {} acknowledged, the series is missing", total.done));
        }
    }
    audit.outcome
}

/// Updates of gauges that were turned away, and counted as such.
fn dropped(snapshot: &Snapshot) -> u64 {
    [Statistic::DroppedBusy].into_iter().map(|statistic| reading::statistic(snapshot, statistic)).sum()
}

struct Audit<'t> {
    before: &'t Totals,
    after: &'t Totals,
    dropped: u64,
    outcome: Outcome,
}

impl Audit<'_> {
    /// What the series holds, as counts.
    fn read(
        &mut self,
        family: &str,
        series: &SeriesSnapshot,
        found: &mut BTreeMap<What, f64>,
        at_rest: bool,
    ) {
        let label = |name| series.labels.value(name).map(|value| (name, value));
        let Some(what) = What::exposed(family, label("seat").or_else(|| label("n"))) else {
            return self.fault(format!("{family}{{{}}}: nobody has registered it", series.labels.text()));
        };
        self.outcome.series += 1;
        match &series.value {
            Value::Counter(number) => {
                found.insert(what, number.as_f64() / what.group.amount());
            }
            Value::Tally { count, sum } => {
                found.insert(what, *count as f64);
                self.compare_sum(what, *sum, &[TALLIED], at_rest.then_some(*count as f64 * TALLIED as f64));
            }
            Value::Histogram { buckets, sum, .. } => {
                for (bucket, count) in (0..).zip(buckets) {
                    found.insert(what.bucket(bucket), *count as f64);
                }
                let observed =
                    buckets.iter().zip(OBSERVED).map(|(count, value)| (count * value) as f64).sum();
                self.compare_sum(what, *sum, &OBSERVED, at_rest.then_some(observed));
            }
            Value::Gauge(number) if !matches!(what.group, Group::Alive | Group::Each | Group::EachKept) => {
                found.insert(what, number.as_f64());
            }
            _ => (),
        }
    }

    fn compare(&mut self, what: What, value: f64) {
        let (before, after) = (total(self.before, what), total(self.after, what));
        match what.group {
            Group::Highest => self.within(what, value, (before.most_done, after.most_begun)),
            Group::Lowest => {
                let fallen = LOWEST_FROM as f64 - value;
                self.within(what, fallen, (before.most_done, after.most_begun));
            }
            Group::Latest => {
                let whose = What::new(Group::Latest, value as u32);
                if value != 0.0 && total(self.after, whose).begun == 0 {
                    self.fault(format!("{what:?}: {value} was never set"));
                }
            }
            _ => self.conserved(what, value, before, after),
        }
    }

    fn conserved(&mut self, what: What, value: f64, before: Total, after: Total) {
        // Nanoseconds are exposed in seconds, so their count isn't whole to the last bit.
        let count = value.round();
        if (value - count).abs() > 1e-3 || count < 0.0 {
            return self.fault(format!("{what:?}: {value} is not a number of updates"));
        }
        let count = count as u64;
        let least = before.done.saturating_sub(self.slack(what));
        if count < least {
            self.outcome.lost += least - count;
            self.fault(format!("{what:?}: {least} acknowledged, {count} exported: lost {}", least - count));
        }
        if count > after.begun {
            let surplus = count - after.begun;
            self.outcome.surplus += surplus;
            self.fault(format!("{what:?}: {} begun, {count} exported: {surplus} too many", after.begun));
        }
        self.outcome.exported += count;
        self.outcome.acknowledged += before.done;
        self.outcome.in_flight += after.begun - before.done.min(after.begun);
    }

    /// The sum over observations, of these values by bucket.
    fn compare_sum(&mut self, what: What, sum: f64, values: &[u64], observed: Option<f64>) {
        let sums = |totals: &Totals, of: fn(Total) -> u64| {
            let buckets = (0..).zip(values);
            buckets.map(|(bucket, value)| of(total(totals, what.bucket(bucket))) * value).sum::<u64>() as f64
        };
        let (least, most) = (sums(self.before, |total| total.done), sums(self.after, |total| total.begun));
        if sum < least || sum > most {
            self.outcome.lost += (least - sum).max(0.0) as u64;
            self.outcome.surplus += (sum - most).max(0.0) as u64;
            self.fault(format!("{what:?}: sum {sum}, expected {least} to {most}"));
        }
        if observed.is_some_and(|observed| sum > observed) {
            self.fault(format!("{what:?}: sum {sum} of observations that were not counted"));
        }
    }

    fn within(&mut self, what: What, value: f64, (least, most): (u64, u64)) {
        if self.dropped == 0 && value < least as f64 || value > most as f64 {
            self.fault(format!("{what:?}: {value}, expected {least} to {most}"));
        }
    }

    const fn slack(&self, what: What) -> u64 {
        if what.group.is_gauge() { self.dropped } else { 0 }
    }

    fn fault(&mut self, text: String) {
        self.outcome.faults.push(text);
    }
}

fn total(totals: &Totals, what: What) -> Total {
    totals.get(&what).copied().unwrap_or_default()
}

/// Compares the gauges of the living with those who are known to live while nobody runs: `lives`.
#[must_use]
pub fn census(snapshot: &Snapshot, ledger: Ledger, lives: &BTreeMap<usize, Life>) -> Vec<String> {
    let (mut sure, mut possible) = (Vec::new(), 0_u64);
    ledger.for_each_line(|life, what, done, begun| {
        if what.group == Group::Alive {
            // Whom nobody knew yet may have set it too.
            let life = ledger.life(life).filter(|life| lives.contains_key(&life.number) && !life.leaving);
            sure.extend(life.filter(|_| done > 0).map(|life| life.pid));
            possible += begun;
        }
    });
    let sum = reading::number(snapshot, "chaos_alive").unwrap_or(0.0);
    let holders = reading::segment(snapshot).processes_alive();
    let mut faults = Vec::new();
    let dropped = dropped(snapshot);
    if sum + (dropped as f64) < sure.len() as f64 || sum > (possible as f64).min(holders as f64) {
        faults.push(format!("livesum: {sum}, expected {} to {holders}", sure.len()));
    }
    let shown = reading::by_pid(snapshot, "chaos_each");
    let missing = sure.iter().filter(|pid| !shown.iter().any(|(label, _)| *label == pid.to_string()));
    let missing: Vec<_> = missing.collect();
    if missing.len() as u64 > dropped {
        faults.push(format!("liveall: {missing:?} live and are missing"));
    }
    faults
}

/// What gauges must show when nobody lives any more.
#[must_use]
pub fn after_all(snapshot: &Snapshot, processes: u64) -> Vec<String> {
    let mut faults = Vec::new();
    let alive = reading::number(snapshot, "chaos_alive").unwrap_or(0.0);
    if alive != 0.0 {
        faults.push(format!("livesum: {alive} when all are dead"));
    }
    let each = reading::by_pid(snapshot, "chaos_each").len();
    if each != 0 {
        faults.push(format!("liveall: {each} when all are dead"));
    }
    let kept = reading::by_pid(snapshot, "chaos_each_kept").len() as u64;
    let expected = processes.min(super::series::KEEP_DEAD.into());
    if kept != expected {
        faults.push(format!("all: {kept} of the dead, expected {expected}"));
    }
    for statistic in [Statistic::PrivateNoSlot, Statistic::PrivateFull] {
        let count = reading::statistic(snapshot, statistic);
        if count != 0 {
            faults.push(format!("{statistic:?}: {count}"));
        }
    }
    faults
}
