//! Registries that are no segment, levels and thresholds, from C and C++; and the conformance script over them.

use std::fs;
use std::path::Path;
use std::process::Command;

use dyn_metrics_tests::conformance::{Replayer, script};
use dyn_metrics_tests::plugins;

use crate::library::{assert_done, directory, here, linked, program};

#[test]
fn c_uses_every_registry_in_the_same_way() {
    let directory = directory();
    let mut run = Command::new(program(directory.path(), "registries"));
    run.arg(directory.path()).env("DYN_METRICS_SHM", directory.path().join("root"));
    if let Some(plugin) = plugins::sample() {
        run.arg(plugin);
    }
    assert_done(&mut run);
}

#[test]
fn cpp_uses_every_registry_in_the_same_way() {
    for rseq in ["auto", "off"] {
        let directory = directory();
        let mut run = Command::new(linked(directory.path(), &here().join("tests/cpp/registries.cpp")));
        run.env("DYN_METRICS_RSEQ", rseq).env("DYN_METRICS_SHM", directory.path().join("root"));
        let printed = assert_done(run.arg(directory.path())).stdout;
        // What structs declare; `dyn-metrics describe` makes tables of such JSON.
        let lists = serde_json::Deserializer::from_slice(&printed).into_iter::<serde_json::Value>();
        let [engine, odd] = &lists.map(Result::unwrap).collect::<Vec<_>>()[..] else { panic!("two lists") };
        assert_eq!(engine["metrics"].as_array().unwrap().len(), 9);
        let odd = &odd["metrics"][0];
        assert_eq!(odd["help"], "A \"quoted\"\n\\ é");
        assert_eq!((&odd["mode"], &odd["labels"]["b"]), (&"livemax".into(), &"2".into()));
    }
}

#[test]
fn the_environment_chooses_the_root_registry() {
    let directory = directory();
    let source = directory.path().join("root.c");
    let code = "#include \"check.h\"\nint main(void) { const dynm_registry *root, *same;\n\
        OK(dynm_root(&root)); OK(dynm_root(&same)); CHECK(root == same); puts(dynm_registry_kind(root)); return 0; }\n";
    fs::write(&source, code).unwrap();
    let program = linked(directory.path(), &source);
    let segment = directory.path().join("segment");
    for kind in ["null", "prometheus", "shm"] {
        assert!(!segment.exists());
        let mut run = Command::new(&program);
        run.env("DYN_METRICS_SHM", &segment).env("DYN_METRICS_REGISTRY", kind);
        assert_eq!(String::from_utf8(assert_done(&mut run).stdout).unwrap().trim(), kind);
    }
    assert!(segment.exists());
}

/// Samples that are not about the segment, as any registry may spell them: bounds as numbers, no process's number. The
/// `prometheus` crate's text is not ours, so it is not read by our parser.
fn alike(page: &str) -> Vec<(String, u64)> {
    let samples = page.lines().filter(|line| !line.starts_with('#') && !line.starts_with("dyn_metrics_"));
    let sample = |line: &str| {
        let (series, value) = line.rsplit_once(' ').unwrap();
        let mut series = series.replace("{pid=\"PID\"}", "");
        if let Some((head, rest)) = series.split_once("le=\"") {
            let (bound, tail) = rest.split_once('"').unwrap();
            series = format!("{head}le={:e}{tail}", bound.parse::<f64>().unwrap());
        }
        (series, value.parse::<f64>().unwrap().to_bits())
    };
    let mut samples: Vec<_> = samples.map(sample).collect();
    samples.sort();
    samples
}

/// The page after the steps of `script`, in a registry of this kind or at this path.
fn page(program: &Path, script: &Path, place: &str) -> String {
    let replayer = Replayer::start(Command::new(program), script, Path::new(place)).unwrap();
    let page = replayer.own_page();
    replayer.end();
    page
}

fn expect_conformance(directory: &Path, program: &Path) {
    let expected = alike(&page(program, &script(), &directory.join("segment").to_string_lossy()));
    assert!(expected.len() > 100);
    let plugin = plugins::sample().map(|path| format!("kind:plugin:{}", path.display()));
    for kind in ["kind:prometheus".to_owned()].into_iter().chain(plugin) {
        let found = alike(&page(program, &script(), &kind));
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!(found, expected, "{kind}");
        }
        assert_eq!(found.len(), expected.len(), "{kind}");
    }
    // Nothing can be read back of nothing, nor found there.
    let reads =
        |line: &&str| ["value", "count", "sum", "is"].contains(&line.split('\t').nth(1).unwrap_or_default());
    let text = fs::read_to_string(script()).unwrap();
    let steps: Vec<_> = text.lines().filter(|line| !reads(line)).collect();
    let steps: Vec<_> = steps.into_iter().filter(|line| !line.contains("\tfind\t")).collect();
    let file = directory.join("script");
    let found =
        steps.iter().filter(|line| line.split('\t').nth(2).is_some_and(|handle| !handle.ends_with("_found")));
    fs::write(&file, found.copied().collect::<Vec<_>>().join("\n") + "\n").unwrap();
    assert_eq!(page(program, &file, "kind:null"), "");
}

#[test]
fn the_script_is_done_in_c_over_every_registry() {
    let directory = directory();
    expect_conformance(directory.path(), &program(directory.path(), "replay"));
}

#[test]
fn the_script_is_done_in_cpp_over_every_registry() {
    let directory = directory();
    expect_conformance(directory.path(), &linked(directory.path(), &here().join("tests/cpp/replay.cpp")));
}
