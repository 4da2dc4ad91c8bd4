//! Programs in C that use every function, with good input and bad.

use std::fs;
use std::path::Path;
use std::process::Command;

use dyn_metrics::Registry;
use dyn_metrics_layout::header::{self, Header};

use dyn_metrics_tests::servers::have;

use crate::cells::{built, compilers};
use crate::library::{assert_done, compiler, directory, here, linked, program, shared_object};

#[test]
fn a_c_program_uses_every_function() {
    let directory = directory();
    let mut run = Command::new(program(directory.path(), "every_function"));
    assert_done(run.arg(directory.path().join("s")).env("DYN_METRICS_SHM", directory.path().join("root")));
}

#[test]
fn a_c_program_has_a_server_of_its_own() {
    let directory = directory();
    assert_done(Command::new(program(directory.path(), "system")).arg(directory.path().join("s")));
}

#[test]
fn every_function_is_in_the_test_programs() {
    let programs = [
        "every_function",
        "bad_input",
        "registries",
        "steady",
        "private_metrics",
        "system",
        "watch",
        "check",
    ];
    let sources: String = programs
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

/// The system calls between the two marks of a program.
fn trace(program: &Path, times: &str, warm_up: &str) -> Vec<String> {
    let directory = directory();
    let log = directory.path().join("trace");
    let mut command = Command::new("strace");
    command.arg("-f").arg("-o").arg(&log).arg(program);
    assert_done(command.arg(directory.path().join("s")).args([times, warm_up]));
    let text = fs::read_to_string(log).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let mark = |mark| lines.iter().position(|line| line.contains("write(") && line.contains(mark)).unwrap();
    lines[mark("begins") + 1..mark("ends")].iter().map(|line| (*line).to_owned()).collect()
}

/// A million updates of each kind make no system call, the first ones do.
fn assert_steady(program: &Path) {
    let clock = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    let mut between = trace(program, "1000000", "yes");
    if !["tsc", "kvm-clock", "arch_sys_counter"]
        .contains(&fs::read_to_string(clock).unwrap_or_default().trim())
    {
        between.retain(|line| !line.contains("clock_gettime("));
    }
    assert_eq!(between, Vec::<String>::new());
    // Without the warm-up the first ones do: the tracer would see it.
    assert!(!trace(program, "10", "no").is_empty());
}

#[test]
fn a_million_updates_of_each_kind_make_no_system_call() {
    if !have("strace") {
        return;
    }
    let directory = directory();
    assert_steady(&program(directory.path(), "steady"));
    for name in compilers() {
        assert_steady(&built(name, directory.path(), &format!("{name}-steady"), &["steady.cpp"], &["-O2"]));
    }
}

/// What `command` prints, word by word.
fn words(command: &mut Command) -> Vec<String> {
    let text = String::from_utf8(assert_done(command).stdout).unwrap();
    text.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn a_program_that_updates_needs_the_header_and_the_shared_object_alone() {
    let (directory, library) = (directory(), shared_object());
    for name in compilers() {
        // Not even the C++ library, but for what every function of C++ may need.
        let object = directory.path().join(format!("{name}.o"));
        let source = here().join("tests/cpp/updates.cpp");
        assert_done(compiler(name, "-std=c++17").args(["-O2", "-c"]).arg(&source).arg("-o").arg(&object));
        let mut wanted = words(Command::new("nm").args(["-u", "-P"]).arg(&object));
        wanted.retain(|symbol| symbol != "U" && symbol != "_GLOBAL_OFFSET_TABLE_");
        assert!(wanted.iter().any(|symbol| symbol == "dynm_cells_add_u64_cold"), "{wanted:?}");
        let runtime = ["__gxx_personality_v0", "__cxa_", "_Unwind_Resume", "_ZSt9terminatev"];
        let is_runtime = |symbol: &String| runtime.iter().any(|start| symbol.starts_with(start));
        wanted.retain(|symbol| !symbol.starts_with("dynm_") && !is_runtime(symbol));
        assert_eq!(wanted, Vec::<String>::new(), "{name}");

        let program = directory.path().join(name);
        let mut command = compiler(name, "-std=c++17");
        command.args(["-O2", "-DWHOLE_PROGRAM"]).arg(&source).arg("-o").arg(&program).arg("-L").arg(&library);
        assert_done(command.arg("-ldyn_metrics").arg(format!("-Wl,-rpath,{}", library.display())));
        assert_done(Command::new(&program).arg(directory.path().join(format!("{name}-segment"))));
        let needed = words(Command::new("readelf").arg("-d").arg(&program));
        let needed: Vec<&str> =
            needed.iter().filter_map(|word| word.strip_prefix('[')?.strip_suffix(']')).collect();
        let usual = ["libstdc++.so", "libm.so", "libgcc_s.so", "libc.so", "ld-linux"];
        let is_usual =
            |name: &&str| usual.iter().any(|start| name.starts_with(start)) || name.starts_with('/');
        assert_eq!(
            needed.into_iter().filter(|name| !is_usual(name)).collect::<Vec<_>>(),
            ["libdyn_metrics.so.0"]
        );
    }
}
