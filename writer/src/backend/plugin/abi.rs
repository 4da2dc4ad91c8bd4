//! The table of a registry plugin, as C sees it: `cpp/include/dyn_metrics/plugin.h` is made from this file by
//! `cpp/tests/header.rs`. Version 1 is only ever extended at the end of its structures.
#![allow(non_camel_case_types, reason = "names as C sees them")]

use std::ffi::{c_char, c_void};

use dyn_metrics_layout::{Kind, Representation};

/// Version of this interface: in `dynm_registry_plugin.abi_version`, and in the name of the symbol.
pub const DYNM_PLUGIN_ABI_VERSION: u32 = 1;

/// It is done.
pub const DYNM_PLUGIN_OK: i32 = 0;
/// There is nothing: no instrument, no value.
pub const DYNM_PLUGIN_NONE: i32 = 1;
/// It can't be done; the reason was written to the `error` that the function got.
pub const DYNM_PLUGIN_ERROR: i32 = -1;

/// A total that never falls.
pub const DYNM_PLUGIN_COUNTER: u32 = 1;
/// A current value.
pub const DYNM_PLUGIN_GAUGE: u32 = 2;
/// Counts of observations by upper bounds, and their sum.
pub const DYNM_PLUGIN_HISTOGRAM: u32 = 3;
/// A count of observations and their sum.
pub const DYNM_PLUGIN_TALLY: u32 = 4;
/// Labels alone; the value is 1.
pub const DYNM_PLUGIN_INFO: u32 = 5;
/// States that are on or off.
pub const DYNM_PLUGIN_STATE_SET: u32 = 6;

/// Whole numbers: of counters unsigned by their bits, of gauges signed.
pub const DYNM_PLUGIN_INTEGER: u32 = 0;
/// Doubles.
pub const DYNM_PLUGIN_DOUBLE: u32 = 1;
/// Whole nanoseconds, as integers are; people see seconds.
pub const DYNM_PLUGIN_NANOSECONDS: u32 = 2;

/// An update was NaN, or an infinite amount for a counter: it was left out.
pub const DYNM_PLUGIN_NAN: u32 = 0;
/// An update was a negative amount for a counter: it was left out.
pub const DYNM_PLUGIN_NEGATIVE: u32 = 1;
/// An observation was infinite: it counts, and stays out of the sum.
pub const DYNM_PLUGIN_INFINITE: u32 = 2;

const _: () = {
    assert!(DYNM_PLUGIN_COUNTER == Kind::Counter as u32 && DYNM_PLUGIN_GAUGE == Kind::Gauge as u32);
    assert!(DYNM_PLUGIN_HISTOGRAM == Kind::Histogram as u32 && DYNM_PLUGIN_TALLY == Kind::Tally as u32);
    assert!(DYNM_PLUGIN_INFO == Kind::Info as u32 && DYNM_PLUGIN_STATE_SET == Kind::StateSet as u32);
    assert!(DYNM_PLUGIN_INTEGER == Representation::Integer as u32);
    assert!(DYNM_PLUGIN_DOUBLE == Representation::Float as u32);
    assert!(DYNM_PLUGIN_NANOSECONDS == Representation::Nanoseconds as u32);
};

/// A text in UTF-8. Not NUL-terminated; `data` may be NULL when `length` is 0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct dynm_plugin_text {
    /// The first byte.
    pub data: *const c_char,
    /// Bytes.
    pub length: usize,
}

/// A label.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct dynm_plugin_label {
    /// Its name.
    pub name: dynm_plugin_text,
    /// Its value.
    pub value: dynm_plugin_text,
}

/// Where a plugin writes text, piece by piece; pieces may end inside of a character. It belongs to the host and is gone
/// when the function returns that got it; only the thread that got it writes.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct dynm_plugin_output {
    /// Bytes of this structure.
    pub struct_size: u32,
    /// 0.
    pub reserved: u32,
    /// For `write`.
    pub state: *mut c_void,
    /// Takes a copy of `length` bytes. DYNM_PLUGIN_ERROR when no more is taken: then return, with DYNM_PLUGIN_ERROR.
    pub write: Option<unsafe extern "C" fn(state: *mut c_void, data: *const c_char, length: usize) -> i32>,
}

