//! The driver of a run: who is killed, stopped, forked when, and what comes out in the end.
#![allow(clippy::disallowed_types, reason = "a flag of the driver alone, never in the segment")]

use std::fmt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use dyn_metrics_reader::{Statistic, check};

use super::audit::{self, Outcome};
use super::findings::Findings;
use super::ledger::{self, Global, Ledger};
use super::options::Options;
use super::population::{Figures, Population};
use super::scrapers::{self, collector};
use super::watch::Watch;
use super::worker::{LEDGER, SEGMENT};
use crate::random::Random;
use crate::reading;
use crate::servers::{Exporter, program, wait_for};

/// Between two censuses.
const CENSUS_EVERY: Duration = Duration::from_secs(3);
/// Processes beyond the seats that forks may add.
const FORKED: usize = 6;

/// What a run has come to.
#[derive(Clone, Debug)]
pub struct Report {
    /// Its options.
    pub options: Options,
    /// Seconds until all had ended.
    pub seconds: f64,
    /// What was done to processes.
    pub figures: Figures,
    /// Times that everybody was stopped and counted.
    pub censuses: u64,
    /// Times that the file was found longer.
    pub growths: u64,
    /// Bytes of the file in the end.
    pub bytes: u64,
    /// The last comparison.
    pub outcome: Outcome,
    /// Updates of gauges turned away, and counted as such.
    pub dropped: u64,
    /// Scrapes over HTTP, collections, comparisons meanwhile.
    pub scrapes: (u64, u64, u64),
    /// Samples that fell, and that vanished.
    pub fell: (u64, u64),
    /// Samples watched over HTTP in the end.
    pub samples: usize,
    /// Bytes that nothing leads to.
    pub wasted: u64,
    /// All that went wrong.
    pub findings: Vec<String>,
}

impl Report {
    /// Whether nothing went wrong.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (figures, outcome) = (&self.figures, &self.outcome);
        let rows: [(&str, &dyn fmt::Display); 27] = [
            ("seed", &self.options.seed),
            ("seconds", &format_args!("{:.1}", self.seconds)),
            ("acknowledged", &outcome.acknowledged),
            ("exported", &outcome.exported),
            ("in_flight", &outcome.in_flight),
            ("lost", &outcome.lost),
            ("surplus", &outcome.surplus),
            ("decreases", &self.fell.0),
            ("vanished", &self.fell.1),
            ("kills", &figures.kills),
            ("kills_stopped", &figures.kills_stopped),
            ("kills_of_parents", &figures.kills_of_parents),
            ("kills_young", &figures.kills_young),
            ("stops", &figures.stops),
            ("stops_long", &figures.stops_long),
            ("forks", &figures.forks),
            ("execs", &figures.execs),
            ("starts", &figures.starts),
            ("censuses", &self.censuses),
            ("scrapes_http", &self.scrapes.0),
            ("scrapes_reader", &self.scrapes.1),
            ("audits", &self.scrapes.2),
            ("series", &outcome.series),
            ("samples", &self.samples),
            ("segment_bytes", &format_args!("{} after {} growths", self.bytes, self.growths)),
            ("wasted_bytes", &self.wasted),
            ("dropped_busy", &self.dropped),
        ];
        for (name, value) in rows {
            writeln!(f, "{name:<17} {value}")?;
        }
        for finding in &self.findings {
            writeln!(f, "WRONG: {finding}")?;
        }
        Ok(())
    }
}

