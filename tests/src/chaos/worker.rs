//! A worker process, from its start, fork or exec on.
#![allow(unsafe_code, reason = "ends a forked child at once")]

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Barrier};

use dyn_metrics::Registry;
use nix::libc;
use nix::sys::signal::Signal;

use super::ledger::{Beginning, Global, Ledger};
use super::series::Handles;
use super::thread::Thread;
use super::twin::Twin;
use crate::random::Random;

/// What the threads of a worker share. It lives as long as its process.
#[derive(Debug)]
pub struct Worker {
    /// Where segment and ledger are.
    pub directory: PathBuf,
    /// The segment.
    pub segment: PathBuf,
    /// The ledger.
    pub ledger: Ledger,
    /// Number of this life.
    pub life: usize,
    /// Label that it counts under.
    pub seat: u64,
    /// Seed of its threads' choices.
    pub seed: u64,
    /// Threads.
    pub threads: u64,
    /// What is wrong with it.
    pub twin: Twin,
    /// What it has registered.
    pub handles: Handles,
}

/// Name of the segment in the directory of a run.
pub const SEGMENT: &str = "segment";
/// Name of the ledger there.
pub const LEDGER: &str = "ledger";

/// Most bytes of the segment.
const MOST_BYTES: u64 = 1 << 30;

/// A worker: `DIRECTORY SEAT SEED THREADS TWIN started|replaced`.
///
/// # Errors
/// What is wrong with the arguments.
pub fn run(arguments: &[String]) -> Result<std::convert::Infallible, String> {
    let [directory, seat, seed, threads, twin, beginning] = arguments else {
        return Err("expected DIRECTORY SEAT SEED THREADS TWIN started|replaced".to_owned());
    };
    let number = |text: &str| text.parse::<u64>().map_err(|_| format!("{text}: no number"));
    let (seat, seed, threads) = (number(seat)?, number(seed)?, number(threads)?);
    let twin = Twin::named(twin).ok_or("no such twin")?;
    let directory = PathBuf::from(directory);
    let ledger = Ledger::open(&directory.join(LEDGER)).unwrap_or_else(|error| fail(&error));
    let beginning = if beginning == "replaced" {
        Beginning::Replaced // its parent may be another worker, with which it must not die
    } else {
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).unwrap_or_else(|error| fail(&error));
        Beginning::Started
    };
    let life = ledger.begin_life(beginning, None, seat);
    let segment = directory.join(SEGMENT);
    let handles = attach(&segment);
    leak(Worker { directory, segment, ledger, life, seat, seed, threads, twin, handles }).live()
}

fn attach(segment: &Path) -> Handles {
    let open = Registry::builder().path(segment).role("chaos").max_bytes(MOST_BYTES).open();
    open.and_then(Handles::register).unwrap_or_else(|error| fail(&error))
}

fn leak(worker: Worker) -> &'static Worker {
    Box::leak(Box::new(worker))
}

impl Worker {
    /// A number of the whole run that says how many there are of something.
    #[must_use]
    pub fn global(&self, which: Global) -> u32 {
        self.ledger.global(which) as u32
    }

    /// Counts in all threads until the end of the run.
    pub fn live(&'static self) -> ! {
        let all_begun = Arc::new(Barrier::new(self.threads as usize));
        let run = move |number, all_begun: &Barrier| {
            let ended = Thread::begin(self, number).and_then(|thread| thread.run(all_begun));
            ended.unwrap_or_else(|error| fail(&error));
        };
        let others: Vec<_> = (1..self.threads)
            .map(|number| {
                let all_begun = Arc::clone(&all_begun);
                std::thread::spawn(move || run(number, &all_begun))
            })
            .collect();
        run(0, &all_begun);
        let failed = others.into_iter().filter_map(|thread| thread.join().err()).count();
        end(i32::from(failed > 0))
    }

    /// Goes on in a forked child, with what the parent had registered, or attached anew.
    pub fn live_as_child(&'static self, random: &mut Random) -> ! {
        let life = self.ledger.begin_life(Beginning::Forked, Some(self.life), self.seat);
        let anew = random.one_in(2);
        let handles = if anew { attach(&self.segment) } else { self.handles.clone() };
        let (directory, segment) = (self.directory.clone(), self.segment.clone());
        leak(Self { directory, segment, life, seed: random.next(), handles, ..*self }).live()
    }

    /// Replaces this process by a new worker: the same pid, another life.
    pub fn replace(&self, seed: u64) -> ! {
        self.ledger.leave(self.life);
        let program = std::env::current_exe().unwrap_or_else(|error| fail(&error));
        let mut command = std::process::Command::new(program);
        command.arg("work").arg(&self.directory).arg(self.seat.to_string()).arg(seed.to_string());
        command.arg(self.threads.to_string()).arg(self.twin.name()).arg("replaced");
        fail(&command.exec())
    }
}

/// Ends the process at once, and runs nothing that a parent has registered for its exit.
pub fn end(code: i32) -> ! {
    // SAFETY: ends the process.
    unsafe { libc::_exit(code) }
}

/// Says why and ends the process, which the driver reports.
pub fn fail(error: &dyn std::fmt::Display) -> ! {
    eprintln!("worker {}: {error}", std::process::id());
    end(3)
}
