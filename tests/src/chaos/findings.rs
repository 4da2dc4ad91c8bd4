//! What went wrong, and what was done, as all parts of a run say it.
#![allow(clippy::disallowed_types, reason = "counts of the driver alone, never in the segment")]

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Findings told in words; further ones are only counted.
const MOST: usize = 100;

/// What the threads of the driver have found.
#[derive(Debug, Default)]
pub struct Findings {
    texts: Mutex<BTreeSet<String>>,
    count: AtomicU64,
    /// Samples that fell.
    pub decreases: AtomicU64,
    /// Samples that vanished.
    pub vanished: AtomicU64,
    /// Scrapes of the exporter over HTTP.
    pub scrapes_http: AtomicU64,
    /// Collections in the driver's own process.
    pub scrapes_reader: AtomicU64,
    /// Comparisons of a collection with the ledger while processes counted.
    pub audits: AtomicU64,
}

impl Findings {
    /// Adds a finding, unless the same was there already.
    ///
    /// # Panics
    /// When another thread has, here.
    pub fn add(&self, text: impl Into<String>) {
        let mut texts = self.texts.lock().expect("no panic with the lock held");
        self.count.fetch_add(1, Ordering::Relaxed);
        if texts.len() < MOST {
            texts.insert(text.into());
        }
    }

    /// Adds several.
    pub fn extend(&self, texts: impl IntoIterator<Item = String>) {
        texts.into_iter().for_each(|text| self.add(text));
    }

    /// How many there were, the same ones included.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// In words.
    ///
    /// # Panics
    /// When another thread has, here.
    #[must_use]
    pub fn texts(&self) -> Vec<String> {
        self.texts.lock().expect("no panic with the lock held").iter().cloned().collect()
    }
}
