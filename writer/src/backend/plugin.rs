//! Registries that are kept by a plugin: a shared object with a table of functions, in C, C++ or anything else.
#![allow(unsafe_code, reason = "calls a plugin's functions")]

mod abi;
mod instrument;
mod lend;
mod load;
mod output;
mod render;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString, c_void};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr::{self, NonNull};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::{Backend, Descriptor, Dropped, Instrument, Selection};
use crate::error::{Error, Result};
use crate::registry::Registry;
use abi::{DYNM_PLUGIN_ERROR, DYNM_PLUGIN_INFINITE, DYNM_PLUGIN_NAN, DYNM_PLUGIN_NEGATIVE};
use abi::{DYNM_PLUGIN_NONE, DYNM_PLUGIN_OK};
use load::{Functions, refusal};
use output::Output;
use render::Renders;

const _: () = {
    assert!(Dropped::Nan as u32 == DYNM_PLUGIN_NAN && Dropped::Negative as u32 == DYNM_PLUGIN_NEGATIVE);
    assert!(Dropped::Infinite as u32 == DYNM_PLUGIN_INFINITE);
};

/// The back end that hands series and updates to a plugin: `dyn_metrics/plugin.h` says what a plugin is,
/// `docs/REGISTRIES.md` how to write one.
///
/// What is checked before any back end is asked is checked here too; of what a plugin answers, statuses, pointers, lengths and
/// encoding. It runs in this process: what it does to memory or the processor nobody can check. In signal handlers and forked
/// children updates are as safe as the plugin's functions are.
#[derive(Debug)]
pub struct Plugin {
    opened: Arc<Opened>,
    within: Duration,
    most: usize,
}

/// A registry of a plugin's.
struct Opened {
    functions: &'static Functions,
    registry: *mut c_void,
    /// `plugin:` and the path.
    name: String,
    renders: Renders,
}

// SAFETY: the header says that a plugin's functions may be called by any thread, with its registry.
unsafe impl Send for Opened {}
// SAFETY: and by several at once.
unsafe impl Sync for Opened {}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        if let Some(close) = self.functions.close {
            // SAFETY: what its `open` gave, once and at last.
            unsafe { close(self.registry) }
        }
    }
}

impl Plugin {
    /// Loads the plugin at `path`, which needs a directory in it, and opens a registry of it with `config`. The object is
    /// never unloaded.
    ///
    /// Safety: this runs the code at `path`.
    ///
    /// # Errors
    /// [`Error::Plugin`] for what is no plugin of this version, and when it refuses.
    pub fn open(path: impl AsRef<Path>, config: &str) -> Result<Self> {
        let path = path.as_ref();
        let functions = load::load(path)?;
        let (mut registry, error) = (ptr::null_mut(), Output::of_error());
        // SAFETY: a function of the plugin's table; what it gets lives until it returns.
        let status = unsafe { (functions.open)(&lend::options(config), &raw mut registry, &error.lend()) };
        if let Err(reason) = outcome(status, &[DYNM_PLUGIN_OK], &error) {
            return Err(refusal(path, format!("an error of open: {reason}"), "a registry"));
        }
        let name = format!("plugin:{}", path.display());
        log::info!("{name}: opened a registry");
        let opened = Arc::new(Opened { functions, registry, name, renders: Renders::default() });
        Ok(Self { opened, within: Duration::from_secs(10), most: 64 << 20 })
    }

    /// How long [`Registry::render`] waits for the plugin: 10 seconds.
    #[must_use]
    pub fn render_within(mut self, time: Duration) -> Self {
        self.within = time;
        self
    }

    /// How many bytes [`Registry::render`] takes: 64 MiB.
    #[must_use]
    pub fn render_at_most(mut self, bytes: usize) -> Self {
        self.most = bytes;
        self
    }

    /// The registry that a variable names.
    pub(crate) fn of_environment(value: &[u8]) -> Result<Registry> {
        // SAFETY: reads a number that the kernel has given to the process.
        if unsafe { libc::getauxval(libc::AT_SECURE) } != 0 {
            let found =
                "a process with more rights than who started it, and the plugin named by the environment";
            let (path, _) = split(value);
            return Err(refusal(&path, found, "a plugin named by the program, Registry::with_plugin()"));
        }
        Self::of_text(value)
    }

    /// The registry of `PATH` or `PATH?CONFIG`: the same for the same text.
    pub(crate) fn of_text(value: &[u8]) -> Result<Registry> {
        static KNOWN: Mutex<BTreeMap<OsString, Registry>> = Mutex::new(BTreeMap::new());
        let (path, config) = split(value);
        let config = str::from_utf8(config)
            .map_err(|_| refusal(&path, "options that are not UTF-8 behind the ?", "UTF-8"))?;
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        let value = OsStr::from_bytes(value);
        if let Some(known) = known.get(value) {
            return Ok(known.clone());
        }
        let registry = Registry::with_plugin(path, config)?;
        known.insert(value.to_owned(), registry.clone());
        Ok(registry)
    }

    fn refuse(&self, metric: &str, reason: impl Into<String>) -> Error {
        Error::backend(self.name(), metric, reason)
    }
}

