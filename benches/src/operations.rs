//! Operations of all contenders, and ours without restartable sequences in a process of its own.

use std::io;
use std::process::{Command, Stdio};
use std::sync::Arc;

use dyn_metrics_benches::bars::FALLBACK;
use dyn_metrics_benches::rows::{OpRow, op_rows, read_samples, samples_line};

use crate::args::Arguments;
use crate::peers::ours::{self, Home};
use crate::peers::{contenders, raw};
use dyn_metrics_benches::op::{Input, Op};
use dyn_metrics_benches::pool::{Contender, measure};

/// Threads on the same metric.
const THREADS: [usize; 2] = [1, 2];
/// The operations in which the fallback differs.
pub const FALLBACK_OPS: [Op; 4] = [Op::CounterInc, Op::CounterIncF64, Op::HistObserve, Op::CounterLabels];

/// Measures every operation that was asked for.
pub fn run(arguments: &Arguments, home: &Home) -> Vec<OpRow> {
    let (input, mut rows) = (Input::new(), Vec::new());
    for (op, name) in Op::ALL {
        if !arguments.wants(name) {
            continue;
        }
        for threads in THREADS {
            eprintln!("{name}, {threads} threads ...");
            let mut all = contenders(op, &input, home);
            all.retain(|contender| contender.name == raw::BASE || arguments.admits(contender.name));
            let samples = measure(&all, threads, arguments.effort());
            rows.extend(op_rows(name, threads, raw::BASE, &samples));
        }
    }
    rows
}

/// The fallback's rows, which a second process measures, beside an atomic instruction of its own.
pub fn fallback(arguments: &Arguments, home: &Home) -> io::Result<Vec<OpRow>> {
    let mut command = Command::new(std::env::current_exe()?);
    command.env("DYN_METRICS_RSEQ", "off");
    if arguments.quick {
        command.arg("--quick");
    }
    if let Some(slices) = arguments.slices {
        command.args(["--slices", &slices.to_string()]);
    }
    let segment = home.path("fallback");
    command.args(["--child", "fallback"]).arg(segment).stderr(Stdio::inherit());
    let output = command.output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        return Err(io::Error::other(format!("the fallback's process ended with {}", output.status)));
    }
    let mut rows = read_samples(&text, raw::BASE);
    rows.retain(|row| row.contender == FALLBACK);
    Ok(rows)
}

/// What the second process does: samples on standard output, a line for each contender.
pub fn fallback_child(arguments: &Arguments, segment: &str) {
    let registry = dyn_metrics::Registry::open_at(segment).expect("a segment");
    let input: Arc<Input> = Input::new();
    for op in FALLBACK_OPS {
        for threads in THREADS {
            let mut both: Vec<Contender> = vec![ours::contender(FALLBACK, op, &input, &registry)];
            both.extend(raw::contenders(op).into_iter().filter(|contender| contender.name == raw::BASE));
            for (name, samples) in measure(&both, threads, arguments.effort()) {
                print!("{}", samples_line(op.name(), threads, &name, &samples));
            }
        }
    }
}
