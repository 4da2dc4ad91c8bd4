//! Registration of metrics and families.

use std::ffi::c_char;

use dyn_metrics::raw::{self, Representation};
use dyn_metrics::{
    Counter, DurationCounter, DurationGauge, Family, FloatCounter, FloatGauge, Gauge, GaugeMode, Histogram,
    Info, Kind, Metric, Opts, Registry, StateSet, Tally,
};

use crate::handles::{close, dynm_family, dynm_metric, dynm_registry, object, open, opened};
use crate::input::{known_part, labels, list, sized, store, str_text, text, text_or_empty, texts};
use crate::status::{Result, dynm_status, edge, failure};
use crate::types::{DYNM_SHARED, dynm_metric_options, dynm_str, dynm_type};

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

            pub(crate) fn describe(&self) -> Option<raw::Description> {
                match self {
                    $(Self::$variant(handle) => raw::describe(handle),)*
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
            fn new(
                registry: &Registry,
                metric_type: dynm_type,
                opts: &Opts,
                names: &[&str],
            ) -> dyn_metrics::Result<Self> {
                match metric_type {
                    $(dynm_type::$variant => registry.family(opts, names).map(Self::$variant),)*
                }
            }

            fn with(&self, values: &[&str]) -> dyn_metrics::Result<Handle> {
                match self {
                    $(Self::$variant(family) => family.try_with(values).map(Handle::$variant),)*
                }
            }

            fn private(&self) -> Handle {
                match self {
                    $(Self::$variant(family) => Handle::$variant(raw::private_like(family)),)*
                }
            }

            fn get(&self, values: &[&str]) -> Option<Handle> {
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

fn out_of_range<T>(option: &str, found: u32, expected: &str) -> Result<T> {
    failure(dynm_status::DYNM_OPTION, format!("options.{option}: found {found}, expected {expected}"))
}

fn type_of(number: u32) -> Result<dynm_type> {
    match TYPES.iter().find(|known| **known as u32 == number) {
        Some(known) => Ok(*known),
        None => out_of_range("metric_type", number, "a dynm_type, 1 to 10"),
    }
}

fn opts(options: &dynm_metric_options) -> Result<Opts> {
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

/// Finds or registers a family, whose series differ in the values of `label_names`.
///
/// Requires: `registry` a registry; `options` from dynm_metric_options_init(); `label_names` a list of
/// `label_name_count`; `family` not NULL. Guarantees: the same arguments give the same family, and each call
/// wants its dynm_family_close(). On failure `*family` is NULL; dynm_private() gives what stands for its series. Threads: any. Signals: no. Cost: system
/// calls, memory. Errors: as dynm_register().
///
/// # Safety
/// As Requires says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_register_family(
    registry: *const dynm_registry,
    options: *const dynm_metric_options,
    label_names: *const *const c_char,
    label_name_count: usize,
    family: *mut *const dynm_family,
) -> dynm_status {
    edge(|| {
        store(family, std::ptr::null(), "family")?;
        let (registry, options) = (open(registry)?, sized(options, "options")?);
        let metric_type = type_of(options.metric_type)?;
        let opts = opts(&options)?;
        let names = texts(label_names, label_name_count, "label_names")?;
        let key = format!("{metric_type:?} {opts:?} {names:?}");
        let make = || {
            let families = Families::new(&registry.registry, metric_type, &opts, &names)?;
            Ok(dynm_family::new(key.clone(), metric_type, families))
        };
        let found = registry.families.find_or_push(|known| known.key == key, make)?;
        store(family, opened(found), "family")
    })
}

/// The series of a family that is open; found or made.
fn series(family: *const dynm_family, values: &[&str]) -> Result<*const dynm_metric> {
    let family = open(family)?;
    Ok(dynm_metric::of(family.families.with(values)?, family.metric_type))
}

/// Stores what was found, or else a private metric of the family's type.
fn store_series(
    family: *const dynm_family,
    found: Result<*const dynm_metric>,
    metric: *mut *const dynm_metric,
) -> Result<()> {
    if let (Err(_), Ok(family)) = (&found, object(family)) {
        let private = dynm_metric::private(family.metric_type, || family.families.private());
        store(metric, private, "metric")?;
    }
    store(metric, found?, "metric")
}

/// The series with these label values, in the order of the family's label names; found or made.
///
/// Requires: `family` a family; `values` a list of `value_count`, each NUL-terminated; `metric` not NULL.
/// Guarantees: as dynm_register(); at the family's limit the series whose values are `__overflow__`. On
/// failure, also after the family's close, `*metric` is a metric of the family's type in this process alone,
/// as from dynm_private(); NULL when `family` is NULL or none. Threads: any; those that ask for series that exist don't disturb each other. Signals: no. Cost: a look-up without
/// lock or system call when it was asked for before, else a registration. Errors: DYNM_NULL, DYNM_CLOSED,
/// DYNM_WRONG_TYPE, DYNM_UTF8, DYNM_LABELS, DYNM_OPTION (too long), DYNM_FULL, DYNM_NOT_SEGMENT, DYNM_IO.
///
/// # Safety
/// As Requires says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_family_with(
    family: *const dynm_family,
    values: *const *const c_char,
    value_count: usize,
    metric: *mut *const dynm_metric,
) -> dynm_status {
    edge(|| {
        store(metric, std::ptr::null(), "metric")?;
        let found = texts(values, value_count, "values").and_then(|values| series(family, &values));
        store_series(family, found, metric)
    })
}

/// As dynm_family_with(), for texts with their lengths.
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_family_with_str(
    family: *const dynm_family,
    values: *const dynm_str,
    value_count: usize,
    metric: *mut *const dynm_metric,
) -> dynm_status {
    edge(|| {
        store(metric, std::ptr::null(), "metric")?;
        let found = list(values, value_count, "values").and_then(|values| series_of_strs(family, values));
        store_series(family, found, metric)
    })
}

fn series_of_strs(family: *const dynm_family, values: &[dynm_str]) -> Result<*const dynm_metric> {
    let mut few = [""; 8];
    if let Some(texts) = few.get_mut(..values.len()) {
        for (text, value) in texts.iter_mut().zip(values) {
            *text = str_text(*value, "values")?;
        }
        return series(family, texts);
    }
    let values: Result<Vec<_>> = values.iter().map(|value| str_text(*value, "values")).collect();
    series(family, &values?)
}

/// As dynm_family_with(), but makes no series; on failure `*metric` is NULL.
///
/// Errors: as there, and DYNM_NOT_FOUND.
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_family_find(
    family: *const dynm_family,
    values: *const *const c_char,
    value_count: usize,
    metric: *mut *const dynm_metric,
) -> dynm_status {
    edge(|| {
        store(metric, std::ptr::null(), "metric")?;
        let (values, family) = (texts(values, value_count, "values")?, open(family)?);
        match family.families.get(&values) {
            Some(handle) => store(metric, dynm_metric::of(handle, family.metric_type), "metric"),
            None => failure(dynm_status::DYNM_NOT_FOUND, c"no series with these label values is registered"),
        }
    })
}

/// Ends look-ups through a family, once for each registration of it.
///
/// Requires: a family. Guarantees: after the last close its use gives DYNM_CLOSED; its series stay, and so do
/// their handles. Registered again it is the same family, so memory doesn't grow. Threads: any, also while
/// others use it. Signals: yes. Cost: small. Errors: DYNM_NULL, DYNM_WRONG_TYPE, DYNM_CLOSED.
///
/// # Safety
/// As Requires says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_family_close(family: *const dynm_family) -> dynm_status {
    edge(|| close(family))
}
