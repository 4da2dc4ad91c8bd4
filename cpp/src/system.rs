//! The process's own server: start, state, answers, end. Its checks are in `system_checks`.
#![allow(clippy::disallowed_types, reason = "words of this process, never in the segment")]

use std::cell::RefCell;
use std::ffi::{CString, c_char, c_void};
use std::sync::atomic::{AtomicU32, Ordering};

use dyn_metrics_system::{Builder, Error, Probe, Rendered, Report, Scope, State, System};

use crate::handles::{Closes, List, Tagged, c_text, dynm_registry, open};
use crate::input::{give, list, not_null, sized, store, text, text_or_empty};
use crate::status::{Failure, Result, dynm_status, edge, failure};
use crate::visit::copy_for_c;

/// A running server with its checks. From `dynm_system_start()`.
#[repr(C)]
pub struct dynm_system {
    tag: u64,
    /// 1 until it is stopped.
    opens: AtomicU32,
    pub(crate) system: System,
    url: CString,
    host: CString,
}

impl Tagged for dynm_system {
    const TAG: u64 = u64::from_le_bytes(*b"dynm_sys");
    const NULL: &'static std::ffi::CStr = c"the system is NULL; look at the status of its start";
    const WRONG: &'static std::ffi::CStr = c"found no dynm_system where one is expected";
}

impl Closes for dynm_system {
    fn opens(&self) -> &AtomicU32 {
        &self.opens
    }
    const CLOSED: &'static std::ffi::CStr = c"the system was stopped; start another one";
}

/// The three questions that a process is asked.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum dynm_probe {
    /// Must it be restarted?
    DYNM_LIVENESS = 1,
    /// May it get requests? Fed by checks of liveness, too.
    DYNM_READINESS = 2,
    /// How is it? Fed by all checks.
    DYNM_HEALTH = 3,
}

/// Where a process is in its life, as it says itself.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum dynm_process_state {
    /// Not ready yet, and that is no fault.
    DYNM_STARTING = 1,
    /// Ready as far as its checks pass.
    DYNM_READY = 2,
    /// Finishes what it has, and wants no more.
    DYNM_DRAINING = 3,
}

/// In `dynm_system_options.flags`: `port` counts; 0 takes a free one.
pub const DYNM_SET_PORT: u32 = 1;
/// In `dynm_system_options.flags`: `DYN_SYSTEM_ENABLED` and the like say whether, where and with which paths; what the options
/// have counts more.
pub const DYNM_FROM_ENV: u32 = 2;
/// In `dynm_system_options.flags`: `/metrics` shows the whole segment unless it is asked for the process's own.
pub const DYNM_WHOLE_SEGMENT: u32 = 4;
/// In `dynm_system_options.flags`: stays DYNM_STARTING until `dynm_system_set_state()`; otherwise it becomes ready once every
/// required check has passed.
pub const DYNM_STARTS_UNTIL_TOLD: u32 = 8;

/// Called once when what was given with it is not needed any more, by whatever thread. Must return.
pub type dynm_destroy = Option<unsafe extern "C" fn(user: *mut c_void)>;

/// Answers a probe in a format of its own: gives it to `dynm_answer_set()` and returns 0; anything else: in our format. Called by
/// threads of the server, several at a time; one that takes longer than 0.25 s is not waited for. Must return.
pub type dynm_format = Option<
    unsafe extern "C" fn(user: *mut c_void, report: *const dynm_report, answer: *const dynm_answer) -> i32,
>;

/// How a server is started; made by `dynm_system_options_init()`. What is 0 or NULL is the default.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct dynm_system_options {
    /// `sizeof(dynm_system_options)`.
    pub struct_size: usize,
    /// The segment to show; NULL: the one that the environment names.
    pub registry: *const dynm_registry,
    /// The address to listen on, or a name; NULL: 0.0.0.0.
    pub host: *const c_char,
    /// One more path of the health probe.
    pub health_path: *const c_char,
    /// One more path of the liveness probe.
    pub live_path: *const c_char,
    /// The application's version, for the answers.
    pub version: *const c_char,
    /// `DYNM_SET_PORT` | `DYNM_FROM_ENV` | `DYNM_WHOLE_SEGMENT` | `DYNM_STARTS_UNTIL_TOLD`.
    pub flags: u32,
    /// The port, with `DYNM_SET_PORT`; otherwise 8081.
    pub port: u32,
    /// Writes the answers of probes; NULL: ours.
    pub format: dynm_format,
    /// For `format` and `destroy`.
    pub user: *mut c_void,
    /// Called when `format` is called no more, also when the start fails.
    pub destroy: dynm_destroy,
}

