//! Registry plugins, compiled for a test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::UNIX_EPOCH;

use crate::servers::have;

/// The root of the sources.
fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The plugin of `cpp/examples/plugin`; none without a compiler, which is an error in CI.
#[must_use]
pub fn sample() -> Option<PathBuf> {
    have("c++").then(|| compiled(&sources().join("cpp/examples/plugin/sample_plugin.cpp"), &[]))
}

/// A plugin of `tests/data/plugins`, with these further flags; the same.
#[must_use]
pub fn of_test(source: &str, flags: &[&str]) -> Option<PathBuf> {
    have("c++").then(|| compiled(&sources().join("tests/data/plugins").join(source), flags))
}

/// A plugin of a source of the test's own, beside it; the same.
#[must_use]
pub fn of_source(source: &Path) -> Option<PathBuf> {
    let out = source.with_extension("so");
    have("c++").then(|| compile(source, &[], &out)).map(|()| out)
}

/// The shared object of a source, compiled once for all tests, whose processes are many.
fn compiled(source: &Path, flags: &[&str]) -> PathBuf {
    let headers = ["plugin.h", "plugin.hpp"].map(|name| sources().join("cpp/include/dyn_metrics").join(name));
    let changed = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
    let newest = headers.iter().fold(changed(source), |newest, header| newest.max(changed(header)));
    let age = newest.duration_since(UNIX_EPOCH).unwrap().as_nanos();
    let stem = source.file_stem().unwrap().to_string_lossy();
    let deps = std::env::current_exe().unwrap().parent().unwrap().to_owned();
    let place = deps.join(format!("{stem}{}-{age}.so", flags.concat()));
    if place.exists() {
        return place;
    }
    // Another test may be at it: the last one's object is as good.
    let made = tempfile::NamedTempFile::new_in(&deps).unwrap().into_temp_path();
    compile(source, flags, &made);
    made.persist(&place).unwrap();
    place
}

fn compile(source: &Path, flags: &[&str], out: &Path) {
    let is_c = source.extension().is_some_and(|extension| extension == "c");
    let mut command = if is_c { Command::new("cc") } else { Command::new("c++") };
    command.args(["-O1", "-g1", "-shared", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror"]);
    command.arg(if is_c { "-std=c11" } else { "-std=c++17" }).arg("-D_DEFAULT_SOURCE").args(flags);
    command.arg("-I").arg(sources().join("cpp/include")).arg(source).arg("-o").arg(out);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
