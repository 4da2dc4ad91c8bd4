//! The headers are made from the code: `dyn_metrics.h` from this crate's sources, `layout.h` from the
//! format's constants.
//!
//! `BLESS=1` writes them instead of comparing.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use dyn_metrics::raw;
use dyn_metrics_layout::gauge::Half;
use dyn_metrics_layout::{GaugeMode, Kind, Representation, header, name, record};

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn assert_committed(file: &str, made: &str) {
    let path: PathBuf = here().join("include").join(file);
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, made).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    for (at, (found, expected)) in committed.lines().zip(made.lines()).enumerate() {
        assert_eq!(found, expected, "{file} line {}: the sources say otherwise; BLESS=1 writes it", at + 1);
    }
    assert_eq!(committed.len(), made.len(), "{file}: the sources say otherwise; BLESS=1 writes it");
}

/// Sources in the order in which the header shows them.
const SOURCES: [&str; 19] = [
    "status.rs",
    "types.rs",
    "about.rs",
    "registry.rs",
    "choice.rs",
    "hierarchy.rs",
    "metric.rs",
    "family.rs",
    "remove.rs",
    "update.rs",
    "value.rs",
    "visit.rs",
    "composite.rs",
    "system.rs",
    "system_checks.rs",
    "on_scrape.rs",
    "watch.rs",
    "hot.rs",
    "pin.rs",
];

/// Rust's sections on safety say what "Requires" says.
fn without_safety(text: &str) -> String {
    let mut out = String::new();
    let mut skipping = false;
    for line in text.lines() {
        if line.trim() == "* # Safety" {
            skipping = true;
            out.truncate(out.trim_end_matches(['\n', ' ', '*']).len());
            out.push('\n');
        } else if line.trim() == "*/" {
            skipping = false;
        }
        if !skipping {
            out.push_str(line.trim_end());
            out.push('\n');
        }
    }
    out
}

#[test]
fn the_header_is_what_the_sources_declare() {
    let config = cbindgen::Config::from_file(here().join("cbindgen.toml")).expect("cbindgen.toml");
    let mut builder = cbindgen::Builder::new().with_config(config);
    for source in SOURCES {
        builder = builder.with_src(here().join("src").join(source));
    }
    let mut made = Vec::new();
    builder.generate().expect("the sources are understood").write(&mut made);
    assert_committed("dyn_metrics.h", &without_safety(&String::from_utf8(made).unwrap()));
}

#[test]
fn the_plugin_header_is_what_its_sources_declare() {
    let config =
        cbindgen::Config::from_file(here().join("cbindgen-plugin.toml")).expect("cbindgen-plugin.toml");
    let source = here().join("../writer/src/backend/plugin/abi.rs");
    let mut made = Vec::new();
    let builder = cbindgen::Builder::new().with_config(config).with_src(source);
    builder.generate().expect("the source is understood").write(&mut made);
    assert_committed("dyn_metrics/plugin.h", &without_safety(&String::from_utf8(made).unwrap()));
}

fn define(out: &mut String, name: &str, value: impl std::fmt::Display) {
    writeln!(out, "#define DYNM_{name} {value}").unwrap();
}

fn gauge_layout(out: &mut String) {
    *out += "\n/* The word of a dynm_gauge_cell, and what it leads to. */\n";
    define(out, "GAUGE_PLAIN", raw::GAUGE_PLAIN);
    define(out, "GAUGE_FLAGS", raw::GAUGE_FLAGS);
    define(out, "HALF_VALUE", std::mem::offset_of!(Half, value));
    define(out, "HALF_STAMP", std::mem::offset_of!(Half, stamp));
    define(out, "HALF_BYTES", size_of::<Half>());
}

fn cells_layout(out: &mut String) {
    *out += "\n/* dynm_cells.packed, and struct rseq as glibc registers it. */\n";
    define(out, "CELLS_RSEQ_SHIFT", 32);
    define(out, "CELLS_OFFSET_SHIFT", 16);
    define(out, "CELLS_LENGTH_MASK", "0xffff");
    define(out, "RSEQ_CPU_ID", 4);
    define(out, "RSEQ_CS", 8);
    define(out, "RSEQ_SIGNATURE_X86_64", format!("{:#x}u", raw::RSEQ_SIGNATURE_X86_64));
    define(out, "RSEQ_SIGNATURE_AARCH64", format!("{:#x}u", raw::RSEQ_SIGNATURE_AARCH64));
}

fn limits(out: &mut String) {
    *out += "\n/* Limits of the format; bytes where they are of texts. */\n";
    define(out, "MAX_NAME", name::MAX_NAME);
    define(out, "MAX_HELP", record::MAX_HELP);
    define(out, "MAX_UNIT", record::MAX_UNIT);
    define(out, "MAX_LABELS", record::MAX_LABELS);
    define(out, "MAX_LABEL_VALUE", record::MAX_LABEL_VALUE);
    define(out, "MAX_BOUNDS", record::MAX_BOUNDS);
    define(out, "MAX_STATES", record::MAX_STATES);
    define(out, "MAX_CPUS", header::MAX_CPUS);
}

#[test]
fn the_layout_header_is_what_the_format_says() {
    let mut out = "/* Numbers of the segment's format and of what headers rely on. Made from the code: change that. */\n\
        #ifndef DYN_METRICS_LAYOUT_H\n#define DYN_METRICS_LAYOUT_H\n\n"
        .to_owned();
    define(&mut out, "FORMAT_VERSION", header::FORMAT_VERSION);
    out += "\n/* Types of families, as exposed. */\n";
    for kind in Kind::ALL.into_iter().chain([Kind::ExponentialHistogram]) {
        let name: String = format!("{kind:?}")
            .chars()
            .enumerate()
            .flat_map(|(at, c)| [(at > 0 && c.is_uppercase()).then_some('_'), Some(c.to_ascii_uppercase())])
            .flatten()
            .collect();
        define(&mut out, &format!("KIND_{name}"), kind as u8);
    }
    out += "\n/* How the gauges of several processes combine. */\n";
    for mode in GaugeMode::EVERY {
        define(&mut out, &format!("MODE_{}", mode.name().to_uppercase()), mode as u8);
    }
    out += "\n/* How a number lies in its word. */\n";
    for representation in Representation::ALL {
        let name = format!("REPRESENTATION_{representation:?}").to_uppercase();
        define(&mut out, &name, representation as u8);
    }
    gauge_layout(&mut out);
    cells_layout(&mut out);
    limits(&mut out);
    out += "\n#endif /* DYN_METRICS_LAYOUT_H */\n";
    assert_committed("dyn_metrics/layout.h", &out);
}
