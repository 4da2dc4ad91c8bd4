//! The answer to a probe, and how it is written.

use std::fmt::Write;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::record::{Status, seconds};
use crate::{Probe, State};

/// The answer to a probe.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// What was asked.
    pub probe: Probe,
    /// Whether the probe passes: status 200, else 503.
    pub passes: bool,
    /// The answer in a word, such as `ready`.
    pub status: &'static str,
    /// The state of the process, as it says itself.
    pub state: State,
    /// How long the system has run.
    pub uptime: Duration,
    /// The application's version.
    pub version: String,
    /// The checks that this probe shows, in the order of registration.
    pub checks: Vec<CheckReport>,
}

/// What is known of a check.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CheckReport {
    /// Its name.
    pub name: String,
    /// The probe that it feeds.
    pub probe: Probe,
    /// Whether its failure fails that probe.
    pub required: bool,
    /// How it is.
    pub status: Status,
    /// What its last result said; may be empty when all is well.
    pub reason: String,
    /// How long ago that was; none before the first.
    pub age: Option<Duration>,
    /// How long the run took.
    pub took: Option<Duration>,
    /// Failures since the last success.
    pub consecutive_failures: u32,
}

impl Report {
    pub(crate) fn new(
        probe: Probe,
        state: State,
        uptime: Duration,
        version: &str,
        checks: Vec<CheckReport>,
    ) -> Self {
        let any = |required: bool, status| {
            checks.iter().any(|check| check.required == required && check.status == status)
        };
        let failing = any(true, Status::Failing);
        let starting = state == State::Starting || any(true, Status::Starting);
        let (passes, status) = match probe {
            // Who starts or drains is alive.
            Probe::Liveness if failing => (false, "not_live"),
            Probe::Liveness => (true, "live"),
            Probe::Readiness if failing => (false, "not_ready"),
            Probe::Health if failing => (false, "unhealthy"),
            _ if state == State::Draining => (false, "draining"),
            _ if starting => (false, "starting"),
            Probe::Readiness => (true, "ready"),
            Probe::Health if any(false, Status::Failing) => (true, "degraded"),
            Probe::Health => (true, "healthy"),
        };
        Self { probe, passes, status, state, uptime, version: version.to_owned(), checks }
    }

    /// As JSON, one object on lines for people.
    #[must_use]
    pub fn to_json(&self) -> String {
        let checks: Vec<_> = self.checks.iter().map(CheckReport::to_value).collect();
        let report = json!({
            "status": self.status,
            "probe": self.probe.name(),
            "state": self.state.name(),
            "uptime_seconds": rounded(self.uptime),
            "version": self.version,
            "pid": std::process::id(),
            "checks": checks,
        });
        format!("{report:#}\n")
    }

    /// As text for people: the word, then a line for each check.
    #[must_use]
    pub fn to_text(&self) -> String {
        let (state, uptime, version) = (self.state.name(), seconds(self.uptime), &self.version);
        let mut text = format!("{}\nstate {state}, up {uptime}, version {version}\n", self.status);
        for check in &self.checks {
            check.write(&mut text);
        }
        text
    }
}

impl CheckReport {
    fn to_value(&self) -> Value {
        let mut value = Map::new();
        let mut put = |name: &str, field: Value| value.insert(name.to_owned(), field);
        put("name", self.name.as_str().into());
        put("status", self.status.name().into());
        put("probe", self.probe.name().into());
        put("required", self.required.into());
        put("reason", self.reason.as_str().into());
        put("age_seconds", self.age.map(rounded).into());
        put("duration_seconds", self.took.map(rounded).into());
        put("consecutive_failures", self.consecutive_failures.into());
        Value::Object(value)
    }