/// How a registry is opened. It belongs to the host and is gone when `open` returns.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct dynm_plugin_options {
    /// Bytes of this structure.
    pub struct_size: u32,
    /// Newest version of this interface that the host knows.
    pub abi_version: u32,
    /// What stands behind the `?` in `DYN_METRICS_REGISTRY=plugin:PATH?CONFIG`; its meaning is the plugin's. May be empty.
    pub config: dynm_plugin_text,
}

/// A series, or without labels its family: checked, with the prefix and the labels of its registry. It belongs to the
/// host, with all that it points to, and is gone when the function returns that got it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct dynm_plugin_descriptor {
    /// Bytes of this structure.
    pub struct_size: u32,
    /// Type: DYNM_PLUGIN_COUNTER, ...
    pub kind: u32,
    /// Numbers that it is updated with first: DYNM_PLUGIN_INTEGER, ... A counter may get the others, too.
    pub number: u32,
    /// Priority, 0 to 255; 0 is the most important.
    pub level: u32,
    /// 1 for a gauge that is 0 before its first update, 0 for one that has no value then.
    pub starts_at_zero: u32,
    /// 0.
    pub reserved: u32,
    /// Exposed name, a counter's with `_total`.
    pub name: dynm_plugin_text,
    /// For people; may be empty.
    pub help: dynm_plugin_text,
    /// Unit, in which the name ends before `_total`; may be empty.
    pub unit: dynm_plugin_text,
    /// How the values of a gauge in several processes combine: `sum`, `livemax`, ...; empty for other types.
    pub mode: dynm_plugin_text,
    /// Labels, sorted by name.
    pub labels: *const dynm_plugin_label,
    /// How many.
    pub label_count: usize,
    /// Upper bounds of a histogram, ascending, without `+Inf`.
    pub bounds: *const f64,
    /// How many.
    pub bound_count: usize,
    /// States of a state set, at most 64: the first one's bit is 1, the second one's 2.
    pub states: *const dynm_plugin_text,
    /// How many.
    pub state_count: usize,
}

/// Which part of a registry is to be shown. It belongs to the host and is gone when `render` returns.
///
/// A family is in it when its name begins with `prefix` and its level is at most `max_level`; of it a series that has each of
/// `labels` with that value or with DYNM_PLUGIN_OVERFLOW.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct dynm_plugin_selection {
    /// Bytes of this structure.
    pub struct_size: u32,
    /// 255 for every level.
    pub max_level: u32,
    /// May be empty.
    pub prefix: dynm_plugin_text,
    /// Labels.
    pub labels: *const dynm_plugin_label,
    /// How many.
    pub label_count: usize,
}

/// A series that was made, by its name and labels. It belongs to the host and is gone when `remove` returns.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct dynm_plugin_series {
    /// Bytes of this structure.
    pub struct_size: u32,
    /// 0.
    pub reserved: u32,
    /// As in its descriptor.
    pub name: dynm_plugin_text,
    /// Labels, sorted by name.
    pub labels: *const dynm_plugin_label,
    /// How many.
    pub label_count: usize,
}

/// What a series has. The host sets `struct_size`, `buckets` and `bucket_count`, all else is 0; `read` sets what its type
/// has.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct dynm_plugin_value {
    /// Bytes of this structure.
    pub struct_size: u32,
    /// Of a counter or gauge: DYNM_PLUGIN_INTEGER, ..., which says where its number is.
    pub number: u32,
    /// A number that is an integer or nanoseconds; a counter's is unsigned, by its bits.
    pub integer: i64,
    /// A number that is a double; the sum of a histogram or tally.
    pub real: f64,
    /// Observations of a histogram or tally.
    pub count: u64,
    /// A state set's bits.
    pub states: u64,
    /// Room for a histogram's observations in each bucket, not cumulative, `+Inf` last. The host's.
    pub buckets: *mut u64,
    /// How many there is room for: the bounds and one; 0 for other types.
    pub bucket_count: usize,
}

