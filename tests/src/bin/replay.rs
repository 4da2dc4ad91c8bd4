//! Replays `tests/data/conformance/script.txt` with the crate `dyn-metrics`; its README says what a replayer does.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use dyn_metrics::{
    Counter, DurationCounter, DurationGauge, Error, Family, FloatCounter, FloatGauge, Gauge, GaugeMode,
    Histogram, Info, Opts, Registry, StateSet, Tally,
};
use dyn_metrics_tests::conformance::{END, whole_page};

/// Why a step ended otherwise than it should: a class of error, or what is wrong with the script.
#[derive(Debug, PartialEq)]
enum Failure {
    Class(&'static str),
    Script(String),
}

type Outcome<T> = Result<T, Failure>;

fn script<T>(text: impl Into<String>) -> Outcome<T> {
    Err(Failure::Script(text.into()))
}

fn refused(error: &Error) -> Failure {
    Failure::Class(match error {
        Error::Name { .. } => "name",
        Error::ReservedLabel { .. }
        | Error::DuplicateLabel { .. }
        | Error::AutomaticLabel { .. }
        | Error::LabelCount { .. } => "labels",
        Error::Bounds { .. } | Error::States { .. } => "bounds",
        Error::Conflict { .. } | Error::Clash { .. } => "conflict",
        Error::MetricOption { .. } | Error::Unit { .. } | Error::TooLong { .. } => "option",
        _ => return Failure::Script(error.to_string()),
    })
}

macro_rules! types {
    ($($name:literal $handle:ident)*) => {
        #[allow(dead_code, reason = "an info is only registered")]
        enum Metric {
            $($handle($handle),)*
        }

        enum Families {
            $($handle(Family<$handle>),)*
        }

        fn create(registry: &Registry, kind: &str, opts: &Opts) -> Outcome<Metric> {
            match kind {
                $($name => registry.create(opts).map(Metric::$handle),)*
                _ => return script(format!("no type {kind}")),
            }
            .map_err(|error| refused(&error))
        }

        fn family(registry: &Registry, kind: &str, opts: &Opts, names: &[&str]) -> Outcome<Families> {
            match kind {
                $($name => registry.family(opts, names).map(Families::$handle),)*
                _ => return script(format!("no type {kind}")),
            }
            .map_err(|error| refused(&error))
        }

        impl Families {
            fn with(&self, values: &[&str]) -> Outcome<Metric> {
                match self {
                    $(Self::$handle(family) => family.try_with(values).map(Metric::$handle),)*
                }
                .map_err(|error| refused(&error))
            }

            fn find(&self, values: &[&str]) -> Outcome<Metric> {
                match self {
                    $(Self::$handle(family) => family.get(values).map(Metric::$handle),)*
                }
                .ok_or(Failure::Class("not_found"))
            }
        }
    };
}

types! {
    "counter" Counter
    "float_counter" FloatCounter
    "duration_counter" DurationCounter
    "tally" Tally
    "gauge" Gauge
    "float_gauge" FloatGauge
    "duration_gauge" DurationGauge
    "histogram" Histogram
    "info" Info
    "state_set" StateSet
}

fn number<T: std::str::FromStr>(text: &str) -> Outcome<T> {
    text.parse().or_else(|_| script(format!("no number: {text:?}")))
}

/// Description and label names of a metric.
fn options<'s>(name: &str, fields: &[&'s str]) -> Outcome<(Opts, Vec<&'s str>)> {
    let (mut opts, mut names, mut states) = (Opts::new(name, ""), Vec::new(), Vec::new());
    if let Some(help) = fields.iter().find_map(|field| field.strip_prefix("help=")) {
        opts = Opts::new(name, help);
    }
    for field in fields {
        let Some((key, text)) = field.split_once('=') else { return script(format!("no option: {field:?}")) };
        opts = match key {
            "help" => opts,
            "unit" => opts.unit(text),
            "level" => opts.level(number(text)?),
            "max_series" => opts.max_series(number(text)?),
            "keep_dead" => opts.keep_dead(number(text)?),
            "shared" => opts.shared(text == "1"),
            "mode" => match GaugeMode::EVERY.into_iter().find(|mode| mode.name() == text) {
                Some(mode) => opts.mode(mode),
                None => return script(format!("no mode {text:?}")),
            },
            "label" => match text.split_once('=') {
                Some((name, value)) => opts.label(name, value),
                None => return script("a label without a value"),
            },
            "bounds" => {
                let bounds: Outcome<Vec<f64>> =
                    text.split(',').filter(|bound| !bound.is_empty()).map(number).collect();
                opts.bounds(&bounds?)
            }
            "by" => {
                names.push(text);
                opts
            }
            "state" => {
                states.push(text);
                opts
            }
            _ => return script(format!("no option {key:?}")),
        };
    }
    Ok((opts.states(&states), names))
}

