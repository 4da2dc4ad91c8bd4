//! Runs the service: starts its processes, kills a worker now and then, starts it again, stops everything.

use std::path::PathBuf;
use std::process::ExitStatus;
use std::thread;
use std::time::{Duration, Instant};

use super::DemoError;
use super::children::{Launcher, Process};
use super::metrics::SupervisorMetrics;
use super::process::Stop;
use super::summary::{Screen, Summary};

/// How often processes are looked at.
const TICK: Duration = Duration::from_millis(50);
/// How often the summary is renewed.
const SUMMARY_INTERVAL: Duration = Duration::from_secs(1);
/// Longest a process may take to end when asked to: more than the front end gives its requests.
const STOP_LIMIT: Duration = Duration::from_secs(5);
/// Ends of workers that nobody asked for, before the demo gives up.
const CRASH_LIMIT: u32 = 10;

/// Longest wait for requests under way at the end.
const DRAIN_LIMIT: Duration = Duration::from_secs(2);
/// What is left of a run of known length for the processes to end and for the dump.
const CLOSING: Duration = Duration::from_millis(400);

/// When what happens, in a run that ends after a known length with everything, or else at Ctrl-C.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    start: Instant,
    length: Option<Duration>,
    /// Longest wait for requests under way at the end.
    pub drain: Duration,
}

impl Plan {
    /// A run that began at `start`.
    pub fn new(start: Instant, length: Option<Duration>) -> Self {
        let drain = length.map_or(DRAIN_LIMIT, |length| DRAIN_LIMIT.min(length / 5));
        Self { start, length, drain }
    }

    /// When to begin with the end.
    fn end(&self) -> Option<Duration> {
        self.length.map(|length| length.saturating_sub(self.drain + CLOSING))
    }
}

/// When workers are killed.
#[derive(Debug)]
pub struct KillPlan {
    next: Option<Duration>,
    every: Option<Duration>,
}

impl KillPlan {
    /// Once after a third of a run of known length; else after 10 s and then every 30 s.
    pub fn new(length: Option<Duration>) -> Self {
        match length {
            Some(length) => Self { next: Some(length / 3), every: None },
            None => Self { next: Some(Duration::from_secs(10)), every: Some(Duration::from_secs(30)) },
        }
    }

    /// Whether one is due; says so once for each.
    fn is_due(&mut self, elapsed: Duration) -> bool {
        let Some(next) = self.next.filter(|next| *next <= elapsed) else { return false };
        self.next = self.every.map(|every| next + every);
        true
    }
}

/// A worker's place, filled or to be filled.
enum Slot {
    Running(Process),
    Down { restart: Instant },
}

/// The service's processes and what is shown of them.
pub struct Supervisor {
    launcher: Launcher,
    frontend: Process,
    exporter: Process,
    workers: Vec<Slot>,
    metrics: SupervisorMetrics,
    screen: Screen<std::io::Stdout>,
    summary: Summary,
    plan: Plan,
    kills: KillPlan,
    killed: usize,
    crashes: u32,
}

impl Supervisor {
    /// Starts the workers beside a front end and an exporter that run already.
    pub fn start(
        launcher: Launcher,
        [frontend, exporter]: [Process; 2],
        metrics: SupervisorMetrics,
        screen: Screen<std::io::Stdout>,
        plan: Plan,
    ) -> Result<Self, DemoError> {
        let workers = (0..launcher.workers).map(|index| launcher.worker(index).map(Slot::Running));
        Ok(Self {
            workers: workers.collect::<Result<_, _>>()?,
            summary: Summary::new(&launcher.shm),
            launcher,
            frontend,
            exporter,
            metrics,
            screen,
            plan,
            kills: KillPlan::new(plan.length),
            killed: 0,
            crashes: 0,
        })
    }

    /// Runs until its time is over or `stop` is set.
    pub fn run(&mut self, stop: &Stop) -> Result<(), DemoError> {
        let mut shown = self.plan.start;
        let end = self.plan.end();
        while !stop.requested() && end.is_none_or(|end| self.plan.start.elapsed() < end) {
            thread::sleep(TICK);
            if self.kills.is_due(self.plan.start.elapsed()) {
                self.kill_one()?;
            }
            self.watch()?;
            if shown.elapsed() >= SUMMARY_INTERVAL {
                shown += SUMMARY_INTERVAL;
                self.show()?;
            }
        }
        Ok(())
    }

