//! The texts of a metric, as C reads them.

use std::ffi::{CString, c_char};

use dyn_metrics::raw;
use dyn_metrics::{GaugeMode, Kind};

use crate::handles::c_text;
use crate::metric::Handle;
use crate::registry::Labels;

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
        let description = match handle.attachment() {
            Some(_) => handle.describe()?,
            None => private_description(handle.kind()),
        };
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

/// What a private metric is described as: it has no name, help, unit and labels.
const fn private_description(kind: Kind) -> raw::Description {
    let mode = GaugeMode::LiveSum;
    raw::Description { name: "", help: "", unit: "", kind, mode, level: 0, labels: Vec::new() }
}
