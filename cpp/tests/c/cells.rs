//! What C++ headers do without a call: sequences, cells, series by label values.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use dyn_metrics_tests::delays::rseq_area;
use dyn_metrics_tests::servers::have;

use crate::library::{assert_done, compiler, directory, here, shared_object};

/// The C++ compilers that are here; in CI both must be.
pub fn compilers() -> Vec<&'static str> {
    ["c++", "clang++"].into_iter().filter(|name| have(name)).collect()
}

/// The program or object of these sources, compiled into `directory` as `name`.
pub fn built(compiler_name: &str, directory: &Path, name: &str, sources: &[&str], flags: &[&str]) -> PathBuf {
    let (out, library) = (directory.join(name), shared_object());
    let mut command = compiler(compiler_name, "-std=c++17");
    command.args(flags).args(sources.iter().map(|source| here().join("tests/cpp").join(source)));
    command.arg("-o").arg(&out).arg("-L").arg(&library).args(["-ldyn_metrics", "-pthread", "-ldl"]);
    assert_done(command.arg(format!("-Wl,-rpath,{}", library.display())));
    out
}

/// Whether restartable sequences are to be had here; in CI they must be.
pub fn have_sequences() -> bool {
    let have = rseq_area().is_some();
    assert!(have || std::env::var_os("CI").is_none(), "no rseq area is registered");
    if !have {
        eprintln!("SKIPPED: no rseq area is registered");
    }
    have
}

#[test]
fn updates_without_a_call_lose_nothing_however_they_are_compiled() {
    let directory = directory();
    let ways: [&[&str]; 6] = [
        &["-O0"],
        &["-O2", "-mavx", "-fcf-protection=full"],
        &["-O2", "-fno-pie", "-no-pie"],
        &["-O2", "-flto", "-ffunction-sections", "-Wl,--gc-sections"],
        &["-O1", "-mcmodel=large", "-fno-pie", "-no-pie"],
        &["-O2", "-DDYN_METRICS_NO_RSEQ"],
    ];
    for name in compilers() {
        // How the other compiler writes the same text, with and without optimisation; avx and mcmodel: of x86-64.
        let ways = if name == "clang++" { &ways[..2] } else { &ways[..] };
        let usable = |flags: &&&[&str]| {
            cfg!(target_arch = "x86_64") || !flags.iter().any(|flag| flag.starts_with("-m"))
        };
        for (way, flags) in ways.iter().filter(usable).enumerate() {
            let sources = ["cells.cpp", "cells_elsewhere.cpp"];
            let program = built(name, directory.path(), &format!("{name}-{way}"), &sources, flags);
            for rseq in ["auto", "off"] {
                let segment = directory.path().join(format!("{name}-{way}-{rseq}"));
                assert_done(Command::new(&program).arg(segment).env("DYN_METRICS_RSEQ", rseq));
            }
        }
    }
}

/// The instructions of a function in assembly text, without directives.
pub fn instructions<'t>(assembly: &'t str, function: &str) -> Vec<&'t str> {
    let start = assembly.find(&format!("\n{function}:")).expect("the function") + 1;
    let (mut found, mut is_elsewhere) = (Vec::new(), 0);
    for line in assembly[start..].lines().skip(1).map(str::trim) {
        match line.split_whitespace().next().unwrap_or_default() {
            ".pushsection" => is_elsewhere += 1,
            ".popsection" => is_elsewhere -= 1,
            ".size" => break,
            word if is_elsewhere > 0 || word.starts_with(['.', '#']) || word.ends_with(':') => (),
            "" => (),
            _ => found.push(line),
        }
    }
    found
}

#[test]
#[cfg(target_arch = "x86_64")]
fn the_hot_path_has_no_call_and_no_spill() {
    let directory = directory();
    for name in compilers() {
        let (out, source) = (directory.path().join("hot.s"), here().join("tests/cpp/hot.cpp"));
        assert_done(compiler(name, "-std=c++17").args(["-O2", "-g0", "-S"]).arg(source).arg("-o").arg(&out));
        let assembly = std::fs::read_to_string(&out).unwrap();
        for (function, most) in [("inc", 20), ("add", 20), ("add_f64", 24), ("set", 12), ("observe", 64)] {
            let all = instructions(&assembly, function);
            let end = all.iter().position(|line| line.starts_with("ret")).expect("a return");
            let hot = &all[..=end];
            assert!(hot.len() > 5 && hot.len() <= most, "{name} {function}: {}\n{hot:#?}", hot.len());
            let bad = |line: &&&str| ["call", "push", "pop"].iter().any(|word| line.starts_with(word));
            assert_eq!(hot.iter().find(bad), None, "{name} {function}: {hot:#?}");
            assert!(!hot.iter().any(|line| line.contains("%rsp")), "{name} {function}: {hot:#?}");
        }
    }
}

#[test]
fn handles_are_found_by_their_label_values() {
    let directory = directory();
    for name in compilers() {
        let program = built(name, directory.path(), name, &["series_cache.cpp"], &["-O1"]);
        assert_done(&mut Command::new(program));
    }
}

#[test]
fn a_thread_goes_on_after_the_object_that_it_has_counted_in_was_closed() {
    if !have_sequences() {
        return;
    }
    let directory = directory();
    let object = |name: &str, more: &[&str]| {
        let flags = [&["-O2", "-shared", "-fPIC"], more].concat();
        built("c++", directory.path(), name, &["plugin.cpp"], &flags)
    };
    let (pinned, unpinned) = (object("pinned.so", &[]), object("unpinned.so", &["-DDYNM_TEST_UNPINNED"]));
    let program = built("c++", directory.path(), "plugins", &["plugins.cpp"], &["-O2"]);
    let run = |segment: &str, object: &Path| {
        let mut command = Command::new(&program);
        command.arg(directory.path().join(segment)).args(vec![object; 30]);
        command
    };
    let output = assert_done(&mut run("a", &pinned));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "loaded\n");
    // The twin: the kernel finds no descriptor where the thread has left its address, unless it has interrupted the
    // thread, and so cleared the address, before each of the closings, as a busy machine does.
    let output = run("b", &unpinned).output().unwrap();
    let was_unloaded = output.status.signal() == Some(11) || output.stdout == b"unloaded\n";
    assert!(was_unloaded, "{output:?}");
}
