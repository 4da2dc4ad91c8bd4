//! Composites: one number of many series.

use std::ffi::c_char;

use dyn_metrics::composite::{Composite, LiveComposite, Reading, SharedComposite};

use crate::handles::{List, Tagged, dynm_registry, object, open};
use crate::input::{Sized_, list, not_null, sized, store, text, texts};
use crate::status::{Result, dynm_status, edge, failure};

/// One number made of the series of one family. Opened by dynm_composite_open().
#[repr(C)]
pub struct dynm_composite {
    tag: u64,
    shared: SharedComposite,
}

/// What a composite says.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum dynm_reading {
    /// Not known yet: no such family or series, or a window that needs another sample.
    DYNM_READING_UNKNOWN = 0,
    /// A number, never NaN.
    DYNM_READING_VALUE = 1,
    /// The series are there, and there is nothing to make a number of.
    DYNM_READING_IDLE = 2,
    /// Whoever wrote has died.
    DYNM_READING_DEAD = 3,
}

/// The label must have one of the values.
pub const DYNM_MATCH_ONE_OF: u32 = 0;
/// The label must have none of the values.
pub const DYNM_MATCH_NONE_OF: u32 = 1;
/// The label must be there, whatever its value.
pub const DYNM_MATCH_ANY: u32 = 2;

/// dynm_composite_options.flags: over what each living process has set.
pub const DYNM_OVER_PROCESSES: u32 = 1;
/// dynm_composite_options.flags: `quantile` is given.
pub const DYNM_SET_QUANTILE: u32 = 2;
/// dynm_composite_options.flags: `window_seconds` is given.
pub const DYNM_SET_WINDOW: u32 = 4;

/// A condition that a label must meet; one that is missing is an empty one.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct dynm_matcher {
    /// The label's name.
    pub label: *const c_char,
    /// A list of `value_count` texts.
    pub values: *const *const c_char,
    /// How many values.
    pub value_count: usize,
    /// DYNM_MATCH_ONE_OF, DYNM_MATCH_NONE_OF or DYNM_MATCH_ANY.
    pub kind: u32,
    /// 0.
    pub reserved: u32,
}

/// What to compose; see dynm_composite_options_init().
#[repr(C)]
#[derive(Clone, Copy)]
pub struct dynm_composite_options {
    /// `sizeof(dynm_composite_options)`.
    pub struct_size: usize,
    /// "avg", "min", "max", "sum", "count", "rate" (needs a window) or "quantile" (needs one).
    pub operation: *const c_char,
    /// The family as it is exposed.
    pub family: *const c_char,
    /// A list of `matcher_count` conditions, all of which must be met.
    pub matchers: *const dynm_matcher,
    /// How many conditions.
    pub matcher_count: usize,
    /// 0 to 1; with DYNM_SET_QUANTILE.
    pub quantile: f64,
    /// About what happened in this time before a reading; with DYNM_SET_WINDOW.
    pub window_seconds: f64,
    /// Reads the segment there without attaching to it, instead of a registry's; may be NULL.
    pub path: *const c_char,
    /// DYNM_OVER_PROCESSES, DYNM_SET_QUANTILE, DYNM_SET_WINDOW.
    pub flags: u32,
    /// 0.
    pub reserved: u32,
}

// SAFETY: a size first, then pointers and numbers, and no padding.
unsafe impl Sized_ for dynm_composite_options {}

impl Tagged for dynm_composite {
    const TAG: u64 = u64::from_le_bytes(*b"dynm_com");
    const NULL: &'static std::ffi::CStr = c"the composite is NULL; look at the status of its opening";
    const WRONG: &'static std::ffi::CStr = c"found no dynm_composite where one is expected";
}

static COMPOSITES: List<dynm_composite> = List::new();

fn described(options: &dynm_composite_options) -> Result<Composite> {
    let unknown = options.flags & !(DYNM_OVER_PROCESSES | DYNM_SET_QUANTILE | DYNM_SET_WINDOW);
    if unknown != 0 {
        let message = format!("options.flags: found unknown bits {unknown:#x}");
        return failure(dynm_status::DYNM_OLD_LIBRARY, message);
    }
    let given = |flag, number| (options.flags & flag != 0).then_some(number);
    let (operation, family) =
        (text(options.operation, "options.operation")?, text(options.family, "options.family")?);
    let quantile = given(DYNM_SET_QUANTILE, options.quantile);
    let window = given(DYNM_SET_WINDOW, options.window_seconds);
    let mut composite = Composite::from_parts(operation, family, quantile, window)?;
    for matcher in list(options.matchers, options.matcher_count, "options.matchers")? {
        let label = text(matcher.label, "options.matchers: label")?;
        let values = texts(matcher.values, matcher.value_count, "options.matchers: values")?;
        composite = match (matcher.kind, &values[..]) {
            (DYNM_MATCH_ONE_OF, [value]) => composite.matching(label, *value),
            (DYNM_MATCH_ONE_OF, values) => composite.matching_any(label, values.iter().copied()),
            (DYNM_MATCH_NONE_OF, values) => {
                values.iter().fold(composite, |composite, value| composite.not_matching(label, *value))
            }
            (DYNM_MATCH_ANY, []) => composite.having(label),
            (DYNM_MATCH_ANY, _) => {
                let message = "options.matchers: found values with DYNM_MATCH_ANY, expected none".to_owned();
                return failure(dynm_status::DYNM_OPTION, message);
            }
            (kind, _) => {
                let message = format!("options.matchers: found kind {kind}, expected 0 to {DYNM_MATCH_ANY}");
                return failure(dynm_status::DYNM_OPTION, message);
            }
        };
    }
    Ok(if options.flags & DYNM_OVER_PROCESSES != 0 { composite.over_processes() } else { composite })
}

