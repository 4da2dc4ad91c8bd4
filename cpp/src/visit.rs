//! Enumeration and rendering, through the reader: what any other program would see.

use std::ffi::{CString, c_char, c_void};

use dyn_metrics::CALLBACK_LIMIT;
use dyn_metrics_reader::{Collector, FamilySnapshot, Number, SeriesSnapshot, Value};

use crate::described::Texts;
use crate::handles::{c_text, dynm_registry, open};
use crate::input::store;
use crate::registry::Labels;
use crate::status::{Result, dynm_status, edge, failure};
use crate::types::{dynm_family_view, dynm_series_view, dynm_value, dynm_visitor};

fn collector(registry: &dynm_registry) -> Result<Collector> {
    let registry = &registry.registry;
    if !registry.is_segment() {
        let what = format!("registry {}: can't visit what it has; a segment can be visited", registry.kind());
        return failure(dynm_status::DYNM_OPTION, what);
    }
    Ok(Collector::new(&[registry.path().to_string_lossy().into_owned()]).max_level(registry.max_level()))
}

fn number(number: Number) -> dynm_value {
    let integer = match number {
        Number::Unsigned(whole) => whole as i64,
        Number::Signed(whole) => whole,
        Number::Float(_) => 0,
    };
    dynm_value { number: number.as_f64(), integer, ..dynm_value::default() }
}

fn value(value: &Value) -> dynm_value {
    let none = dynm_value::default();
    match value {
        Value::Counter(found) | Value::Gauge(found) => number(*found),
        Value::Tally { count, sum } => dynm_value { count: *count, sum: *sum, ..none },
        Value::Histogram { buckets, sum, .. } => {
            let count = buckets.iter().fold(0, |sum: u64, bucket| sum.wrapping_add(*bucket));
            dynm_value { count, sum: *sum, ..none }
        }
        Value::Info => dynm_value { number: 1.0, integer: 1, ..none },
        Value::StateSet { bits, .. } => dynm_value { states: *bits, ..none },
    }
}

/// A family's texts while it is visited.
struct Visited<'f> {
    family: &'f FamilySnapshot,
    texts: [CString; 4],
    states: Texts,
}

impl<'f> Visited<'f> {
    fn new(family: &'f FamilySnapshot) -> Self {
        let texts = [&family.name, &family.help, &family.unit, &family.registrant].map(|text| c_text(text));
        let states: &[String] = match family.series.first().map(|series| &series.value) {
            Some(Value::StateSet { states, .. }) => states,
            _ => &[],
        };
        Self { family, texts, states: Texts::new(states) }
    }

    fn view(&self) -> dynm_family_view {
        let bounds: &[f64] = match self.family.series.first().map(|series| &series.value) {
            Some(Value::Histogram { bounds, .. }) => bounds,
            _ => &[],
        };
        let [name, help, unit, registrant] = self.texts.each_ref().map(|text| text.as_ptr());
        dynm_family_view {
            struct_size: size_of::<dynm_family_view>(),
            name,
            help,
            unit,
            registrant,
            kind: self.family.kind as u32,
            mode: if self.family.kind.is_per_process() { self.family.mode as u32 } else { 0 },
            level: self.family.level.into(),
            reserved: 0,
            series_count: self.family.series.len(),
            bounds: bounds.as_ptr(),
            bound_count: bounds.len(),
            states: self.states.list().as_ptr(),
            state_count: self.states.list().len(),
        }
    }
}

