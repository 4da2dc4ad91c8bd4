//! What is no library: the atomic instruction that others are measured by, and what bounds it from below.
#![allow(clippy::disallowed_types, reason = "these atomics are what is measured")]

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

use dyn_metrics_benches::op::{Op, repeat};
use dyn_metrics_benches::pool::Contender;

/// The contender that ratios refer to.
pub const BASE: &str = "fetch_add";

/// A word with a pair of cache lines of its own.
#[repr(align(128))]
struct Alone(AtomicU64);

/// Those that say something about `op`.
pub fn contenders(op: Op) -> Vec<Contender> {
    let word = || Alone(AtomicU64::new(0));
    let (added, compared, stored) = (word(), (word(), 1.5), (word(), 7));
    let mut all = vec![Contender::new(BASE, move |_, n| {
        repeat(n, &added, |word| {
            word.0.fetch_add(1, Ordering::Relaxed);
        });
    })];
    match op {
        Op::CounterIncF64 => all.push(Contender::new("cas-f64", move |_, n| {
            repeat(n, &compared, |(word, amount)| add_f64(&word.0, *amount));
        })),
        Op::GaugeSet | Op::GaugeSetMostRecent => all.push(Contender::new("atomic-store", move |_, n| {
            repeat(n, &stored, |(word, value)| word.0.store(*value, Ordering::Relaxed));
        })),
        _ => (),
    }
    all.push(Contender::new("thread-private", |_, n| {
        repeat(n, &Cell::new(0_u64), |cell| cell.set(cell.get().wrapping_add(1)));
    }));
    all.push(Contender::new("empty-loop", |_, n| repeat(n, &(), |()| ())));
    all
}

fn add_f64(word: &AtomicU64, amount: f64) {
    let mut seen = word.load(Ordering::Relaxed);
    loop {
        let sum = (f64::from_bits(seen) + amount).to_bits();
        match word.compare_exchange_weak(seen, sum, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => return,
            Err(now) => seen = now,
        }
    }
}