/// What a plugin is: functions, in a constant that it exports as `dynm_registry_plugin_v1`.
///
/// Holds for each of them:
///
/// - It may be called by any thread, by several at once, and in forked children. `family`, `series` and `remove` are
///   called by one thread at a time for one family; the first two for each family and series once, unless that failed or
///   the series was removed.
/// - Nothing may be thrown out of it, and it must return: only `render` is given up by its caller after a time.
/// - Those with an `error` return DYNM_PLUGIN_ERROR when they fail, after a line to that. What they return otherwise is
///   named where it isn't only DYNM_PLUGIN_OK. Any other number is taken for a failure.
/// - Updates (from `add_integer` to `dropped`) should neither block nor allocate: they are made wherever the application
///   counts, also in its signal handlers if the plugin says that this is safe.
///
/// A plugin is never unloaded.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct dynm_registry_plugin {
    /// Bytes of this structure.
    pub struct_size: u32,
    /// DYNM_PLUGIN_ABI_VERSION.
    pub abi_version: u32,
    /// Opens a registry; several may be open at once. `*registry` is the plugin's, the first argument of what follows; it
    /// may be NULL.
    pub open: Option<
        unsafe extern "C" fn(
            options: *const dynm_plugin_options,
            registry: *mut *mut c_void,
            error: *const dynm_plugin_output,
        ) -> i32,
    >,
    /// Ends a registry that nobody can use any more; never called for one in which a series was made. May be NULL.
    pub close: Option<unsafe extern "C" fn(registry: *mut c_void)>,
    /// Takes note of a family before its first series, or refuses it. May be NULL.
    pub family: Option<
        unsafe extern "C" fn(
            registry: *mut c_void,
            family: *const dynm_plugin_descriptor,
            error: *const dynm_plugin_output,
        ) -> i32,
    >,
    /// Makes a series. `*instrument` is the plugin's, the first argument of updates, and stays valid until the process
    /// ends; not NULL. DYNM_PLUGIN_NONE when updates may go nowhere.
    pub series: Option<
        unsafe extern "C" fn(
            registry: *mut c_void,
            series: *const dynm_plugin_descriptor,
            instrument: *mut *mut c_void,
            error: *const dynm_plugin_output,
        ) -> i32,
    >,
    /// Adds to a counter, 0 or more, or to a gauge.
    pub add_integer: Option<unsafe extern "C" fn(instrument: *mut c_void, amount: i64)>,
    /// The same; neither NaN nor, for a counter, infinite or negative.
    pub add_double: Option<unsafe extern "C" fn(instrument: *mut c_void, amount: f64)>,
    /// As `add_integer`.
    pub add_nanoseconds: Option<unsafe extern "C" fn(instrument: *mut c_void, amount: i64)>,
    /// Sets a gauge.
    pub set_integer: Option<unsafe extern "C" fn(instrument: *mut c_void, value: i64)>,
    /// The same; may be NaN.
    pub set_double: Option<unsafe extern "C" fn(instrument: *mut c_void, value: f64)>,
    /// As `set_integer`.
    pub set_nanoseconds: Option<unsafe extern "C" fn(instrument: *mut c_void, value: i64)>,
    /// A histogram or tally observed `value` `count` times, once or more. Never NaN; where it or its sum is infinite it
    /// belongs into its bucket and the count, and not into the sum.
    pub observe: Option<unsafe extern "C" fn(instrument: *mut c_void, value: f64, count: u64)>,
    /// Switches states of a state set on and off; bit 0 is the first one.
    pub switch_states: Option<unsafe extern "C" fn(instrument: *mut c_void, on: u64, off: u64)>,
    /// Takes note of an update that said nothing countable: DYNM_PLUGIN_NAN, ... May be NULL.
    pub dropped: Option<unsafe extern "C" fn(instrument: *mut c_void, reason: u32)>,
    /// Gives what a series has; DYNM_PLUGIN_NONE for a gauge or state set that was not set. May be NULL: handles show 0
    /// then.
    pub read: Option<unsafe extern "C" fn(instrument: *mut c_void, value: *mut dynm_plugin_value) -> i32>,
    /// Writes what is in `selection` to `output` as Prometheus text 0.0.4. May be NULL: nothing can be shown then.
    pub render: Option<
        unsafe extern "C" fn(
            registry: *mut c_void,
            selection: *const dynm_plugin_selection,
            output: *const dynm_plugin_output,
            error: *const dynm_plugin_output,
        ) -> i32,
    >,
    /// Forgets a series: it is shown no more, and `series` is asked for a new one when somebody wants its labels again. Its
    /// instrument stays valid, as handles of it may be held; what they count is nobody's. DYNM_PLUGIN_NONE when series can't
    /// be removed. May be NULL, or behind the table's end: series stay then.
    pub remove: Option<
        unsafe extern "C" fn(
            registry: *mut c_void,
            series: *const dynm_plugin_series,
            error: *const dynm_plugin_output,
        ) -> i32,
    >,
}