/// Runs it in `directory`, which is empty.
///
/// # Errors
/// When the ledger can't be made.
///
/// # Panics
/// When a program can't be started, or something is waited for in vain.
pub fn run(options: &Options, directory: &Path) -> std::io::Result<Report> {
    let ledger = Ledger::open(&directory.join(LEDGER))?;
    ledger.set_global(Global::Driver, u64::from(std::process::id()));
    let (findings, stop) = (Findings::default(), AtomicBool::new(false));
    let segment = directory.join(SEGMENT);
    let exporter = Exporter::start(&[&segment.to_string_lossy()]);
    let begin = Instant::now();
    let mut run = Run {
        options,
        segment: &segment,
        ledger,
        findings: &findings,
        population: Population::new(options.clone(), directory.to_owned(), ledger, &findings),
        random: Random::new(options.seed),
        begin,
        reached: 0.0,
        censuses: 0,
        growths: 0,
        bytes: 0,
    };
    run.advance();
    run.population.fill_seats(&mut run.random);
    wait_for("the segment", || segment.exists().then_some(()));
    let watch = std::thread::scope(|scope| {
        let http = scope.spawn(|| scrapers::scrape_exporter(exporter.address, &findings, &stop));
        scope.spawn(|| scrapers::read_segment(&segment, ledger, &findings, &stop));
        let stops = Stops(&stop);
        run.go();
        // The last scrape comes when nobody counts any more.
        drop(stops);
        http.join().expect("a scraper doesn't panic")
    });
    Ok(run.report(&watch))
}

/// Ends the scrapers, also when the driver panics.
struct Stops<'s>(&'s AtomicBool);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct Run<'r> {
    options: &'r Options,
    segment: &'r Path,
    ledger: Ledger,
    findings: &'r Findings,
    population: Population<'r>,
    random: Random,
    begin: Instant,
    reached: f64,
    censuses: u64,
    growths: u64,
    bytes: u64,
}

