//! What verbs write, written elsewhere than to standard output: for tests.

use std::io::{self, Write};

use dyn_metrics_reader::{Collector, check, encode, raw};

use crate::text::{Style, clean};
use crate::time::now_unix_ns;
use crate::{check as check_verb, dump, info, segment};

/// Writes what `dump` says of the segment at `path`: as a table, and what it complains about. Nothing if nothing of it
/// can be read.
///
/// # Errors
/// Those of `out`.
pub fn table(path: &str, out: &mut dyn Write) -> io::Result<()> {
    let Ok(snapshot) = segment::collect(path, &[]) else { return Ok(()) };
    dump::write_table(&snapshot, Style::PLAIN, out)?;
    segment::complaints(&snapshot).iter().try_for_each(|complaint| writeln!(out, "{}", clean(complaint)))
}

/// Appends what `dump --format json` writes.
pub fn json(path: &str, out: &mut Vec<u8>) {
    encode::json::encode(&Collector::new(&[path.to_owned()]).collect(), out);
}

/// Writes what `dump --raw` and then `info` say.
///
/// # Errors
/// Those of `out`.
pub fn structures(path: &str, out: &mut dyn Write) -> io::Result<()> {
    match raw::read(path) {
        Ok(raw) => {
            dump::raw::write(&raw, Style::PLAIN, out)?;
            info::write(&raw, now_unix_ns(), Style::PLAIN, out)
        }
        Err(error) => writeln!(out, "{}", clean(&error.to_string())),
    }
}

/// Writes what `check` says.
///
/// # Errors
/// Those of `out`.
pub fn check(path: &str, out: &mut dyn Write) -> io::Result<()> {
    match check::check(path) {
        Ok(report) => check_verb::write(&report, Style::PLAIN, out),
        Err(error) => writeln!(out, "{}", clean(&error.to_string())),
    }
}
