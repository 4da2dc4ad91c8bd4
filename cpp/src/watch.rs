//! Callbacks on changes and thresholds.
#![allow(clippy::disallowed_types, reason = "words of this process, never in the segment")]

use std::ffi::{CString, c_char, c_void};
use std::ptr;
use std::time::{Duration, UNIX_EPOCH};

use dyn_metrics::watch::{Event, Subscription, Threshold, Watched};

use crate::handles::{List, Tagged, c_text, dynm_metric, dynm_registry, object, open};
use crate::input::{give, labels, sized, store, text};
use crate::registry::Labels;
use crate::status::{Result, dynm_status, edge, failure};
use crate::types::dynm_label;

/// A subscription, of dynm_on_change() or dynm_on_threshold().
#[repr(C)]
pub struct dynm_subscription {
    tag: u64,
    own: Subscription,
}

impl Tagged for dynm_subscription {
    const TAG: u64 = u64::from_le_bytes(*b"dynm_sub");
    const NULL: &'static std::ffi::CStr = c"the subscription is NULL; look at the status of its making";
    const WRONG: &'static std::ffi::CStr = c"found no dynm_subscription where one is expected";
}

/// Which values are watched: those of `metric`, or of the family called `name`, or what `compute` gives.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct dynm_watched {
    /// sizeof(dynm_watched).
    pub struct_size: usize,
    /// A series, or NULL.
    pub metric: *const dynm_metric,
    /// Name of a family as it was registered in the registry, which needs not exist yet; with `compute` what it gives is
    /// called; NULL with a metric.
    pub name: *const c_char,
    /// Of a family only series with these labels.
    pub labels: *const dynm_label,
    /// How many.
    pub label_count: usize,
    /// Gives a value, or is NULL.
    pub compute: dynm_compute,
}

/// A change, or a threshold that was crossed; valid until the callback returns.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct dynm_event {
    /// Bytes of this structure as the library knows it.
    pub struct_size: usize,
    /// The family's exposed name.
    pub name: *const c_char,
    /// Labels, the segment's common ones included.
    pub labels: *const dynm_label,
    /// How many.
    pub label_count: usize,
    /// The value before, where `has_old` is 1.
    pub old_value: f64,
    /// The value now, where `has_value` is 1.
    pub value: f64,
    /// 0 where there was no such series.
    pub has_old: u32,
    /// 0 where the series is gone, or nobody who lives has set it.
    pub has_value: u32,
    /// When it was seen, nanoseconds since 1970.
    pub time_unix_ns: i64,
}

/// What has become of a subscription's events.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct dynm_watch_counts {
    /// sizeof(dynm_watch_counts).
    pub struct_size: usize,
    /// Calls that have ended.
    pub calls: u64,
    /// Events that later ones of the same series have replaced before the callback was free.
    pub coalesced: u64,
    /// For how many nanoseconds the call under way has been running; 0 when none is.
    pub running_ns: u64,
}

// SAFETY: a size first, then pointers and numbers.
unsafe impl crate::input::Sized_ for dynm_watched {}
// SAFETY: as above.
unsafe impl crate::input::Sized_ for dynm_watch_counts {}

/// Called with an event, on a thread of the library. Must return: no exception and no longjmp may leave it.
pub type dynm_watch_callback = Option<unsafe extern "C" fn(user: *mut c_void, event: *const dynm_event)>;

/// Gives a value: 1 when it has stored one in `*value`, 0 when there is none now. Called about every 5 ms, on a thread of
/// the library, first by the subscribing call itself.
pub type dynm_compute = Option<unsafe extern "C" fn(user: *mut c_void, value: *mut f64) -> i32>;

/// Called once when `user` is not needed any more.
pub type dynm_watch_destroy = Option<unsafe extern "C" fn(user: *mut c_void)>;

/// On which side of the limit a threshold is crossed.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum dynm_side {
    /// By a greater value.
    DYNM_ABOVE = 1,
    /// By a smaller value.
    DYNM_BELOW = 2,
}

/// The caller's object, and what ends it.
struct User {
    user: *mut c_void,
    destroy: dynm_watch_destroy,
}

