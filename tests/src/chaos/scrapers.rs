//! Who scrapes all along: over HTTP from a real exporter, and with a reader in the driver's own process.
#![allow(clippy::disallowed_types, reason = "counts of the driver alone, never in the segment")]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dyn_metrics_reader::{Collector, Snapshot, encode};

use super::audit;
use super::findings::Findings;
use super::ledger::Ledger;
use super::watch::Watch;
use crate::servers::get;

/// Between two scrapes.
const PAUSE: Duration = Duration::from_millis(30);
/// Between two comparisons with the ledger.
const AUDIT_EVERY: Duration = Duration::from_millis(1_500);
/// Collections after which another collector begins, which has never looked before.
const COLLECTIONS: u32 = 20;

/// Scrapes the exporter until `stop`, and gives what it has seen.
pub fn scrape_exporter(address: SocketAddr, findings: &Findings, stop: &AtomicBool) -> Watch {
    let mut watch = Watch::default();
    while !stop.load(Ordering::Relaxed) {
        scrape_once(address, &mut watch, findings);
        std::thread::sleep(PAUSE);
    }
    scrape_once(address, &mut watch, findings);
    watch
}

/// One scrape, compared with the one before.
pub fn scrape_once(address: SocketAddr, watch: &mut Watch, findings: &Findings) {
    match get(address, "/metrics") {
        Some((200, page)) => feed("exporter", watch, &page, findings),
        other => findings.add(format!("exporter: {other:?}")),
    }
    findings.scrapes_http.fetch_add(1, Ordering::Relaxed);
}

/// Collects until `stop`; compares each collection with the one before, and some with the ledger.
pub fn read_segment(segment: &Path, ledger: Ledger, findings: &Findings, stop: &AtomicBool) {
    let (mut watch, mut audited) = (Watch::default(), None::<Instant>);
    let (mut collector, mut collections) = (collector(segment), 0);
    let mut known = BTreeSet::new();
    while !stop.load(Ordering::Relaxed) {
        if collections == COLLECTIONS {
            (collector, collections) = (self::collector(segment), 0);
        }
        collections += 1;
        let is_due = audited.is_none_or(|at| at.elapsed() > AUDIT_EVERY);
        let before = is_due.then(|| ledger.totals());
        let snapshot = collector.collect();
        if let Some(before) = before {
            audited = Some(Instant::now());
            let outcome = audit::audit(&snapshot, &before, &ledger.totals(), false);
            let new = outcome.faults.into_iter().filter(|fault| known.insert(first_word(fault)));
            findings.extend(new.map(|fault| format!("meanwhile: {fault}")));
            findings.audits.fetch_add(1, Ordering::Relaxed);
        }
        look_over(&snapshot, findings);
        let mut page = Vec::new();
        encode::text::encode(&snapshot, &mut page);
        feed("reader", &mut watch, &String::from_utf8_lossy(&page), findings);
        findings.scrapes_reader.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(PAUSE);
    }
}

/// A collector that has never looked before.
#[must_use]
pub fn collector(segment: &Path) -> Collector {
    Collector::new(&[segment.display().to_string()])
}

/// What no snapshot may have.
pub fn look_over(snapshot: &Snapshot, findings: &Findings) {
    for segment in &snapshot.segments {
        if !segment.state.is_served() || !segment.skipped.is_empty() {
            findings.add(format!("reader: {:?}, skipped {:?}", segment.state, segment.skipped));
        }
    }
}

fn feed(who: &str, watch: &mut Watch, page: &str, findings: &Findings) {
    let wrong = watch.feed(page);
    let add = |to: &AtomicU64, count| to.fetch_add(count, Ordering::Relaxed);
    add(&findings.decreases, wrong.decreases);
    add(&findings.vanished, wrong.vanished);
    findings.extend(wrong.texts.into_iter().map(|text| format!("{who}: {text}")));
}

/// What a finding is about, so that the same series is told once.
fn first_word(fault: &str) -> String {
    fault.split(": ").next().unwrap_or_default().to_owned()
}
