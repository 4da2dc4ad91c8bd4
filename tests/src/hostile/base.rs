//! Sound segments to begin with. The same bytes in every run: inputs name places in them by number.

use dyn_metrics_layout::gauge::Owner;
use dyn_metrics_layout::index;
use dyn_metrics_layout::kind::Number;
use dyn_metrics_layout::link::Link;
use dyn_metrics_layout::record::{self, Doubles, Family, Texts};
use dyn_metrics_layout::{GaugeMode, Kind, Representation};

use super::built::{Builder, CPUS, claimant, every_kind, family};
use crate::golden;

/// A segment's files.
#[derive(Clone, Debug)]
pub struct Base {
    /// What is in it.
    pub name: &'static str,
    /// Bytes of the file that has the name, and of superseded ones.
    pub files: Vec<Vec<u8>>,
    /// Slots of living processes, in each file.
    pub living: &'static [u32],
}

/// All of them, in an order that never changes.
///
/// # Panics
/// When the golden segment isn't there.
#[must_use]
pub fn all() -> Vec<Base> {
    let golden = std::fs::read(golden::data("segment")).expect("the golden segment");
    let base = |name, files, living| Base { name, files, living };
    vec![
        base("golden", vec![golden], &[1, 2]),
        base("every kind", vec![every_kind(1).bytes().to_vec()], &[0]),
        base("gauges", vec![gauges(1).bytes().to_vec()], &[0, 3]),
        base("tables and extents", vec![tables().bytes().to_vec()], &[]),
        base("pair", vec![pair(2, &[5]).bytes().to_vec(), pair(1, &[7, 9]).bytes().to_vec()], &[0]),
        base("one counter", vec![one_counter().bytes().to_vec()], &[]),
    ]
}

fn one_counter() -> Builder {
    let mut built = Builder::new(1);
    let counter = built.family(&family("a_total", Kind::Counter));
    let series = built.series(counter, &[("l", "v")]);
    built.cells(series, Representation::Integer, [&[5], &[], &[], &[1]]);
    built
}

/// Gauges of every mode, of living and of dead processes, one of which took over from another and one died over it.
fn gauges(created: u64) -> Builder {
    let mut built = Builder::with_common(created, &[("cluster", "a")]);
    let owners = [(0, 1, 100), (1, 2, 100), (2, 1, 100), (3, 7, 41)];
    let owners = owners.map(|(slot, generation, pid)| claimant(slot, generation, pid));
    owners.iter().for_each(|owner| built.process(owner, "worker"));
    for mode in GaugeMode::EVERY {
        let name = format!("g_{}", mode.name());
        let gauge = built.family(&Family { mode, keep_dead: 2, ..family(&name, Kind::Gauge) });
        let series = built.series(gauge, &[("shard", "0")]);
        let numbers = [Number::Integer(-4), Number::Float(0.5), Number::Nanoseconds(3), Number::Integer(9)];
        for (at, (owner, number)) in (0..).zip(owners.iter().zip(numbers)) {
            built.gauge(series, owner, mode, number, at);
        }
    }
    let (mode, states) = (GaugeMode::All, Texts::Strs(&["on", "off"]));
    let phase = built.family(&Family { mode, states, keep_dead: 1, ..family("phase", Kind::StateSet) });
    let series = built.series(phase, &[]);
    built.gauge(series, &owners[0], mode, Number::Integer(1), 0);
    built.gauge(series, &owners[1], mode, Number::Integer(2), 0);
    let mode = GaugeMode::Sum;
    let taken = built.family(&Family { mode, ..family("g_taken", Kind::Gauge) });
    let series = built.series(taken, &[]);
    for taking in [true, false] {
        built.gauge_with(series, |cell, place| {
            cell.begin(place, series, &owners[1], Representation::Integer);
            cell.half(0).set(Number::Integer(6), Representation::Integer, mode, || 1);
            let owner = Owner { slot: 2, generation: 1, half: 0, taking };
            cell.owner.store(owner.pack(place), dyn_metrics_layout::sync::Ordering::Relaxed);
        });
    }
    built
}

