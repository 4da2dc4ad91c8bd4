//! The segment changes while it is read: whoever reads a word twice gets two answers.
#![allow(clippy::disallowed_types, reason = "process-local flag, never in the segment")]

use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

use dyn_metrics_reader::{Collector, check, encode, raw};

use super::edit::Input;
use super::stage::{Scene, Stage};
use super::targets::{expect_sane, expect_strict};

/// How often it is read.
const ROUNDS: usize = 3;

/// Reads the segment in every way while another thread edits it and undoes that, over and over.
///
/// # Panics
/// When something doesn't hold that must.
pub fn run(stage: &mut Stage, input: &[u8]) {
    let input = Input::decode(input);
    let mut scene = stage.scene(&input);
    let sound = scene.edited().files.clone();
    let (at_once, alternating) = input.edits.split_at(input.edits.len() / 4);
    scene.prepare(at_once);
    scene.prepare(alternating);
    let changes = changes(&scene, &sound);
    let (pattern, over) = (scene.pattern(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                alternate(&scene, &changes);
            }
        });
        let result = std::panic::catch_unwind(|| read(&pattern));
        over.store(true, Ordering::Relaxed);
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

/// A word that is two things in turn.
struct Change {
    file: usize,
    at: u64,
    both: [u64; 2],
}

/// The words that differ.
fn changes(scene: &Scene<'_>, sound: &[Vec<u8>]) -> Vec<Change> {
    let word = super::fix::word;
    let edited = scene.edited();
    let mut changes = Vec::new();
    for (file, range) in &edited.dirty {
        for at in (range.start & !7..range.end).step_by(8) {
            let both = [word(&sound[*file], at), word(&edited.files[*file], at)];
            if both[0] != both[1] && at + 8 <= sound[*file].len() {
                changes.push(Change { file: *file, at: at as u64, both });
            }
        }
    }
    changes
}

/// Stores each word and then the other. One write of 8 bytes into a page is what a store to a map of it is.
fn alternate(scene: &Scene<'_>, changes: &[Change]) {
    for which in [1, 0] {
        for Change { file, at, both } in changes {
            let _ = scene.file(*file).write_all_at(&both[which].to_le_bytes(), *at);
        }
    }
    if changes.is_empty() {
        std::thread::yield_now();
    }
}

fn read(pattern: &str) {
    let mut collector = Collector::new(&[pattern.to_owned()]);
    let mut page = Vec::new();
    for _ in 0..ROUNDS {
        let snapshot = collector.collect();
        expect_sane(&snapshot);
        page.clear();
        encode::text::encode(&snapshot, &mut page);
        expect_strict(&page);
        page.clear();
        collector.render(&mut page);
        expect_strict(&page);
    }
    let _ = (check::check(pattern), raw::read(pattern));
}
