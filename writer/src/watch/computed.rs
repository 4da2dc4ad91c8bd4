//! Values that a function of the application computes.

use std::sync::Arc;
use std::time::SystemTime;

use dyn_metrics_reader::Labels;

use super::event::Event;
use super::rule::{Rule, Seen};

/// The function.
pub(super) type Function = Box<dyn FnMut() -> Option<f64> + Send>;

/// A function, and what it has given.
pub(super) struct Computed {
    pub(super) function: Function,
    pub(super) rule: Rule,
    seen: Seen,
    /// Whether there was a first value, with which changes are compared.
    has_begun: bool,
}

impl Computed {
    pub(super) fn new(function: Function, rule: Rule) -> Self {
        let has_begun = rule.tells_of_the_first();
        Self { function, rule, seen: Seen::default(), has_begun }
    }

    /// Asks the function; an event if what it gives is one.
    pub(super) fn look(&mut self, what: &Arc<str>) -> Option<Event> {
        let new = (self.function)();
        let old = self.rule.take(&mut self.seen, new);
        if !std::mem::replace(&mut self.has_begun, true) {
            return None;
        }
        let labels = Labels::default();
        Some(Event { name: Arc::clone(what), labels, old: old?, new, time: SystemTime::now() })
    }
}