impl Run<'_> {
    /// Until everything is reached and all have ended.
    fn go(&mut self) {
        let (mut census, mut measured) = (Instant::now(), Instant::now());
        while self.reached < 1.0 {
            std::thread::sleep(Duration::from_micros(self.random.between(500, 9_000)));
            self.act();
            if census.elapsed() > CENSUS_EVERY {
                self.census();
                census = Instant::now();
            }
            if measured.elapsed() > Duration::from_millis(250) {
                self.advance();
                measured = Instant::now();
            }
            if self.begin.elapsed() > Duration::from_secs(self.options.limit) {
                self.findings.add(format!("only {:.3} of the run within its limit", self.reached));
                break;
            }
        }
        self.census();
        self.population.end(&mut self.random);
    }

    /// One random deed, and what must be done anyway.
    fn act(&mut self) {
        self.look_after();
        let living = self.population.living();
        let running = self.population.running();
        match self.random.below(100) {
            0..22 => {
                let whom = self.random.choose(&living).copied();
                whom.map(|pid| self.population.kill(pid));
            }
            22..28 => {
                let whom = self.random.choose(&self.population.young()).copied();
                whom.map(|pid| self.population.kill(pid));
            }
            28..44 => {
                let time = self.time_of_a_stop();
                if let Some(pid) = self.random.choose(&running) {
                    self.population.stop(*pid, time);
                }
            }
            44..54 if living.len() < self.options.processes as usize + FORKED => {
                if let Some(pid) = self.random.choose(&running) {
                    self.population.command(*pid, ledger::Command::Fork);
                }
            }
            54..62 => {
                if let Some(pid) = self.random.choose(&running) {
                    self.population.command(*pid, ledger::Command::Exec);
                }
            }
            _ => (),
        }
    }

    /// Notes who came and who went, and kills some parents right after they have forked.
    fn look_after(&mut self) {
        for forked in self.population.discover() {
            if let Some(parent) = forked.parent
                && self.random.one_in(3)
            {
                self.population.kill_life(parent);
            }
        }
        self.population.reap();
        self.population.go_on();
        self.population.fill_seats(&mut self.random);
    }

    /// Mostly short; a claim waits for another process for a tenth of a second, and who lives is asked every second.
    fn time_of_a_stop(&mut self) -> Duration {
        Duration::from_millis(match self.random.below(20) {
            0 => self.random.between(1_100, 1_600),
            1..6 => self.random.between(150, 400),
            _ => self.random.between(1, 30),
        })
    }

    /// How far the run is, and so how much may be registered.
    fn advance(&mut self) {
        let kills = self.population.figures.kills;
        let mut counted = 0;
        self.ledger.for_each_line(|_, what, done, _| counted += if what.group.is_gauge() { 0 } else { done });
        self.reached = self.options.progress(self.begin.elapsed(), counted, kills);
        let allowed = |of: u64, least: u64| least.max((self.reached * of as f64) as u64);
        self.ledger.set_global(Global::Series, allowed(self.options.series, 16));
        self.ledger.set_global(Global::Families, allowed(self.options.series / 50, 3));
        let bytes = std::fs::metadata(self.segment).map_or(0, |metadata| metadata.len());
        self.growths += u64::from(self.bytes != 0 && bytes > self.bytes);
        self.bytes = bytes;
    }

    /// Stops everybody and compares what is exported with the ledger, and with who lives.
    fn census(&mut self) {
        self.population.discover();
        let (ledger, segment, findings) = (self.ledger, self.segment, self.findings);
        let faults = self.population.while_all_are_stopped(|population| {
            let (lives, before) = (population.current_lives(), ledger.totals());
            let snapshot = collector(segment).collect();
            scrapers::look_over(&snapshot, findings);
            let mut faults = audit::audit(&snapshot, &before, &ledger.totals(), false).faults;
            faults.extend(audit::census(&snapshot, ledger, &lives));
            faults
        });
        findings.extend(faults.into_iter().map(|fault| format!("census: {fault}")));
        self.censuses += 1;
    }

    /// What is left when all are dead.
    fn report(mut self, watch: &Watch) -> Report {
        self.advance();
        let totals = self.ledger.totals();
        let snapshot = collector(self.segment).collect();
        scrapers::look_over(&snapshot, self.findings);
        let outcome = audit::audit(&snapshot, &totals, &totals, true);
        self.findings.extend(outcome.faults.clone());
        let lived = totals
            .iter()
            .filter(|(what, total)| what.group == super::series::Group::Latest && total.done > 0);
        self.findings.extend(audit::after_all(&snapshot, lived.count() as u64));
        self.compare_pages(&snapshot, watch);
        let wasted = self.check();
        let findings = self.findings;
        let load = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
        Report {
            options: self.options.clone(),
            seconds: self.begin.elapsed().as_secs_f64(),
            figures: self.population.figures,
            censuses: self.censuses,
            growths: self.growths,
            bytes: self.bytes,
            outcome,
            dropped: reading::statistic(&snapshot, Statistic::DroppedBusy),
            scrapes: (load(&findings.scrapes_http), load(&findings.scrapes_reader), load(&findings.audits)),
            fell: (load(&findings.decreases), load(&findings.vanished)),
            samples: watch.samples(),
            wasted,
            findings: findings.texts(),
        }
    }

    /// The exporter's last page must have what a reader that has never looked before finds.
    fn compare_pages(&self, snapshot: &dyn_metrics_reader::Snapshot, exporter: &Watch) {
        let (mut watch, mut page) = (Watch::default(), Vec::new());
        dyn_metrics_reader::encode::text::encode_families(&snapshot.families, &mut page);
        watch.feed(&String::from_utf8_lossy(&page));
        for (sample, value) in watch.last() {
            let exported = exporter.value(sample);
            if exported != Some(value) {
                self.findings.add(format!("{sample}: the exporter has {exported:?}, a reader {value}"));
            }
        }
    }

    /// `dyn-metrics check`; bytes that nothing leads to.
    fn check(&self) -> u64 {
        let mut command = Command::new(program("dyn-metrics"));
        let status = command.arg("check").arg(self.segment).stdout(Stdio::null()).status();
        if !status.as_ref().is_ok_and(std::process::ExitStatus::success) {
            self.findings.add(format!("dyn-metrics check: {status:?}"));
        }
        match check::check(self.segment) {
            Ok(report) => {
                let faults = report.faults.iter().filter(|fault| fault.severity == check::Severity::Fault);
                self.findings.extend(faults.map(|fault| format!("check: {fault:?}")));
                report.bytes_wasted
            }
            Err(error) => {
                self.findings.add(format!("check: {error}"));
                0
            }
        }
    }
}
