//! Registration of metrics and families.

use dyn_metrics::raw::{self, Representation};
use dyn_metrics::watch::Watched;
use dyn_metrics::{
    Counter, DurationCounter, DurationGauge, Family, FloatCounter, FloatGauge, Gauge, GaugeMode, Histogram,
    Info, Kind, Metric, Opts, Registry, StateSet, Tally,
};

use crate::handles::{dynm_metric, dynm_registry, open};
use crate::input::{known_part, labels, list, sized, store, text, text_or_empty, texts};
use crate::status::{Result, dynm_status, edge, failure};
use crate::types::{DYNM_SHARED, dynm_metric_options, dynm_type};

macro_rules! types {
    ($($variant:ident $handle:ident $representation:ident;)*) => {
        /// A handle of any type.
        pub(crate) enum Handle {
            $($variant($handle),)*
        }

        /// A family of any type.
        pub(crate) enum Families {
            $($variant(Family<$handle>),)*
        }

        const TYPES: &[dynm_type] = &[$(dynm_type::$variant,)*];

        impl Handle {
            fn create(registry: &Registry, metric_type: dynm_type, opts: &Opts) -> dyn_metrics::Result<Self> {
                match metric_type {
                    $(dynm_type::$variant => registry.create(opts).map(Self::$variant),)*
                }
            }

            fn private(metric_type: dynm_type, bounds: Option<&[f64]>, states: &[&str]) -> Self {
                match metric_type {
                    $(dynm_type::$variant => Self::$variant(raw::private(bounds, states)),)*
                }
            }

            pub(crate) fn kind(&self) -> Kind {
                match self {
                    $(Self::$variant(_) => $handle::KIND,)*
                }
            }

            pub(crate) fn attachment(&self) -> Option<&'static raw::Word> {
                match self {
                    $(Self::$variant(handle) => raw::attachment(handle, Representation::$representation),)*
                }
            }

            pub(crate) fn is_removed(&self) -> bool {
                match self {
                    $(Self::$variant(handle) => raw::is_removed(handle),)*
                }
            }

            /// Whether a function may give its value.
            pub(crate) fn may_be_computed(&self) -> bool {
                matches!(self.kind(), Kind::Counter | Kind::Gauge)
            }

            pub(crate) fn set_function(&self, function: Box<dyn FnMut() -> Option<f64> + Send>) -> bool {
                match self {
                    $(Self::$variant(handle) => raw::set_function(handle, function),)*
                }
            }

            pub(crate) fn clear_function(&self) -> bool {
                match self {
                    $(Self::$variant(handle) => raw::clear_function(handle),)*
                }
            }

            pub(crate) fn describe(&self) -> Option<raw::Description> {
                match self {
                    $(Self::$variant(handle) => raw::describe(handle),)*
                }
            }

            pub(crate) fn watched(&self) -> Watched {
                match self {
                    $(Self::$variant(handle) => handle.into(),)*
                }
            }

            pub(crate) fn cells(&self) -> Option<raw::RawCells> {
                match self {
                    $(Self::$variant(handle) => raw::cells(handle),)*
                }
            }

            pub(crate) fn gauge(&self) -> Option<&'static raw::Word> {
                match self {
                    $(Self::$variant(handle) => raw::gauge(handle),)*
                }
            }
        }

        impl Families {
            pub(crate) fn new(
                registry: &Registry,
                metric_type: dynm_type,
                opts: &Opts,
                names: &[&str],
            ) -> dyn_metrics::Result<Self> {
                match metric_type {
                    $(dynm_type::$variant => registry.family(opts, names).map(Self::$variant),)*
                }
            }

            pub(crate) fn with(&self, values: &[&str]) -> dyn_metrics::Result<Handle> {
                match self {
                    $(Self::$variant(family) => family.try_with(values).map(Handle::$variant),)*
                }
            }

            /// The series, and the number to remember it with; 0: not to be remembered.
            pub(crate) fn look_up(&self, values: &[&str]) -> dyn_metrics::Result<(Handle, u64)> {
                match self {
                    $(Self::$variant(family) => {
                        let (handle, number) = raw::look_up(family, values)?;
                        Ok((Handle::$variant(handle), number))
                    })*
                }
            }

            pub(crate) fn remove(&self, values: &[&str]) -> dyn_metrics::Result<bool> {
                match self {
                    $(Self::$variant(family) => family.remove(values),)*
                }
            }

            pub(crate) fn removals(&self, number: u64) -> Option<&'static raw::SharedWord> {
                match self {
                    $(Self::$variant(family) => raw::removals(family, number),)*
                }
            }

            pub(crate) fn private(&self) -> Handle {
                match self {
                    $(Self::$variant(family) => Handle::$variant(raw::private_like(family)),)*
                }
            }

            pub(crate) fn get(&self, values: &[&str]) -> Option<Handle> {
                match self {
                    $(Self::$variant(family) => family.get(values).map(Handle::$variant),)*
                }
            }
        }
    };
}

types! {
    DYNM_COUNTER_U64 Counter Integer;
    DYNM_COUNTER_F64 FloatCounter Float;
    DYNM_COUNTER_NS DurationCounter Nanoseconds;
    DYNM_TALLY Tally Float;
    DYNM_GAUGE_I64 Gauge Integer;
    DYNM_GAUGE_F64 FloatGauge Float;
    DYNM_GAUGE_NS DurationGauge Nanoseconds;
    DYNM_HISTOGRAM Histogram Float;
    DYNM_INFO Info Integer;
    DYNM_STATE_SET StateSet Integer;
}

