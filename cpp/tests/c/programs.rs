//! Programs in C that use every function, with good input and bad.

use std::fs;
use std::path::Path;
use std::process::Command;

use dyn_metrics::Registry;
use dyn_metrics_layout::header::{self, Header};

use dyn_metrics_tests::servers::have;

use crate::library::{assert_done, compiler, directory, here, linked, program};

#[test]
fn a_c_program_uses_every_function() {
    let directory = directory();
    let mut run = Command::new(program(directory.path(), "every_function"));
    assert_done(run.arg(directory.path().join("s")).env("DYN_METRICS_SHM", directory.path().join("root")));
}

#[test]
fn every_function_is_in_the_test_programs() {
    let sources: String = ["every_function", "bad_input", "steady", "private_metrics", "check"]
        .into_iter()
        .map(|name| here().join("tests/c").join(name).with_extension(if name == "check" { "h" } else { "c" }))
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    let missing = crate::abi::exported().into_iter().filter(|name| !sources.contains(&format!("{name}(")));
    assert_eq!(missing.collect::<Vec<_>>(), Vec::<String>::new());
}

#[test]
fn the_programs_in_the_readme_and_in_the_examples_run() {
    let directory = directory();
    let readme = fs::read_to_string(here().join("README.md")).unwrap();
    let code = readme.split_once("```c\n").unwrap().1.split_once("```").unwrap().0;
    let source = directory.path().join("readme.c");
    fs::write(&source, code).unwrap();
    for source in [source, here().join("examples/hello.c")] {
        let program = linked(directory.path(), &source);
        let output = assert_done(Command::new(program).env("DYN_METRICS_SHM", directory.path().join("s")));
        assert!(String::from_utf8(output.stdout).unwrap().contains("_total"));
    }
}

#[test]
fn updates_made_from_the_contract_alone_are_counted_exactly() {
    let directory = directory();
    let program = program(directory.path(), "inline_cells");
    for (rseq, segment) in [("auto", "with"), ("off", "without")] {
        let mut run = Command::new(&program);
        assert_done(run.arg(directory.path().join(segment)).env("DYN_METRICS_RSEQ", rseq));
    }
}

/// A segment that says that it uses a feature of the future.
fn make_newer(path: &Path) {
    drop(Registry::builder().path(path).max_bytes(1 << 20).open().unwrap());
    let mut bytes = fs::read(path).unwrap();
    let mut header = Header::decode(&bytes, bytes.len() as u64).unwrap();
    header.incompat |= 1 << 40;
    let head: &mut [u8; header::BYTES] = (&mut bytes[..header::BYTES]).try_into().unwrap();
    header.encode(&[], head).unwrap();
    fs::write(path, bytes).unwrap();
}

#[test]
fn bad_input_gives_a_status_and_a_message() {
    let directory = directory();
    let newer = directory.path().join("newer");
    make_newer(&newer);
    assert_done(Command::new(program(directory.path(), "bad_input")).arg(directory.path()).arg(newer));
}

#[test]
fn what_could_not_be_registered_works_for_this_process_alone() {
    let directory = directory();
    let mut run = Command::new(program(directory.path(), "private_metrics"));
    assert_done(run.arg(directory.path().join("s")));
}

#[test]
fn bad_input_and_good_touch_no_memory_that_is_not_theirs() {
    if !have("valgrind") {
        return;
    }
    let directory = directory();
    let newer = directory.path().join("newer");
    make_newer(&newer);
    let valgrind = |name: &str| {
        let mut command = Command::new("valgrind");
        command.args(["-q", "--error-exitcode=9"]).arg(program(directory.path(), name));
        command
    };
    assert_done(valgrind("bad_input").arg(directory.path()).arg(newer));
    let root = directory.path().join("root");
    assert_done(valgrind("every_function").arg(directory.path().join("s")).env("DYN_METRICS_SHM", root));
}

#[test]
fn the_header_compiles_as_c11_and_as_cpp17() {
    let directory = directory();
    let source = directory.path().join("only.c");
    fs::write(&source, "#include \"dyn_metrics.h\"\n").unwrap();
    for (name, standard, language) in [
        ("cc", "-std=c11", "c"),
        ("c++", "-std=c++17", "c++"),
        ("clang", "-std=c11", "c"),
        ("clang++", "-std=c++17", "c++"),
    ] {
        if have(name) {
            assert_done(compiler(name, standard).args(["-x", language, "-fsyntax-only"]).arg(&source));
        }
    }
}

/// The system calls between the two marks.
fn trace(times: &str, warm_up: &str) -> Vec<String> {
    let directory = directory();
    let log = directory.path().join("trace");
    let mut command = Command::new("strace");
    command.arg("-f").arg("-o").arg(&log).arg(program(directory.path(), "steady"));
    assert_done(command.arg(directory.path().join("s")).args([times, warm_up]));
    let text = fs::read_to_string(log).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let mark = |mark| lines.iter().position(|line| line.contains("write(") && line.contains(mark)).unwrap();
    lines[mark("begins") + 1..mark("ends")].iter().map(|line| (*line).to_owned()).collect()
}

#[test]
fn a_million_updates_of_each_kind_make_no_system_call() {
    if !have("strace") {
        return;
    }
    let clock = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    let mut between = trace("1000000", "yes");
    if !["tsc", "kvm-clock", "arch_sys_counter"]
        .contains(&fs::read_to_string(clock).unwrap_or_default().trim())
    {
        between.retain(|line| !line.contains("clock_gettime("));
    }
    assert_eq!(between, Vec::<String>::new());
    // Without the warm-up the first ones do: the tracer would see it.
    assert!(!trace("10", "no").is_empty());
}
