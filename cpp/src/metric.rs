//! Registration of metrics and families.

use std::ffi::{CString, c_char};

use dyn_metrics::raw::{self, Representation};
use dyn_metrics::{
    Counter, DurationCounter, DurationGauge, Family, FloatCounter, FloatGauge, Gauge, GaugeMode, Histogram,
    Info, Opts, Registry, StateSet, Tally,
};

use crate::handles::{c_text, close, dynm_family, dynm_metric, dynm_registry, open, opened};
use crate::input::{labels, list, sized, store, str_text, text, text_or_empty, texts};
use crate::registry::Labels;
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

/// A metric's texts, as C reads them; never freed.
pub(crate) struct Described {
    pub(crate) description: raw::Description,
    pub(crate) name: CString,
    pub(crate) help: CString,
    pub(crate) unit: CString,
    pub(crate) labels: Labels,
    pub(crate) bounds: &'static [f64],
    pub(crate) states: Texts,
}

/// A list of texts as C reads it.
pub(crate) struct Texts {
    _texts: Vec<CString>,
    list: Vec<*const c_char>,
}

// SAFETY: the pointers lead into texts that the value owns and never changes.
unsafe impl Send for Texts {}
// SAFETY: as above.
unsafe impl Sync for Texts {}

impl Texts {
    pub(crate) fn new(texts: &[String]) -> Self {
        let texts: Vec<_> = texts.iter().map(|text| c_text(text)).collect();
        let list = texts.iter().map(|text| text.as_ptr()).collect();
        Self { _texts: texts, list }
    }

    pub(crate) fn list(&self) -> &[*const c_char] {
        &self.list
    }
}

impl Described {
    pub(crate) fn new(handle: &Handle) -> Option<Self> {
        let description = handle.describe()?;
        let pairs = description.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        Some(Self {
            name: c_text(description.name),
            help: c_text(description.help),
            unit: c_text(description.unit),
            labels: Labels::new(pairs),
            bounds: if let Handle::DYNM_HISTOGRAM(histogram) = handle { histogram.bounds() } else { &[] },
            states: Texts::new(if let Handle::DYNM_STATE_SET(set) = handle { set.states() } else { &[] }),
            description,
        })
    }
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
/// also after the registry's close. Registering the same again gives the same handle. On failure `*metric` is
/// NULL, which every function takes and answers with DYNM_NULL, and the segment is unchanged. Nothing in
/// `options` is kept. Threads: any. Signals: no. Cost: system calls, memory once for each series. Errors:
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
        let (registry, options) = (open(registry)?, sized(options, "options")?);
        let metric_type = type_of(options.metric_type)?;
        let handle = Handle::create(&registry.registry, metric_type, &opts(&options)?)?;
        store(metric, dynm_metric::of(handle, metric_type), "metric")
    })
}

/// Finds or registers a family, whose series differ in the values of `label_names`.
///
/// Requires: `registry` a registry; `options` from dynm_metric_options_init(); `label_names` a list of
/// `label_name_count`; `family` not NULL. Guarantees: the same arguments give the same family, and each call
/// wants its dynm_family_close(). On failure `*family` is NULL. Threads: any. Signals: no. Cost: system
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

fn series(
    family: *const dynm_family,
    values: &[&str],
    make: bool,
    out: *mut *const dynm_metric,
) -> Result<()> {
    let family = open(family)?;
    let handle = if make { Some(family.families.with(values)?) } else { family.families.get(values) };
    match handle {
        Some(handle) => store(out, dynm_metric::of(handle, family.metric_type), "metric"),
        None => failure(dynm_status::DYNM_NOT_FOUND, c"no series with these label values is registered"),
    }
}

/// The series with these label values, in the order of the family's label names; found or made.
///
/// Requires: `family` a family; `values` a list of `value_count`, each NUL-terminated; `metric` not NULL.
/// Guarantees: as dynm_register(); at the family's limit the series whose values are `__overflow__`. Threads:
/// any; those that ask for series that exist don't disturb each other. Signals: no. Cost: a look-up without
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
        series(family, &texts(values, value_count, "values")?, true, metric)
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
        let values = list(values, value_count, "values")?;
        let mut few = [""; 8];
        if let Some(texts) = few.get_mut(..values.len()) {
            for (text, value) in texts.iter_mut().zip(values) {
                *text = str_text(*value, "values")?;
            }
            return series(family, texts, true, metric);
        }
        let values: Result<Vec<_>> = values.iter().map(|value| str_text(*value, "values")).collect();
        series(family, &values?, true, metric)
    })
}

/// As dynm_family_with(), but makes no series.
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
        series(family, &texts(values, value_count, "values")?, false, metric)
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