/// What a probe is answered with, for a `dynm_format`. Valid for the call.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct dynm_report {
    /// `sizeof(dynm_report)`.
    pub struct_size: usize,
    /// A `dynm_probe`.
    pub probe: u32,
    /// 1: it passes, with status 200; 0: 503.
    pub passes: u32,
    /// The answer in a word.
    pub status: *const c_char,
    /// All of it, as JSON.
    pub json: *const c_char,
}

/// A server, as it listens; for `dynm_system_describe()`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct dynm_system_description {
    /// `sizeof(dynm_system_description)`.
    pub struct_size: usize,
    /// "http://127.0.0.1:8081".
    pub url: *const c_char,
    /// "127.0.0.1".
    pub host: *const c_char,
    /// The real port.
    pub port: u32,
    /// A `dynm_process_state`.
    pub state: u32,
}

/// Where a `dynm_format` puts its answer.
pub struct dynm_answer(RefCell<Option<Rendered>>);

/// What the other side has given, until it is destroyed.
pub(crate) struct User {
    data: *mut c_void,
    destroy: dynm_destroy,
}

// SAFETY: the contract of every function that takes one says that any thread may use it.
unsafe impl Send for User {}
// SAFETY: as above.
unsafe impl Sync for User {}

impl User {
    pub(crate) const fn new(data: *mut c_void, destroy: dynm_destroy) -> Self {
        Self { data, destroy }
    }

    pub(crate) const fn data(&self) -> *mut c_void {
        self.data
    }
}