/// Three index tables, several extents of both sorts, a removed series, every representation.
fn tables() -> Builder {
    let mut built = Builder::new(1);
    let counter = built.family(&family("c_total", Kind::Counter));
    let shared = built.family(&Family { shared_only: true, ..family("s_total", Kind::Counter) });
    let bounds = [0.001, 0.5, 1.0, 2.5];
    let seconds = Family { bounds: Doubles::Numbers(&bounds), ..family("h_seconds", Kind::Histogram) };
    let histogram = built.family(&seconds);
    for number in 0..12_u64 {
        let series = built.series(counter, &[("n", &number.to_string())]);
        let representation = Representation::ALL[number as usize % 3];
        built.cells(series, representation, [&[number], &[1], &[], &[number]]);
    }
    // Wide enough that the last of them need extents of their own.
    for number in 0..24_u64 {
        let series = built.series(histogram, &[("n", &number.to_string())]);
        let words = [number, 1, 2, 3, 4, 5];
        built.cells(series, Representation::Integer, [&words, &[], &[], &words]);
    }
    let series = built.series(shared, &[]);
    built.draw_words(1, 1);
    let removed = built.series(counter, &[("n", "gone")]);
    built.remove(removed);
    built.set(record::state_offset(counter) + 48, 12);
    built.cells(series, Representation::Integer, [&[], &[], &[], &[3]]);
    spread(&mut built);
    built
}

/// Moves some slots of the first table into two tables behind it.
fn spread(built: &mut Builder) {
    let first = built.header().index;
    let mut last = first;
    for number in 0..2 {
        let table = built.draw(index::table_bytes(index::MIN_SLOTS), 64);
        let mut head = [0; 16];
        index::encode_header(index::MIN_SLOTS, table, &mut head);
        for (at, word) in (0..).zip(head.chunks_exact(8)) {
            built.set(table + 8 * at, u64::from_le_bytes(word.try_into().expect("8 bytes")));
        }
        built.set(last + index::NEXT, Link::pack(table, last + index::NEXT));
        let slots = index::HEADER_BYTES as u64..index::table_bytes(index::MIN_SLOTS);
        for at in slots.step_by(8).filter(|at| at / 8 % 5 == number) {
            built.set(table + at, built.word(first + at));
            built.set(first + at, 0);
        }
        last = table;
    }
}

/// One of two files of a name: the same families, and some that contradict those of the other.
fn pair(created: u64, counts: &[u64]) -> Builder {
    let mut built = Builder::with_common(created, &[("zone", "b")]);
    let owner = claimant(0, created as u32, 300 + created as u32);
    built.process(&owner, "pair");
    let counter = built.family(&family("a_total", Kind::Counter));
    for (number, count) in counts.iter().enumerate() {
        let series = built.series(counter, &[("n", &number.to_string())]);
        built.cells(series, Representation::Integer, [&[*count], &[], &[], &[]]);
    }
    let mode = if created == 1 { GaugeMode::All } else { GaugeMode::Max };
    for (name, mode) in [("same", GaugeMode::All), ("other", mode)] {
        let gauge = built.family(&Family { mode, keep_dead: 3, ..family(name, Kind::Gauge) });
        let series = built.series(gauge, &[]);
        built.gauge(series, &owner, mode, Number::Integer(created as i64), created);
    }
    let tally = built.family(&family(if created == 1 { "t" } else { "t_count" }, Kind::Tally));
    let series = built.series(tally, &[]);
    let blocks: [&[u64]; CPUS as usize + 1] = [&[2, 7], &[], &[], &[]];
    built.cells(series, Representation::Integer, blocks);
    built
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Slots that were moved left gaps, which end a writer's search; whoever reads visits every slot.
    const MOVED: &str = "a search of the index doesn't find this record";

    #[test]
    fn every_base_is_sound_but_for_slots_that_were_moved() {
        let stage = super::super::stage::Stage::new();
        for base in all() {
            for path in stage.paths(base.name, true) {
                let report = dyn_metrics_reader::check::check(path).expect("a segment");
                let faults: Vec<_> = report.faults.iter().map(ToString::to_string).collect();
                let moved = faults.iter().all(|fault| fault.ends_with(MOVED));
                assert!(report.is_sound() || (base.name == "tables and extents" && moved), "{faults:#?}");
            }
        }
    }
}
