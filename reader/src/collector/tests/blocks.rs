//! What summing costs on a machine with many CPUs.

use super::*;
use crate::segment::Segment;

const CPUS_IN_USE: u32 = 64;
const COUNTERS: usize = 100_000;

/// Run it with `cargo test --release -p dyn-metrics-reader --lib -- --ignored --nocapture summing`.
#[test]
#[ignore = "measures; wants an idle machine and a release build"]
fn summing_64_blocks_costs_little_more_than_a_bare_loop() {
    let mut built = Builder::with_limits(1, &[], CPUS_IN_USE, 1 << 30);
    let counter = built.family(&family("a_total", Kind::Counter));
    let mut extents = Vec::new();
    for number in 0..COUNTERS {
        let series = built.series(counter, &[("n", &number.to_string())]);
        let words: Vec<[u64; 1]> = (0..u64::from(CPUS_IN_USE)).map(|cpu| [cpu + number as u64]).collect();
        let words: Vec<&[u64]> = words.iter().map(|words| &words[..]).collect();
        let extent = built.cells_on(series, Representation::Integer, &words, &[1]);
        if extents.last() != Some(&extent) {
            extents.push(extent);
        }
    }
    let directory = scratch();
    let path = directory.path().join("segment");
    built.write(&path);
    let mut segment = Segment::open(&path).unwrap();
    segment.refresh(&Instant::now, u8::MAX).unwrap();
    let blocks: Vec<u64> = extents
        .iter()
        .flat_map(|extent| (0..CPUS_IN_USE).map(|cpu| (*extent, cpu)))
        .map(|(extent, cpu)| built.block(extent, cpu))
        .collect();
    drop(built);
    let (mut summed, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..101 {
        let started = Instant::now();
        segment.sum(None);
        summed.push(started.elapsed());
        let reading = segment.reading();
        let expected: u64 = reading.sums.iter().sum::<u64>() - COUNTERS as u64;
        let started = Instant::now();
        let view = reading.source.view();
        let words = |block: &u64| view.words(*block, crate::testing::WORDS as usize).unwrap();
        let total: u64 = blocks
            .iter()
            .flat_map(words)
            .map(|word| word.load(dyn_metrics_layout::sync::Ordering::Relaxed))
            .sum();
        bare.push(started.elapsed());
        assert_eq!(total, expected);
    }
    let (summed, bare) = (summed.iter().min().unwrap(), bare.iter().min().unwrap());
    let ratio = summed.as_secs_f64() / bare.as_secs_f64();
    println!(
        "{COUNTERS} counters, {CPUS_IN_USE} blocks: summed in {summed:?}, bare loop {bare:?}, ratio {ratio:.2}"
    );
    assert!(ratio <= 1.5);
}
