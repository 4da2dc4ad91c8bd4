//! Runs checks, each off the request path on a thread of its own, and tells what they found.
#![allow(clippy::disallowed_types, reason = "process-local state, never in the segment")]

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::check::{Check, Context, Outcome, Spec};
use crate::metrics::CheckMetrics;
use crate::record::{Record, Status};
use crate::report::{CheckReport, Report};
use crate::threads;
use crate::{Error, Probe, Result, State};

/// Most checks: each may hold a thread.
pub(crate) const MAX_CHECKS: usize = 256;

/// Time between two looks at all checks: how soon a time-out shows in metrics and logs. Probes look themselves.
pub(crate) const TICK: Duration = Duration::from_millis(250);

/// All checks of a process, and its own state.
pub(crate) struct Engine {
    checks: Mutex<Vec<Arc<Slot>>>,
    state: AtomicU8,
    /// Whether it becomes ready by itself, once all required checks have passed.
    ready_by_checks: bool,
    stopping: AtomicBool,
    started: Instant,
    version: String,
}

/// One check.
pub(crate) struct Slot {
    spec: Spec,
    check: Box<dyn Check>,
    record: Mutex<Record>,
    /// Its thread waits here for its next run.
    wake: Condvar,
    ended: AtomicBool,
    next: Mutex<Instant>,
    pub(crate) metrics: Option<CheckMetrics>,
}

impl Engine {
    pub(crate) fn new(ready_by_checks: bool, version: &str) -> Arc<Self> {
        Arc::new(Self {
            checks: Mutex::default(),
            state: AtomicU8::new(State::Starting as u8),
            ready_by_checks,
            stopping: AtomicBool::new(false),
            started: Instant::now(),
            version: version.to_owned(),
        })
    }

    pub(crate) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    pub(crate) fn state(&self) -> State {
        State::from_number(self.state.load(Ordering::Acquire))
    }

    pub(crate) fn set_state(&self, state: State) {
        let before = self.state.swap(state as u8, Ordering::AcqRel);
        if before != state as u8 {
            tracing::info!(state = state.name(), "state changed");
        }
    }

    /// Registers a check and starts its thread; `metrics` are made once nothing refuses it.
    pub(crate) fn add(
        self: &Arc<Self>,
        spec: Spec,
        check: Box<dyn Check>,
        metrics: impl FnOnce(&str) -> Option<CheckMetrics>,
    ) -> Result<()> {
        spec.validate(&*check)?;
        let mut checks = lock(&self.checks);
        if self.is_stopping() {
            return Err(Error::Stopped);
        }
        let name = spec.name.clone();
        if checks.iter().any(|slot| slot.spec.name == name) {
            return Err(Error::DuplicateCheck { name });
        }
        if checks.len() >= MAX_CHECKS {
            return Err(Error::TooManyChecks { name, limit: MAX_CHECKS });
        }
        let slot = Arc::new(Slot {
            metrics: metrics(&name),
            spec,
            check,
            record: Mutex::default(),
            wake: Condvar::new(),
            ended: AtomicBool::new(false),
            next: Mutex::new(Instant::now()),
        });
        if !slot.check.is_quick() {
            let (engine, runner) = (Arc::clone(self), Arc::clone(&slot));
            // Not joined: a check that never returns would hold up whoever stops.
            threads::spawn(&format!("check-{name}"), move || runner.run_until_ended(&engine))?;
        }
        checks.push(Arc::clone(&slot));
        drop(checks);
        if slot.check.is_quick() {
            slot.run(self);
        }
        Ok(())
    }

    /// Forgets a check; false when there is none of this name. A run that goes on is told to stop.
    pub(crate) fn remove(&self, name: &str) -> bool {
        let mut checks = lock(&self.checks);
        let Some(at) = checks.iter().position(|slot| slot.spec.name == name) else { return false };
        let slot = checks.remove(at);
        drop(checks);
        slot.end();
        true
    }

    /// Looks at every check once.
    fn tick(self: &Arc<Self>) {
        for slot in self.slots() {
            if slot.check.is_quick() && slot.is_due() {
                slot.run(self);
            }
            slot.look();
        }
        self.become_ready();
    }

    /// Starts the thread that looks at all checks again and again, and calls `also` each time.
    pub(crate) fn start(self: &Arc<Self>, also: impl Fn() + Send + 'static) -> Result<JoinHandle<()>> {
        let engine = Arc::clone(self);
        threads::spawn_quiet("dyn-monitor", move || {
            while !engine.is_stopping() {
                engine.tick();
                also();
                std::thread::park_timeout(TICK);
            }
        })
    }

