//! The shared object under test, and programs compiled against it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The directory of this crate.
pub fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn deps() -> PathBuf {
    std::env::current_exe().unwrap().parent().unwrap().to_owned()
}

/// The archive that cargo has built with this test: the newest, since every change makes one.
pub fn archive() -> PathBuf {
    let files = fs::read_dir(deps()).unwrap().map(|entry| entry.unwrap().path());
    let is_ours = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        name.starts_with("libdyn_metrics_c-") && name.ends_with(".a")
    };
    let built = |path: &PathBuf| fs::metadata(path).unwrap().modified().unwrap();
    files.filter(is_ours).max_by_key(built).expect("cargo builds the archive before the tests")
}

/// A directory with `libdyn_metrics.so` and its links, linked from the newest archive; once for all tests.
pub fn shared_object() -> PathBuf {
    let archive = archive();
    let changed = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
    let others = ["link.sh", "libdyn_metrics.map"].map(|name| changed(&here().join(name)));
    let built = others.into_iter().fold(changed(&archive), std::cmp::max);
    let age = built.duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    let stem = archive.file_stem().unwrap().to_string_lossy().into_owned();
    let place = deps().join(format!("{stem}-{age}"));
    if place.exists() {
        return place;
    }
    let made = tempfile::tempdir_in(deps()).unwrap();
    assert_done(Command::new(here().join("link.sh")).arg(&archive).arg(made.path()));
    // Another test may have been faster: its library is the same.
    if fs::rename(made.path(), &place).is_ok() {
        let _ = made.keep();
    }
    place
}

/// Runs `command`, which must succeed.
pub fn assert_done(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}\n{err}", output.status);
    output
}

const WARNINGS: [&str; 5] = ["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-g1"];

/// A command that compiles with all warnings as errors.
pub fn compiler(name: &str, standard: &str) -> Command {
    let mut command = Command::new(name);
    command.arg(standard).args(WARNINGS);
    for include in ["include", "tests/c"] {
        command.arg("-I").arg(here().join(include));
    }
    command
}

/// A program of this directory, compiled into `directory` and linked with the shared object.
pub fn program(directory: &Path, name: &str) -> PathBuf {
    linked(directory, &here().join(format!("tests/c/{name}.c")))
}

/// The program of `source`, compiled into `directory` and linked with the shared object.
pub fn linked(directory: &Path, source: &Path) -> PathBuf {
    let (out, library) = (directory.join(source.file_stem().unwrap()), shared_object());
    let is_cpp = source.extension().is_some_and(|extension| extension == "cpp");
    let mut cc = if is_cpp { compiler("c++", "-std=c++17") } else { compiler("cc", "-std=c11") };
    cc.arg(source).arg("-o").arg(&out).arg("-L").arg(&library);
    cc.arg("-ldyn_metrics").arg(format!("-Wl,-rpath,{}", library.display()));
    assert_done(&mut cc);
    out
}

/// A private directory in shared memory.
pub fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap()
}
