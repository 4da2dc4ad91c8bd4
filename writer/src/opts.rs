//! How a metric is described.

use dyn_metrics_layout::name::{check_label_name, check_metric_name, is_reserved_label};
use dyn_metrics_layout::record::{MAX_BOUNDS, MAX_LABEL_VALUE, MAX_LABELS, MAX_RECORD, MAX_STATES, Series};
use dyn_metrics_layout::{GaugeMode, Kind};

use crate::error::{Error, Result, shorten};

/// Bounds of a histogram that names none: those of Prometheus' client libraries, for seconds.
pub const DEFAULT_BOUNDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Longest label block, in bytes: what a record has beside its head.
const MAX_LABEL_BLOCK: usize = MAX_RECORD - Series::identity_range(MAX_RECORD).start - 16;

/// Description of a metric: name, help and what else there is to say.
///
/// ```
/// use dyn_metrics::{GaugeMode, Opts};
///
/// let batch = Opts::new("engine_batch_requests", "Requests in the running batch").mode(GaugeMode::LiveMax);
/// let wait = Opts::new("engine_queue_wait_seconds", "Time a request waits")
///     .unit("seconds")
///     .bounds(&[0.001, 0.01, 0.1, 1.0]);
/// # let _ = (batch, wait);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Opts {
    pub(crate) name: String,
    pub(crate) help: String,
    pub(crate) unit: String,
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) bounds: Option<Vec<f64>>,
    pub(crate) states: Vec<String>,
    pub(crate) mode: Option<GaugeMode>,
    pub(crate) level: u8,
    pub(crate) shared: bool,
    pub(crate) max_series: Option<u32>,
    pub(crate) keep_dead: u32,
}

impl Opts {
    /// A metric of this name; the help is for people.
    #[must_use]
    pub fn new(name: &str, help: &str) -> Self {
        Self { name: name.to_owned(), help: help.to_owned(), ..Self::default() }
    }

    /// Unit, in the plural of the base unit (`seconds`, `bytes`); the name must end in it (before `_total`).
    #[must_use]
    pub fn unit(mut self, unit: &str) -> Self {
        unit.clone_into(&mut self.unit);
        self
    }