    /// Ends all checks. A run that goes on is told to stop, and not waited for.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        for slot in std::mem::take(&mut *lock(&self.checks)) {
            slot.end();
        }
    }

    /// What a probe is answered with.
    pub(crate) fn report(&self, probe: Probe) -> Report {
        let slots = self.slots();
        self.become_ready_with(&slots);
        let now = Instant::now();
        let shown = slots.iter().filter(|slot| probe.includes(slot.spec.probe));
        let checks = shown.map(|slot| slot.report(now)).collect();
        Report::new(probe, self.state(), self.uptime(), &self.version, checks)
    }

    fn become_ready(&self) {
        self.become_ready_with(&self.slots());
    }

    fn become_ready_with(&self, slots: &[Arc<Slot>]) {
        if !self.ready_by_checks || self.state() != State::Starting {
            return;
        }
        let counts = |slot: &&Arc<Slot>| slot.spec.required && Probe::Readiness.includes(slot.spec.probe);
        if slots.iter().filter(counts).all(|slot| lock(&slot.record).status == Status::Ok) {
            let (from, to) = (State::Starting as u8, State::Ready as u8);
            if self.state.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                tracing::info!(state = State::Ready.name(), "state changed: every required check has passed");
            }
        }
    }

    fn slots(&self) -> Vec<Arc<Slot>> {
        lock(&self.checks).clone()
    }
}

impl Slot {
    fn run_until_ended(&self, engine: &Arc<Engine>) {
        while !self.ended.load(Ordering::Acquire) {
            self.run(engine);
            let mut record = lock(&self.record);
            while !self.ended.load(Ordering::Acquire) {
                let wait = lock(&self.next).saturating_duration_since(Instant::now());
                if wait.is_zero() {
                    break;
                }
                record = self.wake.wait_timeout(record, wait).unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }

    /// One run, here.
    fn run(&self, engine: &Arc<Engine>) {
        let began = Instant::now();
        lock(&self.record).begin(began);
        let context = Context::new(&self.spec, began, engine);
        let outcome = catch_unwind(AssertUnwindSafe(|| self.check.check(&context)));
        let outcome =
            outcome.unwrap_or_else(|panic| Outcome::Err(format!("it panicked: {}", text_of(&*panic))));
        *lock(&self.next) = began + self.spec.interval;
        self.note(|record| record.end(&self.spec, Instant::now(), outcome));
    }

    fn is_due(&self) -> bool {
        *lock(&self.next) <= Instant::now()
    }

    /// Notes what is overdue, and has a run that has just gone over its limit told so.
    fn look(self: &Arc<Self>) {
        let mut over = false;
        self.note(|record| over = record.look(&self.spec, Instant::now()));
        if over {
            self.cancel();
        }
    }

    /// By a thread of its own: it may take a lock that the run holds.
    fn cancel(self: &Arc<Self>) {
        let slot = Arc::clone(self);
        let cancel = move || drop(catch_unwind(AssertUnwindSafe(|| slot.check.cancel())));
        if let Err(error) = threads::spawn(&format!("cancel-{}", self.spec.name), cancel) {
            tracing::warn!(%error, check = self.spec.name, "a check over its limit could not be cancelled");
        }
    }

    fn end(self: &Arc<Self>) {
        self.ended.store(true, Ordering::Release);
        // With the lock, so that its thread doesn't miss it between its look and its sleep.
        let record = lock(&self.record);
        self.wake.notify_all();
        let is_running = record.is_running();
        drop(record);
        if is_running {
            self.cancel();
        }
        if let Some(metrics) = &self.metrics {
            metrics.retire();
        }
    }

    /// Changes the record, and shows the change in log and metrics.
    fn note(&self, change: impl FnOnce(&mut Record)) {
        let mut record = lock(&self.record);
        let before = record.status;
        change(&mut record);
        if record.status != before {
            let (check, status, reason) = (&self.spec.name, record.status.name(), &record.reason);
            match record.status {
                Status::Failing => tracing::warn!(check, status, reason, "check changed"),
                _ => tracing::info!(check, status, reason, "check changed"),
            }
        }
        if let Some(metrics) = &self.metrics
            && !self.ended.load(Ordering::Acquire)
        {
            metrics.set(&record);
        }
    }

    fn report(self: &Arc<Self>, now: Instant) -> CheckReport {
        self.look();
        let record = lock(&self.record);
        let Spec { name, probe, required, .. } = &self.spec;
        CheckReport {
            name: name.clone(),
            probe: *probe,
            required: *required,
            status: record.status,
            reason: record.reason.clone(),
            age: record.last.map(|(at, _)| now.saturating_duration_since(at)),
            took: record.last.map(|(_, took)| took),
            consecutive_failures: record.consecutive_failures,
        }
    }
}

/// What a panic said.
fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a text")
}

/// Poison is ignored: what panics under these locks is caught before, and leaves nothing half done.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