// SAFETY: the caller promises that its functions may be called from any thread.
unsafe impl Send for User {}
// SAFETY: as above.
unsafe impl Sync for User {}

impl Drop for User {
    fn drop(&mut self) {
        if let Some(destroy) = self.destroy {
            // SAFETY: the caller's function for its object, called once.
            unsafe { destroy(self.user) };
        }
    }
}

impl User {
    fn tell(&self, callback: unsafe extern "C" fn(*mut c_void, *const dynm_event), event: &Event) {
        let name: CString = c_text(event.name());
        let labels = Labels::new(event.labels().iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let since = event.time().duration_since(UNIX_EPOCH).unwrap_or_default();
        let view = dynm_event {
            struct_size: size_of::<dynm_event>(),
            name: name.as_ptr(),
            labels: labels.list().as_ptr(),
            label_count: labels.list().len(),
            old_value: event.old().unwrap_or(0.0),
            value: event.value().unwrap_or(0.0),
            has_old: event.old().is_some().into(),
            has_value: event.value().is_some().into(),
            time_unix_ns: since.as_nanos() as i64,
        };
        // SAFETY: the caller's function, which returns; the view is valid for the call.
        unsafe { callback(self.user, &raw const view) };
    }

    fn compute(&self, compute: unsafe extern "C" fn(*mut c_void, *mut f64) -> i32) -> Option<f64> {
        let mut value = 0.0;
        // SAFETY: the caller's function, which returns; the value may be written.
        let has_value = unsafe { compute(self.user, &raw mut value) };
        (has_value != 0).then_some(value)
    }
}

/// What the caller wants to be watched.
fn watched(given: &dynm_watched, user: &std::sync::Arc<User>) -> Result<Watched> {
    if !given.metric.is_null() {
        return match given.name.is_null() && given.compute.is_none() && given.label_count == 0 {
            true => Ok(object(given.metric)?.handle.watched()),
            false => {
                let message = c"watched: found a metric and more, expected a metric alone, or a name";
                failure(dynm_status::DYNM_OPTION, message)
            }
        };
    }
    let name = text(given.name, "watched.name")?;
    if let Some(compute) = given.compute {
        let user = std::sync::Arc::clone(user);
        return Ok(Watched::computed(name, move || user.compute(compute)));
    }
    let pairs = labels(given.labels, given.label_count, "watched.labels")?;
    Ok(pairs.iter().fold(Watched::family(name), |watched, (name, value)| watched.matching(name, value)))
}

/// What both subscribing functions do.
fn subscribe(
    registry: *const dynm_registry,
    given: *const dynm_watched,
    threshold: Option<Threshold>,
    callback: dynm_watch_callback,
    user: User,
    subscription: *mut *const dynm_subscription,
) -> Result<()> {
    let user = std::sync::Arc::new(user);
    store(subscription, ptr::null(), "subscription")?;
    let registry = &open(registry)?.registry;
    let Some(callback) = callback else { return failure(dynm_status::DYNM_NULL, c"callback is NULL") };
    let watched = watched(&sized(given, "watched")?, &user)?;
    let tell = move |event: &Event| user.tell(callback, event);
    let own = match threshold {
        None => registry.on_change(watched, tell)?,
        Some(threshold) => registry.on_threshold(watched, threshold, tell)?,
    };
    let made = SUBSCRIPTIONS.push(dynm_subscription { tag: dynm_subscription::TAG, own });
    store(subscription, made, "subscription")
}

/// A list, so that what looks for leaks finds them: they stay, since who uses one that has ended gets an answer.
static SUBSCRIPTIONS: List<dynm_subscription> = List::new();

/// Calls `callback` whenever a value of what is watched has changed, whichever process has set it.
///
/// Requires: `registry` a registry; `watched` from dynm_watched_init(); `callback` not NULL; `subscription` not NULL.
/// Guarantees: calls come from threads of the library, one at a time, until dynm_subscription_cancel(); while one runs, of
/// each series the newest event waits. `destroy`, unless NULL, is called once with `user`, when no call comes any more:
/// by the thread that cancels, or on which the last call ends; also when this function fails. Updates cost
/// what they cost before. A forked child has no subscriptions. Threads: any. Signals: no. Cost: system calls, a thread, and
/// memory, of which some hundred bytes are never freed. Errors: DYNM_NULL, DYNM_WRONG_TYPE, DYNM_CLOSED, DYNM_UTF8,
/// DYNM_OPTION, DYNM_NAME, DYNM_IO (no thread, or a metric that is not of the registry's segment).
///
/// # Safety
/// As Requires says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_on_change(
    registry: *const dynm_registry,
    watched: *const dynm_watched,
    callback: dynm_watch_callback,
    user: *mut c_void,
    destroy: dynm_watch_destroy,
    subscription: *mut *const dynm_subscription,
) -> dynm_status {
    let user = User { user, destroy };
    edge(|| subscribe(registry, watched, None, callback, user, subscription))
}

