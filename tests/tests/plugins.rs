//! Registry plugins that are missing, no plugins, of another version, wrong, slow or full of exceptions.
#![allow(unsafe_code, reason = "counts allocations")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use dyn_metrics::backend::Plugin;
use dyn_metrics::{Counter, Error, MetricsRegistry, Opts, Registry, Result};
use dyn_metrics_tests::forks::{child, ended_well};
use dyn_metrics_tests::plugins::{of_source, of_test, sample};
use dyn_metrics_tests::servers::wait_for;

/// The usual allocator, which counts the allocations of each thread.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: hands everything on.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn refusal(path: &Path, config: &str) -> String {
    let error = Plugin::open(path, config).unwrap_err();
    assert!(matches!(error, Error::Plugin { .. }), "{error:?}");
    let text = error.to_string();
    let beginning = format!("{}: plugin: found ", path.display());
    assert!(!text.contains('\n') && text.len() < beginning.len() + 400, "{text}");
    text.strip_prefix(&beginning).unwrap_or_else(|| panic!("{text}")).to_owned()
}

#[test]
fn what_is_no_plugin_is_refused_by_path_with_what_was_found_and_expected() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = directory.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let own = std::env::current_exe().unwrap();
    let expected = ", expected a shared object";
    for (path, found) in [
        (directory.path().join("none.so"), "no file (No such file or directory (os error 2))"),
        (directory.path().to_owned(), "a directory"),
        (PathBuf::from("/dev/null"), "what is no regular file"),
        (file("empty.so", b""), "what can't be loaded (file too short)"),
        (file("text.so", &[b'x'; 4096]), "what can't be loaded (invalid ELF header)"),
        (own.join("deeper.so"), "no file (Not a directory (os error 20))"),
    ] {
        assert_eq!(refusal(&path, ""), format!("{found}{expected}"));
    }
    for path in ["", "plugin.so"] {
        let expected = "no directory in the path, expected one, such as ./plugin.so: nothing is searched";
        assert_eq!(refusal(Path::new(path), ""), expected);
    }
    // A program, which the loader refuses with a text of its own.
    assert!(refusal(&own, "").starts_with("what can't be loaded ("));
}

#[test]
fn a_table_of_another_version_or_size_or_without_its_functions_is_refused() {
    let size = 17 * 8 - 8;
    let lacks = |function: &str| format!("a table without the function {function}, expected one");
    let mut cases = vec![
        (
            "-DOTHER_NAME".to_owned(),
            "a shared object without its symbol, expected the symbol dynm_registry_plugin_v1".to_owned(),
        ),
        ("-DVERSION=2".to_owned(), "a table of ABI version 2, expected version 1".to_owned()),
        ("-DVERSION=0".to_owned(), "a table of ABI version 0, expected version 1".to_owned()),
        (
            "-DTEXT".to_owned(),
            format!("a table of ABI version {}, expected version 1", u32::from_le_bytes(*b"a ta")),
        ),
        ("-DSIZE=120".to_owned(), format!("a table of 120 bytes, expected {size} to 65536")),
        ("-DSIZE=0".to_owned(), format!("a table of 0 bytes, expected {size} to 65536")),
        (
            "-DSIZE=0xfa1e0ff3".to_owned(),
            format!("a table of {} bytes, expected {size} to 65536", 0xfa1e_0ff3_u32),
        ),
    ];
    let functions = [
        "open",
        "series",
        "add_integer",
        "add_double",
        "add_nanoseconds",
        "set_integer",
        "set_double",
        "set_nanoseconds",
        "observe",
        "switch_states",
    ];
    cases.extend(
        functions.iter().enumerate().map(|(at, name)| (format!("-DWITHOUT={}", at + 1), lacks(name))),
    );
    for (flag, expected) in cases {
        let Some(path) = of_test("bad_table.c", &[&flag]) else { return };
        assert_eq!(refusal(&path, ""), expected, "{flag}");
    }
    // The same without a fault, shorter ones as earlier versions have it and a longer one as later ones may: all do.
    for flags in [&[][..], &["-DSIZE=128"], &["-DSIZE=132"], &["-DSIZE=200"]] {
        let Some(path) = of_test("bad_table.c", flags) else { return };
        let registry = Registry::with_plugin(&path, "").unwrap();
        registry.create_counter("a_total", "", &[]).unwrap().inc();
        let expected = |what| format!("registry plugin:{}: found no way to {what}", path.display());
        assert_eq!(registry.render().unwrap_err().to_string(), expected("render"));
        let error = registry.remove("a_total", &[]).unwrap_err().to_string();
        assert_eq!(error, expected("remove a series"), "{flags:?}");
    }
}

