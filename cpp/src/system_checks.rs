//! Checks of a process's own server, as C gives them.

use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_void};
use std::time::Duration;

use dyn_metrics_system::checks::{Canary, Cancelled, Etcd, Nats, Progress, Space};
use dyn_metrics_system::{Beat, Check, Context, Outcome, Spec};

use crate::handles::{List, Tagged, dynm_metric, object, open};
use crate::input::{not_null, sized, store, text, text_or_empty};
use crate::metric::Handle;
use crate::status::{Result, dynm_status, edge, failure};
use crate::system::{User, dynm_destroy, dynm_system, probe_of};

/// In `dynm_check_options.flags`: shown, and fails no probe.
pub const DYNM_INFORMATIVE: u32 = 1;
/// For `dynm_system_add_etcd()`: renews the lease as long as the liveness probe passes.
pub const DYNM_KEEP_ALIVE: u32 = 1;

/// How a check is registered; made by `dynm_check_options_init()`. What is 0 is the default.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct dynm_check_options {
    /// `sizeof(dynm_check_options)`.
    pub struct_size: usize,
    /// 1 to 64 of A-Z a-z 0-9 _ . : / -
    pub name: *const c_char,
    /// A `dynm_probe`; 0: DYNM_READINESS.
    pub probe: u32,
    /// `DYNM_INFORMATIVE`.
    pub flags: u32,
    /// From the start of a run to that of the next, in nanoseconds; 0: 5 s.
    pub interval_ns: u64,
    /// Longest run, in nanoseconds; 0: 1 s.
    pub timeout_ns: u64,
    /// Failures in a row that count; 0: 1.
    pub failures: u32,
    /// Successes in a row that count; 0: 1.
    pub successes: u32,
}

/// A check: 0 when all is well, anything else when not; `dynm_check_say()` says why. Runs on a thread of its own, one run at a time,
/// and may block; a run over its limit is a failure, and the next begins when it has returned. Must return: no exception and no
/// longjmp may leave it.
pub type dynm_check = Option<unsafe extern "C" fn(user: *mut c_void, run: *const dynm_check_run) -> i32>;

/// Called once for a run over its limit, by another thread: to wake what it waits for. Must return.
pub type dynm_cancel = Option<unsafe extern "C" fn(user: *mut c_void)>;

/// Whether the process is idle: 0: no.
pub type dynm_is_idle = Option<unsafe extern "C" fn(user: *mut c_void) -> i32>;

/// Why a canary's cleanup is called.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum dynm_cancelled {
    /// The request goes on, and is over its limit: end it. By another thread.
    DYNM_CANCELLED_NOW = 1,
    /// The request has returned, late or in time: free what it had.
    DYNM_CANCELLED_DONE = 2,
}

/// Cleans up after a canary's request; `why` is a `dynm_cancelled`. Must return.
pub type dynm_clean_up = Option<unsafe extern "C" fn(user: *mut c_void, why: u32)>;

/// One run of a check. Valid for the call.
pub struct dynm_check_run {
    context: Context,
    said: RefCell<String>,
}

/// A loop's pulse, from `dynm_beat_create()`.
#[repr(C)]
pub struct dynm_beat {
    tag: u64,
    beat: Beat,
}

impl Tagged for dynm_beat {
    const TAG: u64 = u64::from_le_bytes(*b"dynm_bea");
    const NULL: &'static CStr = c"the beat is NULL; take one from dynm_beat_create";
    const WRONG: &'static CStr = c"found no dynm_beat where one is expected";
}

/// Runs a function of the other side.
fn run(check: dynm_check, user: &User, context: &Context) -> Outcome {
    let run = dynm_check_run { context: context.clone(), said: RefCell::default() };
    let Some(check) = check else { return Err("there is no function".to_owned()) };
    // SAFETY: the caller's function, which returns; the run is valid for the call.
    let failed = unsafe { check(user.data(), &raw const run) };
    let said = run.said.into_inner();
    if failed == 0 { Ok(said) } else { Err(said) }
}

struct Called {
    check: dynm_check,
    cancel: dynm_cancel,
    user: User,
}

impl Check for Called {
    fn check(&self, context: &Context) -> Outcome {
        run(self.check, &self.user, context)
    }

