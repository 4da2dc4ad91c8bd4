//! Statuses, the message of the last error, and the edge that no panic crosses.

use std::cell::Cell;
use std::ffi::{CStr, CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

use dyn_metrics::{Error, LayoutError};

/// What a function says of its call: 0 or more is good, below 0 is why not.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum dynm_status {
    /// Done.
    DYNM_OK = 0,
    /// A pointer that must not be is NULL; handles too.
    DYNM_NULL = -1,
    /// A handle of something that was closed.
    DYNM_CLOSED = -2,
    /// A handle of another type than the function is for, or none of this library.
    DYNM_WRONG_TYPE = -3,
    /// A text is not UTF-8.
    DYNM_UTF8 = -4,
    /// An option is out of range, unknown, or not for this type of metric.
    DYNM_OPTION = -5,
    /// A name is not allowed.
    DYNM_NAME = -6,
    /// A label is reserved or occurs twice, or the number of values is not that of the names.
    DYNM_LABELS = -7,
    /// Bounds of a histogram or states of a state set are not usable.
    DYNM_BOUNDS = -8,
    /// The metric exists with another type, unit, bounds, mode or states, or its samples would clash with
    /// another's.
    DYNM_CONFLICT = -9,
    /// No space.
    DYNM_FULL = -10,
    /// The kernel or the file's owner forbids it.
    DYNM_PERMISSION = -11,
    /// What is at the path is not a segment, or is damaged.
    DYNM_NOT_SEGMENT = -12,
    /// The segment is of a version that this library doesn't know: a newer library is needed.
    DYNM_NEWER_SEGMENT = -13,
    /// The program was compiled with a header newer than this library, and uses what is new in it.
    DYNM_OLD_LIBRARY = -14,
    /// No such series or state.
    DYNM_NOT_FOUND = -15,
    /// A replacement was refused because the segment is in use, or a port is taken.
    DYNM_IN_USE = -16,
    /// A system call failed.
    DYNM_IO = -17,
    /// A fault in this library.
    DYNM_INTERNAL = -99,
}

impl dynm_status {
    const fn name(self) -> &'static CStr {
        match self {
            Self::DYNM_OK => c"DYNM_OK",
            Self::DYNM_NULL => c"DYNM_NULL",
            Self::DYNM_CLOSED => c"DYNM_CLOSED",
            Self::DYNM_WRONG_TYPE => c"DYNM_WRONG_TYPE",
            Self::DYNM_UTF8 => c"DYNM_UTF8",
            Self::DYNM_OPTION => c"DYNM_OPTION",
            Self::DYNM_NAME => c"DYNM_NAME",
            Self::DYNM_LABELS => c"DYNM_LABELS",
            Self::DYNM_BOUNDS => c"DYNM_BOUNDS",
            Self::DYNM_CONFLICT => c"DYNM_CONFLICT",
            Self::DYNM_FULL => c"DYNM_FULL",
            Self::DYNM_PERMISSION => c"DYNM_PERMISSION",
            Self::DYNM_NOT_SEGMENT => c"DYNM_NOT_SEGMENT",
            Self::DYNM_NEWER_SEGMENT => c"DYNM_NEWER_SEGMENT",
            Self::DYNM_OLD_LIBRARY => c"DYNM_OLD_LIBRARY",
            Self::DYNM_NOT_FOUND => c"DYNM_NOT_FOUND",
            Self::DYNM_IN_USE => c"DYNM_IN_USE",
            Self::DYNM_IO => c"DYNM_IO",
            Self::DYNM_INTERNAL => c"DYNM_INTERNAL",
        }
    }

    const EVERY: [Self; 19] = [
        Self::DYNM_OK,
        Self::DYNM_NULL,
        Self::DYNM_CLOSED,
        Self::DYNM_WRONG_TYPE,
        Self::DYNM_UTF8,
        Self::DYNM_OPTION,
        Self::DYNM_NAME,
        Self::DYNM_LABELS,
        Self::DYNM_BOUNDS,
        Self::DYNM_CONFLICT,
        Self::DYNM_FULL,
        Self::DYNM_PERMISSION,
        Self::DYNM_NOT_SEGMENT,
        Self::DYNM_NEWER_SEGMENT,
        Self::DYNM_OLD_LIBRARY,
        Self::DYNM_NOT_FOUND,
        Self::DYNM_IN_USE,
        Self::DYNM_IO,
        Self::DYNM_INTERNAL,
    ];
}

/// The text of a failure: of those that an update may give, one that needs no memory.
pub(crate) enum Message {
    Borrowed(&'static CStr),
    Owned(String),
}

impl From<&'static CStr> for Message {
    fn from(text: &'static CStr) -> Self {
        Self::Borrowed(text)
    }
}

impl From<String> for Message {
    fn from(text: String) -> Self {
        Self::Owned(text)
    }
}

/// Why a call failed.
pub(crate) struct Failure {
    status: dynm_status,
    message: Message,
}

pub(crate) type Result<T> = std::result::Result<T, Failure>;

#[cfg(feature = "system")]
impl Failure {
    pub(crate) fn new(status: dynm_status, message: String) -> Self {
        Self { status, message: Message::Owned(message) }
    }
}

/// A failure with this status and message.
pub(crate) fn failure<T>(status: dynm_status, message: impl Into<Message>) -> Result<T> {
    Err(Failure { status, message: message.into() })
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let status = status_of(&error);
        let remedy = match status {
            dynm_status::DYNM_NEWER_SEGMENT => {
                "; install a libdyn_metrics as new as the writer of the segment"
            }
            _ => "",
        };
        Self { status, message: Message::Owned(format!("{error}{remedy}")) }
    }
}

