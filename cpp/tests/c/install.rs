//! `make install`, and a program of somebody else's built with what it has installed.

use std::fs;
use std::path::Path;
use std::process::Command;

use dyn_metrics_tests::servers::have;

use crate::library::{archive, assert_done, directory, here, shared_object};

/// Installs the library under test below `root`, as `make install` does.
fn install(root: &Path) {
    let mut make = Command::new("make");
    make.arg("-C")
        .arg(here().join(".."))
        .arg("-s")
        .arg("install-built")
        .arg(format!("DESTDIR={}", root.display()));
    make.arg("PREFIX=/opt/dyn").arg(format!("ARCHIVE={}", archive().display()));
    make.arg(format!("SHARED={}", shared_object().display()));
    assert_done(make.env_remove("MAKEFLAGS").env_remove("MAKELEVEL"));
}

#[test]
fn an_outside_program_builds_with_pkg_config_alone() {
    if !have("pkg-config") {
        return;
    }
    let directory = directory();
    let root = directory.path().join("root");
    install(&root);
    let prefix = root.join("opt/dyn");
    for file in ["lib/libdyn_metrics.a", "lib/libdyn_metrics.so.0", "include/dyn_metrics/layout.h"] {
        assert!(prefix.join(file).exists(), "{file}");
    }
    let program = directory.path().join("hello");
    let mut sh = Command::new("sh");
    sh.arg("-c")
        .arg("cc -std=c11 -Wall -Werror hello.c $(pkg-config --cflags --libs dyn_metrics) -o \"$OUT\"");
    sh.current_dir(here().join("examples")).env("OUT", &program);
    sh.env("PKG_CONFIG_PATH", prefix.join("lib/pkgconfig")).env("PKG_CONFIG_SYSROOT_DIR", &root);
    assert_done(&mut sh);
    assert_says_hello(Command::new(&program).env("LD_LIBRARY_PATH", prefix.join("lib")), directory.path());

    let fixed = directory.path().join("hello_static");
    sh = Command::new("sh");
    sh.arg("-c").arg("cc hello.c -I\"$P/include\" \"$P/lib/libdyn_metrics.a\" $(pkg-config --libs-only-l --static dyn_metrics | sed s/-ldyn_metrics//) -o \"$OUT\"");
    sh.current_dir(here().join("examples")).env("OUT", &fixed).env("P", &prefix);
    sh.env("PKG_CONFIG_PATH", prefix.join("lib/pkgconfig"));
    assert_done(&mut sh);
    assert_says_hello(&mut Command::new(&fixed), directory.path());
}

fn assert_says_hello(command: &mut Command, directory: &Path) {
    let segment = directory.join("hello.segment");
    let _ = fs::remove_file(&segment);
    let output = assert_done(command.env("DYN_METRICS_SHM", segment));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("\nhello_requests_total 3\n"), "{text}");
}
