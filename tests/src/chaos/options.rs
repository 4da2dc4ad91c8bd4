//! Length and size of a run.

use std::time::Duration;

use super::twin::Twin;

/// Length and size of a run. It ends when it has reached its time, its increments and its kills.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Seed of the driver's decisions.
    pub seed: u64,
    /// At least so long.
    pub seconds: u64,
    /// At least so many acknowledged increments and observations.
    pub increments: u64,
    /// At least so many processes killed.
    pub kills: u64,
    /// At most so long; then it has failed.
    pub limit: u64,
    /// Seats: workers that are started again when they die. Forked ones come on top.
    pub processes: u64,
    /// Threads of each.
    pub threads: u64,
    /// Series of the family that grows, in the end; of families a fiftieth.
    pub series: u64,
    /// What is wrong with the workers.
    pub twin: Twin,
}

impl Default for Options {
    fn default() -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Self {
            seed: now.map_or(1, |now| now.as_nanos() as u64 % 1_000_000_007),
            seconds: 60,
            increments: 1_000_000_000,
            kills: 1_000,
            limit: 1_200,
            processes: 8,
            threads: 3,
            series: 20_000,
            twin: Twin::None,
        }
    }
}

impl Options {
    /// The defaults, changed by arguments (`kills=50`), which variables (`DYN_METRICS_CHAOS_KILLS`) overrule.
    ///
    /// # Errors
    /// What isn't understood.
    pub fn parse(arguments: &[String], variable: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let mut options = Self::default();
        for argument in arguments {
            let (name, value) =
                argument.split_once('=').ok_or_else(|| format!("{argument}: no NAME=VALUE"))?;
            options.set(name, value)?;
        }
        for name in ["seed", "seconds", "increments", "kills", "limit", "processes", "threads", "series"] {
            if let Some(value) = variable(&format!("DYN_METRICS_CHAOS_{}", name.to_uppercase())) {
                options.set(name, &value)?;
            }
        }
        Ok(options)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        if name == "twin" {
            self.twin = Twin::named(value).ok_or_else(|| format!("{value}: no such twin"))?;
            return Ok(());
        }
        let number = value.replace('_', "").parse().map_err(|_| format!("{name}={value}: no number"))?;
        let field = match name {
            "seed" => &mut self.seed,
            "seconds" => &mut self.seconds,
            "increments" => &mut self.increments,
            "kills" => &mut self.kills,
            "limit" => &mut self.limit,
            "processes" => &mut self.processes,
            "threads" => &mut self.threads,
            "series" => &mut self.series,
            _ => return Err(format!("{name}: no such option")),
        };
        *field = number;
        Ok(())
    }

    /// How far a run is, from 0 to 1: as far as what is least far.
    #[must_use]
    pub fn progress(&self, elapsed: Duration, increments: u64, kills: u64) -> f64 {
        let part = |done: f64, of: u64| if of == 0 { 1.0 } else { done / of as f64 };
        let parts = [
            part(elapsed.as_secs_f64(), self.seconds),
            part(increments as f64, self.increments),
            part(kills as f64, self.kills),
        ];
        parts.into_iter().fold(1.0, f64::min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_overrule_arguments() {
        let arguments = ["kills=50", "increments=1_000", "twin=plain"].map(str::to_owned);
        let options =
            Options::parse(&arguments, |name| (name == "DYN_METRICS_CHAOS_KILLS").then(|| "7".to_owned()));
        let options = options.unwrap();
        assert_eq!((options.kills, options.increments, options.twin), (7, 1000, Twin::Plain));
        assert!(Options::parse(&["kills".to_owned()], |_| None).is_err());
        assert!(Options::parse(&["kill=1".to_owned()], |_| None).is_err());
    }

    #[test]
    fn a_run_is_as_far_as_what_is_least_far() {
        let options = Options { seconds: 10, increments: 100, kills: 4, ..Options::default() };
        assert_eq!(options.progress(Duration::from_secs(5), 100, 4), 0.5);
        assert_eq!(options.progress(Duration::from_secs(20), 200, 8), 1.0);
    }
}
