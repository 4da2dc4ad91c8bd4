//! Thresholds: what is not shown is not read.

use super::*;

/// Counters of level 0 and, a hundred times as many, of level 1, in turns: in the same extents.
fn two_levels() -> Builder {
    let mut built = Builder::new(1);
    let [few, many] = [("a_total", 0), ("b_total", 1)]
        .map(|(name, level)| built.family(&Family { level, ..family(name, Kind::Counter) }));
    for number in 0..303_u64 {
        let family = if number % 101 == 0 { few } else { many };
        let series = built.series(family, &[("n", &number.to_string())]);
        built.cells(series, Representation::Integer, [&[number + 1], &[], &[], &[]]);
    }
    built
}

/// Everything that has been read of the segment's totals.
fn sums(bench: &mut Bench) -> Vec<u64> {
    let reading = bench.collector.followed[0].segment.reading();
    reading.sums.iter().copied().filter(|sum| *sum > 0).collect()
}

#[test]
fn totals_above_the_threshold_are_not_read() {
    let mut bench = Bench::new("segment");
    bench.write("segment", &two_levels());
    bench.collector.set_max_level(0);
    let snapshot = bench.collector.collect();
    let shown: Vec<_> = snapshot.families.iter().map(|family| (&*family.name, family.series.len())).collect();
    assert_eq!((shown, snapshot.stats.series), (vec![("a_total", 3)], 3));
    assert_eq!(sums(&mut bench), [1, 102, 203]);
    // The reports are about everything, whatever is shown.
    let reported: Vec<_> = snapshot.segments[0].families.iter().map(|family| family.series).collect();
    assert_eq!(reported, [3, 300]);
    bench.collector.set_max_level(1);
    assert_eq!(bench.collector.collect().stats.series, 303);
    assert_eq!(sums(&mut bench), (1..304).collect::<Vec<_>>());
}

#[test]
fn what_becomes_of_series_is_looked_at_when_they_are_shown() {
    let mut bench = Bench::new("segment");
    let mut built = Builder::new(1);
    let [few, many] = [("a_total", 0), ("b_total", 1)]
        .map(|(name, level)| built.family(&Family { level, ..family(name, Kind::Counter) }));
    let of_many = built.series(many, &[]);
    built.cells(of_many, Representation::Integer, [&[5], &[], &[], &[]]);
    bench.write("segment", &built);
    bench.collector.set_max_level(0);
    assert_eq!(bench.collector.collect().stats.series, 0);
    built.remove(of_many);
    bench.write("segment", &built);
    assert_eq!(bench.collector.collect().segments[0].families[1].series, 1, "not looked at");
    // News of another one: cells of what was removed may have become its own.
    let of_few = built.series(few, &[]);
    built.cells(of_few, Representation::Integer, [&[7], &[], &[], &[]]);
    bench.write("segment", &built);
    let snapshot = bench.collector.collect();
    assert_eq!((snapshot.stats.series, snapshot.segments[0].families[1].series), (1, 0));
}