#[test]
fn a_plugin_that_does_not_open_says_why() {
    let Some(path) = of_test("misbehaving.c", &[]) else { return };
    for (config, expected) in [
        ("open fails", "an error of open: no such host, expected a registry"),
        ("open fails silently", "an error of open: no reason is given, expected a registry"),
        (
            "open returns 17",
            "an error of open: found status 17, expected -1 or one of [0], expected a registry",
        ),
        ("open answers in Latin-1", "an error of open: na\u{fffd}ve, expected a registry"),
        ("open lies about a length", "an error of open: no reason is given, expected a registry"),
    ] {
        assert_eq!(refusal(&path, config), expected);
    }
    assert!(refusal(&path, "open answers at length").starts_with("an error of open: much much"));
}

/// What registering a counter gives, with a plugin that misbehaves so.
fn registering(path: &Path, config: &str) -> Result<dyn_metrics::Counter> {
    let registry = Registry::with_plugin(path, config).unwrap();
    let again = registry.create_intcounter("a_total", "", &[]);
    let counter = registry.create_intcounter("a_total", "", &[]);
    assert_eq!(counter.is_ok(), again.is_ok(), "{config}: asked for again, and refused again");
    counter
}

#[test]
fn registrations_that_a_plugin_refuses_or_answers_wrongly_are_errors() {
    let Some(path) = of_test("misbehaving.c", &[]) else { return };
    for (config, expected) in [
        ("family fails", "family: too many families"),
        ("series fails", "series: too many series"),
        ("series gives null", "series: found NULL, expected an instrument"),
        ("series returns -5", "series: found status -5, expected -1 or one of [0, 1]"),
    ] {
        let error = registering(&path, config).unwrap_err();
        assert!(matches!(error, Error::Backend { .. }));
        let expected = format!("registry plugin:{}: metric \"a_total\": {expected}", path.display());
        assert_eq!(error.to_string(), expected);
    }
    let nowhere = registering(&path, "series goes nowhere").unwrap();
    nowhere.inc();
    assert_eq!(nowhere.value(), 0);
}

#[test]
fn removals_that_a_plugin_refuses_or_answers_wrongly_are_errors_and_the_series_stays() {
    let Some(path) = of_test("misbehaving.c", &[]) else { return };
    let refused = format!("registry plugin:{}: metric \"a_total\": remove: ", path.display());
    for (config, expected) in [
        ("remove fails", refused.clone() + "still wanted"),
        ("remove returns 3", refused + "found status 3, expected -1 or one of [0, 1]"),
        ("remove can't", format!("registry plugin:{}: found no way to remove a series", path.display())),
    ] {
        let registry = Registry::with_plugin(&path, config).unwrap();
        let family = registry.family::<Counter>(&Opts::new("a_total", ""), &["a"]).unwrap();
        family.with(&["x"]).inc();
        for _ in 0..2 {
            assert_eq!(family.remove(&["x"]).unwrap_err().to_string(), expected);
        }
        assert!(!family.remove(&["y"]).unwrap(), "the plugin isn't asked for what isn't there");
        assert_eq!(family.with(&["x"]).value(), 7);
    }
}