/// Opens a composite: one number made of the series of one family, with what other processes count.
///
/// Requires: a registry, or NULL and `options->path`; `options` from dynm_composite_options_init(); `composite` not NULL.
/// Guarantees: of a child of a registry those series that it could have registered; the family needs not exist yet. Each
/// opening gives a composite of its own and wants its dynm_composite_close(). On failure `*composite` is NULL. Threads: any.
/// Signals: no. Cost: system calls, memory for a mapping. Errors: DYNM_NULL, DYNM_CLOSED, DYNM_UTF8, DYNM_NAME, DYNM_LABELS,
/// DYNM_OPTION (an operation that the family's kind doesn't have, too), DYNM_OLD_LIBRARY, DYNM_IO.
///
/// # Safety
/// As Requires says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_composite_open(
    registry: *const dynm_registry,
    options: *const dynm_composite_options,
    composite: *mut *const dynm_composite,
) -> dynm_status {
    edge(|| {
        store(composite, std::ptr::null(), "composite")?;
        let options = sized(options, "options")?;
        let made = described(&options)?;
        let live = match (registry.is_null(), options.path.is_null()) {
            (true, false) => made.open_at(text(options.path, "options.path")?)?,
            (false, false) => {
                let message = "options.path: found a path and a registry, expected one of them".to_owned();
                return failure(dynm_status::DYNM_OPTION, message);
            }
            _ => open(registry)?.registry.composite(&made)?,
        };
        let shared = SharedComposite::new(live);
        let opened: *const dynm_composite =
            COMPOSITES.push(dynm_composite { tag: dynm_composite::TAG, shared });
        store(composite, opened, "composite")
    })
}

/// Does something with a composite when it is this thread's turn.
fn with<T>(composite: *const dynm_composite, act: impl FnOnce(&mut LiveComposite) -> T) -> Result<T> {
    match object(composite)?.shared.with(|live| live.map(act)) {
        Some(Some(done)) => Ok(done),
        Some(None) => failure(dynm_status::DYNM_CLOSED, c"the composite was closed; open it again"),
        None => {
            failure(dynm_status::DYNM_IN_USE, c"another thread is reading the composite, and did not finish")
        }
    }
}

/// Reads the number of now; with a window this takes a sample, too.
///
/// Requires: a composite; `reading` not NULL; `value` may be NULL. Guarantees: `*reading` is a dynm_reading, `*value` the
/// number, 0 unless it is DYNM_READING_VALUE. Threads: any; one waits for the other, at most a second. Signals: no. Cost:
/// some microseconds for a thousand series. Errors: DYNM_NULL, DYNM_WRONG_TYPE, DYNM_CLOSED, DYNM_IN_USE.
///
/// # Safety
/// As Requires says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_composite_read(
    composite: *const dynm_composite,
    reading: *mut u32,
    value: *mut f64,
) -> dynm_status {
    edge(|| {
        not_null(reading, "reading")?;
        let found = with(composite, LiveComposite::read)?;
        let state = match found {
            Reading::Value(_) => dynm_reading::DYNM_READING_VALUE,
            Reading::Idle => dynm_reading::DYNM_READING_IDLE,
            Reading::Unknown => dynm_reading::DYNM_READING_UNKNOWN,
            Reading::Dead => dynm_reading::DYNM_READING_DEAD,
        };
        if !value.is_null() {
            store(value, found.value().unwrap_or(0.0), "value")?;
        }
        store(reading, state as u32, "reading")
    })
}

/// Takes a sample for the window and says nothing: for a ticker.
///
/// Requires: a composite. Threads, signals, cost, errors: as dynm_composite_read().
///
/// # Safety
/// As Requires says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_composite_sample(composite: *const dynm_composite) -> dynm_status {
    edge(|| with(composite, LiveComposite::sample))
}

/// Lets go of what a composite reads.
///
/// Requires: a composite. Guarantees: its use gives DYNM_CLOSED afterwards; a few bytes stay for that. Threads: any, also
/// while others use it. Signals: no. Cost: system calls. Errors: DYNM_NULL, DYNM_WRONG_TYPE.
///
/// # Safety
/// As Requires says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_composite_close(composite: *const dynm_composite) -> dynm_status {
    edge(|| {
        object(composite)?.shared.close();
        Ok(())
    })
}