    fn cancel(&self) {
        if let Some(cancel) = self.cancel {
            // SAFETY: the caller's function, which returns.
            unsafe { cancel(self.user.data()) };
        }
    }
}

fn spec(options: *const dynm_check_options) -> Result<Spec> {
    let options = sized(options, "options")?;
    let mut spec = Spec::new(text(options.name, "options.name")?);
    if options.flags & !DYNM_INFORMATIVE != 0 {
        let found = format!("options.flags: found unknown bits in {:#x}", options.flags);
        return failure(dynm_status::DYNM_OPTION, found);
    }
    if options.flags & DYNM_INFORMATIVE != 0 {
        spec = spec.informative();
    }
    if options.probe != 0 {
        spec = spec.probe(probe_of(options.probe)?);
    }
    if options.interval_ns != 0 {
        spec = spec.every(Duration::from_nanos(options.interval_ns));
    }
    if options.timeout_ns != 0 {
        spec = spec.timeout(Duration::from_nanos(options.timeout_ns));
    }
    if options.failures != 0 {
        spec = spec.failures(options.failures);
    }
    Ok(if options.successes == 0 { spec } else { spec.successes(options.successes) })
}

fn add(
    system: *const dynm_system,
    options: *const dynm_check_options,
    make: impl FnOnce() -> Result<Box<dyn Check>>,
) -> Result<()> {
    let (system, spec, check) = (open(system)?, spec(options)?, make()?);
    Ok(system.system.add_boxed(spec, check)?)
}

/// Adds a function as a check, which runs at once and from then on at its interval.
///
/// Requires: a running system; options with a name; `check` not NULL; `cancel` and `destroy` NULL where they aren't wanted; any
/// thread may use `user`. Guarantees: `destroy` is called once, when the check is called no more, and also when this
/// fails. Threads: any. Signals: no. Cost: a thread. Errors: DYNM_NULL, DYNM_NAME, DYNM_CONFLICT where the name is taken,
/// DYNM_OPTION, DYNM_FULL (256 checks), DYNM_CLOSED, DYNM_WRONG_TYPE, DYNM_UTF8, DYNM_IO.
///
/// # Safety
/// As Requires says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_system_add_check(
    system: *const dynm_system,
    options: *const dynm_check_options,
    check: dynm_check,
    cancel: dynm_cancel,
    user: *mut c_void,
    destroy: dynm_destroy,
) -> dynm_status {
    edge(|| {
        let user = User::new(user, destroy);
        add(system, options, || match check {
            None => failure(dynm_status::DYNM_NULL, c"check is NULL"),
            Some(_) => Ok(Box::new(Called { check, cancel, user })),
        })
    })
}

/// Says why the check fails, or what there is to say when all is well.
///
/// Requires: the `run` of the call; a NUL-terminated text. Guarantees: it is copied; the last call counts. Threads: that of the
/// call. Signals: no. Errors: DYNM_NULL.
///
/// # Safety
/// As Requires says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_check_say(run: *const dynm_check_run, text: *const c_char) -> dynm_status {
    edge(|| {
        not_null(run, "run")?;
        not_null(text, "text")?;
        // SAFETY: not null; NUL-terminated, as the caller promises.
        let text = unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned();
        // SAFETY: not null; of the call, as the caller promises.
        let run = unsafe { &*run };
        *run.said.borrow_mut() = text;
        Ok(())
    })
}

/// Whether nobody waits for this run any more, because it is over its limit or the server stops: 1 or 0.
///
/// Requires: the `run` of the call, or NULL, which gives 0. Threads: any. Signals: no. Errors: none.
///
/// # Safety
/// As Requires says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_check_is_cancelled(run: *const dynm_check_run) -> i32 {
    // SAFETY: null, or of the call, as the caller promises.
    unsafe { run.as_ref() }.map_or(0, |run| run.context.is_cancelled().into())
}

/// Makes a pulse that has just beaten; it is never freed.
///
/// Requires: `beat` not NULL. Threads: any. Signals: no. Cost: memory. Errors: DYNM_NULL.
///
/// # Safety
/// As Requires says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_beat_create(beat: *mut *const dynm_beat) -> dynm_status {
    static BEATS: List<dynm_beat> = List::new();
    edge(|| {
        not_null(beat, "beat")?;
        store(beat, BEATS.push(dynm_beat { tag: dynm_beat::TAG, beat: Beat::new() }), "beat")
    })
}

