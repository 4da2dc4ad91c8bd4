//! What waits for exports, and never longer than its caller wants to: the SDK's own calls know no limit.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use opentelemetry_sdk::error::OTelSdkResult;

use super::locked;

/// One call of the SDK at a time, on a thread that is waited for with a limit.
#[derive(Debug, Default)]
pub(super) struct Flushing {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    is_running: bool,
    /// Why the last call failed.
    failed: Option<String>,
}

impl Flushing {
    /// Runs `work` when nothing else runs, and waits for its end; `Err` says why it failed or was given up.
    pub(super) fn run(
        self: &Arc<Self>,
        timeout: Duration,
        work: impl FnOnce() -> OTelSdkResult + Send + 'static,
    ) -> Result<(), String> {
        let end = Instant::now() + timeout;
        let late = || format!("not exported within {timeout:?}");
        let mut state = locked(&self.state);
        loop {
            if !state.is_running {
                break;
            }
            state = self.wait(state, end).ok_or_else(late)?;
        }
        state.is_running = true;
        let shared = Arc::clone(self);
        let thread = std::thread::Builder::new().name("dyn-metrics-flush".to_owned());
        let spawned = thread.spawn(move || {
            let failed = work().err().map(|error| error.to_string());
            *locked(&shared.state) = State { is_running: false, failed };
            shared.changed.notify_all();
        });
        if let Err(error) = spawned {
            state.is_running = false;
            return Err(error.to_string());
        }
        loop {
            if !state.is_running {
                return state.failed.clone().map_or(Ok(()), Err);
            }
            state = self.wait(state, end).ok_or_else(late)?;
        }
    }

    /// Waits for a change; none when the time is over.
    fn wait<'s>(
        &self,
        state: std::sync::MutexGuard<'s, State>,
        end: Instant,
    ) -> Option<std::sync::MutexGuard<'s, State>> {
        let left = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
        Some(self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0)
    }
}