#[test]
fn values_that_a_plugin_does_not_have_are_0() {
    let Some(path) = of_test("misbehaving.c", &[]) else { return };
    for (config, value) in [
        ("", 7),
        ("read returns 99", 0),
        ("read fails", 0),
        ("read gives numbers of no kind", 0),
        ("read lies about buckets", 7),
    ] {
        assert_eq!(registering(&path, config).unwrap().value(), value, "{config}");
        let registry = Registry::with_plugin(&path, config).unwrap();
        let histogram = registry.create_histogram("h", "", &[], Some(&[1.0])).unwrap();
        assert_eq!((histogram.buckets(), histogram.sum()), (vec![0, 0], 0.0), "{config}");
    }
}

#[test]
fn text_that_is_none_or_too_long_is_an_error_and_is_not_kept() {
    let Some(path) = of_test("misbehaving.c", &[]) else { return };
    let render = |config| {
        let plugin = Plugin::open(&path, config).unwrap().render_at_most(1000);
        Registry::with_backend(Arc::new(plugin)).render().map_err(|error| error.to_string())
    };
    assert_eq!(render("").unwrap(), "fine 1\n");
    for (config, expected) in [
        ("render fails", "out of memory"),
        ("render returns 5", "found status 5, expected -1 or one of [0]"),
        ("render writes Latin-1", "found bytes that are not UTF-8 at 11, expected text"),
        ("render cuts a character", "found bytes that are not UTF-8 at 11, expected text"),
        ("render writes null", "found NULL for a text of 3 bytes, expected it"),
        (
            "render lies about a length",
            "found a text of 18446744073709551615 bytes, expected at most 1000 in all",
        ),
        ("render writes much", "found a text of 1005 bytes, expected at most 1000 in all"),
        ("render doesn't listen", "found a text of 1005 bytes, expected at most 1000 in all"),
    ] {
        let expected = format!("registry plugin:{}: metric \"*\": render: {expected}", path.display());
        assert_eq!(render(config).unwrap_err(), expected, "{config}");
    }
}

#[test]
fn a_rendering_that_does_not_end_is_given_up_and_no_second_one_is_started() {
    let Some(path) = of_test("misbehaving.c", &[]) else { return };
    let of = |config| {
        let plugin = Plugin::open(&path, config).unwrap().render_within(Duration::from_millis(20));
        Registry::with_backend(Arc::new(plugin))
    };
    let threads = || {
        let names = fs::read_dir("/proc/self/task").unwrap();
        let name =
            |task: std::io::Result<fs::DirEntry>| fs::read_to_string(task.unwrap().path().join("comm"));
        names.map(name).filter(|name| name.as_ref().is_ok_and(|name| name.trim() == "dynm-render")).count()
    };
    let registry = of("render never ends");
    let text = registry.render().unwrap_err().to_string();
    assert!(text.ends_with("render: found no end after 20ms, expected one"), "{text}");
    for _ in 0..10 {
        let text = registry.render().unwrap_err().to_string();
        assert!(
            text.ends_with("render: found an earlier one that has not ended, expected its end"),
            "{text}"
        );
    }
    // It has its name when it has run for a moment.
    wait_for("the thread", || (threads() > 0).then_some(()));
    assert_eq!(threads(), 1);
    // Registration and updates go on, and a child renders anew.
    registry.create_intcounter("a_total", "", &[]).unwrap().inc();
    let pid = child(|| {
        let text = registry.render().unwrap_err().to_string();
        assert!(text.ends_with("found no end after 20ms, expected one"), "{text}");
    });
    assert!(ended_well(pid));

    // One that listens ends when nobody waits for it any more; the next one may start then.
    let registry = of("render is slow");
    let text = registry.render().unwrap_err().to_string();
    assert!(text.ends_with("found no end after 20ms, expected one"), "{text}");
    wait_for("the thread's end", || {
        let text = registry.render().unwrap_err().to_string();
        text.ends_with("found no end after 20ms, expected one").then_some(())
    });
}

