//! Instruction counts under valgrind.
//!
//! Valgrind knows no rseq, so ours takes the shared block there: its count is that of the fallback.

use std::io;
use std::path::Path;
use std::process::Command;

use crate::peers::contenders;
use crate::peers::ours::Home;
use dyn_metrics_benches::op::{Input, Op};
use dyn_metrics_benches::pool::Slice;

/// Instructions of one operation.
pub struct Count {
    pub op: String,
    pub contender: String,
    pub instructions: f64,
}

/// The operations that are counted.
const OPS: [Op; 5] = [Op::CounterInc, Op::CounterIncF64, Op::GaugeSet, Op::HistObserve, Op::CounterLabels];
/// How often each is done.
const TIMES: u64 = 10_000;

/// Counts everything in one process under valgrind, which dumps its counters after each slice.
pub fn run(home: &Home) -> io::Result<Vec<Count>> {
    let out = home.path("callgrind");
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--toggle-collect=*counted_slice*", "--dump-before=*slice_is_done*"]);
    command.arg(format!("--callgrind-out-file={}", out.display()));
    command.arg(std::env::current_exe()?).args(["--child", "count"]).arg(home.root());
    let output = command.output()?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(io::Error::other(format!("valgrind ended with {}: {text}", output.status)));
    }
    let names = String::from_utf8_lossy(&output.stdout).into_owned();
    let count = |(number, line): (usize, &str)| {
        let (op, contender) = line.split_once(' ')?;
        let summary = total(&out, number + 1)?;
        let instructions = summary as f64 / TIMES as f64;
        Some(Count { op: op.to_owned(), contender: contender.to_owned(), instructions })
    };
    Ok(names.lines().enumerate().filter_map(count).collect())
}

/// The total of the n-th dump.
fn total(out: &Path, number: usize) -> Option<u64> {
    let text = std::fs::read_to_string(format!("{}.{number}", out.display())).ok()?;
    let total =
        text.lines().find_map(|line| line.strip_prefix("summary: ").or(line.strip_prefix("totals: ")));
    total?.trim().parse().ok()
}

/// What the process under valgrind does: a line for each slice that it has done.
pub fn child(directory: &str) {
    let home = Home::at(directory);
    let input = Input::new();
    for op in OPS {
        for contender in contenders(op, &input, &home) {
            (contender.slice)(0, 100);
            counted_slice(&contender.slice);
            slice_is_done();
            println!("{} {}", op.name(), contender.name);
        }
    }
}

#[inline(never)]
fn counted_slice(slice: &Slice) {
    slice(0, std::hint::black_box(TIMES));
}

/// Where valgrind dumps what it has counted since the last time.
#[inline(never)]
fn slice_is_done() {
    std::hint::black_box(());
}