    fn write(&self, text: &mut String) {
        let need = if self.required { "required" } else { "informative" };
        let (status, name, probe) = (self.status.name(), &self.name, self.probe);
        // Writing to a string doesn't fail.
        let _ = write!(text, "{status:8} {name} ({probe}, {need})");
        if let (Some(age), Some(took)) = (self.age, self.took) {
            let _ = write!(text, ", {} ago in {}", seconds(age), seconds(took));
        }
        if self.consecutive_failures > 0 {
            let _ = write!(text, ", {} failures in a row", self.consecutive_failures);
        }
        let separator = if self.reason.is_empty() { "" } else { ": " };
        let _ = writeln!(text, "{separator}{}", self.reason);
    }
}

/// To the microsecond.
fn rounded(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(probe: Probe, required: bool, status: Status) -> CheckReport {
        CheckReport {
            name: "c".to_owned(),
            probe,
            required,
            status,
            reason: "why \"so\"".to_owned(),
            age: Some(Duration::from_millis(1500)),
            took: Some(Duration::from_millis(2)),
            consecutive_failures: 3,
        }
    }

    fn report(probe: Probe, state: State, checks: &[CheckReport]) -> Report {
        Report::new(probe, state, Duration::from_secs(7), "1.2.3", checks.to_vec())
    }

    #[test]
    fn each_probe_has_its_own_answers() {
        use Probe::{Health, Liveness, Readiness};
        use State::{Draining, Ready, Starting};
        let required = |status| vec![check(Liveness, true, status)];
        let informative = |status| vec![check(Liveness, false, status)];
        let (ok, failing, new) = (Status::Ok, Status::Failing, Status::Starting);
        for (probe, state, checks, passes, word) in [
            (Liveness, Starting, required(new), true, "live"),
            (Liveness, Draining, required(ok), true, "live"),
            (Liveness, Ready, required(failing), false, "not_live"),
            (Liveness, Ready, informative(failing), true, "live"),
            (Readiness, Starting, required(ok), false, "starting"),
            (Readiness, Ready, required(new), false, "starting"),
            (Readiness, Ready, required(ok), true, "ready"),
            (Readiness, Ready, informative(failing), true, "ready"),
            (Readiness, Ready, informative(new), true, "ready"),
            (Readiness, Draining, required(ok), false, "draining"),
            (Readiness, Draining, required(failing), false, "not_ready"),
            (Health, Ready, required(ok), true, "healthy"),
            (Health, Ready, informative(failing), true, "degraded"),
            (Health, Ready, required(failing), false, "unhealthy"),
            (Health, Starting, vec![], false, "starting"),
            (Health, Draining, vec![], false, "draining"),
        ] {
            let found = report(probe, state, &checks);
            assert_eq!((found.passes, found.status), (passes, word), "{probe} {state:?} {checks:?}");
        }
    }

    #[test]
    fn a_probe_shows_what_feeds_it_and_those_before_it() {
        assert!(Probe::Readiness.includes(Probe::Liveness) && !Probe::Readiness.includes(Probe::Health));
        assert!(Probe::EVERY.iter().all(|probe| Probe::Health.includes(*probe)));
        assert!(!Probe::Liveness.includes(Probe::Readiness));
    }

    #[test]
    fn json_and_text_say_everything_about_a_check() {
        let report = report(Probe::Health, State::Ready, &[check(Probe::Readiness, true, Status::Failing)]);
        let found: Value = serde_json::from_str(&report.to_json()).unwrap();
        let expected = json!({
            "status": "unhealthy", "probe": "health", "state": "ready", "uptime_seconds": 7.0,
            "version": "1.2.3", "pid": std::process::id(),
            "checks": [{
                "name": "c", "status": "failing", "probe": "readiness", "required": true,
                "reason": "why \"so\"", "age_seconds": 1.5, "duration_seconds": 0.002,
                "consecutive_failures": 3,
            }],
        });
        assert_eq!(found, expected);
        let expected = "unhealthy\nstate ready, up 7 s, version 1.2.3\nfailing  c (readiness, required), \
                        1.5 s ago in 0.002 s, 3 failures in a row: why \"so\"\n";
        assert_eq!(report.to_text(), expected);
    }
}
