//! Scrapes after many processes have lived and died.

use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use dyn_metrics::{Counter, Gauge, GaugeMode, Opts, Registry};
use dyn_metrics_benches::bars::OURS;
use dyn_metrics_benches::rows::RenderRow;

use crate::args::Arguments;
use crate::peers::ours::{Home, scraper};
use crate::peers::{Page, page_labels};
use crate::rendering::{COLD, Case, measure};
use dyn_metrics_benches::op::LABELS;

/// Processes that live at the same time.
const AT_ONCE: usize = 8;
/// Series of each kind that each process has.
const SERIES: usize = 50;
/// What a process registers: a counter family and two of gauges, one of which keeps the dead.
const FAMILIES: usize = 3;

pub fn run(arguments: &Arguments, home: &Home) -> io::Result<Vec<RenderRow>> {
    let most = if arguments.quick { 80 } else { 1_000 };
    let mut cases = Vec::new();
    for processes in [AT_ONCE, most] {
        let segment = home.path(&format!("after_{processes}"));
        for _ in 0..processes / AT_ONCE {
            wave(&segment)?;
        }
        let mut scrape = scraper(&segment);
        scrape(); // what is read once is read now, with all processes dead
        let page = Page::new(OURS, || (), scrape);
        cases.push(Case { kind: format!("after_{processes}"), series: FAMILIES * SERIES, page });
    }
    // They are short: more of them, for the same money.
    let mut rows = measure(cases, 20 * arguments.renderings());
    rows.retain(|row| !row.kind.ends_with(COLD)); // both fit into the caches
    Ok(rows)
}

/// Processes that live at the same time, and then die.
fn wave(segment: &Path) -> io::Result<()> {
    let living: Vec<Living> = (0..AT_ONCE).map(|_| Living::start(segment)).collect::<Result<_, _>>()?;
    let mut living: Vec<Living> = living.into_iter().map(Living::ready).collect::<Result<_, _>>()?;
    for process in &mut living {
        process.input.take();
    }
    Ok(())
}

/// A process that has set its gauges and waits for the end of its input; ended when dropped.
struct Living {
    child: Child,
    input: Option<ChildStdin>,
}

impl Living {
    fn start(segment: &Path) -> io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--child", "live"]).arg(segment).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let input = child.stdin.take();
        Ok(Self { child, input })
    }

    fn ready(mut self) -> io::Result<Self> {
        let output = self.child.stdout.take().ok_or_else(|| io::Error::other("no output"))?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        if line.trim() == "ready" { Ok(self) } else { Err(io::Error::other("a process died too early")) }
    }
}

impl Drop for Living {
    fn drop(&mut self) {
        if self.input.is_some() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// What such a process does.
pub fn child(segment: &str) {
    let registry = Registry::open_at(segment).expect("a segment");
    let usable = "a name of ours is valid";
    let counters = registry.family::<Counter>(&Opts::new("bench_requests_total", "Requests"), &LABELS);
    let counters = counters.expect(usable);
    let gauges = [("bench_running", GaugeMode::LiveSum), ("bench_done", GaugeMode::Sum)];
    let gauges = gauges.map(|(name, mode)| {
        registry.family::<Gauge>(&Opts::new(name, "Requests").mode(mode), &LABELS).expect(usable)
    });
    for [model, status] in page_labels(SERIES) {
        counters.with(&[&model, &status]).inc();
        for gauge in &gauges {
            gauge.with(&[&model, &status]).set(3);
        }
    }
    println!("ready");
    let _ = io::stdin().read(&mut [0]);
}
