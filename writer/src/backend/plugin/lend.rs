//! What a plugin is told, as C reads it: lent for one call.

use std::ffi::c_char;

use dyn_metrics_layout::{GaugeMode, Kind};

use super::abi::{
    dynm_plugin_descriptor, dynm_plugin_label, dynm_plugin_options, dynm_plugin_selection,
    dynm_plugin_series, dynm_plugin_text,
};
use crate::backend::{Descriptor, Selection};

pub(super) fn text(of: &str) -> dynm_plugin_text {
    dynm_plugin_text { data: of.as_ptr().cast::<c_char>(), length: of.len() }
}

pub(super) fn options(config: &str) -> dynm_plugin_options {
    let struct_size = size_of::<dynm_plugin_options>() as u32;
    dynm_plugin_options {
        struct_size,
        abi_version: super::abi::DYNM_PLUGIN_ABI_VERSION,
        config: text(config),
    }
}

fn labels(of: &[(String, String)]) -> Vec<dynm_plugin_label> {
    of.iter().map(|(name, value)| dynm_plugin_label { name: text(name), value: text(value) }).collect()
}

/// Has `call` see a descriptor.
pub(super) fn descriptor<R>(of: &Descriptor, call: impl FnOnce(&dynm_plugin_descriptor) -> R) -> R {
    let labels = labels(&of.labels);
    let states: Vec<_> = of.states.iter().map(|state| text(state)).collect();
    let is_gauge = of.kind == Kind::Gauge;
    call(&dynm_plugin_descriptor {
        struct_size: size_of::<dynm_plugin_descriptor>() as u32,
        kind: of.kind as u32,
        number: of.representation as u32,
        level: u32::from(of.level),
        starts_at_zero: u32::from(is_gauge && matches!(of.mode, GaugeMode::Sum | GaugeMode::LiveSum)),
        reserved: 0,
        name: text(&of.name),
        help: text(&of.help),
        unit: text(&of.unit),
        mode: text(if is_gauge { of.mode.name() } else { "" }),
        labels: labels.as_ptr(),
        label_count: labels.len(),
        bounds: of.bounds.as_ptr(),
        bound_count: of.bounds.len(),
        states: states.as_ptr(),
        state_count: states.len(),
    })
}

/// Has `call` see which series is meant.
pub(super) fn series<R>(
    name: &str,
    of: &[(String, String)],
    call: impl FnOnce(&dynm_plugin_series) -> R,
) -> R {
    let labels = labels(of);
    call(&dynm_plugin_series {
        struct_size: size_of::<dynm_plugin_series>() as u32,
        reserved: 0,
        name: text(name),
        labels: labels.as_ptr(),
        label_count: labels.len(),
    })
}

/// Has `call` see a selection.
pub(super) fn selection<R>(of: &Selection, call: impl FnOnce(&dynm_plugin_selection) -> R) -> R {
    let labels = labels(&of.labels);
    call(&dynm_plugin_selection {
        struct_size: size_of::<dynm_plugin_selection>() as u32,
        max_level: of.max_level.into(),
        prefix: text(&of.prefix),
        labels: labels.as_ptr(),
        label_count: labels.len(),
    })
}