impl Drop for User {
    fn drop(&mut self) {
        if let Some(destroy) = self.destroy {
            // SAFETY: the function that was given for this, once.
            unsafe { destroy(self.data) };
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let status = match &error {
            Error::CheckName { .. } => dynm_status::DYNM_NAME,
            Error::DuplicateCheck { .. } => dynm_status::DYNM_CONFLICT,
            Error::TooManyChecks { .. } => dynm_status::DYNM_FULL,
            Error::AddressInUse { .. } => dynm_status::DYNM_IN_USE,
            Error::Listen { .. } | Error::Thread { .. } => dynm_status::DYNM_IO,
            Error::Forked { .. } | Error::Stopped => dynm_status::DYNM_CLOSED,
            _ => dynm_status::DYNM_OPTION,
        };
        Self::new(status, error.to_string())
    }
}

pub(crate) fn probe_of(number: u32) -> Result<Probe> {
    match number {
        1 => Ok(Probe::Liveness),
        2 => Ok(Probe::Readiness),
        3 => Ok(Probe::Health),
        _ => {
            failure(dynm_status::DYNM_OPTION, format!("probe: found {number}, expected a dynm_probe, 1 to 3"))
        }
    }
}

const fn number_of(probe: Probe) -> u32 {
    match probe {
        Probe::Liveness => 1,
        Probe::Readiness => 2,
        Probe::Health => 3,
    }
}

fn state_of(number: u32) -> Result<State> {
    match number {
        1 => Ok(State::Starting),
        2 => Ok(State::Ready),
        3 => Ok(State::Draining),
        _ => failure(
            dynm_status::DYNM_OPTION,
            format!("state: found {number}, expected a dynm_process_state, 1 to 3"),
        ),
    }
}

/// The answer of the other side's format.
fn rendered(format: dynm_format, user: &User, report: &Report) -> Option<Rendered> {
    let (status, json) = (c_text(report.status), c_text(&report.to_json()));
    let shown = dynm_report {
        struct_size: size_of::<dynm_report>(),
        probe: number_of(report.probe),
        passes: report.passes.into(),
        status: status.as_ptr(),
        json: json.as_ptr(),
    };
    let answer = dynm_answer(RefCell::default());
    // SAFETY: the caller's function, which returns; both are valid for the call.
    let refused = unsafe { format?(user.data(), &raw const shown, &raw const answer) };
    answer.0.into_inner().filter(|_| refused == 0)
}

/// A builder with these options; none where the environment says no.
fn builder(options: &dynm_system_options, user: User) -> Result<Option<Builder>> {
    let flags = options.flags;
    let known = DYNM_SET_PORT | DYNM_FROM_ENV | DYNM_WHOLE_SEGMENT | DYNM_STARTS_UNTIL_TOLD;
    if flags & !known != 0 {
        return failure(dynm_status::DYNM_OPTION, format!("options.flags: found unknown bits in {flags:#x}"));
    }
    let from = if flags & DYNM_FROM_ENV == 0 { Some(System::builder()) } else { Builder::from_env()? };
    let Some(mut builder) = from else { return Ok(None) };
    if !options.registry.is_null() {
        builder = builder.registry(&open(options.registry)?.registry);
    }
    type Put = fn(Builder, &str) -> Builder;
    let texts: [(*const c_char, &'static str, Put); 4] = [
        (options.host, "options.host", |b, text| b.host(text)),
        (options.health_path, "options.health_path", |b, text| b.health_path(text)),
        (options.live_path, "options.live_path", |b, text| b.live_path(text)),
        (options.version, "options.version", |b, text| b.version(text)),
    ];
    for (given, what, put) in texts {
        let given = text_or_empty(given, what)?;
        builder = if given.is_empty() { builder } else { put(builder, given) };
    }
    if flags & DYNM_SET_PORT != 0 {
        builder = match u16::try_from(options.port) {
            Ok(port) => builder.port(port),
            Err(_) => {
                let found = format!("options.port: found {}, expected 0 to 65535", options.port);
                return failure(dynm_status::DYNM_OPTION, found);
            }
        };
    }
    if flags & DYNM_WHOLE_SEGMENT != 0 {
        builder = builder.scope(Scope::Segment);
    }
    if flags & DYNM_STARTS_UNTIL_TOLD != 0 {
        builder = builder.starts_until_told();
    }
    let format = options.format;
    if format.is_some() {
        builder = builder.format_or_ours(move |report| rendered(format, &user, report));
    }
    Ok(Some(builder))
}

static SYSTEMS: List<dynm_system> = List::new();

fn kept(system: System) -> *const dynm_system {
    let address = system.address();
    let (url, host) = (c_text(&format!("http://{address}")), c_text(&address.ip().to_string()));
    SYSTEMS.push(dynm_system { tag: dynm_system::TAG, opens: AtomicU32::new(1), system, url, host })
}

/// Starts a server with threads and a runtime of its own; returns when requests are answered.
///
/// Requires: options from dynm_system_options_init(); `system` not NULL. Guarantees: on success `*system` is the server, or NULL
/// where DYNM_FROM_ENV was asked and the environment says no; on failure NULL. A segment that can't be opened is no
/// failure: `/metrics` and the check "segment" say so. For checks that count from the first request on: start with
/// DYNM_STARTS_UNTIL_TOLD, add them, then set DYNM_READY. Threads: any. Signals: no. After fork: the server
/// stays behind; the child may start one. Cost: threads. Errors: DYNM_IN_USE where the port is taken, DYNM_IO, DYNM_OPTION (also
/// a variable that can't be used), DYNM_NULL, DYNM_UTF8, DYNM_CLOSED, DYNM_WRONG_TYPE.
///
/// # Safety
/// As Requires says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_system_start(
    options: *const dynm_system_options,
    system: *mut *const dynm_system,
) -> dynm_status {
    edge(|| {
        let options = sized(options, "options")?;
        let user = User::new(options.user, options.destroy);
        store(system, std::ptr::null(), "system")?;
        let Some(builder) = builder(&options, user)? else { return Ok(()) };
        store(system, kept(builder.start()?), "system")
    })
}

/// Where a server listens, and the state of its process.
///
/// Requires: a running system; `out->struct_size` set. Guarantees: texts belong to the library and stay. Threads: any.
/// Signals: no. Cost: small. Errors: DYNM_NULL, DYNM_WRONG_TYPE, DYNM_CLOSED, DYNM_OPTION.
///
/// # Safety
/// As Requires says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_system_describe(
    system: *const dynm_system,
    out: *mut dynm_system_description,
) -> dynm_status {
    edge(|| {
        let found = open(system)?;
        let description = dynm_system_description {
            struct_size: 0,
            url: found.url.as_ptr(),
            host: found.host.as_ptr(),
            port: found.system.address().port().into(),
            state: found.system.state() as u32 + 1,
        };
        not_null(out, "out")?;
        give(&description, out, "out")
    })
}

