//! The C++ header beside prometheus-cpp: a program of its own (`benches/cpp`), which takes turns as `pool` does.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use dyn_metrics_benches::bars::FALLBACK;
use dyn_metrics_benches::op::{BOUNDS, Input, Op};
use dyn_metrics_benches::rows::{OpRow, read_samples};

use crate::args::Arguments;
use crate::operations::FALLBACK_OPS;
use crate::peers::ours::Home;
use crate::peers::raw;

/// What begins the names by which `--only` asks for these: `cpp` for all of them, `counter_inc` for both languages'.
const PREFIX: &str = "cpp_";
/// What only C++ has.
const MORE: [&str; 1] = ["counter_inc_by"];

/// Every operation that was asked for, and those without restartable sequences.
pub fn run(arguments: &Arguments, home: &Home) -> io::Result<Vec<OpRow>> {
    let wanted = |name: &&str| arguments.wants(&format!("{PREFIX}{name}"));
    let names = Op::ALL.map(|(_, name)| name).into_iter().chain(MORE).filter(wanted).collect::<Vec<_>>();
    let mut rows = Vec::new();
    if !names.is_empty() {
        rows = samples(arguments, &home.path("cpp"), "all", &names)?;
        rows.retain(|row| row.contender == raw::BASE || arguments.admits(&row.contender));
    }
    if arguments.wants(&format!("{PREFIX}fallback")) {
        let without =
            samples(arguments, &home.path("cpp_fallback"), "fallback", &FALLBACK_OPS.map(Op::name))?;
        rows.extend(without.into_iter().filter(|row| row.contender == FALLBACK));
    }
    Ok(rows)
}

/// What the program that was built beside this one measures.
fn samples(arguments: &Arguments, segment: &Path, who: &str, ops: &[&str]) -> io::Result<Vec<OpRow>> {
    let program = std::env::current_exe()?.with_file_name("dyn-metrics-bench-cpp");
    let effort = arguments.effort();
    let numbers = [effort.slices as u64, effort.operations, effort.longest.as_nanos() as u64];
    let mut command = Command::new(&program);
    command.arg(segment).arg(who).args(numbers.map(|number| number.to_string())).args(ops);
    if who == "fallback" {
        command.env("DYN_METRICS_RSEQ", "off");
    }
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(|error| {
        io::Error::new(error.kind(), format!("{}: {error}; make bench builds it", program.display()))
    })?;
    // It reads all of it before it writes.
    child.stdin.take().map_or(Ok(()), |mut to| to.write_all(input().as_bytes()))?;
    let output = child.wait_with_output()?;
    if !output.status.success() {
        return Err(io::Error::other(format!("{} ended with {}", program.display(), output.status)));
    }
    Ok(read_samples(&String::from_utf8_lossy(&output.stdout), raw::BASE))
}

/// What the operations are fed with, the same as here.
fn input() -> String {
    let (input, mut text) = (Input::new(), String::new());
    for bound in BOUNDS {
        let _ = writeln!(text, "bound {bound}");
    }
    for value in &input.values {
        let _ = writeln!(text, "value {value}");
    }
    for (op, word) in [(Op::CounterLabels16, "16"), (Op::CounterLabels10000, "10000")] {
        for [model, status] in input.pairs(op) {
            let _ = writeln!(text, "{word} {model} {status}");
        }
    }
    text
}