    /// Stops the front end first, which lets requests finish, then the workers, then the exporter.
    pub fn stop(mut self) -> Result<PathBuf, DemoError> {
        let drain = self.plan.drain.as_secs_f64();
        self.tell(&format!("stopping, once the requests under way are done or have had {drain} s"))?;
        self.frontend.stop(STOP_LIMIT)?;
        let mut workers: Vec<_> = self.workers.drain(..).filter_map(Slot::into_process).collect();
        for worker in &mut workers {
            worker.ask_to_end()?;
        }
        for worker in &mut workers {
            worker.stop(STOP_LIMIT)?;
        }
        self.exporter.stop(STOP_LIMIT)?;
        self.tell("everything has ended")?;
        Ok(self.launcher.shm)
    }

    /// Kills the next worker in turn, if it runs.
    fn kill_one(&mut self) -> Result<(), DemoError> {
        let index = self.killed % self.workers.len();
        self.killed += 1;
        let Slot::Running(worker) = &mut self.workers[index] else { return Ok(()) };
        let text = format!(
            "killing {} (process {}) with SIGKILL; what it has counted stays",
            worker.name(),
            worker.pid()
        );
        worker.kill()?;
        self.workers[index] = Slot::Down { restart: Instant::now() + self.restart_delay() };
        self.tell(&text)
    }

    /// A second, or a tenth of a shorter run.
    fn restart_delay(&self) -> Duration {
        self.plan.length.map_or(Duration::from_secs(1), |length| (length / 10).min(Duration::from_secs(1)))
    }

    /// Notices processes that have ended and starts workers that are due.
    fn watch(&mut self) -> Result<(), DemoError> {
        for process in [&mut self.frontend, &mut self.exporter] {
            if let Some(status) = process.ended()? {
                return Err(DemoError::Ended { name: process.name().to_owned(), status });
            }
        }
        for index in 0..self.workers.len() {
            match &mut self.workers[index] {
                Slot::Down { restart } if *restart <= Instant::now() => self.restart(index)?,
                Slot::Down { .. } => {}
                Slot::Running(worker) => {
                    if let Some(status) = worker.ended()? {
                        self.crashed(index, status)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn restart(&mut self, index: usize) -> Result<(), DemoError> {
        let worker = self.launcher.worker(index as u32)?;
        self.metrics.restarted(index as u32);
        let text = format!("started {} again (process {})", worker.name(), worker.pid());
        self.workers[index] = Slot::Running(worker);
        self.tell(&text)
    }

    fn crashed(&mut self, index: usize, status: ExitStatus) -> Result<(), DemoError> {
        self.crashes += 1;
        let name = format!("worker {index}");
        if self.crashes > CRASH_LIMIT {
            return Err(DemoError::Ended { name, status });
        }
        self.workers[index] = Slot::Down { restart: Instant::now() + self.restart_delay() };
        self.tell(&format!("{name} ended by itself: {status}"))
    }

    fn tell(&mut self, event: &str) -> Result<(), DemoError> {
        let seconds = self.plan.start.elapsed().as_secs();
        self.screen.print(format_args!("{seconds:>4} s  {event}")).map_err(DemoError::output)
    }

    fn show(&mut self) -> Result<(), DemoError> {
        let alive = self.workers.iter().filter(|slot| matches!(slot, Slot::Running(_))).count();
        let line = self.summary.line(self.plan.start.elapsed().as_secs(), alive, self.workers.len());
        self.screen.status(&line).map_err(DemoError::output)
    }
}

impl Slot {
    fn into_process(self) -> Option<Process> {
        match self {
            Self::Running(process) => Some(process),
            Self::Down { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kills(length: Option<u64>, until: u64) -> Vec<u64> {
        let mut plan = KillPlan::new(length.map(Duration::from_secs));
        (0..until).filter(|second| plan.is_due(Duration::from_secs(*second))).collect()
    }

    #[test]
    fn a_run_of_known_length_leaves_time_to_end() {
        let plan = |seconds| Plan::new(Instant::now(), Some(Duration::from_secs(seconds)));
        for (seconds, drain, end) in [(1, 200, 400), (5, 1_000, 3_600), (60, 2_000, 57_600)] {
            let plan = plan(seconds);
            assert_eq!((plan.drain.as_millis(), plan.end().map(|end| end.as_millis())), (drain, Some(end)));
        }
        assert_eq!(Plan::new(Instant::now(), None).end(), None);
    }

    #[test]
    fn a_run_of_known_length_has_one_kill_after_a_third() {
        assert_eq!(kills(Some(30), 30), [10]);
        assert_eq!(kills(Some(600), 600), [200]);
    }

    #[test]
    fn an_endless_run_has_one_every_half_minute() {
        assert_eq!(kills(None, 101), [10, 40, 70, 100]);
    }
}
