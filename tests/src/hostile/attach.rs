//! A writer attaches to a hostile segment.
//!
//! It never lets go of a segment by design, so each input has a child process of its own, which the kernel cleans up.

use std::path::Path;

use dyn_metrics::{Counter, Gauge, GaugeMode, Opts, Registry};
use dyn_metrics_layout::header::Header;
use nix::errno::Errno;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use super::edit::Input;
use super::stage::Stage;
use crate::forks;

/// What a fuzzer wants to do around the child's end.
pub trait Hooks {
    /// In the child, when it is done.
    fn done(&mut self);
    /// In the parent, when the child has ended.
    fn ended(&mut self);
}

/// None of that.
#[derive(Debug)]
pub struct NoHooks;

impl Hooks for NoHooks {
    fn done(&mut self) {}
    fn ended(&mut self) {}
}

/// Attaches in a child, registers, counts and sets gauges.
///
/// # Panics
/// When the child doesn't survive, or a file grew beyond its limit.
pub fn run(stage: &mut Stage, input: &[u8], hooks: &mut impl Hooks) {
    let input = Input::decode(input);
    let directory = tempfile::tempdir_in(stage.directory()).expect("a directory");
    let mut scene = stage.scene(&input);
    let files = scene.write_to(directory.path(), &input.edits);
    let (path, file) = &files[0];
    let length = || file.metadata().expect("its length").len();
    let before = length();
    let child = forks::child(|| {
        use_segment(path);
        hooks.done();
    });
    let ended = wait(child);
    hooks.ended();
    assert!(matches!(ended, WaitStatus::Exited(_, 0)), "the writer did not survive: {ended:?}");
    let after = length();
    let mut head = scene.edited().files[0].clone();
    head.truncate(4096);
    if let Ok(header) = Header::decode(&head, before) {
        let chunk = u64::from(header.chunk_bytes);
        let most = header.max_bytes.next_multiple_of(chunk).max(before.next_multiple_of(chunk));
        assert!(after <= most, "grown from {before} to {after} bytes, limit {}", header.max_bytes);
    } else {
        assert_eq!(after, before, "not a segment, and yet it grew");
    }
}

/// Waits for a child, whatever timers a fuzzer has set.
fn wait(child: Pid) -> WaitStatus {
    loop {
        match waitpid(child, None) {
            Err(Errno::EINTR) => {}
            ended => return ended.expect("our child"),
        }
    }
}

/// What a process does with a segment. Whatever it finds, it gets an error or a registry that works.
fn use_segment(path: &Path) {
    let Ok(registry) = Registry::open_at(path) else { return };
    let known = ["a_total", "golden_requests_total", "c_total", "requests_total"];
    for name in known.into_iter().chain(["new_one_total"]) {
        if let Ok(counter) = registry.counter(name, "Help.") {
            let before = counter.value();
            counter.inc_by(3);
            assert_eq!(counter.value(), before.wrapping_add(3), "{name}");
        }
    }
    count_labelled(&registry);
    for (mode, name) in [(GaugeMode::All, "g_all"), (GaugeMode::Sum, "g_taken"), (GaugeMode::Max, "g_max")] {
        let family = registry.family::<Gauge>(&Opts::new(name, "Help.").mode(mode), &["shard"]);
        let gauges = [registry.gauge(name, "Help."), family.map(|family| family.with(&["0"]))];
        for gauge in gauges.into_iter().flatten() {
            gauge.set(5);
            gauge.add(2);
        }
    }
    if let Ok(histogram) = registry.histogram("h_seconds", "Help.", &[0.001, 0.5, 1.0, 2.5]) {
        histogram.observe(0.7);
    }
    let _ = registry.tally("tokens", "Help.").map(|tally| tally.observe(2.5));
}

fn count_labelled(registry: &Registry) {
    for (name, label) in [("c_total", "n"), ("a_total", "l"), ("other_total", "n")] {
        let Ok(family) = registry.family::<Counter>(&Opts::new(name, "Help."), &[label]) else { continue };
        for value in ["0", "1", "v", "new"] {
            family.with(&[value]).inc();
        }
    }
}
