//! The report: tables for people, and the files for programs.

use std::path::Path;
use std::process::Command;
use std::{fs, io};

use dyn_metrics_benches::bars::{BARS, BESIDE_BARS, CPP_BARS, OURS, RENDER_BARS, bar, verdict};
use dyn_metrics_benches::rows::{OpRow, RenderRow, ops_tsv, render_tsv};
use dyn_metrics_benches::table::{Table, short};

use crate::callgrind::Count;
use crate::memory::Growth;

/// Everything that was measured.
#[derive(Default)]
pub struct Results {
    pub ops: Vec<OpRow>,
    /// Operations in C++.
    pub cpp: Vec<OpRow>,
    pub render: Vec<RenderRow>,
    pub scrapes: Vec<RenderRow>,
    pub growth: Vec<Growth>,
    pub counts: Vec<Count>,
    pub notes: Vec<String>,
}

impl Results {
    /// Writes `rust.tsv`, `cpp.tsv`, `render.tsv` and `report.md`.
    pub fn write(&self, out: &Path, report: &str) -> io::Result<()> {
        fs::create_dir_all(out)?;
        fs::write(out.join("rust.tsv"), ops_tsv(&self.ops))?;
        fs::write(out.join("cpp.tsv"), ops_tsv(&self.cpp))?;
        let all: Vec<_> = self.render.iter().chain(&self.scrapes).cloned().collect();
        fs::write(out.join("render.tsv"), render_tsv(&all))?;
        fs::write(out.join("report.md"), report)
    }

    /// The report, in Markdown.
    pub fn report(&self) -> String {
        let mut text = machine();
        for (title, table) in [
            ("Ratios to fetch_add, 1 thread", ratio_table(&self.ops, 1)),
            ("Ratios to fetch_add, 2 threads", ratio_table(&self.ops, 2)),
            ("Operations", ops_table(&self.ops)),
            ("Bars", self.bars_table()),
            ("C++: ratios to fetch_add, 1 thread", ratio_table(&self.cpp, 1)),
            ("C++: ratios to fetch_add, 2 threads", ratio_table(&self.cpp, 2)),
            ("C++: operations", ops_table(&self.cpp)),
            ("Rendering", render_table(&self.render)),
            ("Scrapes", render_table(&self.scrapes)),
            ("Memory of the exporter", self.growth_table()),
            ("Instructions", self.counts_table()),
        ] {
            if !table.is_empty() {
                text.push_str(&format!("\n### {title}\n\n{}", table.render()));
            }
        }
        for note in &self.notes {
            text.push_str(&format!("\n{note}\n"));
        }
        text
    }

    fn bars_table(&self) -> Table {
        let mut table =
            Table::new(&["what", "threads", "bar", "measured", "of medians", "private add", "verdict"]);
        for (prefix, rows, bars) in [("", &self.ops, &BARS[..]), ("C++: ", &self.cpp, &CPP_BARS)] {
            for (row, bar) in rows.iter().filter_map(|row| Some((row, bar(bars, row)?))) {
                let suffix = if row.contender == OURS { "" } else { " (fallback)" };
                table.row([
                    format!("{prefix}{}{suffix}", row.op),
                    row.threads.to_string(),
                    short(bar),
                    short(row.ratio),
                    short(row.median_ratio),
                    private_add(rows, row).map_or("-".to_owned(), short),
                    verdict(row.ratio, bar),
                ]);
            }
        }
        for (op, contender, other, bar) in BESIDE_BARS {
            let find =
                |name| self.ops.iter().find(|row| (&*row.op, &*row.contender, row.threads) == (op, name, 1));
            if let (Some(row), Some(other_row)) = (find(contender), find(other)) {
                let ratio = [row.ns.min / other_row.ns.min, row.ns.median / other_row.ns.median];
                let what = format!("{op}: {contender} over {other}");
                table.row(judged(what, "1", [bar, ratio[0], ratio[1]].map(short), verdict(ratio[0], bar)));
            }
        }
        for (kind, series, bar) in RENDER_BARS {
            let ours = |row: &&RenderRow| (row.contender.as_str(), row.series) == (OURS, series);
            for row in self.render.iter().filter(ours).filter(|row| row.kind == kind) {
                let (each, median) = (row.ns_per_series(), row.ms.median * 1e6 / series as f64);
                let what = format!("{series} {kind}s, ns a series");
                let figures = [bar, each, median].map(short);
                table.row(judged(what, "1", figures, verdict(each, bar)));
            }
        }
        for growth in &self.growth {
            let [_, middle, measured] = growth.kib.map(|kib| kib as f64);
            let what = format!("exporter's KiB, last {} scrapes (5 % allowed)", growth.scrapes / 2);
            let bar = middle * 1.05; // the allocator's arenas come and go
            let verdict = verdict(measured, bar);
            table.row(judged(what, "-", [short(bar), short(measured), "-".into()], verdict));
        }
        for (what, bar, ratio) in self.scrape_ratios() {
            let figures = [bar, ratio[0], ratio[1]].map(short);
            table.row(judged(what, "1", figures, verdict(ratio[0], bar)));
        }
        table
    }