/// The loop still turns.
///
/// Requires: a beat. Threads, signals: any. Cost: reading a clock, and a store. Errors: DYNM_NULL, DYNM_WRONG_TYPE.
///
/// # Safety
/// As Requires says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_beat_now(beat: *const dynm_beat) -> dynm_status {
    edge(|| {
        object(beat)?.beat.beat();
        Ok(())
    })
}

/// Adds a check that fails when there was no beat for `limit_ns`.
///
/// Requires: a running system; options with a name; a beat. Threads: any. Signals: no. Errors: as dynm_system_add_check().
///
/// # Safety
/// As Requires says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_system_add_beat(
    system: *const dynm_system,
    options: *const dynm_check_options,
    beat: *const dynm_beat,
    limit_ns: u64,
) -> dynm_status {
    edge(|| {
        let limit = Duration::from_nanos(limit_ns);
        add(system, options, || Ok(Box::new(object(beat)?.beat.stalls_after(limit))))
    })
}

/// Adds a check that fails when the counter has not moved for `limit_ns` while the gauge, this process's own, is above 0.
///
/// Requires: a running system; options with a name; a counter of whole events or fractional amounts (of which whole units
/// count); a gauge of whole or fractional numbers. Guarantees: the counter is the total of all processes. Threads: any. Signals:
/// no. Errors: as dynm_system_add_check(), DYNM_WRONG_TYPE for metrics of other types.
///
/// # Safety
/// As Requires says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_system_add_progress(
    system: *const dynm_system,
    options: *const dynm_check_options,
    done: *const dynm_metric,
    pending: *const dynm_metric,
    limit_ns: u64,
) -> dynm_status {
    edge(|| {
        let wrong = |expected: &'static CStr| failure(dynm_status::DYNM_WRONG_TYPE, expected);
        let done: Box<dyn Fn() -> u64 + Send + Sync> = match &object(done)?.handle {
            Handle::DYNM_COUNTER_U64(counter) => Box::new(|| counter.value()),
            Handle::DYNM_COUNTER_F64(counter) => Box::new(|| counter.value() as u64),
            _ => return wrong(c"done: expected a counter of whole events or fractional amounts"),
        };
        let pending: Box<dyn Fn() -> f64 + Send + Sync> = match &object(pending)?.handle {
            Handle::DYNM_GAUGE_I64(gauge) => Box::new(|| gauge.value() as f64),
            Handle::DYNM_GAUGE_F64(gauge) => Box::new(|| gauge.value()),
            _ => return wrong(c"pending: expected a gauge of whole or fractional numbers"),
        };
        let limit = Duration::from_nanos(limit_ns);
        add(system, options, || Ok(Box::new(Progress::of(done, pending, limit))))
    })
}

/// Adds a check that fails when the filesystem of `path` has less than `least_bytes` left.
///
/// Requires: a running system; options with a name; a path. Threads: any. Signals: no. Errors: as dynm_system_add_check().
///
/// # Safety
/// As Requires says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_system_add_space(
    system: *const dynm_system,
    options: *const dynm_check_options,
    path: *const c_char,
    least_bytes: u64,
) -> dynm_status {
    edge(|| add(system, options, || Ok(Box::new(Space::new(text(path, "path")?, least_bytes)))))
}

