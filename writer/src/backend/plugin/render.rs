//! A plugin's text, made by a thread that isn't waited for without end.
#![allow(unsafe_code, reason = "calls a plugin's function")]

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::abi::DYNM_PLUGIN_OK;
use super::output::Output;
use super::{Opened, lend, outcome};
use crate::backend::Selection;

/// Those that have not ended in time, and the process that each runs in: a forked child has no such thread.
#[derive(Default)]
pub(super) struct Renders(Mutex<Vec<(u32, Arc<Render>)>>);

/// A rendering: what it has written, and what came of it.
struct Render {
    output: Output,
    ended: Mutex<Option<Result<(), String>>>,
    end: Condvar,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the plugin writes, at most `most` bytes, if it ends `within` that time; otherwise why there is nothing.
pub(super) fn render(
    opened: &Arc<Opened>,
    selection: &Selection,
    most: usize,
    within: Duration,
) -> Result<String, String> {
    opened.renders.check()?;
    let (output, ended) = (Output::new(most), Mutex::default());
    let render = Arc::new(Render { output, ended, end: Condvar::new() });
    let theirs = (Arc::clone(opened), selection.clone(), Arc::clone(&render));
    let run = move || {
        let (opened, selection, render) = theirs;
        let done = call(&opened, &selection, &render.output);
        *locked(&render.ended) = Some(done);
        render.end.notify_all();
    };
    let started = thread::Builder::new().name("dynm-render".to_owned()).spawn(run);
    started.map_err(|error| format!("found no thread to have ({error}), expected one"))?;
    let ended = render.end.wait_timeout_while(locked(&render.ended), within, |ended| ended.is_none());
    let done = ended.unwrap_or_else(PoisonError::into_inner).0.take();
    match done {
        Some(done) => {
            let text = render.output.text()?;
            done.map(|()| text)
        }
        None => {
            render.output.end("nobody waits for it any more");
            locked(&opened.renders.0).push((std::process::id(), render));
            Err(format!("found no end after {within:?}, expected one"))
        }
    }
}

/// Has the plugin write.
fn call(opened: &Opened, selection: &Selection, output: &Output) -> Result<(), String> {
    let Some(function) = opened.functions.render else { return Ok(()) };
    let error = Output::of_error();
    let status = lend::selection(selection, |lent| {
        // SAFETY: a function of the plugin's table; what it gets lives until it returns.
        unsafe { function(opened.registry, lent, &output.lend(), &error.lend()) }
    });
    outcome(status, &[DYNM_PLUGIN_OK], &error).map(drop)
}

impl Renders {
    /// Refuses to start another one while one is late: so there are no more such threads than callers at one time.
    fn check(&self) -> Result<(), String> {
        let mut late = locked(&self.0);
        late.retain(|(process, render)| *process == std::process::id() && locked(&render.ended).is_none());
        match late.is_empty() {
            true => Ok(()),
            false => Err("found an earlier one that has not ended, expected its end".to_owned()),
        }
    }
}