    /// What is judged of scrapes: minima and medians, over those of what they are compared with.
    fn scrape_ratios(&self) -> Vec<(String, f64, [f64; 2])> {
        let find = |contender: &str, kind: &str| {
            self.scrapes.iter().find(|row| row.contender == contender && row.kind == kind).map(|row| row.ms)
        };
        let mut ratios = Vec::new();
        if let (Some(few), Some(many)) = (find(OURS, "after_8"), find(OURS, "after_1000")) {
            let what = "scrape after 1000 processes, over after 8".to_owned();
            ratios.push((what, 1.2, [many.min / few.min, many.median / few.median]));
        }
        for blocks in [64, 256] {
            let [one, more] = [1, blocks].map(|n| find(OURS, &format!("blocks_{n}")));
            let [bare_one, bare] = [1, blocks].map(|n| find("bare-loop", &format!("blocks_{n}")));
            if let (Some(one), Some(more), Some(bare_one), Some(bare)) = (one, more, bare_one, bare) {
                let what = format!("summing {blocks} blocks, over a bare loop");
                let min = (more.min - one.min) / (bare.min - bare_one.min);
                let median = (more.median - one.median) / (bare.median - bare_one.median);
                ratios.push((what, 1.5, [min, median]));
            }
        }
        ratios
    }

    fn growth_table(&self) -> Table {
        let mut table = Table::new(&["scrapes", "KiB before", "KiB in the middle", "KiB after"]);
        for Growth { scrapes, kib } in &self.growth {
            table.row(std::iter::once(scrapes.to_string()).chain(kib.map(|kib| kib.to_string())));
        }
        table
    }

    fn counts_table(&self) -> Table {
        let mut table = Table::new(&["operation", "contender", "instructions"]);
        for count in &self.counts {
            table.row([count.op.clone(), count.contender.clone(), short(count.instructions)]);
        }
        table
    }
}

/// A row of the bars that no private addition stands beside.
fn judged(what: String, threads: &str, figures: [String; 3], verdict: String) -> Vec<String> {
    [vec![what, threads.to_owned()], figures.to_vec(), vec!["-".to_owned(), verdict]].concat()
}

/// The ratio of an addition to a word of the thread's own, beside `row`: the least that can be asked for.
fn private_add(rows: &[OpRow], row: &OpRow) -> Option<f64> {
    let beside = |other: &&OpRow| {
        (other.contender.as_str(), &other.op, other.threads) == ("thread-private", &row.op, row.threads)
    };
    rows.iter().find(beside).map(|other| other.ratio)
}

fn distinct<'n>(names: impl Iterator<Item = &'n str>) -> Vec<&'n str> {
    let mut seen = Vec::new();
    for name in names {
        if !seen.contains(&name) {
            seen.push(name);
        }
    }
    seen
}

/// Contenders down, operations across: ratios of minima.
fn ratio_table(rows: &[OpRow], threads: usize) -> Table {
    let rows: Vec<_> = rows.iter().filter(|row| row.threads == threads).collect();
    let ops = distinct(rows.iter().map(|row| row.op.as_str()));
    let mut table = Table::new(&[&["contender"], &ops[..]].concat());
    for contender in distinct(rows.iter().map(|row| row.contender.as_str())) {
        let cell = |op: &&str| {
            let row = rows.iter().find(|row| row.contender == contender && row.op == *op);
            row.map_or("-".to_owned(), |row| short(row.ratio))
        };
        table.row(std::iter::once(contender.to_owned()).chain(ops.iter().map(cell)));
    }
    table
}

fn ops_table(rows: &[OpRow]) -> Table {
    let heads =
        ["operation", "threads", "contender", "min ns", "median ns", "max ns", "ratio", "ratio of medians"];
    let mut table = Table::new(&heads);
    for row in rows {
        table.row([
            row.op.clone(),
            row.threads.to_string(),
            row.contender.clone(),
            short(row.ns.min),
            short(row.ns.median),
            short(row.ns.max),
            short(row.ratio),
            short(row.median_ratio),
        ]);
    }
    table
}

fn render_table(rows: &[RenderRow]) -> Table {
    let heads = ["what", "series", "contender", "min ms", "median ms", "max ms", "ns a series", "bytes"];
    let mut table = Table::new(&heads);
    for row in rows {
        table.row([
            row.kind.clone(),
            row.series.to_string(),
            row.contender.clone(),
            short(row.ms.min),
            short(row.ms.median),
            short(row.ms.max),
            short(row.ns_per_series()),
            row.bytes.to_string(),
        ]);
    }
    table
}

/// Where and when, for the head of the report.
fn machine() -> String {
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown");
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').take(3).collect::<Vec<_>>().join(" ");
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments = arguments.join(" ");
    let lines = [
        format!("Machine: {}, {cpus} CPUs", model.trim_start_matches([' ', '\t', ':'])),
        format!("System: {}", said("uname", &["-sr"])),
        format!("Compiler: {}", said("rustc", &["--version"])),
        format!("Revision: {}", said("git", &["describe", "--always", "--dirty"])),
        format!("Date: {}", said("date", &["-u", "+%Y-%m-%d %H:%M UTC"])),
        format!("Command: make bench BENCH_ARGS=\"{arguments}\""),
        format!("Load at the end: {load}"),
        format!("Update path: {}", dyn_metrics::update_path()),
    ];
    lines.map(|line| format!("- {line}\n")).concat()
}

fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.unwrap_or_else(|_| "unknown".to_owned())
}