#[test]
fn a_registry_that_nothing_was_made_in_is_closed_and_the_object_stays() {
    let Some(path) = of_test("misbehaving.c", &[]) else { return };
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let config = format!("log {}", log.display());
    let closed = || fs::read_to_string(&log).unwrap_or_default().lines().count();
    let registry = Registry::with_plugin(&path, &config).unwrap();
    let other = registry.clone();
    drop(registry);
    assert_eq!(closed(), 0, "somebody has it");
    drop(other);
    assert_eq!(closed(), 1);
    let registry = Registry::with_plugin(&path, &config).unwrap();
    let counter = registry.create_intcounter("a_total", "", &[]).unwrap();
    drop(registry);
    counter.inc();
    assert_eq!((counter.value(), closed()), (7, 1), "it has a series");
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    assert!(maps.contains(&path.display().to_string()));
}

fn registering_and_removing(path: &Path) -> Result<bool> {
    let registry = Registry::with_plugin(path, "remove").unwrap();
    registry.create_intcounter("a_total", "", &[]).unwrap();
    registry.remove("a_total", &[])
}

#[test]
fn no_exception_leaves_a_plugin_in_cpp() {
    let Some(path) = of_test("throwing.cpp", &[]) else { return };
    assert_eq!(refusal(&path, "open"), "an error of open: thrown by open, expected a registry");
    for (config, expected) in [
        ("family", "family: thrown by family"),
        ("series", "series: thrown by series"),
        ("series number", "series: found an exception of unknown type"),
    ] {
        let text = registering(&path, config).unwrap_err().to_string();
        assert!(text.ends_with(&format!("metric \"a_total\": {expected}")), "{text}");
    }
    let registry = Registry::with_plugin(&path, "").unwrap();
    registry.create_intcounter("a_total", "", &[]).unwrap().inc();
    registry.create_gauge("b", "", &[]).unwrap().set(1.0);
    registry.create_histogram("c", "", &[], None).unwrap().observe(1.0);
    registry.create_stateset("d", "", &[], &["on"]).unwrap().enable("on");
    registry.create_counter("e_total", "", &[]).unwrap().inc_by(-1.0);
    assert_eq!(registry.render().unwrap(), "thrown 5\n");
    assert_eq!(registry.create_intcounter("a_total", "", &[]).unwrap().value(), 0);
    let text = registering_and_removing(&path).unwrap_err().to_string();
    assert!(text.ends_with("metric \"a_total\": remove: thrown by remove"), "{text}");
    let text = Registry::with_plugin(&path, "render").unwrap().render().unwrap_err().to_string();
    assert!(text.ends_with("render: thrown by render"), "{text}");
}

#[test]
fn the_plugin_in_the_documentation_counts() {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/REGISTRIES.md")).unwrap();
    let mut blocks = text.split("```cpp\n").skip(1).filter_map(|rest| Some(rest.split_once("```")?.0));
    let code = blocks.find(|code| code.contains("plugin.hpp")).expect("a plugin");
    let directory = tempfile::tempdir().unwrap();
    let source = directory.path().join("mine.cpp");
    fs::write(&source, code).unwrap();
    let Some(path) = of_source(&source) else { return };
    let registry = Registry::with_plugin(path, "").unwrap();
    registry.create_intcounter("a_total", "", &[]).unwrap().inc_by(5);
    assert_eq!(registry.render().unwrap(), "total 5\n");
}

#[test]
fn updates_through_a_plugin_allocate_nothing() {
    let Some(path) = sample() else { return };
    let registry = Registry::with_plugin(path, "").unwrap();
    let counter = registry.create_counter("a_total", "", &[]).unwrap();
    let gauge = registry.create_intgauge("b", "", &[]).unwrap();
    let histogram = registry.create_histogram("c", "", &[], Some(&[1.0])).unwrap();
    let tally = registry.create_tally("d", "", &[]).unwrap();
    let states = registry.create_stateset("e", "", &[], &["on"]).unwrap();
    let family = registry.family::<Counter>(&Opts::new("f_total", ""), &["a"]).unwrap();
    family.with(&["x"]).inc();
    let before = ALLOCATIONS.get();
    for _ in 0..100 {
        counter.inc_by(1.5);
        counter.inc_by(f64::NAN);
        gauge.set(4);
        gauge.add(1);
        histogram.observe(2.0);
        tally.observe(f64::INFINITY);
        states.enable("on");
        family.with(&["x"]).inc();
    }
    assert_eq!(ALLOCATIONS.get(), before);
    let _text = registry.render().unwrap();
    assert!(ALLOCATIONS.get() > before, "they are counted");
}