/// Calls `callback` whenever a value of what is watched crosses `limit` to `side`, a dynm_side: at once if it is there
/// already, and again only after it has come back behind the limit by `hysteresis`, or was gone.
///
/// Requires, Guarantees, Threads, Signals, Cost: as dynm_on_change(). Errors: as there, and DYNM_OPTION for a limit or a
/// hysteresis that is not finite, and for one below 0.
///
/// # Safety
/// As Requires says.
#[unsafe(no_mangle)]
#[allow(clippy::too_many_arguments, reason = "C has no other way")]
pub unsafe extern "C" fn dynm_on_threshold(
    registry: *const dynm_registry,
    watched: *const dynm_watched,
    side: u32,
    limit: f64,
    hysteresis: f64,
    callback: dynm_watch_callback,
    user: *mut c_void,
    destroy: dynm_watch_destroy,
    subscription: *mut *const dynm_subscription,
) -> dynm_status {
    let user = User { user, destroy };
    edge(|| {
        let threshold = match side {
            side if side == dynm_side::DYNM_ABOVE as u32 => Threshold::above(limit),
            side if side == dynm_side::DYNM_BELOW as u32 => Threshold::below(limit),
            _ => {
                let message = format!("side: found {side}, expected DYNM_ABOVE or DYNM_BELOW");
                return failure(dynm_status::DYNM_OPTION, message);
            }
        };
        let threshold = Some(threshold.hysteresis(hysteresis));
        subscribe(registry, watched, threshold, callback, user, subscription)
    })
}

/// Ends a subscription: no call begins any more. Waits at most `most_ns` nanoseconds for one that is under way, unless
/// that is the caller's own. Another time it only waits.
///
/// Requires: a subscription. Guarantees: DYNM_OK when no call is under way, which is then also true for ever; DYNM_IN_USE
/// when one still runs. Threads: any, also in the callback. Signals: no. Cost: no system call but for the wait. Errors:
/// DYNM_NULL, DYNM_WRONG_TYPE, DYNM_IN_USE.
///
/// # Safety
/// As Requires says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_subscription_cancel(
    subscription: *const dynm_subscription,
    most_ns: u64,
) -> dynm_status {
    edge(|| {
        let own = &object(subscription)?.own;
        if own.cancel_and_wait(Duration::from_nanos(most_ns)) {
            return Ok(());
        }
        failure(
            dynm_status::DYNM_IN_USE,
            c"the subscription has ended, but a call of its callback still runs",
        )
    })
}

/// What has become of a subscription's events.
///
/// Requires: a subscription; `counts` with its struct_size set. Threads: any. Signals: no. Errors: DYNM_NULL,
/// DYNM_WRONG_TYPE, DYNM_OPTION.
///
/// # Safety
/// As Requires says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_subscription_counts(
    subscription: *const dynm_subscription,
    counts: *mut dynm_watch_counts,
) -> dynm_status {
    edge(|| {
        let found = object(subscription)?.own.counts();
        let running_ns = found.running.map_or(0, |running| running.as_nanos().max(1) as u64);
        let known =
            dynm_watch_counts { struct_size: 0, calls: found.calls, coalesced: found.coalesced, running_ns };
        give(&known, counts, "counts")
    })
}
