//! A shared object of somebody else's in Rust, which counts with the crate: its own copy of it, with its own statics.
//! `together_test.cpp` loads it.
#![allow(unsafe_code, reason = "called from C++")]

use std::ffi::{CStr, c_char};
use std::fs;
use std::sync::{RwLock, RwLockReadGuard};

use dyn_metrics::{Counter, Family, Gauge, GaugeMode, Histogram, Opts, Registry};
use dyn_metrics_layout::header::{self, Header};

struct Metrics {
    counter: Counter,
    gauge: Gauge,
    histogram: Histogram,
    family: Family<Counter>,
}

static METRICS: RwLock<Option<Metrics>> = RwLock::new(None);

fn metrics() -> RwLockReadGuard<'static, Option<Metrics>> {
    METRICS.read().unwrap()
}

fn text<'a>(text: *const c_char) -> &'a str {
    // SAFETY: the test passes NUL-terminated texts.
    unsafe { CStr::from_ptr(text) }.to_str().unwrap()
}

/// Opens the segment at `path` and registers what C++ registers, too.
#[unsafe(no_mangle)]
pub extern "C" fn rust_open(path: *const c_char) {
    let registry = Registry::open_at(text(path)).unwrap();
    let gauge = Opts::new("both_gauge", "").mode(GaugeMode::LiveAll);
    let metrics = Metrics {
        counter: registry.counter("both_total", "").unwrap(),
        gauge: registry.create(&gauge).unwrap(),
        histogram: registry.histogram("both_seconds", "", &[0.1, 1.0]).unwrap(),
        family: registry.family(&Opts::new("both_by_model_total", ""), &["model"]).unwrap(),
    };
    *METRICS.write().unwrap() = Some(metrics);
}

/// Counts.
#[unsafe(no_mangle)]
pub extern "C" fn rust_count(times: u64, observed: f64, model: *const c_char) {
    let metrics = metrics();
    let metrics = metrics.as_ref().unwrap();
    for _ in 0..times {
        metrics.counter.inc();
        metrics.histogram.observe(observed);
        metrics.family.with(&[text(model)]).inc();
    }
}

/// Sets the gauge.
#[unsafe(no_mangle)]
pub extern "C" fn rust_set(value: i64) {
    metrics().as_ref().unwrap().gauge.set(value);
}

/// The gauge's value in this process.
#[unsafe(no_mangle)]
pub extern "C" fn rust_gauge() -> i64 {
    metrics().as_ref().unwrap().gauge.value()
}

/// Makes a segment that says that it uses a feature of the future.
#[unsafe(no_mangle)]
pub extern "C" fn rust_make_newer(path: *const c_char) {
    let path = text(path);
    drop(Registry::builder().path(path).max_bytes(1 << 20).open().unwrap());
    let mut bytes = fs::read(path).unwrap();
    let mut header = Header::decode(&bytes, bytes.len() as u64).unwrap();
    header.incompat |= 1 << 40;
    let head: &mut [u8; header::BYTES] = (&mut bytes[..header::BYTES]).try_into().unwrap();
    header.encode(&[], head).unwrap();
    fs::write(path, bytes).unwrap();
}