impl Handle {
    /// Bounds of a histogram, states of a state set.
    pub(crate) fn shape(&self) -> (&[f64], &[String]) {
        match self {
            Self::DYNM_HISTOGRAM(histogram) => (histogram.bounds(), &[]),
            Self::DYNM_STATE_SET(set) => (&[], set.states()),
            _ => (&[], &[]),
        }
    }
}

fn out_of_range<T>(option: &str, found: u32, expected: &str) -> Result<T> {
    failure(dynm_status::DYNM_OPTION, format!("options.{option}: found {found}, expected {expected}"))
}

pub(crate) fn type_of(number: u32) -> Result<dynm_type> {
    match TYPES.iter().find(|known| **known as u32 == number) {
        Some(known) => Ok(*known),
        None => out_of_range("metric_type", number, "a dynm_type, 1 to 10"),
    }
}

pub(crate) fn opts(options: &dynm_metric_options) -> Result<Opts> {
    let help = text_or_empty(options.help, "options.help")?;
    let mut opts = Opts::new(text(options.name, "options.name")?, help)
        .unit(text_or_empty(options.unit, "options.unit")?)
        .keep_dead(options.keep_dead)
        .shared(options.flags & DYNM_SHARED != 0);
    opts = match u8::try_from(options.level) {
        Ok(level) => opts.level(level),
        Err(_) => return out_of_range("level", options.level, "0 to 255"),
    };
    if options.flags & !DYNM_SHARED != 0 {
        let message = format!("options.flags: found unknown bits in {:#x}", options.flags);
        return failure(dynm_status::DYNM_OLD_LIBRARY, message);
    }
    if options.mode != 0 {
        let mode = u8::try_from(options.mode).ok().and_then(GaugeMode::from_number);
        opts = match mode {
            Some(mode) => opts.mode(mode),
            None => return out_of_range("mode", options.mode, "a DYNM_MODE_, 1 to 10"),
        };
    }
    if options.max_series != 0 {
        opts = opts.max_series(options.max_series);
    }
    if !options.bounds.is_null() || options.bound_count != 0 {
        opts = opts.bounds(list(options.bounds, options.bound_count, "options.bounds")?);
    }
    if options.state_count != 0 {
        opts = opts.states(&texts(options.states, options.state_count, "options.states")?);
    }
    let pairs = labels(options.labels, options.label_count, "options.labels")?;
    Ok(pairs.into_iter().fold(opts, |opts, (name, value)| opts.label(name, value)))
}

/// Finds or registers a metric: one series.
///
/// Requires: `registry` a registry; `options` from dynm_metric_options_init(); `metric` not NULL. Guarantees:
/// on success `*metric` is the series' handle, valid until the process ends: it is never closed or freed,
/// also after the registry's close. Registering the same again gives the same handle. On failure the segment
/// is unchanged, and `*metric` is what dynm_private() gives for `options`: updates work and count in this
/// process alone; it is NULL when that gives NULL. Nothing in `options` is kept. Threads: any. Signals: no. Cost: system calls, memory once for each series. Errors:
/// DYNM_NULL, DYNM_CLOSED, DYNM_WRONG_TYPE, DYNM_UTF8, DYNM_OPTION, DYNM_NAME, DYNM_LABELS, DYNM_BOUNDS,
/// DYNM_CONFLICT (naming who registered the other), DYNM_FULL, DYNM_NOT_SEGMENT, DYNM_OLD_LIBRARY, DYNM_IO.
///
/// # Safety
/// As Requires says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_register(
    registry: *const dynm_registry,
    options: *const dynm_metric_options,
    metric: *mut *const dynm_metric,
) -> dynm_status {
    edge(|| {
        store(metric, std::ptr::null(), "metric")?;
        let registered = register(registry, options);
        if let (Err(_), Ok(private)) = (&registered, private(options)) {
            store(metric, private, "metric")?;
        }
        store(metric, registered?, "metric")
    })
}

fn register(
    registry: *const dynm_registry,
    options: *const dynm_metric_options,
) -> Result<*const dynm_metric> {
    let (registry, options) = (open(registry)?, sized(options, "options")?);
    let metric_type = type_of(options.metric_type)?;
    let handle = Handle::create(&registry.registry, metric_type, &opts(&options)?)?;
    Ok(dynm_metric::of(handle, metric_type))
}

fn private(options: *const dynm_metric_options) -> Result<*const dynm_metric> {
    let (options, _) = known_part(options, "options")?;
    let metric_type = type_of(options.metric_type)?;
    let bounds = if options.bounds.is_null() {
        None
    } else {
        list(options.bounds, options.bound_count, "options.bounds").ok()
    };
    let states = texts(options.states, options.state_count, "options.states").unwrap_or_default();
    Ok(dynm_metric::private(metric_type, || Handle::private(metric_type, bounds, &states)))
}

/// A metric that is in no segment: its value is this process's alone, and nobody else sees it.
///
/// Requires: `options` from dynm_metric_options_init(), of which the type counts, of a histogram the bounds and
/// of a state set the states; what can't be used of them is the default, of states none. Guarantees: a metric
/// that takes every update of its type and can be read; valid until the process ends. A process gets 4096
/// with a value of their own; from then on those of a type share one, whose value means nothing, so that
/// memory is bounded. Infos always share one. NULL on failure, with dynm_last_error(): `options` is NULL, or
/// its struct_size or metric_type is not known. Threads: any. Signals: no. Cost: memory.
///
/// # Safety
/// As Requires says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_private(options: *const dynm_metric_options) -> *const dynm_metric {
    let mut metric = std::ptr::null();
    edge(|| {
        metric = private(options)?;
        Ok(())
    });
    metric
}