/// Visits a series: whether to go on.
fn visit_series(series: &SeriesSnapshot, tell: impl FnOnce(&dynm_series_view) -> bool) -> bool {
    let labels = Labels::new(series.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    let buckets: &[u64] = if let Value::Histogram { buckets, .. } = &series.value { buckets } else { &[] };
    tell(&dynm_series_view {
        struct_size: size_of::<dynm_series_view>(),
        labels: labels.list().as_ptr(),
        label_count: labels.list().len(),
        buckets: buckets.as_ptr(),
        bucket_count: buckets.len(),
        value: dynm_value { struct_size: size_of::<dynm_value>(), ..value(&series.value) },
    })
}

/// Visits a family and its series: whether to go on.
fn visit_family(
    family: &FamilySnapshot,
    tell: &mut impl FnMut(&dynm_family_view, Option<&dynm_series_view>) -> bool,
) -> bool {
    let visited = Visited::new(family);
    let view = visited.view();
    tell(&view, None)
        && family.series.iter().all(|series| visit_series(series, |series| tell(&view, Some(series))))
}

/// Shows every family of the segment and every series with its value, over all processes, families sorted by
/// name.
///
/// Requires: a registry; a visitor, see dynm_visitor; `user` goes to it as it is. Guarantees: the whole
/// segment's, also what other processes and languages have registered, whatever the registry's prefix; what
/// the views point to stays until the visitor returns. The visitor may call this library. Threads: any.
/// Signals: no. Cost: reads the whole segment. Errors: DYNM_NULL, DYNM_WRONG_TYPE, DYNM_CLOSED,
/// DYNM_NOT_SEGMENT when the file can't be read any more, DYNM_OPTION for another registry than a segment.
///
/// # Safety
/// As Requires says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_visit(
    registry: *const dynm_registry,
    visitor: dynm_visitor,
    user: *mut c_void,
) -> dynm_status {
    edge(|| {
        let registry = open(registry)?;
        let Some(visitor) = visitor else { return failure(dynm_status::DYNM_NULL, c"visitor is NULL") };
        registry.registry.run_callbacks(CALLBACK_LIMIT);
        let snapshot = collector(registry)?.collect();
        served(snapshot.stats.segments, registry)?;
        let mut tell = |family: &dynm_family_view, series: Option<&dynm_series_view>| {
            let series = series.map_or(std::ptr::null(), std::ptr::from_ref);
            // SAFETY: the caller's function, which returns; both views are valid for the call.
            unsafe { visitor(user, family, series) == 0 }
        };
        let _ = snapshot.families.iter().all(|family| visit_family(family, &mut tell));
        Ok(())
    })
}

fn served(segments: usize, registry: &dynm_registry) -> Result<()> {
    if segments > 0 {
        return Ok(());
    }
    let path = registry.registry.path().display();
    let message =
        format!("{path}: found no readable segment, expected the one that was opened; see dyn-metrics check");
    failure(dynm_status::DYNM_NOT_SEGMENT, message)
}

/// Renders the segment as Prometheus text 0.0.4, as the exporter would, self-metrics included; of another registry
/// what is registered through it.
///
/// Requires: a registry; `text` not NULL; `length` not NULL or not wanted. Guarantees: on success `*text` is
/// NUL-terminated, its length without that in `*length`, and belongs to the caller, who frees it with
/// dynm_free(); on failure it is NULL. Threads: any. Signals: no. Cost: reads the whole segment, and memory
/// for the text. Errors: DYNM_NULL, DYNM_WRONG_TYPE, DYNM_CLOSED, DYNM_NOT_SEGMENT, DYNM_FULL (no memory).
///
/// # Safety
/// As Requires says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_render(
    registry: *const dynm_registry,
    text: *mut *mut c_char,
    length: *mut usize,
) -> dynm_status {
    edge(|| {
        store(text, std::ptr::null_mut(), "text")?;
        let registry = open(registry)?;
        if !registry.registry.is_segment() {
            return give_text(registry.registry.render()?.into_bytes(), text, length);
        }
        registry.registry.run_callbacks(CALLBACK_LIMIT);
        let mut page = Vec::new();
        let report = collector(registry)?.render(&mut page);
        served(report.stats.segments, registry)?;
        give_text(page, text, length)
    })
}

/// Hands a text over, which the caller frees.
pub(crate) fn give_text(mut page: Vec<u8>, text: *mut *mut c_char, length: *mut usize) -> Result<()> {
    page.retain(|byte| *byte != 0);
    if !length.is_null() {
        store(length, page.len(), "length")?;
    }
    page.push(0);
    store(text, copy_for_c(&page)?, "text")
}

/// A copy of `bytes` in the C library's memory.
pub(crate) fn copy_for_c(bytes: &[u8]) -> Result<*mut c_char> {
    // SAFETY: any size may be asked for.
    let memory = unsafe { libc::malloc(bytes.len()) }.cast::<u8>();
    if memory.is_null() {
        return failure(dynm_status::DYNM_FULL, c"no memory for the text");
    }
    // SAFETY: just allocated, of that length.
    unsafe { memory.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    Ok(memory.cast())
}

/// Frees what dynm_render() gave; NULL is nothing.
///
/// Requires: NULL or such a text, once. Threads: any. Signals: no. Cost: free(). Errors: none.
///
/// # Safety
/// As Requires says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_free(text: *mut c_char) {
    // SAFETY: from malloc, as the caller promises.
    unsafe { libc::free(text.cast()) };
}