#[test]
fn a_forked_child_has_what_its_parent_counted_and_counts_on_for_itself() {
    let Some(path) = sample() else { return };
    let registry = Registry::with_plugin(path, "of both").unwrap();
    let counter = registry.create_intcounter("a_total", "", &[]).unwrap();
    counter.inc();
    let pid = child(|| {
        counter.inc();
        let text = registry.render().unwrap();
        assert_eq!(text, "# of both\n# TYPE a_total counter\na_total 2\n");
    });
    assert!(ended_well(pid));
    assert_eq!(counter.value(), 1);
}

/// What the environment's plugin is; run by tests below.
#[test]
#[ignore = "is started by another test, with its environment"]
fn plugin_of_the_environment() {
    match Registry::from_env() {
        Ok(registry) => {
            registry.create_intcounter("a_total", "", &[]).unwrap().inc();
            let text = Registry::from_env().unwrap().render().unwrap();
            println!("TEXT {}", text.replace('\n', "|"));
        }
        Err(error) => println!("ERROR {error}"),
    }
}

/// The test above, as `program` does it with this registry.
fn with_environment(program: &Path, registry: &std::ffi::OsStr) -> String {
    let mut command = Command::new(program);
    command.args(["--exact", "plugin_of_the_environment", "--ignored", "--nocapture"]);
    let output = command.env("DYN_METRICS_REGISTRY", registry).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn options_stand_behind_a_question_mark_and_the_same_text_is_the_same_registry() {
    let Some(path) = sample() else { return };
    let own = std::env::current_exe().unwrap();
    let with = |suffix: &str| with_environment(&own, format!("plugin:{}{suffix}", path.display()).as_ref());
    let page = "# TYPE a_total counter|a_total 1|";
    assert!(with("?what? this").contains(&format!("TEXT # what? this|{page}\n")), "{}", with("?what? this"));
    assert!(with("?").contains(&format!("TEXT {page}\n")));
    assert!(with("?a\nb").contains("an error of open: found two lines, expected a comment of one"));
    let bytes = std::os::unix::ffi::OsStringExt::from_vec([b"plugin:/x.so?", &b"\xff"[..]].concat());
    let bytes: std::ffi::OsString = bytes;
    let text = with_environment(&own, &bytes);
    assert!(text.contains("ERROR /x.so: plugin: found options that are not UTF-8 behind the ?"), "{text}");
}

/// Whoever starts a program with more rights than his own must not choose its code.
#[test]
fn a_process_with_the_rights_of_another_user_loads_no_plugin_that_its_environment_names() {
    let Some(path) = sample() else { return };
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED: only root can make a program of another user");
        assert!(std::env::var_os("CI").is_none());
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = directory.path().join("program");
    // By another process: what this one had open for writing, a child that another test forks meanwhile would have, too, and
    // the program could not be started.
    let copied = Command::new("cp").arg(std::env::current_exe().unwrap()).arg(&program).status().unwrap();
    assert!(copied.success());
    let plugin = directory.path().join("plugin.so");
    fs::copy(path, &plugin).unwrap();
    fs::set_permissions(&plugin, fs::Permissions::from_mode(0o755)).unwrap();
    let registry = format!("plugin:{}", plugin.display());
    nix::unistd::chown(&program, Some(nix::unistd::Uid::from_raw(65534)), None).unwrap();
    for (mode, expected) in [
        (0o755, "TEXT # TYPE a_total counter|a_total 1|"),
        (0o4755, "plugin: found a process with more rights than who started it, and the plugin named by"),
    ] {
        fs::set_permissions(&program, fs::Permissions::from_mode(mode)).unwrap();
        let text = with_environment(&program, registry.as_ref());
        assert!(text.contains(expected), "{mode:o}: {text}");
    }
}
