//! What `#[derive(Metrics)]` refuses, and where the compiler says so.
//!
//! Each program in `derive_refused/` has, in a comment `//~` behind a line, a part of the error that is reported there. Lines
//! and such parts are compared, and nothing else of what a compiler writes: that differs from one to the next.
#![cfg(feature = "derive")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// File and line.
type Place = (String, u64);

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn programs() -> Vec<PathBuf> {
    let entries = fs::read_dir(here().join("tests/derive_refused")).unwrap();
    entries.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some()).collect()
}

/// A package with all programs, outside of the workspace: that they don't compile is nobody else's business.
fn package() -> PathBuf {
    let package = Path::new(env!("CARGO_TARGET_TMPDIR")).join("derive_refused");
    fs::create_dir_all(package.join("src/bin")).unwrap();
    let manifest = format!(
        "[package]\nname = \"refused\"\nedition = \"2024\"\n[workspace]\n[dependencies]\n\
         dyn-metrics = {{ path = {:?}, default-features = false, features = [\"derive\"] }}\n",
        here()
    );
    fs::write(package.join("Cargo.toml"), manifest).unwrap();
    fs::copy(here().join("../Cargo.lock"), package.join("Cargo.lock")).unwrap();
    for old in fs::read_dir(package.join("src/bin")).unwrap() {
        fs::remove_file(old.unwrap().path()).unwrap();
    }
    for program in programs() {
        fs::copy(&program, package.join("src/bin").join(program.file_name().unwrap())).unwrap();
    }
    package
}

/// What the comments say.
fn expected() -> BTreeMap<Place, String> {
    let mut expected = BTreeMap::new();
    for program in programs() {
        let name = program.file_name().unwrap().to_str().unwrap().to_owned();
        for (number, line) in (1..).zip(fs::read_to_string(&program).unwrap().lines()) {
            if let Some((_, text)) = line.split_once("//~ ") {
                expected.insert((name.clone(), number), text.to_owned());
            }
        }
    }
    expected
}

/// The errors of all programs, by the line that the compiler points at.
fn found() -> BTreeMap<Place, Vec<String>> {
    let package = package();
    let output = Command::new(env!("CARGO"))
        .args(["check", "--bins", "--keep-going", "--offline", "--message-format=json"])
        .env("CARGO_TARGET_DIR", package.join("target"))
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("CARGO_BUILD_TARGET")
        .current_dir(&package)
        .output()
        .unwrap();
    let mut found: BTreeMap<Place, Vec<String>> = BTreeMap::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let message: serde_json::Value = serde_json::from_str(line).unwrap();
        let message = &message["message"];
        if message["level"] != "error" {
            continue;
        }
        let Some(spans) = message["spans"].as_array().filter(|spans| !spans.is_empty()) else { continue };
        let primary = spans.iter().find(|span| span["is_primary"] == true).unwrap();
        let file = Path::new(primary["file_name"].as_str().unwrap()).file_name().unwrap();
        let place = (file.to_str().unwrap().to_owned(), primary["line_start"].as_u64().unwrap());
        found.entry(place).or_default().push(message["message"].as_str().unwrap().to_owned());
    }
    assert!(!found.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    found
}

#[test]
#[cfg_attr(miri, ignore = "starts the compiler")]
fn each_refusal_points_at_its_line_and_says_why() {
    let (expected, mut found) = (expected(), found());
    assert!(expected.len() > 40);
    let mut wrong = Vec::new();
    for (place, text) in expected {
        let errors = found.remove(&place).unwrap_or_default();
        if errors.is_empty() || !errors.iter().all(|error| error.contains(&text)) {
            wrong.push(format!("{place:?}: found {errors:?}, expected {text:?}"));
        }
    }
    wrong.extend(found.iter().map(|(place, errors)| format!("{place:?}: found {errors:?}, expected none")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