fn time(text: &str) -> Outcome<(Duration, bool)> {
    let nanoseconds: i64 = number(text)?;
    Ok((Duration::from_nanos(nanoseconds.unsigned_abs()), nanoseconds < 0))
}

fn is_known(known: bool) -> Outcome<()> {
    if known { Ok(()) } else { Err(Failure::Class("not_found")) }
}

fn update(metric: &Metric, verb: &str, fields: &[&str]) -> Outcome<()> {
    let argument = fields.first().copied().unwrap_or_default();
    match (verb, metric) {
        ("inc", Metric::Counter(counter)) => counter.inc(),
        ("inc", Metric::FloatCounter(counter)) => counter.inc(),
        ("add", Metric::Counter(counter)) => counter.inc_by(number(argument)?),
        ("add", Metric::FloatCounter(counter)) => counter.inc_by(number(argument)?),
        ("add", Metric::DurationCounter(counter)) => counter.inc_by(time(argument)?.0),
        ("add", Metric::Gauge(gauge)) => gauge.add(number(argument)?),
        ("add", Metric::FloatGauge(gauge)) => gauge.add(number(argument)?),
        ("add", Metric::DurationGauge(gauge)) => match time(argument)? {
            (amount, false) => gauge.add(amount),
            (amount, true) => gauge.sub(amount),
        },
        ("set", Metric::Gauge(gauge)) => gauge.set(number(argument)?),
        ("set", Metric::FloatGauge(gauge)) => gauge.set(number(argument)?),
        ("set", Metric::DurationGauge(gauge)) => gauge.set(time(argument)?.0),
        ("set", Metric::StateSet(set)) => return is_known(set.set(argument)),
        ("on", Metric::StateSet(set)) => return is_known(set.enable(argument)),
        ("off", Metric::StateSet(set)) => return is_known(set.disable(argument)),
        ("observe", Metric::Tally(tally)) => tally.observe(number(argument)?),
        ("observe", Metric::Histogram(histogram)) => histogram.observe(number(argument)?),
        ("observe_n", Metric::Histogram(histogram)) => {
            let times = fields.get(1).copied().unwrap_or_default();
            histogram.observe_n(number(argument)?, number(times)?);
        }
        _ => return read(metric, verb, fields),
    }
    Ok(())
}

/// Compares what a handle reads.
fn read(metric: &Metric, verb: &str, fields: &[&str]) -> Outcome<()> {
    let argument = fields.first().copied().unwrap_or_default();
    let (found, equal) = match (verb, metric) {
        ("value", Metric::Counter(counter)) => {
            (counter.value().to_string(), counter.value() == number::<u64>(argument)?)
        }
        ("value", Metric::Gauge(gauge)) => {
            (gauge.value().to_string(), gauge.value() == number::<i64>(argument)?)
        }
        ("value", Metric::DurationCounter(counter)) => {
            (format!("{:?}", counter.value()), counter.value() == time(argument)?.0)
        }
        ("value", Metric::DurationGauge(gauge)) => {
            let seconds = number::<i64>(argument)? as f64 / 1e9;
            (gauge.value().to_string(), gauge.value().to_bits() == seconds.to_bits())
        }
        ("is", Metric::StateSet(set)) => {
            let found = u8::from(set.is_on(argument)).to_string();
            let equal = fields.get(1) == Some(&found.as_str());
            (found, equal)
        }
        ("count", Metric::Tally(tally)) => {
            (tally.count().to_string(), tally.count() == number::<u64>(argument)?)
        }
        ("count", Metric::Histogram(histogram)) => {
            (histogram.count().to_string(), histogram.count() == number::<u64>(argument)?)
        }
        _ => {
            let found = match (verb, metric) {
                ("value", Metric::FloatCounter(counter)) => counter.value(),
                ("value", Metric::FloatGauge(gauge)) => gauge.value(),
                ("sum", Metric::Tally(tally)) => tally.sum(),
                ("sum", Metric::Histogram(histogram)) => histogram.sum(),
                _ => return script(format!("no verb {verb:?} for this type")),
            };
            (found.to_string(), found.to_bits() == number::<f64>(argument)?.to_bits())
        }
    };
    if equal { Ok(()) } else { script(format!("found {found}")) }
}

