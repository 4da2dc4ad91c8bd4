//! Rust and the shared object on the same series, in one process and in two. In one process there are two
//! copies of the library, each with its own statics.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::Path;
use std::process::Command;

use dyn_metrics::{Counter, Gauge, GaugeMode, Histogram, Opts, Registry};
use dyn_metrics_c::{
    DYNM_ABI_LEVEL, dynm_metric, dynm_metric_options, dynm_registry, dynm_segment_options, dynm_status,
    dynm_type,
};
use dyn_metrics_reader::{Collector, Snapshot, Value};

use crate::library::{assert_done, directory, program, shared_object};

/// The functions of the loaded library.
struct Loaded {
    handle: *mut c_void,
}

type Open = unsafe extern "C" fn(*const dynm_segment_options, *mut *const dynm_registry) -> dynm_status;
type Register = unsafe extern "C" fn(
    *const dynm_registry,
    *const dynm_metric_options,
    *mut *const dynm_metric,
) -> dynm_status;
type Update = unsafe extern "C" fn(*const dynm_metric) -> dynm_status;
type Observe = unsafe extern "C" fn(*const dynm_metric, f64) -> dynm_status;
type Set = unsafe extern "C" fn(*const dynm_metric, i64) -> dynm_status;

impl Loaded {
    fn new() -> Self {
        let path = CString::new(shared_object().join("libdyn_metrics.so.0").to_str().unwrap()).unwrap();
        // SAFETY: a library of ours, whose constructors do nothing.
        let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL as c_int) };
        assert!(!handle.is_null(), "{path:?}");
        Self { handle }
    }

    /// A function, as a pointer of type `F`.
    fn function<F: Copy>(&self, name: &CStr) -> F {
        // SAFETY: the handle is open.
        let found = unsafe { libc::dlsym(self.handle, name.as_ptr()) };
        assert!(!found.is_null(), "{name:?}");
        assert_eq!(size_of::<F>(), size_of_val(&found));
        // SAFETY: a pointer to a function of the type that the header declares.
        unsafe { std::mem::transmute_copy(&found) }
    }

    fn open(&self, path: &Path) -> *const dynm_registry {
        let path = CString::new(path.to_str().unwrap()).unwrap();
        // SAFETY: plain data.
        let mut options: dynm_segment_options = unsafe { std::mem::zeroed() };
        options.struct_size = size_of::<dynm_segment_options>();
        options.abi_level = DYNM_ABI_LEVEL;
        options.path = path.as_ptr();
        let mut registry = std::ptr::null();
        // SAFETY: as the header asks for.
        let status = unsafe { self.function::<Open>(c"dynm_open")(&options, &mut registry) };
        assert_eq!(status, dynm_status::DYNM_OK);
        registry
    }

    fn register(&self, registry: *const dynm_registry, opts: (dynm_type, &CStr, u32)) -> *const dynm_metric {
        let bounds = [0.1, 1.0];
        // SAFETY: plain data.
        let mut options: dynm_metric_options = unsafe { std::mem::zeroed() };
        options.struct_size = size_of::<dynm_metric_options>();
        options.metric_type = opts.0 as u32;
        options.name = opts.1.as_ptr();
        options.mode = opts.2;
        if opts.0 == dynm_type::DYNM_HISTOGRAM {
            (options.bounds, options.bound_count) = (bounds.as_ptr(), bounds.len());
        }
        let mut metric = std::ptr::null();
        // SAFETY: as the header asks for.
        let status = unsafe { self.function::<Register>(c"dynm_register")(registry, &options, &mut metric) };
        let error = self.function::<unsafe extern "C" fn() -> *const c_char>(c"dynm_last_error");
        // SAFETY: takes nothing.
        let error = unsafe { error() };
        // SAFETY: never null.
        assert_eq!(status, dynm_status::DYNM_OK, "{:?}", unsafe { CStr::from_ptr(error) });
        metric
    }
}

fn snapshot(path: &Path) -> Snapshot {
    Collector::new(&[path.to_str().unwrap().to_owned()]).collect()
}

fn values(snapshot: &Snapshot, name: &str) -> Vec<Value> {
    let family = snapshot.families.iter().find(|family| family.name == name).unwrap();
    family.series.iter().map(|series| series.value.clone()).collect()
}

#[test]
fn rust_and_the_shared_object_in_one_process_are_one_writer() {
    let directory = directory();
    let path = directory.path().join("s");
    let registry = Registry::open_at(&path).unwrap();
    let counter: Counter = registry.counter("both_total", "").unwrap();
    let histogram: Histogram = registry.histogram("both_seconds", "", &[0.1, 1.0]).unwrap();
    let gauge: Gauge = registry.create(&Opts::new("both_gauge", "").mode(GaugeMode::LiveAll)).unwrap();

    let library = Loaded::new();
    let there = library.open(&path);
    let c_counter = library.register(there, (dynm_type::DYNM_COUNTER_U64, c"both_total", 0));
    let c_histogram = library.register(there, (dynm_type::DYNM_HISTOGRAM, c"both_seconds", 0));
    let c_gauge =
        library.register(there, (dynm_type::DYNM_GAUGE_I64, c"both_gauge", GaugeMode::LiveAll as u32));
    let (inc, observe) =
        (library.function::<Update>(c"dynm_counter_inc"), library.function::<Observe>(c"dynm_observe"));
    let set = library.function::<Set>(c"dynm_gauge_set_i64");
    let add = library.function::<Set>(c"dynm_gauge_add_i64");
    std::thread::scope(|scope| {
        scope.spawn(|| (0..100_000).for_each(|_| counter.inc()));
        for _ in 0..100_000 {
            // SAFETY: metrics of these types.
            assert_eq!(unsafe { inc(c_counter) }, dynm_status::DYNM_OK);
            // SAFETY: as above.
            unsafe { observe(c_histogram, 0.5) };
            histogram.observe(5.0);
        }
    });
    gauge.set(5);
    // SAFETY: a gauge.
    unsafe { add(c_gauge, 2) };
    assert_eq!(gauge.value(), 7);
    // SAFETY: a gauge.
    unsafe { set(c_gauge, 9) };
    assert_eq!(gauge.value(), 9);

    let found = snapshot(&path);
    assert_eq!(counter.value(), 200_000);
    assert_eq!(histogram.buckets(), [0, 100_000, 100_000]);
    assert_eq!(values(&found, "both_gauge").len(), 1, "one cell, one sample");
    assert_eq!(found.segments[0].processes_alive(), 1, "one slot");
    assert_eq!(found.segments[0].processes.len(), 1);
}

#[test]
fn rust_and_c_in_two_processes_add_up() {
    let directory = directory();
    let path = directory.path().join("s");
    let registry = Registry::open_at(&path).unwrap();
    let counter = registry.counter("both_total", "A metric").unwrap();
    let histogram = registry.histogram("both_seconds", "A metric", &[0.001, 0.01, 0.1, 1.0]).unwrap();
    let mut child = Command::new(program(directory.path(), "steady"));
    child.arg(&path).args(["100000", "no"]);
    std::thread::scope(|scope| {
        scope.spawn(|| assert_done(&mut child));
        for _ in 0..100_000 {
            counter.inc();
            histogram.observe(0.5);
        }
    });
    assert_eq!(counter.value(), 400_000);
    assert_eq!(histogram.count(), 200_000);
    let found = snapshot(&path);
    assert_eq!(values(&found, "both_total").len(), 1);
    assert_eq!(values(&found, "both_seconds").len(), 1);
}
