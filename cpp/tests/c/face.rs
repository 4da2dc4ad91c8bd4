//! The C++ face: programs that use all of `dyn_metrics.hpp`, however they are compiled, and its examples.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cells::{built, compilers, instructions};
use crate::library::{assert_done, compiler, directory, here, shared_object};

/// What users' own rules may ask for.
const STRICT: [&str; 4] = ["-Wshadow", "-Wconversion", "-Wold-style-cast", "-Wnon-virtual-dtor"];

/// Headers that say that they are not for applications, or that a test framework of theirs includes.
fn headers() -> Vec<PathBuf> {
    let files = fs::read_dir(here().join("include/dyn_metrics")).unwrap().map(|entry| entry.unwrap().path());
    let is_ours = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "hpp");
    let mut found: Vec<_> = files.filter(is_ours).collect();
    found.push(here().join("include/dyn_metrics.hpp"));
    found.sort();
    found
}

#[test]
fn programs_use_every_handle_and_every_registration() {
    let directory = directory();
    for name in compilers() {
        for source in ["handles", "registry"] {
            let flags = [&["-O1"], &STRICT[..]].concat();
            let program = built(name, directory.path(), source, &[&format!("{source}.cpp")], &flags);
            for rseq in ["auto", "off"] {
                let place = directory.path().join(format!("{name}-{source}-{rseq}"));
                fs::create_dir(&place).unwrap();
                let mut run = Command::new(&program);
                assert_done(
                    run.arg(&place).env("DYN_METRICS_SHM", place.join("root")).env("DYN_METRICS_RSEQ", rseq),
                );
            }
        }
    }
}

#[test]
fn a_fake_registry_counts_refuses_and_disappears() {
    let directory = directory();
    let program = built("c++", directory.path(), "fake", &["fake_registry.cpp"], &["-O1"]);
    assert_done(Command::new(&program).arg("/dev/shm/").env_remove("TMPDIR"));
    let elsewhere = tempfile::tempdir().unwrap();
    assert_done(Command::new(&program).arg(elsewhere.path()).env("TMPDIR", elsewhere.path()));
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0, "all is removed");
    // What TMPDIR names is no place for it: the next one is.
    assert_done(Command::new(&program).arg("/dev/shm/").env("TMPDIR", elsewhere.path().join("none")));
}

/// The object of `source`, compiled with these flags.
fn object(name: &str, directory: &Path, source: &str, flags: &[&str]) -> PathBuf {
    let out = directory.join(source).with_extension("o");
    let mut command = compiler(name, "-std=c++17");
    command.args(STRICT).args(flags).arg("-c").arg(here().join("tests/cpp").join(source));
    assert_done(command.arg("-o").arg(&out));
    out
}

fn link(objects: &[PathBuf], out: &Path) {
    let library = shared_object();
    let mut command = Command::new("c++");
    command.args(objects).arg("-o").arg(out).arg("-L").arg(&library).args(["-ldyn_metrics", "-pthread"]);
    assert_done(command.arg(format!("-Wl,-rpath,{}", library.display())));
}

#[test]
fn objects_with_and_without_exceptions_link_in_any_order() {
    let directory = directory();
    for (name, level) in compilers().into_iter().zip(["-O0", "-O2"]) {
        let without = [level, "-fno-exceptions", "-fno-rtti"];
        let a = object(name, directory.path(), "no_exceptions.cpp", &without);
        let b = object(name, directory.path(), "with_exceptions.cpp", &[level, "-std=c++20"]);
        for objects in [[a.clone(), b.clone()], [b, a]] {
            let program = directory.path().join("program");
            link(&objects, &program);
            assert_done(Command::new(program).env("DYN_METRICS_SHM", directory.path().join("root")));
        }
    }
}

