//! Text that is rendered at once: the same as that of a snapshot, and right, whatever happens between scrapes.

use std::collections::BTreeMap;

use dyn_metrics_layout::GaugeMode;
use dyn_metrics_layout::kind::Number as GaugeNumber;
use dyn_metrics_layout::record::Texts;

use super::*;
use crate::testing::{Alive, CPUS, Random, every_kind};

const BOUNDS: [f64; 3] = [0.25, 1.0, 1e6];
const MODES: [GaugeMode; 4] = [GaugeMode::Sum, GaugeMode::All, GaugeMode::LiveAll, GaugeMode::LiveMax];
const KINDS: [Kind; 6] =
    [Kind::Counter, Kind::Tally, Kind::Histogram, Kind::Gauge, Kind::StateSet, Kind::Info];

/// What a block holds of a series.
type Words = Vec<u64>;

/// One segment of a random scene, and what its totals are.
struct File {
    name: &'static str,
    built: Builder,
    families: Vec<(u64, String, Kind, GaugeMode)>,
    /// Record, family and labels of series that are not removed.
    series: Vec<(u64, usize, String)>,
    /// Words in the order of blocks, by family, labels and representation.
    totals: BTreeMap<(String, String, usize), Vec<Words>>,
    alive: Vec<(u32, Alive)>,
}

impl File {
    fn new(name: &'static str, created: u64) -> Self {
        let (families, series, totals, alive) = Default::default();
        Self { name, built: Builder::new(created), families, series, totals, alive }
    }

    /// Families are the same in every file, so that series merge.
    fn add_family(&mut self, random: &mut Random) {
        let number = random.below(12) as usize;
        let (kind, mode) = (KINDS[number % KINDS.len()], MODES[number % MODES.len()]);
        let name = format!("family_{number}");
        if self.families.iter().any(|(_, known, ..)| *known == name) {
            return;
        }
        let bounds = Doubles::Numbers(if kind == Kind::Histogram { &BOUNDS } else { &[] });
        let states = Texts::Strs(if kind == Kind::StateSet { &["on", "o\"ff"] } else { &[] });
        // Bits have no sum of processes.
        let mode = if kind == Kind::StateSet && mode == GaugeMode::Sum { GaugeMode::LiveMax } else { mode };
        // Files may disagree about it: the first one's counts.
        let level = ((number + self.name.len()) % 4) as u8;
        let described = Family { mode, level, bounds, states, keep_dead: 1, ..family(&name, kind) };
        self.families.push((self.built.family(&described), name, kind, mode));
    }

    fn add_series(&mut self, random: &mut Random) {
        let family = random.below(self.families.len() as u64) as usize;
        // Nothing: a series without labels.
        let number = random.below(6);
        let value = if number == 0 { String::new() } else { format!("{number}\\\"") };
        let (offset, name, kind, mode) = self.families[family].clone();
        if self.series.iter().any(|(_, known, labels)| (*known, labels) == (family, &value)) {
            return;
        }
        let labels: &[_] = if value.is_empty() { &[] } else { &[("l", &*value)] };
        let series = self.built.series(offset, labels);
        self.series.push((series, family, value.clone()));
        if kind.is_per_process() {
            for slot in 0..random.below(4) as u32 {
                let number = GaugeNumber::Integer(random.below(3) as i64);
                self.built.gauge(series, &claimant(slot, 1, 7 + slot % 2), mode, number, u64::from(slot));
            }
        }
        for _ in 0..random.below(3) {
            self.add_cells(random, series, name.clone(), value.clone(), kind);
        }
    }

    fn add_cells(&mut self, random: &mut Random, series: u64, name: String, value: String, kind: Kind) {
        let words = kind.cell_words(if kind == Kind::Histogram { BOUNDS.len() } else { 0 });
        let representation = Representation::ALL[random.below(3) as usize];
        let key = (name, value, representation as usize);
        if words == 0 || self.totals.contains_key(&key) {
            return;
        }
        let mut blocks = vec![Words::new(); CPUS as usize + 1];
        for block in &mut blocks {
            if random.below(3) == 0 {
                continue;
            }
            *block = (0..words).map(|_| random.below(1000)).collect();
            if representation == Representation::Float {
                block[words - 1] = (random.below(1000) as f64 / 7.0).to_bits();
            }
        }
        // The shared block says how many words there are.
        blocks[CPUS as usize].resize(words, 0);
        let [a, b, c, shared] = &blocks[..] else { panic!("{CPUS} CPUs") };
        self.built.cells(series, representation, [a, b, c, shared]);
        self.totals.insert(key, blocks);
    }

    fn remove_series(&mut self, random: &mut Random) {
        if self.series.is_empty() {
            return;
        }
        let (series, family, value) =
            self.series.swap_remove(random.below(self.series.len() as u64) as usize);
        self.built.remove(series);
        let name = &self.families[family].1;
        self.totals.retain(|(of, labels, _), _| (of, labels) != (name, &value));
    }

    fn step(&mut self, random: &mut Random, bench: &Bench) {
        for _ in 0..=random.below(4) {
            match random.below(8) {
                0 | 1 => self.add_family(random),
                2 => self.remove_series(random),
                _ if !self.families.is_empty() => self.add_series(random),
                _ => {}
            }
        }
        for slot in 0..4 {
            self.built.process(&claimant(slot, 1, 7 + slot % 2), "worker");
        }
        bench.write(self.name, &self.built);
        match random.below(4) {
            0 => drop(self.alive.pop()),
            1 => {
                let slot = random.below(4) as u32;
                if self.alive.iter().all(|(known, _)| *known != slot) {
                    self.alive.push((slot, live(&bench.path(self.name), slot)));
                }
            }
            _ => {}
        }
    }
}

