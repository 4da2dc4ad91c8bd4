//! `make install`, and projects of somebody else's built with what it has installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use dyn_metrics::Registry;
use dyn_metrics_tests::servers::have;

use crate::library::{archive, assert_done, directory, here, shared_object};

/// The library under test, installed as `make install` does with a DESTDIR.
struct Installed {
    root: PathBuf,
    prefix: PathBuf,
}

impl Installed {
    fn below(root: &Path) -> Self {
        let mut make = Command::new("make");
        make.arg("-C")
            .arg(here().join(".."))
            .arg("-s")
            .arg("install-built")
            .arg(format!("DESTDIR={}", root.display()));
        make.arg("PREFIX=/opt/dyn").arg(format!("ARCHIVE={}", archive().display()));
        make.arg(format!("SHARED={}", shared_object().display()));
        assert_done(make.env_remove("MAKEFLAGS").env_remove("MAKELEVEL"));
        Self { root: root.to_owned(), prefix: root.join("opt/dyn") }
    }

    /// A shell command in the outside project, with this installation for pkg-config.
    fn shell(&self, script: &str, out: &Path) {
        let mut sh = Command::new("sh");
        sh.args(["-ec", script]).current_dir(outside()).env("OUT", out).env("LIB", self.prefix.join("lib"));
        sh.env("PKG_CONFIG_PATH", self.prefix.join("lib/pkgconfig"));
        assert_done(sh.env("PKG_CONFIG_SYSROOT_DIR", &self.root));
    }

    /// Configures the outside project in `build`: whether that succeeded, and what CMake said.
    fn configure(&self, build: &Path, wanted: &str) -> (bool, String) {
        let mut cmake = Command::new("cmake");
        cmake.arg("-S").arg(outside()).arg("-B").arg(build).arg(format!("-DWANTED={wanted}"));
        let done = cmake.arg(format!("-DCMAKE_PREFIX_PATH={}", self.prefix.display())).output().unwrap();
        (done.status.success(), String::from_utf8(done.stderr).unwrap())
    }
}

fn outside() -> PathBuf {
    here().join("tests/outside")
}

/// Runs a program of the outside project, which counts to 3.
fn assert_counts(command: &mut Command) {
    let directory = directory();
    let output = assert_done(command.env("DYN_METRICS_SHM", directory.path().join("s")));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("\noutside_requests_total 3\n"), "{text}");
}

#[test]
fn every_header_is_installed() {
    let directory = directory();
    let prefix = Installed::below(directory.path()).prefix;
    for folder in ["", "dyn_metrics"] {
        for header in fs::read_dir(here().join("include").join(folder)).unwrap() {
            let header = header.unwrap();
            if header.file_type().unwrap().is_file() {
                let there = prefix.join("include").join(folder).join(header.file_name());
                assert_eq!(fs::read(header.path()).unwrap(), fs::read(&there).unwrap(), "{there:?}");
            }
        }
    }
    assert!(prefix.join("include/dyn_metrics/layout.h").exists());
}

#[test]
fn outside_programs_build_with_pkg_config_alone() {
    if !have("pkg-config") {
        return;
    }
    let directory = directory();
    let installed = Installed::below(&directory.path().join("root"));
    let program = directory.path().join("hello");
    let shared = "-Wall -Wextra -Wpedantic -Werror $(pkg-config --cflags --libs dyn_metrics) -o \"$OUT\"";
    for compiler in ["cc -std=c11 hello.c", "c++ -std=c++17 hello.cpp"] {
        installed.shell(&format!("{compiler} {shared}"), &program);
        let without_library = Command::new(&program).output().unwrap();
        assert!(!without_library.status.success(), "it is the shared object that was linked");
        assert_counts(Command::new(&program).env("LD_LIBRARY_PATH", installed.prefix.join("lib")));
    }
}