const fn status_of(error: &Error) -> dynm_status {
    use dynm_status::*;
    match error {
        Error::Permission { .. } | Error::Owner { .. } => DYNM_PERMISSION,
        Error::Format { source, .. } | Error::Damaged { source, .. } => match source {
            LayoutError::BadVersion { .. } | LayoutError::UnknownFeatures { .. } => DYNM_NEWER_SEGMENT,
            _ => DYNM_NOT_SEGMENT,
        },
        Error::NotRegular { .. } | Error::Links { .. } => DYNM_NOT_SEGMENT,
        Error::Full { .. } => DYNM_FULL,
        Error::InUse { .. } | Error::Busy { .. } => DYNM_IN_USE,
        Error::Plugin { .. } | Error::Backend { .. } | Error::Unsupported { .. } => DYNM_OPTION,
        Error::Option { .. } | Error::MetricOption { .. } | Error::Unit { .. } | Error::TooLong { .. } => {
            DYNM_OPTION
        }
        Error::Name { .. } => DYNM_NAME,
        Error::ReservedLabel { .. }
        | Error::DuplicateLabel { .. }
        | Error::AutomaticLabel { .. }
        | Error::LabelCount { .. } => DYNM_LABELS,
        Error::Bounds { .. } | Error::States { .. } => DYNM_BOUNDS,
        Error::Conflict { .. } | Error::Clash { .. } => DYNM_CONFLICT,
        _ => DYNM_IO,
    }
}

thread_local! {
    /// The text of the last failure: static, or the one in `KEPT`.
    static SHOWN: Cell<*const c_char> = const { Cell::new(c"".as_ptr()) };
    static KEPT: Kept = const { Kept(Cell::new(None)) };
}

/// The last message of a thread that needed memory.
struct Kept(Cell<Option<CString>>);

impl Drop for Kept {
    fn drop(&mut self) {
        SHOWN.set(c"".as_ptr());
    }
}

/// Keeps a failure's message for [`dynm_last_error`].
///
/// A static one needs no memory and frees none: a signal handler's update may fail in the middle of malloc().
fn failed(failure: Failure) -> dynm_status {
    match failure.message {
        Message::Borrowed(text) => SHOWN.set(text.as_ptr()),
        Message::Owned(text) => {
            let text = CString::new(text.replace('\0', "")).unwrap_or_default();
            let shown = text.as_ptr();
            // A thread that is ending has no message any more. The one before is freed when it is not shown any more.
            if let Ok(before) = KEPT.try_with(|kept| kept.0.replace(Some(text))) {
                SHOWN.set(shown);
                drop(before);
            }
        }
    }
    failure.status
}

/// Runs the body of a function that C calls: gives its status and keeps the message of a failure.
///
/// A panic, which would be a fault of ours, ends here.
pub(crate) fn edge(body: impl FnOnce() -> Result<()>) -> dynm_status {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => dynm_status::DYNM_OK,
        Ok(Err(failure)) => failed(failure),
        Err(payload) => {
            std::mem::forget(payload); // dropping it may panic, too
            let message = Message::Borrowed(c"a fault in libdyn_metrics, whose panic was caught: report it");
            failed(Failure { status: dynm_status::DYNM_INTERNAL, message })
        }
    }
}

/// What the last call that failed in this thread had to say: one line, with the remedy where there is one.
///
/// Guarantees: never NULL; empty when no call has failed. The text belongs to the library and stays until the
/// next call that fails in this thread. Threads: each has its own. Signals: no. Cost: a read. Errors: none.
#[unsafe(no_mangle)]
pub extern "C" fn dynm_last_error() -> *const c_char {
    SHOWN.get()
}

/// The name of a status, for people: "DYNM_FULL".
///
/// Guarantees: never NULL ("unknown status" for other numbers); static. Threads, signals: any. Errors: none.
#[unsafe(no_mangle)]
pub extern "C" fn dynm_status_name(status: i32) -> *const c_char {
    let known = dynm_status::EVERY.iter().find(|known| **known as i32 == status);
    known.map_or(c"unknown status", |known| known.name()).as_ptr()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last() -> String {
        // SAFETY: never null.
        unsafe { CStr::from_ptr(dynm_last_error()) }.to_string_lossy().into_owned()
    }

    #[test]
    fn a_panic_ends_at_the_edge() {
        assert_eq!(edge(|| panic!("a fault")), dynm_status::DYNM_INTERNAL);
        assert!(last().contains("report it"), "{}", last());
    }

    #[test]
    fn a_message_stays_until_the_next_failure_of_its_thread() {
        assert_eq!(last(), "");
        let full = || failure(dynm_status::DYNM_FULL, "no\0 space".to_owned());
        assert_eq!(edge(full), dynm_status::DYNM_FULL);
        std::thread::spawn(|| assert_eq!(last(), "")).join().unwrap();
        assert_eq!(edge(|| Ok(())), dynm_status::DYNM_OK);
        assert_eq!(last(), "no space");
    }

    #[test]
    fn a_static_message_frees_no_other() {
        assert_eq!(
            edge(|| failure(dynm_status::DYNM_FULL, "one in memory".to_owned())),
            dynm_status::DYNM_FULL
        );
        assert_eq!(edge(|| failure(dynm_status::DYNM_NULL, c"a static one")), dynm_status::DYNM_NULL);
        assert_eq!(last(), "a static one");
        let kept = KEPT.with(|kept| kept.0.take()).unwrap();
        assert_eq!(kept.to_str().unwrap(), "one in memory");
    }

    #[test]
    fn every_status_has_a_name_and_a_number_of_its_own() {
        for (at, status) in dynm_status::EVERY.into_iter().enumerate() {
            assert_eq!(status.name().to_string_lossy(), format!("{status:?}"));
            assert!(dynm_status::EVERY[..at].iter().all(|other| *other as i32 > status as i32));
        }
    }
}