/// What a counter of these cells in these files is, added up one by one in the documented order.
fn expected(files: &[&File], name: &str, value: &str) -> Number {
    let (mut integer, mut float, mut nanoseconds, mut is_integer) = (0_u64, 0.0, 0_u64, true);
    for representation in Representation::ALL {
        for file in files {
            let key = (name.to_owned(), value.to_owned(), representation as usize);
            let Some(blocks) = file.totals.get(&key) else { continue };
            let words = || blocks.iter().filter_map(|block| block.first().copied());
            is_integer &= representation == Representation::Integer;
            match representation {
                Representation::Integer => integer += words().sum::<u64>(),
                Representation::Float => float += words().map(f64::from_bits).sum::<f64>(),
                Representation::Nanoseconds => nanoseconds += words().sum::<u64>(),
            }
        }
    }
    if is_integer {
        Number::Unsigned(integer)
    } else {
        Number::Float(integer as f64 + float + nanoseconds as f64 / 1e9)
    }
}

fn assert_counters(snapshot: &Snapshot, files: &[&File]) {
    let mut found = Vec::new();
    for family in snapshot.families.iter().filter(|family| family.kind == Kind::Counter) {
        for series in &family.series {
            let value = series.labels.value("l").unwrap_or("");
            let expected = Value::Counter(expected(files, &family.name, value));
            assert_eq!(series.value, expected, "{} {:?}", family.name, series.labels);
            found.push((family.name.clone(), value.to_owned()));
        }
    }
    let of = |file: &&File| {
        let series = file.series.iter().map(|(_, number, value)| (&file.families[*number], value.clone()));
        let counters = series.filter(|((_, _, kind, _), _)| *kind == Kind::Counter);
        counters.map(|((_, name, ..), value)| (name.clone(), value)).collect::<Vec<_>>()
    };
    let mut there: Vec<_> = files.iter().flat_map(of).collect();
    there.sort();
    there.dedup();
    found.sort();
    assert_eq!(found, there);
}

/// Asserts that a page up to `level` is the part of `all` that is.
fn assert_levels(mut all: Snapshot, bench: &mut Bench, level: u8) {
    all.families.retain(|family| family.level <= level);
    let (mut text, mut rendered) = (Vec::new(), Vec::new());
    encode::text::encode_families(&all.families, &mut text);
    bench.selective.set_max_level(level);
    let report = bench.selective.render(&mut rendered);
    assert_eq!(report.stats.series, all.families.iter().map(|family| family.series.len()).sum::<usize>());
    let rendered = String::from_utf8(rendered).unwrap();
    let (families, _) = rendered.split_once("# HELP dyn_metrics_").unwrap();
    assert_eq!(families, String::from_utf8(text).unwrap(), "up to level {level}");
}

#[test]
fn random_segments_are_rendered_as_their_snapshots_whatever_happens_between_scrapes() {
    for seed in 0..60 {
        let mut random = Random::new(seed);
        let mut bench = Bench::new("*");
        // In the order in which they are merged.
        let mut files = [File::new("a", 3), File::new("a.superseded-1", 2), File::new("b", 4)];
        for step in 0..12 {
            let there = 1 + (step / 4).min(2);
            for file in &mut files[..there] {
                file.step(&mut random, &bench);
            }
            if random.below(3) == 0 {
                bench.pass(Duration::from_secs(1));
            }
            let snapshot = bench.collect();
            assert_eq!(snapshot.stats.skipped, [], "seed {seed}");
            assert_counters(&snapshot, &files[..there].iter().collect::<Vec<_>>());
            // Who collects and renders by turns sees the same too.
            let (mut text, mut rendered) = (Vec::new(), Vec::new());
            bench.collector.render(&mut rendered);
            encode::text::encode(&snapshot, &mut text);
            assert_eq!(String::from_utf8(rendered), String::from_utf8(text), "seed {seed} step {step}");
            assert_levels(snapshot, &mut bench, (step % 5) as u8);
        }
    }
}

#[test]
fn a_page_is_appended_and_the_second_is_the_first() {
    let mut bench = Bench::new("segment");
    bench.write("segment", &every_kind(1));
    let _alive = live(&bench.path("segment"), 0);
    bench.collect();
    let mut pages = b"# before\n".to_vec();
    bench.renderer.render(&mut pages);
    let one = pages.len();
    bench.renderer.render(&mut pages);
    assert_eq!(pages[9..one], pages[one..]);
    assert_eq!(bench.renderer.render(&mut pages).stats.series, bench.collect().stats.series);
}

#[test]
fn labels_of_processes_follow_who_lives() {
    let mut built = Builder::new(1);
    let gauge = built.family(&Family { mode: GaugeMode::LiveAll, ..family("g", Kind::Gauge) });
    let series = built.series(gauge, &[]);
    for (slot, pid) in [(0, 10), (1, 30)] {
        let owner = claimant(slot, 1, pid);
        built.process(&owner, "worker");
        built.gauge(series, &owner, GaugeMode::LiveAll, GaugeNumber::Integer(i64::from(pid) + 1), 0);
    }
    let mut bench = Bench::new("segment");
    bench.write("segment", &built);
    for (slot, sample) in [(0, "g{pid=\"10\"} 11"), (1, "g{pid=\"30\"} 31"), (0, "g{pid=\"10\"} 11")] {
        let _alive = live(&bench.path("segment"), slot);
        bench.pass(Duration::from_secs(1));
        assert_eq!(bench.samples(), [sample], "as many as before, and another");
    }
}