#[test]
fn outside_programs_link_the_archive_with_pkg_config_alone() {
    if !have("pkg-config") {
        return;
    }
    let directory = directory();
    let installed = Installed::below(&directory.path().join("root"));
    let program = directory.path().join("hello");
    // The whole program static, and of its libraries only this one.
    let whole = "-static $(pkg-config --static --cflags --libs dyn_metrics)";
    let one = "$(pkg-config --cflags dyn_metrics) -L\"$LIB\" -Wl,-Bstatic -ldyn_metrics -Wl,-Bdynamic -lm";
    for compiler in ["cc -std=c11 hello.c", "c++ -std=c++17 hello.cpp"] {
        for libraries in [whole, one] {
            installed.shell(&format!("{compiler} {libraries} -o \"$OUT\""), &program);
            assert_counts(&mut Command::new(&program));
        }
    }
}

#[test]
fn an_outside_cmake_project_finds_the_package_wherever_it_was_moved() {
    if !have("cmake") {
        return;
    }
    let directory = directory();
    let mut installed = Installed::below(&directory.path().join("root"));
    let moved = directory.path().join("moved");
    fs::rename(&installed.prefix, &moved).unwrap();
    installed.prefix = moved;
    let build = directory.path().join("build");
    let (done, said) = installed.configure(&build, "0.1");
    assert!(done, "{said}");
    assert_done(Command::new("cmake").arg("--build").arg(&build));
    for program in ["c_dyn_metrics", "cpp_dyn_metrics", "c_static", "cpp_static"] {
        assert_counts(&mut Command::new(build.join(program)));
    }
    for plugin in ["libplugin_dyn_metrics.so", "libplugin_static.so"] {
        let output = assert_done(Command::new("readelf").arg("-d").arg(build.join(plugin)));
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("NODELETE"), "{plugin}: {text}");
        assert_eq!(
            text.contains("[libdyn_metrics.so.0]"),
            plugin.contains("dyn_metrics"),
            "{plugin}: {text}"
        );
    }
}

#[test]
fn the_sample_plugin_is_a_cmake_project_of_its_own() {
    if !have("cmake") {
        return;
    }
    let directory = directory();
    let installed = Installed::below(&directory.path().join("root"));
    let build = directory.path().join("build");
    let mut cmake = Command::new("cmake");
    cmake.arg("-S").arg(here().join("examples/plugin")).arg("-B").arg(&build);
    assert_done(cmake.arg(format!("-DCMAKE_PREFIX_PATH={}", installed.prefix.display())));
    assert_done(Command::new("cmake").arg("--build").arg(&build));
    let plugin = build.join("sample_plugin.so");
    let registry = Registry::with_plugin(&plugin, "made by CMake").unwrap();
    registry.counter("a_total", "What a plugin counts").unwrap().inc_by(3);
    let expected =
        "# made by CMake\n# HELP a_total What a plugin counts\n# TYPE a_total counter\na_total 3\n";
    assert_eq!(registry.render().unwrap(), expected);
    let needed = assert_done(Command::new("readelf").arg("-d").arg(&plugin));
    assert!(!String::from_utf8(needed.stdout).unwrap().contains("libdyn_metrics"), "headers alone");
}

#[test]
fn cmake_says_which_version_was_wanted_and_which_is_there() {
    if !have("cmake") {
        return;
    }
    let directory = directory();
    let installed = Installed::below(directory.path());
    let there = env!("CARGO_PKG_VERSION");
    for (number, (wanted, serves)) in
        [(there, true), ("0.0.1", true), ("0.0.1...1", true), ("0.99", false), ("9.0", false)]
            .into_iter()
            .enumerate()
    {
        let (done, said) = installed.configure(&directory.path().join(number.to_string()), wanted);
        assert_eq!(done, serves, "{wanted}: {said}");
        if !serves {
            for part in [format!("requested version \"{wanted}\""), format!("version: {there}")] {
                assert!(said.contains(&part), "{part}: {said}");
            }
        }
    }
    // A half-removed installation is named, too.
    fs::remove_file(installed.prefix.join("lib/libdyn_metrics.a")).unwrap();
    let (done, said) = installed.configure(&directory.path().join("half"), "");
    assert!(!done && said.contains("libdyn_metrics.a is missing"), "{said}");
}