#[test]
fn the_headers_compile_with_the_flags_that_users_have() {
    let directory = directory();
    let source = directory.path().join("only.cpp");
    fs::write(&source, "#include <dyn_metrics/testing.hpp>\n#include <dyn_metrics/system.hpp>\n").unwrap();
    let ways: [&[&str]; 4] = [
        &["-std=c++20", "-O2", "-D_FORTIFY_SOURCE=2"],
        &["-std=gnu++17", "-fno-exceptions", "-fno-rtti"],
        &["-std=c++17", "-ffast-math", "-fvisibility=hidden"],
        &["-std=c++17", "-funsigned-char", "-fshort-enums", "-fno-plt"],
    ];
    for name in compilers() {
        for way in ways {
            assert_done(
                compiler(name, "-std=c++17").args(STRICT).args(way).arg("-fsyntax-only").arg(&source),
            );
        }
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn updates_through_handles_are_made_without_a_call() {
    let directory = directory();
    for name in compilers() {
        let (out, source) = (directory.path().join("hot.s"), here().join("tests/cpp/hot_handles.cpp"));
        assert_done(compiler(name, "-std=c++17").args(["-O2", "-g0", "-S"]).arg(source).arg("-o").arg(&out));
        let assembly = fs::read_to_string(&out).unwrap();
        let calls = |function: &str| {
            let all = instructions(&assembly, function);
            let end = all.iter().position(|line| line.starts_with("ret")).unwrap_or(all.len());
            let leaves = |line: &&&str| line.starts_with("call") || line.starts_with("jmp\t_Z");
            all[..end].iter().find(leaves).map(|line| (*line).to_owned())
        };
        for function in [
            "inc",
            "inc_by",
            "inc_float",
            "inc_time",
            "set",
            "add",
            "set_float",
            "add_float",
            "observe",
            "observe_tally",
        ] {
            assert_eq!(calls(function), None, "{name} {function}");
        }
        assert!(calls("value").is_some(), "{name}: a call is seen");
    }
}

#[test]
fn a_library_older_than_the_header_is_refused_with_a_remedy() {
    let directory = directory();
    let include = directory.path().join("include");
    fs::create_dir_all(include.join("dyn_metrics")).unwrap();
    for header in
        headers().into_iter().chain(["dyn_metrics/layout.h"].map(|name| here().join("include").join(name)))
    {
        let name = header.strip_prefix(here().join("include")).unwrap();
        fs::copy(&header, include.join(name)).unwrap();
    }
    let text = fs::read_to_string(here().join("include/dyn_metrics.h")).unwrap();
    let newer = text.replace("#define DYNM_ABI_LEVEL 1\n", "#define DYNM_ABI_LEVEL 2\n");
    assert_ne!(newer, text);
    fs::write(include.join("dyn_metrics.h"), newer).unwrap();
    let (program, library) = (directory.path().join("newer"), shared_object());
    let mut command = Command::new("c++");
    command.arg("-std=c++17").arg("-I").arg(&include).arg("-I").arg(here().join("tests/cpp"));
    command.arg(here().join("tests/cpp/newer_header.cpp")).arg("-o").arg(&program).arg("-L").arg(&library);
    assert_done(command.arg("-ldyn_metrics").arg(format!("-Wl,-rpath,{}", library.display())));
    let mut run = Command::new(program);
    assert_done(run.arg(directory.path().join("s")).env("DYN_METRICS_SHM", directory.path().join("root")));
}

/// A program of ours, compiled as its users are told to, and what it prints.
fn output(directory: &Path, source: &Path) -> String {
    let (out, library) = (directory.join(source.file_stem().unwrap()), shared_object());
    let mut command = compiler("c++", "-std=c++17");
    command.arg(source).arg("-o").arg(&out).arg("-L").arg(&library).args(["-ldyn_metrics", "-pthread"]);
    assert_done(command.arg(format!("-Wl,-rpath,{}", library.display())));
    let segment = directory.join("segment");
    let _ = fs::remove_file(&segment);
    let output = assert_done(Command::new(out).env("DYN_METRICS_SHM", segment));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_examples_print_what_they_have_counted() {
    let directory = directory();
    let hello = output(directory.path(), &here().join("examples/hello.cpp"));
    assert!(
        hello.contains("\nhello_requests_total 3\n") && hello.contains("\nhello_seconds_count 3\n"),
        "{hello}"
    );
    let server = output(directory.path(), &here().join("examples/server.cpp"));
    for line in [
        "answered 200 requests in two processes, 20 failed",
        "server_requests_total{model=\"gpt\",namespace=\"prod\",outcome=\"failed\"} 20",
        "server_requests_total{model=\"llama\",namespace=\"prod\",outcome=\"ok\"} 100",
        "server_request_seconds_count{namespace=\"prod\"} 200",
        "server_requests_in_progress{namespace=\"prod\"} 0",
        "server_tokens_count{namespace=\"prod\"} 180",
        "server_state{namespace=\"prod\",server_state=\"draining\"} 1",
    ] {
        assert!(server.lines().any(|found| found == line), "{line}\n{server}");
    }
}

#[test]
fn the_programs_in_the_readme_run() {
    let directory = directory();
    let readme = fs::read_to_string(here().join("README.md")).unwrap();
    let blocks: Vec<_> =
        readme.split("```cpp\n").skip(1).map(|rest| rest.split_once("```").unwrap().0).collect();
    assert!(blocks.len() >= 2, "{}", blocks.len());
    for (at, block) in blocks.into_iter().enumerate() {
        let source = directory.path().join(format!("readme{at}.cpp"));
        fs::write(&source, block).unwrap();
        let found = output(directory.path(), &source);
        assert!(found.contains("_total"), "{block}\n{found}");
    }
}

/// Names of the functions that a header gives to applications: at the start of a line, or in a class's public part.
fn functions(header: &Path) -> Vec<String> {
    let text = fs::read_to_string(header).unwrap();
    let (mut found, mut is_public, mut is_detail, mut in_class) = (Vec::new(), true, false, false);
    for line in text.lines() {
        match line {
            " public:" => is_public = true,
            " private:" | " protected:" => is_public = false,
            "};" => in_class = false,
            _ if line.starts_with("  DYN_METRICS_HANDLE(") => is_public = false,
            _ if line.starts_with("namespace detail") => is_detail = true,
            _ if line.starts_with("}  // namespace detail") => is_detail = false,
            _ if line.starts_with("class ") || line.starts_with("struct ") => {
                (in_class, is_public) = (true, line.starts_with("struct "));
            }
            _ => (),
        }
        let code = line.trim_start();
        let is_declared = is_public && !is_detail && line.len() - code.len() == if in_class { 2 } else { 0 };
        let code = code.strip_prefix("[[gnu::always_inline]] ").unwrap_or(code);
        let Some((before, _)) = code.split_once('(').filter(|_| is_declared) else { continue };
        let name = before.rsplit(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap();
        // With a type before it: neither constructor nor macro; a comment has none of these.
        if before.len() > name.len()
            && name != "decltype"
            && name.starts_with(|c: char| c.is_ascii_lowercase())
            && !code.starts_with(['/', '#', '['])
        {
            found.push(name.to_owned());
        }
    }
    found
}

#[test]
fn every_public_function_is_in_the_test_programs() {
    let programs =
        ["handles", "registry", "registries", "fake_registry", "no_exceptions", "composites", "alike"];
    let suites = ["counting_test", "on_scrape_test", "system_test", "watch_test"];
    let sources: String = programs
        .iter()
        .chain(&suites)
        .map(|name| fs::read_to_string(here().join(format!("tests/cpp/{name}.cpp"))).unwrap())
        .collect();
    let of_applications = |path: &PathBuf| {
        !fs::read_to_string(path)
            .unwrap()
            .lines()
            .take(4)
            .any(|line| line.contains("not for applications") || line.contains("for cells.hpp"))
    };
    let names: Vec<_> =
        headers().iter().filter(|path| of_applications(path)).flat_map(|path| functions(path)).collect();
    assert!(names.len() > 120, "{names:?}");
    let is_used =
        |name: &String| [format!("{name}("), format!("{name}<")].iter().any(|text| sources.contains(text));
    let missing: Vec<_> = names.iter().filter(|name| !is_used(name)).collect();
    assert_eq!(missing, Vec::<&String>::new());
}
