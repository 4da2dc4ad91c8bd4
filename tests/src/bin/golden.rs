//! Writes one of every kind into a segment, as one of the processes behind `data/golden-v1.segment`: see
//! `tests/golden.rs`.
//!
//! `golden PATH ROLE NUMBER` attaches, counts, sets its gauges, prints `ready` and waits for the end of its input.

use std::error::Error;
use std::io::Read;

use dyn_metrics::Registry;
use dyn_metrics_tests::every_kind::{COUNTING, SETTING};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, path, role, number] = &arguments[..] else { return Err("usage: golden PATH ROLE NUMBER".into()) };
    let registry = Registry::builder()
        .path(path)
        .max_bytes(1 << 20)
        .processes(16)
        .common_label("cluster", "nord-öst")
        .common_label("zone", "a")
        .role(role)
        .process_label("rank", number)
        .open()?;
    let number: u32 = number.parse()?;
    on_every_cpu(|| COUNTING.iter().try_for_each(|step| step(&registry, number)))?;
    SETTING.iter().try_for_each(|step| step(&registry, number))?;
    println!("ready");
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// Runs `work` on every CPU in turn, so that each has its block.
fn on_every_cpu(work: impl Fn() -> Result<(), dyn_metrics::Error>) -> Result<(), Box<dyn Error>> {
    let allowed = sched_getaffinity(Pid::from_raw(0))?;
    for cpu in 0..CpuSet::count() {
        if allowed.is_set(cpu)? {
            let mut one = CpuSet::new();
            one.set(cpu)?;
            sched_setaffinity(Pid::from_raw(0), &one)?;
            work()?;
        }
    }
    Ok(sched_setaffinity(Pid::from_raw(0), &allowed)?)
}
