//! What programs that are already compiled rely on: the committed list in `abi/`. `BLESS=1` writes it.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use dyn_metrics_tests::servers::have;

use crate::library::{assert_done, compiler, directory, here, shared_object};

/// Symbols that the shared object defines, with their versions.
fn symbols() -> Vec<String> {
    let mut nm = Command::new("nm");
    nm.args(["-D", "--defined-only", "--with-symbol-versions"])
        .arg(shared_object().join("libdyn_metrics.so.0"));
    let output = assert_done(&mut nm);
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
}

/// Names of the functions that it exports.
pub fn exported() -> Vec<String> {
    let name = |line: String| line.strip_prefix("T ")?.split('@').next().map(str::to_owned);
    symbols().into_iter().filter_map(name).collect()
}

/// The header of the library, and that of plugins.
const HEADER: &str = "dyn_metrics.h";
const PLUGIN_HEADER: &str = "dyn_metrics/plugin.h";

/// Structures in a header, with their fields.
fn structures(header: &str) -> Vec<(String, Vec<String>)> {
    let text = fs::read_to_string(here().join("include").join(header)).unwrap();
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("typedef struct ").and_then(|rest| rest.strip_suffix(" {")) {
            found.push((name.to_owned(), Vec::new()));
            inside = true;
        } else if line.starts_with('}') {
            inside = false;
        } else if let Some((_, function)) = line.split_once(" (*").filter(|_| inside) {
            found.last_mut().unwrap().1.push(function.split_once(')').unwrap().0.to_owned());
        } else if inside
            && line.ends_with(';')
            && !line.ends_with(");")
            && !line.trim_start().starts_with('*')
        {
            let field = line.trim_end_matches(';').rsplit([' ', '*']).next().unwrap();
            found.last_mut().unwrap().1.push(field.to_owned());
        }
    }
    found
}

/// Functions as the header declares them, each in a line.
fn prototypes() -> String {
    let text = fs::read_to_string(here().join("include/dyn_metrics.h")).unwrap();
    let (_, rest) = text.split_once("extern \"C\" {\n#endif").unwrap();
    let (declared, _) = rest.split_once("#ifdef __cplusplus").unwrap();
    let is_code = |line: &&str| !line.trim_start().starts_with(['/', '*']) && !line.trim().is_empty();
    let code: Vec<_> = declared.lines().filter(is_code).map(str::trim).collect();
    let functions: String = code.join(" ").replace("; ", ";\n");
    functions.lines().map(|line| line.to_owned() + "\n").collect()
}

/// Sizes and offsets in a header, as a C compiler sees them; `run` is what runs its programs.
fn layout(header: &str, cc: &str, run: &[&str]) -> String {
    let directory = directory();
    let (source, program) = (directory.path().join("probe.c"), directory.path().join("probe"));
    let mut text = format!("#include <stdio.h>\n#include \"{header}\"\nint main(void) {{\n");
    for (name, fields) in structures(header) {
        writeln!(text, "printf(\"%s %zu\\n\", \"{name}\", sizeof({name}));").unwrap();
        for field in fields {
            let size = format!("sizeof((({name} *)0)->{field})");
            writeln!(text, "printf(\"  %s %zu %zu\\n\", \"{field}\", offsetof({name}, {field}), {size});")
                .unwrap();
        }
    }
    fs::write(&source, text + "return 0; }\n").unwrap();
    assert_done(compiler(cc, "-std=c11").arg(&source).arg("-o").arg(&program));
    let words: Vec<&OsStr> = run.iter().map(OsStr::new).chain([program.as_os_str()]).collect();
    String::from_utf8(assert_done(Command::new(words[0]).args(&words[1..])).stdout).unwrap()
}

#[test]
fn symbols_structures_and_functions_are_those_of_the_committed_list() {
    assert_committed(std::env::consts::ARCH, &layout(HEADER, "cc", &[]));
}

/// The symbols are those of this machine's library: the same sources and the same list for the linker.
#[test]
#[cfg(target_arch = "x86_64")]
fn structures_are_those_of_the_committed_list_for_aarch64() {
    if have("aarch64-linux-gnu-gcc") && have("qemu-aarch64") {
        let emulated = ["qemu-aarch64", "-L", "/usr/aarch64-linux-gnu"];
        assert_committed("aarch64", &layout(HEADER, "aarch64-linux-gnu-gcc", &emulated));
    }
}

fn assert_committed(architecture: &str, layout: &str) {
    let made = format!(
        "# Symbols: type, name, version\n{}\n\n# Structures: size; fields: offset, size\n{layout}\n# Functions\n{}",
        symbols().join("\n"),
        prototypes()
    );
    assert_is_committed(&format!("abi/{architecture}-linux.txt"), made);
}

/// Plugins that are already compiled rely on it; the same on every architecture.
#[test]
fn structures_of_plugins_are_those_of_the_committed_list() {
    let made = |layout| format!("# Structures: size; fields: offset, size\n{layout}");
    assert_is_committed("abi/plugin_v1.txt", made(layout(PLUGIN_HEADER, "cc", &[])));
    if have("aarch64-linux-gnu-gcc") && have("qemu-aarch64") {
        let emulated = ["qemu-aarch64", "-L", "/usr/aarch64-linux-gnu"];
        let layout = layout(PLUGIN_HEADER, "aarch64-linux-gnu-gcc", &emulated);
        assert_is_committed("abi/plugin_v1.txt", made(layout));
    }
}

fn assert_is_committed(name: &str, made: String) {
    let path = here().join(name);
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, &made).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    for (found, expected) in made.lines().zip(committed.lines()) {
        assert_eq!(found, expected, "{name}: what programs rely on has changed; BLESS=1 writes it");
    }
    assert_eq!(made.len(), committed.len(), "{name}: has other lines; BLESS=1 writes it");
}

#[test]
fn only_functions_of_the_header_are_exported() {
    let header = fs::read_to_string(here().join("include/dyn_metrics.h")).unwrap();
    let names = exported();
    assert!(names.len() > 30, "{names:?}");
    for name in &names {
        assert!(header.contains(&format!("{name}(")), "{name} is not in the header");
    }
    let others: Vec<_> = symbols().into_iter().filter(|line| !line.starts_with("T dynm_")).collect();
    assert_eq!(others, ["A DYNM_1"]);
}

#[test]
fn the_shared_object_has_its_soname_and_is_never_unloaded() {
    let library = shared_object().join("libdyn_metrics.so.0");
    let output = assert_done(Command::new("readelf").arg("-d").arg(library));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("Library soname: [libdyn_metrics.so.0]"), "{text}");
    assert!(text.contains("NODELETE"), "{text}");
}

#[test]
fn structures_are_as_long_for_rust_as_for_c() {
    macro_rules! sizes {
        ($($name:ident)*) => { [$((stringify!($name), size_of::<dyn_metrics_c::$name>())),*] };
    }
    let layout = layout(HEADER, "cc", &[]);
    let ours = sizes!(dynm_label dynm_str dynm_segment_options dynm_metric_options dynm_value dynm_description
        dynm_registry_description dynm_family_view dynm_series_view dynm_cells dynm_buckets dynm_gauge_cell
        dynm_matcher dynm_composite_options dynm_system_options dynm_report dynm_system_description
        dynm_check_options dynm_watched dynm_event dynm_watch_counts);
    assert_eq!(structures(HEADER).len(), ours.len());
    for (name, size) in ours {
        assert!(layout.contains(&format!("{name} {size}\n")), "{name} {size}:\n{layout}");
    }
}
