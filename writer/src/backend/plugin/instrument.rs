//! A series of a plugin.
#![allow(unsafe_code, reason = "calls a plugin's functions")]

use std::ffi::c_void;
use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;

use dyn_metrics_layout::{Kind, Representation};

use super::Opened;
use super::abi::{DYNM_PLUGIN_OK, dynm_plugin_value};
use super::load::Functions;
use crate::backend::{Descriptor, Dropped, Instrument, Number, Value};

/// An update is a call through a table, on this side without a lock or an allocation.
pub(super) struct Series {
    functions: &'static Functions,
    instrument: NonNull<c_void>,
    kind: Kind,
    /// A histogram's buckets.
    buckets: usize,
    /// While it lives its registry isn't closed.
    _opened: Arc<Opened>,
}

// SAFETY: the header says that a plugin's functions may be called by any thread.
unsafe impl Send for Series {}
// SAFETY: and by several at once.
unsafe impl Sync for Series {}

impl fmt::Debug for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Series").field("instrument", &self.instrument).finish_non_exhaustive()
    }
}

/// Calls an update; the instrument is one that the plugin gave for a series, and stays valid.
macro_rules! update {
    ($self:ident.$function:ident($($argument:expr),*)) => {
        // SAFETY: a function of the plugin's table with an instrument that its `series` gave.
        unsafe { ($self.functions.$function)($self.instrument.as_ptr(), $($argument),*) }
    };
}

impl Series {
    pub(super) fn new(opened: &Arc<Opened>, instrument: NonNull<c_void>, series: &Descriptor) -> Self {
        let buckets = if series.kind == Kind::Histogram { series.bounds.len() + 1 } else { 0 };
        let functions = opened.functions;
        Self { functions, instrument, kind: series.kind, buckets, _opened: Arc::clone(opened) }
    }

    /// What the plugin has, made a value if it is one.
    fn checked(&self, value: &dynm_plugin_value, buckets: Vec<u64>) -> Option<Value> {
        match self.kind {
            Kind::Counter | Kind::Gauge => Some(Value::Number(number(value)?)),
            Kind::StateSet => Some(Value::States(value.states)),
            Kind::Histogram | Kind::Tally => {
                Some(Value::Distribution { buckets, count: value.count, sum: value.real })
            }
            _ => None,
        }
    }
}

fn number(value: &dynm_plugin_value) -> Option<Number> {
    Some(match Representation::ALL.into_iter().find(|known| *known as u32 == value.number)? {
        Representation::Integer => Number::Integer(value.integer),
        Representation::Float => Number::Float(value.real),
        Representation::Nanoseconds => Number::Nanoseconds(value.integer),
    })
}

impl Instrument for Series {
    fn add(&self, amount: Number) {
        match amount {
            Number::Integer(n) => update!(self.add_integer(n)),
            Number::Float(x) => update!(self.add_double(x)),
            Number::Nanoseconds(n) => update!(self.add_nanoseconds(n)),
        }
    }

    fn set(&self, value: Number) {
        match value {
            Number::Integer(n) => update!(self.set_integer(n)),
            Number::Float(x) => update!(self.set_double(x)),
            Number::Nanoseconds(n) => update!(self.set_nanoseconds(n)),
        }
    }

    fn observe(&self, value: f64, count: u64) {
        update!(self.observe(value, count));
    }

    fn switch(&self, on: u64, off: u64) {
        update!(self.switch_states(on, off));
    }

    fn dropped(&self, reason: Dropped) {
        let Some(dropped) = self.functions.dropped else { return };
        // SAFETY: as `update!`.
        unsafe { dropped(self.instrument.as_ptr(), reason as u32) }
    }

    fn value(&self) -> Option<Value> {
        let read = self.functions.read?;
        let mut buckets = vec![0; self.buckets];
        let mut value = dynm_plugin_value {
            struct_size: size_of::<dynm_plugin_value>() as u32,
            number: 0,
            integer: 0,
            real: 0.0,
            count: 0,
            states: 0,
            buckets: buckets.as_mut_ptr(),
            bucket_count: buckets.len(),
        };
        // SAFETY: as `update!`; the value has the room that it says.
        let status = unsafe { read(self.instrument.as_ptr(), &raw mut value) };
        (status == DYNM_PLUGIN_OK).then(|| self.checked(&value, buckets))?
    }
}