/// Adds a check that fails when etcd has no answer, no leader or an alarm.
///
/// Requires: a running system; options with a name; `url` "http://HOST:PORT"; `lease` 0: none, otherwise it must not have expired;
/// `flags` DYNM_KEEP_ALIVE renews it at each run while the liveness probe passes; `key_prefix` NULL, or a key must begin so.
/// Guarantees: never feeds liveness. Threads: any. Signals: no. Errors: as dynm_system_add_check().
///
/// # Safety
/// As Requires says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_system_add_etcd(
    system: *const dynm_system,
    options: *const dynm_check_options,
    url: *const c_char,
    lease: i64,
    flags: u32,
    key_prefix: *const c_char,
) -> dynm_status {
    edge(|| {
        add(system, options, || {
            if flags & !DYNM_KEEP_ALIVE != 0 || (flags != 0 && lease == 0) {
                let expected = c"flags: expected 0, or DYNM_KEEP_ALIVE with a lease";
                return failure(dynm_status::DYNM_OPTION, expected);
            }
            let mut etcd = Etcd::new(text(url, "url")?)?;
            etcd = if lease == 0 { etcd } else { etcd.lease(lease) };
            etcd = if flags == 0 { etcd } else { etcd.keep_alive() };
            let prefix = text_or_empty(key_prefix, "key_prefix")?;
            Ok(Box::new(if key_prefix.is_null() { etcd } else { etcd.key_prefix(prefix) }))
        })
    })
}

/// Adds a check that fails when NATS does not answer, or nobody of a service does.
///
/// Requires: a running system; options with a name; `url` "nats://HOST:PORT"; `service` NULL: none; `instance` NULL: any
/// of the service. Guarantees: never feeds liveness. Threads: any. Signals: no. Errors: as dynm_system_add_check().
///
/// # Safety
/// As Requires says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_system_add_nats(
    system: *const dynm_system,
    options: *const dynm_check_options,
    url: *const c_char,
    service: *const c_char,
    instance: *const c_char,
) -> dynm_status {
    edge(|| {
        add(system, options, || {
            let nats = Nats::new(text(url, "url")?)?;
            Ok(Box::new(match (service.is_null(), instance.is_null()) {
                (true, true) => nats,
                (false, true) => nats.service(text(service, "service")?)?,
                _ => nats.service_instance(text(service, "service")?, text(instance, "instance")?)?,
            }))
        })
    })
}

/// Adds a check that sends a request of the application's own making while it is idle.
///
/// Requires: a running system; options with a name; `request` not NULL; `is_idle` NULL: always; `clean_up` and `destroy` NULL where
/// they aren't wanted; any thread may use `user`. Guarantees: fails when the request fails or is late, which is then cancelled by
/// `clean_up`; `destroy` as dynm_system_add_check(). Threads: any. Signals: no. Errors: as there.
///
/// # Safety
/// As Requires says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_system_add_canary(
    system: *const dynm_system,
    options: *const dynm_check_options,
    request: dynm_check,
    is_idle: dynm_is_idle,
    clean_up: dynm_clean_up,
    user: *mut c_void,
    destroy: dynm_destroy,
) -> dynm_status {
    edge(|| {
        let user = std::sync::Arc::new(User::new(user, destroy));
        add(system, options, || {
            if request.is_none() {
                return failure(dynm_status::DYNM_NULL, c"request is NULL");
            }
            let (asks, idles) = (std::sync::Arc::clone(&user), std::sync::Arc::clone(&user));
            let canary = Canary::new(move |context: &Context| run(request, &asks, context))
                // SAFETY: the caller's function, which returns.
                .when(move || is_idle.is_none_or(|is_idle| unsafe { is_idle(idles.data()) } != 0))
                .clean_up(move |why| {
                    let why = match why {
                        Cancelled::Now => dynm_cancelled::DYNM_CANCELLED_NOW,
                        Cancelled::Done => dynm_cancelled::DYNM_CANCELLED_DONE,
                    };
                    if let Some(clean_up) = clean_up {
                        // SAFETY: the caller's function, which returns.
                        unsafe { clean_up(user.data(), why as u32) };
                    }
                });
            Ok(Box::new(canary))
        })
    })
}

/// Forgets a check.
///
/// Requires: a running system; a name. Guarantees: a run that goes on is told to stop, and not waited for. Threads: any. Signals:
/// no. Errors: DYNM_NOT_FOUND, DYNM_NULL, DYNM_WRONG_TYPE, DYNM_CLOSED, DYNM_UTF8.
///
/// # Safety
/// As Requires says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_system_remove(system: *const dynm_system, name: *const c_char) -> dynm_status {
    edge(|| {
        let name = text(name, "name")?;
        if open(system)?.system.remove(name)? {
            return Ok(());
        }
        failure(dynm_status::DYNM_NOT_FOUND, format!("check {name:?}: there is none of this name"))
    })
}