    /// A label that every series of this handle or family carries.
    ///
    /// To Prometheus a label with an empty value is the same as none: don't register a series with it beside one
    /// without it.
    #[must_use]
    pub fn label(mut self, name: &str, value: &str) -> Self {
        self.labels.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Upper bounds of a histogram's buckets, ascending, without `+Inf`; at most 256.
    #[must_use]
    pub fn bounds(mut self, bounds: &[f64]) -> Self {
        self.bounds = Some(bounds.to_vec());
        self
    }

    /// States of a state set, at most 63.
    #[must_use]
    pub fn states(mut self, states: &[&str]) -> Self {
        self.states = states.iter().map(|&state| state.to_owned()).collect();
        self
    }

    /// How a gauge's values of several processes combine; [`GaugeMode::LiveSum`] unless given
    /// ([`GaugeMode::LiveMostRecent`] for a state set).
    #[must_use]
    pub const fn mode(mut self, mode: GaugeMode) -> Self {
        self.mode = Some(mode);
        self
    }

    /// Priority level, 0 (most important, the default) to 255; the first registration's counts.
    #[must_use]
    pub const fn level(mut self, level: u8) -> Self {
        self.level = level;
        self
    }

    /// Keeps counters, tallies and histograms of this family in the shared block alone: for very many, rarely
    /// written series. Saves memory for each CPU; an update costs an atomic instruction. The first registration's
    /// choice counts.
    #[must_use]
    pub const fn shared(mut self, shared: bool) -> Self {
        self.shared = shared;
        self
    }

    /// Most series of the family, 1 or more; what is beyond goes to one series whose label values are
    /// `__overflow__`, and is counted. The first registration's limit counts. Registrations at the same moment
    /// may pass it by their number.
    #[must_use]
    pub const fn max_series(mut self, series: u32) -> Self {
        self.max_series = Some(series);
        self
    }

    /// Mode `all`: how many of the newest dead processes keep their sample; 0 unless given. The first
    /// registration's number counts.
    #[must_use]
    pub const fn keep_dead(mut self, processes: u32) -> Self {
        self.keep_dead = processes;
        self
    }

    pub(crate) fn mode_for(&self, kind: Kind) -> GaugeMode {
        let default = if kind == Kind::StateSet { GaugeMode::LiveMostRecent } else { GaugeMode::LiveSum };
        if kind.is_per_process() { self.mode.unwrap_or(default) } else { GaugeMode::LiveSum }
    }

    pub(crate) fn bounds_for(&self, kind: Kind) -> &[f64] {
        match (kind, &self.bounds) {
            (Kind::Histogram, Some(bounds)) => bounds,
            (Kind::Histogram, None) => &DEFAULT_BOUNDS,
            _ => &[],
        }
    }

    /// Checks everything that can be checked without the segment; `label_names` are the family's own.
    pub(crate) fn check(&self, kind: Kind, label_names: &[&str]) -> Result<()> {
        let name = |what, name: &str, reason| Error::Name { what, name: name.to_owned(), reason };
        check_metric_name(&self.name).map_err(|reason| name("metric name", &self.name, reason))?;
        self.check_unit()?;
        let all = self.mode_for(kind).is_all();
        let given = self.labels.iter().map(|(name, _)| name.as_str());
        let mut seen: Vec<&str> = Vec::new();
        for label in given.chain(label_names.iter().copied()) {
            check_label_name(label).map_err(|reason| name("label name", label, reason))?;
            if is_reserved_label(label, kind, all, &self.name) {
                let (metric, label) = (self.name.clone(), label.to_owned());
                return Err(Error::ReservedLabel { metric, label, kind: kind.name() });
            }
            if seen.contains(&label) {
                let (metric, label) = (self.name.clone(), label.to_owned());
                return Err(Error::DuplicateLabel { metric, label });
            }
            seen.push(label);
        }
        self.check_label_lengths(label_names)?;
        self.check_options_apply(kind)?;
        match kind {
            Kind::Histogram => self.check_bounds(),
            Kind::StateSet => self.check_states(),
            _ => Ok(()),
        }
    }

    /// Refuses options that say nothing about a metric of this kind: who gives them expects them to count.
    fn check_options_apply(&self, kind: Kind) -> Result<()> {
        let given = [
            ("bounds", self.bounds.is_some(), kind == Kind::Histogram),
            ("states", !self.states.is_empty(), kind == Kind::StateSet),
            ("mode", self.mode.is_some(), kind.is_per_process()),
            ("keep_dead", self.keep_dead > 0, kind.is_per_process()),
        ];
        match given.into_iter().find(|(_, given, applies)| *given && !applies) {
            Some((option, ..)) => {
                let (found, expected) = (format!("on a {}", kind.name()), applies_to(option).to_owned());
                Err(Error::MetricOption { metric: self.name.clone(), option, found, expected })
            }
            None if self.max_series == Some(0) => {
                let (found, expected) = ("0".to_owned(), "1 or more".to_owned());
                Err(Error::MetricOption { metric: self.name.clone(), option: "max_series", found, expected })
            }
            None => Ok(()),
        }
    }

    /// Checks what would otherwise show only when the family is registered already.
    fn check_label_lengths(&self, label_names: &[&str]) -> Result<()> {
        let values = self.labels.iter().map(|(_, value)| value.len()).max().unwrap_or(0);
        let given: usize = self.labels.iter().map(|(name, value)| 4 + name.len() + value.len()).sum();
        let block = given + label_names.iter().map(|name| 4 + name.len()).sum::<usize>();
        for (what, found, limit) in [
            ("list of labels", self.labels.len() + label_names.len(), MAX_LABELS),
            ("label value", values, MAX_LABEL_VALUE),
            ("label block", block, MAX_LABEL_BLOCK),
        ] {
            if found > limit {
                let source = dyn_metrics_layout::Error::TooLong { what, found, limit };
                return Err(Error::TooLong { metric: self.name.clone(), source });
            }
        }
        Ok(())
    }

    fn check_unit(&self) -> Result<()> {
        let stem = self.name.strip_suffix("_total").unwrap_or(&self.name);
        let fits = self.unit.is_empty()
            || stem
                .strip_suffix(self.unit.as_str())
                .is_some_and(|rest| rest.ends_with('_') || rest.is_empty());
        if fits {
            return Ok(());
        }
        Err(Error::Unit { metric: self.name.clone(), unit: self.unit.clone() })
    }

    fn check_bounds(&self) -> Result<()> {
        let fail = |reason| Err(Error::Bounds { metric: self.name.clone(), reason });
        let bounds = self.bounds_for(Kind::Histogram);
        if bounds.is_empty() {
            return fail("are empty".to_owned());
        }
        if bounds.len() > MAX_BOUNDS {
            return fail(format!("number {}, more than {MAX_BOUNDS}", bounds.len()));
        }
        if let Some((at, bound)) = bounds.iter().enumerate().find(|(_, bound)| !bound.is_finite()) {
            let hint = if *bound == f64::INFINITY { " (the last bucket is +Inf anyway)" } else { "" };
            return fail(format!("hold {bound} at position {at}{hint}"));
        }
        match bounds.windows(2).position(|pair| pair[0] >= pair[1]) {
            Some(at) => fail(format!("hold {} before {} at position {at}", bounds[at], bounds[at + 1])),
            None => Ok(()),
        }
    }

    fn check_states(&self) -> Result<()> {
        let fail = |reason| Err(Error::States { metric: self.name.clone(), reason });
        if self.states.is_empty() || self.states.len() > MAX_STATES {
            return fail(format!("number {}, expected 1 to {MAX_STATES}", self.states.len()));
        }
        let mode = self.mode_for(Kind::StateSet);
        if matches!(mode, GaugeMode::Sum | GaugeMode::LiveSum) {
            // Bits don't add up.
            let usable = "all, min, max or mostrecent, or one of these with live before it";
            return fail(format!("combine by mode {}, expected {usable}", mode.name()));
        }
        if self.name.contains(':') {
            return fail(
                "are exposed under a label of the metric's name, expected a name without ':'".to_owned(),
            );
        }
        for (at, state) in self.states.iter().enumerate() {
            if self.states[..at].contains(state) {
                return fail(format!("hold {} twice, expected once", shorten(state)));
            }
            if !(1..=MAX_LABEL_VALUE).contains(&state.len()) {
                return fail(format!("hold one of {} bytes, expected 1 to {MAX_LABEL_VALUE}", state.len()));
            }
        }
        Ok(())
    }
}

/// Which metrics an option is for.
fn applies_to(option: &str) -> &'static str {
    match option {
        "bounds" => "on histograms only",
        "states" => "on state sets only",
        _ => "on gauges and state sets only",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds_error(bounds: &[f64]) -> String {
        Opts::new("h", "").bounds(bounds).check(Kind::Histogram, &[]).unwrap_err().to_string()
    }

    #[test]
    fn unusable_bounds_are_named() {
        assert!(bounds_error(&[]).contains("are empty"));
        assert!(bounds_error(&[1.0, 0.5]).contains("hold 1 before 0.5 at position 0"));
        assert!(bounds_error(&[1.0, 1.0]).contains("at position 0"));
        assert!(bounds_error(&[f64::NAN]).contains("NaN"));
        assert!(bounds_error(&[1.0, f64::INFINITY]).contains("+Inf anyway"));
        assert!(bounds_error(&vec![1.0; 300]).contains("more than 256"));
    }

    #[test]
    fn a_unit_must_end_the_name() {
        assert!(Opts::new("x_seconds_total", "").unit("seconds").check(Kind::Counter, &[]).is_ok());
        assert!(Opts::new("x_total", "").unit("seconds").check(Kind::Counter, &[]).is_err());
        assert!(Opts::new("x_milliseconds", "").unit("seconds").check(Kind::Gauge, &[]).is_err());
    }

    #[test]
    fn labels_are_checked_together() {
        let opts = Opts::new("h", "").label("a", "1");
        assert!(matches!(opts.check(Kind::Counter, &["a"]), Err(Error::DuplicateLabel { .. })));
        assert!(matches!(opts.check(Kind::Histogram, &["le"]), Err(Error::ReservedLabel { .. })));
        assert!(matches!(opts.check(Kind::Counter, &["__a"]), Err(Error::Name { .. })));
        assert!(matches!(opts.check(Kind::Counter, &[""]), Err(Error::Name { .. })));
    }

    #[test]
    fn options_that_say_nothing_are_refused() {
        let refusal = |opts: Opts, kind| opts.check(kind, &[]).unwrap_err().to_string();
        let bounds = refusal(Opts::new("c_total", "").bounds(&[1.0]), Kind::Counter);
        assert_eq!(
            bounds,
            "metric \"c_total\": option bounds: found on a counter, expected on histograms only"
        );
        assert!(refusal(Opts::new("g", "").states(&["a"]), Kind::Gauge).contains("option states"));
        assert!(refusal(Opts::new("h", "").mode(GaugeMode::Max), Kind::Histogram).contains("option mode"));
        assert!(refusal(Opts::new("h", "").keep_dead(1), Kind::Tally).contains("option keep_dead"));
        assert!(refusal(Opts::new("c", "").max_series(0), Kind::Counter).contains("found 0"));
        let all = Opts::new("g", "").mode(GaugeMode::All).keep_dead(3).max_series(1);
        assert!(all.check(Kind::Gauge, &[]).is_ok());
    }

    #[test]
    fn states_are_checked() {
        assert!(Opts::new("s", "").check(Kind::StateSet, &[]).is_err());
        assert!(Opts::new("s", "").states(&["a", "a"]).check(Kind::StateSet, &[]).is_err());
        assert!(Opts::new("s", "").states(&["a", "b"]).check(Kind::StateSet, &[]).is_ok());
        assert!(Opts::new("s:x", "").states(&["a", "b"]).check(Kind::StateSet, &[]).is_err());
        for mode in GaugeMode::EVERY {
            let checked = Opts::new("s", "").states(&["a"]).mode(mode).check(Kind::StateSet, &[]);
            let refused = checked.is_err_and(|e| e.to_string().contains(&format!("mode {}", mode.name())));
            assert_eq!(refused, matches!(mode, GaugeMode::Sum | GaugeMode::LiveSum), "{mode:?}");
        }
    }
}