/// What the steps so far have made.
#[derive(Default)]
struct Replay {
    registries: HashMap<String, Registry>,
    families: HashMap<String, Families>,
    metrics: HashMap<String, Metric>,
}

fn known<'m, T>(map: &'m HashMap<String, T>, handle: &str) -> Outcome<&'m T> {
    map.get(handle).ok_or_else(|| Failure::Script(format!("no handle {handle:?}")))
}

impl Replay {
    fn step(&mut self, verb: &str, fields: &[&str]) -> Outcome<()> {
        match (verb, fields) {
            ("child", [handle, parent, prefix, rest @ ..]) => self.child(handle, parent, prefix, rest),
            ("register", [handle, registry, kind, name, rest @ ..]) => {
                let (opts, _) = options(name, rest)?;
                let made = create(known(&self.registries, registry)?, kind, &opts)?;
                self.metrics.insert((*handle).to_owned(), made);
                Ok(())
            }
            ("family", [handle, registry, kind, name, rest @ ..]) => {
                let (opts, names) = options(name, rest)?;
                let made = family(known(&self.registries, registry)?, kind, &opts, &names)?;
                self.families.insert((*handle).to_owned(), made);
                Ok(())
            }
            ("with" | "find", [handle, family, values @ ..]) => {
                let family = known(&self.families, family)?;
                let made = if verb == "with" { family.with(values)? } else { family.find(values)? };
                self.metrics.insert((*handle).to_owned(), made);
                Ok(())
            }
            (_, [handle, rest @ ..]) => update(known(&self.metrics, handle)?, verb, rest),
            _ => script("a step without fields"),
        }
    }

    fn child(&mut self, handle: &str, parent: &str, prefix: &str, fields: &[&str]) -> Outcome<()> {
        let pair = |field: &&'_ str| -> Option<(String, String)> {
            let (name, value) = field.strip_prefix("label=")?.split_once('=')?;
            Some((name.to_owned(), value.to_owned()))
        };
        let Some(labels) = fields.iter().map(pair).collect::<Option<Vec<_>>>() else {
            return script("a child has labels only");
        };
        let labels: Vec<_> = labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let made =
            known(&self.registries, parent)?.child(prefix, &labels).map_err(|error| refused(&error))?;
        self.registries.insert(handle.to_owned(), made);
        Ok(())
    }
}

/// A field without its escapes.
fn unescape(field: &str) -> String {
    let mut text = String::new();
    let mut chars = field.chars();
    while let Some(c) = chars.next() {
        text.push(match (c, c == '\\') {
            (_, true) => match chars.next() {
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                other => other.unwrap_or('\\'),
            },
            (plain, false) => plain,
        });
    }
    text
}

fn run(script: &str, segment: &Path) -> Result<(), String> {
    let root = Registry::open_at(segment).map_err(|error| error.to_string())?;
    let mut replay = Replay::default();
    replay.registries.insert("root".to_owned(), root);
    for (number, line) in
        script.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
    {
        let fields: Vec<String> = line.split('\t').map(unescape).collect();
        let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
        let [expected, verb, rest @ ..] = fields.as_slice() else {
            return Err(format!("line {}: too short", number + 1));
        };
        let found = match replay.step(verb, rest) {
            Ok(()) => "ok",
            Err(Failure::Class(class)) => class,
            Err(Failure::Script(what)) => return Err(format!("line {}: {what}: {line}", number + 1)),
        };
        if found != *expected {
            return Err(format!("line {}: found {found}: {line}", number + 1));
        }
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let (script, segment) = (arguments.next().ok_or("no script")?, arguments.next().ok_or("no segment")?);
    if let Err(what) = run(&std::fs::read_to_string(script)?, Path::new(&segment)) {
        eprintln!("{what}");
        std::process::exit(1);
    }
    print!("{}", whole_page(Path::new(&segment)));
    println!("{END}");
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    Ok(())
}