/// `PATH` and `CONFIG` of `PATH?CONFIG`.
fn split(value: &[u8]) -> (PathBuf, &[u8]) {
    let end = value.iter().position(|byte| *byte == b'?').unwrap_or(value.len());
    (PathBuf::from(OsStr::from_bytes(&value[..end])), value.get(end + 1..).unwrap_or_default())
}

impl Registry {
    /// A registry that the plugin at `path` keeps: see [`Plugin::open`].
    ///
    /// # Errors
    /// As [`Plugin::open`].
    pub fn with_plugin(path: impl AsRef<Path>, config: &str) -> Result<Self> {
        Ok(Self::with_backend(Arc::new(Plugin::open(path, config)?)))
    }
}

/// The status of a function, if it is one of `usual`; otherwise what is wrong.
fn outcome(status: i32, usual: &[i32], error: &Output) -> std::result::Result<i32, String> {
    match status {
        _ if usual.contains(&status) => Ok(status),
        DYNM_PLUGIN_ERROR => Err(error.excuse()),
        _ => Err(format!("found status {status}, expected {DYNM_PLUGIN_ERROR} or one of {usual:?}")),
    }
}

impl Backend for Plugin {
    fn name(&self) -> &str {
        &self.opened.name
    }

    fn family(&self, family: &Descriptor) -> Result<()> {
        let Some(function) = self.opened.functions.family else { return Ok(()) };
        let (registry, error) = (self.opened.registry, Output::of_error());
        let status = lend::descriptor(family, |lent| {
            // SAFETY: a function of the plugin's table; what it gets lives until it returns.
            unsafe { function(registry, lent, &error.lend()) }
        });
        let done = outcome(status, &[DYNM_PLUGIN_OK], &error);
        done.map(drop).map_err(|reason| self.refuse(&family.name, format!("family: {reason}")))
    }

    fn series(&self, series: &Descriptor) -> Result<Option<Arc<dyn Instrument>>> {
        let (opened, error) = (&self.opened, Output::of_error());
        let mut instrument = ptr::null_mut();
        let status = lend::descriptor(series, |lent| {
            // SAFETY: a function of the plugin's table; what it gets lives until it returns.
            unsafe { (opened.functions.series)(opened.registry, lent, &raw mut instrument, &error.lend()) }
        });
        let usual = [DYNM_PLUGIN_OK, DYNM_PLUGIN_NONE];
        match outcome(status, &usual, &error) {
            Err(reason) => Err(self.refuse(&series.name, format!("series: {reason}"))),
            Ok(DYNM_PLUGIN_NONE) => Ok(None),
            Ok(_) => match NonNull::new(instrument) {
                Some(instrument) => Ok(Some(Arc::new(instrument::Series::new(opened, instrument, series)))),
                None => Err(self.refuse(&series.name, "series: found NULL, expected an instrument")),
            },
        }
    }

    fn remove(&self, name: &str, labels: &[(String, String)]) -> Result<()> {
        let unsupported = || Error::Unsupported { registry: self.name().to_owned(), what: "remove a series" };
        let function = self.opened.functions.remove.ok_or_else(unsupported)?;
        let (registry, error) = (self.opened.registry, Output::of_error());
        let status = lend::series(name, labels, |lent| {
            // SAFETY: a function of the plugin's table; what it gets lives until it returns.
            unsafe { function(registry, lent, &error.lend()) }
        });
        match outcome(status, &[DYNM_PLUGIN_OK, DYNM_PLUGIN_NONE], &error) {
            Err(reason) => Err(self.refuse(name, format!("remove: {reason}"))),
            Ok(DYNM_PLUGIN_NONE) => Err(unsupported()),
            Ok(_) => Ok(()),
        }
    }

    fn render(&self, selection: &Selection) -> Result<String> {
        if self.opened.functions.render.is_none() {
            return Err(Error::Unsupported { registry: self.name().to_owned(), what: "render" });
        }
        let text = render::render(&self.opened, selection, self.most, self.within);
        text.map_err(|reason| self.refuse("*", format!("render: {reason}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_stand_behind_the_first_question_mark() {
        let parts = |value: &'static str| split(value.as_bytes());
        assert_eq!(parts("/a/b.so"), (PathBuf::from("/a/b.so"), &b""[..]));
        assert_eq!(parts("/a/b.so?"), (PathBuf::from("/a/b.so"), &b""[..]));
        assert_eq!(parts("/a/b.so?x=1?y"), (PathBuf::from("/a/b.so"), &b"x=1?y"[..]));
        assert_eq!(parts(""), (PathBuf::new(), &b""[..]));
    }

    #[test]
    fn other_statuses_than_those_that_are_named_are_failures() {
        let error = Output::of_error();
        let status = |status, usual: &[i32]| outcome(status, usual, &error);
        assert_eq!(status(DYNM_PLUGIN_NONE, &[0, 1]), Ok(1));
        assert_eq!(status(1, &[0]).unwrap_err(), "found status 1, expected -1 or one of [0]");
        assert_eq!(status(-1, &[0]).unwrap_err(), "no reason is given");
    }
}
