//! Operations of all contenders, and ours without restartable sequences in a process of its own.

use std::io;
use std::process::Command;
use std::sync::Arc;

use dyn_metrics_benches::bars::FALLBACK;
use dyn_metrics_benches::rows::{OpRow, op_rows};

use crate::args::Arguments;
use crate::op::{Input, Op};
use crate::peers::ours::{self, Home};
use crate::peers::{contenders, raw};
use crate::pool::{Contender, measure};

/// Threads on the same metric.
const THREADS: [usize; 2] = [1, 2];
/// The operations in which the fallback differs.
const FALLBACK_OPS: [Op; 4] = [Op::CounterInc, Op::CounterIncF64, Op::HistObserve, Op::CounterLabels];

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
    let output = command.args(["--child", "fallback"]).arg(segment).stderr(std::process::Stdio::inherit());
    let output = output.output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        return Err(io::Error::other(format!("the fallback's process ended with {}", output.status)));
    }
    Ok(parse(&text))
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
                let samples: Vec<String> = samples.iter().map(f64::to_string).collect();
                println!("{} {threads} {name} {}", op.name(), samples.join(" "));
            }
        }
    }
}

fn parse(text: &str) -> Vec<OpRow> {
    let mut rows = Vec::new();
    let lines: Vec<(&str, usize, String, Vec<f64>)> = text
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            let (op, threads, name) = (words.next()?, words.next()?.parse().ok()?, words.next()?);
            Some((op, threads, name.to_owned(), words.filter_map(|word| word.parse().ok()).collect()))
        })
        .collect();
    for pair in lines.chunks(2) {
        let samples: Vec<_> = pair.iter().map(|(_, _, name, times)| (name.clone(), times.clone())).collect();
        let measured = op_rows(pair[0].0, pair[0].1, raw::BASE, &samples);
        rows.extend(measured.into_iter().filter(|row| row.contender == FALLBACK));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_another_process_become_rows_against_its_own_base() {
        let text = "counter_inc 2 dyn-metrics-fallback 8 6\ncounter_inc 2 fetch_add 4 3\n";
        let rows = parse(text);
        assert_eq!(rows.len(), 1);
        assert_eq!((rows[0].ratio, rows[0].threads, rows[0].op.as_str()), (2.0, 2, "counter_inc"));
    }
}