/// Says where the process is in its life: a dynm_process_state.
///
/// Requires: a running system. Threads: any. Signals: no. Cost: small. Errors: DYNM_NULL, DYNM_WRONG_TYPE, DYNM_CLOSED,
/// DYNM_OPTION.
///
/// # Safety
/// As Requires says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_system_set_state(system: *const dynm_system, state: u32) -> dynm_status {
    edge(|| Ok(open(system)?.system.set_state(state_of(state)?)?))
}

/// What a probe would be answered with, as JSON.
///
/// Requires: a running system; a dynm_probe; `text` not NULL; `passes` and `length` not NULL or not wanted.
/// Guarantees: `*passes` is 1 for status 200, else 0; on success `*text` is NUL-terminated and freed with dynm_free(), on failure
/// NULL. Threads: any. Signals: no. Cost: memory. Errors: DYNM_NULL, DYNM_WRONG_TYPE, DYNM_CLOSED, DYNM_OPTION, DYNM_FULL.
///
/// # Safety
/// As Requires says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_system_report(
    system: *const dynm_system,
    probe: u32,
    passes: *mut i32,
    text: *mut *mut c_char,
    length: *mut usize,
) -> dynm_status {
    edge(|| {
        store(text, std::ptr::null_mut(), "text")?;
        let report = open(system)?.system.report(probe_of(probe)?)?;
        let json = c_text(&report.to_json());
        if !passes.is_null() {
            store(passes, report.passes.into(), "passes")?;
        }
        if !length.is_null() {
            store(length, json.as_bytes().len(), "length")?;
        }
        store(text, copy_for_c(json.as_bytes_with_nul())?, "text")
    })
}

/// Stops a server and its checks; the port is free when it returns.
///
/// Requires: a running system. Guarantees: answers on their way have up to 5 seconds; a check that runs is told to stop and not
/// waited for. In a forked child it does nothing. Threads: any, but none of its checks. Signals: no. Errors: DYNM_NULL,
/// DYNM_WRONG_TYPE, DYNM_CLOSED when it was stopped already.
///
/// # Safety
/// As Requires says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_system_stop(system: *const dynm_system) -> dynm_status {
    edge(|| {
        let found = open(system)?;
        found.opens.store(0, Ordering::Release);
        found.system.stop();
        Ok(())
    })
}

/// Answers a probe, in a dynm_format.
///
/// Requires: the `answer` of the call; a media type; `body` of `length` bytes, UTF-8. Guarantees: both are copied; the
/// last call counts. Errors: DYNM_NULL, DYNM_UTF8.
///
/// # Safety
/// As Requires says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_answer_set(
    answer: *const dynm_answer,
    content_type: *const c_char,
    body: *const c_char,
    length: usize,
) -> dynm_status {
    edge(|| {
        not_null(answer, "answer")?;
        let content_type = text(content_type, "content_type")?.to_owned();
        let body = String::from_utf8_lossy(list(body.cast::<u8>(), length, "body")?).into_owned();
        // SAFETY: not null; of the call, as the caller promises, and of one thread.
        let answer = unsafe { &*answer };
        *answer.0.borrow_mut() = Some(Rendered { content_type, body });
        Ok(())
    })
}
