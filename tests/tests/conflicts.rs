//! Metrics that contradict those of another process: the error names both sides, and nothing changes.

use dyn_metrics::{Counter, Error, Gauge, GaugeMode, Histogram, Info, Opts, Registry, StateSet, Tally};
use dyn_metrics_layout::name::clash;
use dyn_metrics_reader::{Kind, Statistic, Value};
use dyn_metrics_tests::refusals::{Stranger, assert_clear, counted, stranger};
use dyn_metrics_tests::scene::Scene;

/// A stranger registers `words` first; then `attempt` is refused with an error that names both sides and it.
fn conflicts<T>(words: &[&str], attempt: impl Fn(&Registry) -> Result<T, Error>, parts: &[&str]) {
    let scene = Scene::new();
    let other = Stranger::waiting(&[&["register", scene.path()], words].concat());
    let registrant = format!("registered by stranger (pid {})", other.pid());
    other.answer().expect("it registers");
    let families = scene.families();
    for _ in 0..2 {
        let error = scene.refuses(Statistic::RefusedConflict, &attempt, &[&[&*registrant], parts].concat());
        assert!(matches!(error, Error::Conflict { .. }), "{error:?}");
    }
    assert_eq!(scene.families(), families);
    // The other's series is as it was, and its like still registers.
    stranger(&[&["register", scene.path()], words].concat(), &[]).expect("the same once more");
}

#[test]
fn a_family_that_another_process_has_with_another_type_names_both() {
    let other = ["gauge", "x_total"];
    let parts = ["metric \"x_total\": found type gauge", "expected counter"];
    conflicts(&other, |registry| registry.counter("x_total", ""), &parts);
    conflicts(&other, |registry| registry.family::<Counter>(&Opts::new("x_total", ""), &["l"]), &parts);
    conflicts(
        &["counter", "x"],
        |registry| registry.tally("x", ""),
        &["found type counter", "expected summary"],
    );
    conflicts(
        &["tally", "x"],
        |registry| registry.histogram("x", "", &[1.0]),
        &["found type summary", "expected histogram"],
    );
    conflicts(
        &["stateset", "x", "states=a,b"],
        |registry| registry.gauge("x", ""),
        &["found type stateset", "expected gauge"],
    );
    conflicts(
        &["info", "x_info"],
        |registry| registry.float_gauge("x_info", ""),
        &["found type info", "expected gauge"],
    );
}

#[test]
fn a_family_that_another_process_has_with_another_unit_names_both() {
    let opts = |unit| Opts::new("x_seconds", "").unit(unit);
    let other = ["gauge", "x_seconds", "unit=seconds"];
    conflicts(
        &other,
        |registry| registry.create::<Gauge>(&opts("")),
        &["found unit \"seconds\"", "expected \"\""],
    );
    let create = |registry: &Registry| registry.create::<Gauge>(&opts("seconds"));
    conflicts(&["gauge", "x_seconds"], create, &["found unit \"\"", "expected \"seconds\""]);
}

#[test]
fn a_family_that_another_process_has_with_other_bounds_names_both() {
    let parts = ["found bounds [0.1, 1.0]", "expected [0.1, 2.0]"];
    conflicts(
        &["histogram", "x", "bounds=0.1,1"],
        |registry| registry.histogram("x", "", &[0.1, 2.0]),
        &parts,
    );
    let parts = ["found bounds [0.1, 1.0]", "expected [0.1]"];
    conflicts(&["histogram", "x", "bounds=0.1,1"], |registry| registry.histogram("x", "", &[0.1]), &parts);
    let list = |last: u32| (0..255).chain([last]).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
    let bounds: Vec<f64> = (0..255).chain([301]).map(f64::from).collect();
    let parts = ["300.0] (256 in all)", "301.0] (256 in all)"];
    let other = format!("bounds={}", list(300));
    conflicts(&["histogram", "x", &other], |registry| registry.histogram("x", "", &bounds), &parts);
}

#[test]
fn a_family_that_another_process_has_with_another_mode_or_states_names_both() {
    let create = |registry: &Registry| registry.create::<Gauge>(&Opts::new("x", "").mode(GaugeMode::LiveAll));
    conflicts(&["gauge", "x", "mode=max"], create, &["found mode max", "expected liveall"]);
    conflicts(
        &["gauge", "x", "mode=max"],
        |registry| registry.gauge("x", ""),
        &["found mode max", "expected livesum"],
    );
    let parts = ["found states [\"a\", \"b\"]", "expected [\"b\", \"a\"]"];
    conflicts(&["stateset", "x", "states=a,b"], |registry| registry.state_set("x", "", &["b", "a"]), &parts);
    let many: Vec<String> = (0..63).map(|n| format!("state-number-{n}-{}", "x".repeat(200))).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    conflicts(
        &["stateset", "x", "states=a,b"],
        |registry| registry.state_set("x", "", &many),
        &["found states [\"a\""],
    );
}

#[test]
fn other_help_and_level_are_no_conflict_but_counted() {
    let scene = Scene::new();
    stranger(&["register", scene.path(), "counter", "x_total"], &[]).expect("it registers");
    let before = [Statistic::HelpDiffers, Statistic::LevelDiffers].map(|why| counted(&scene.path, why));
    scene
        .registry
        .create::<Counter>(&Opts::new("x_total", "Another help").level(9))
        .expect("a counter")
        .inc();
    let after = [Statistic::HelpDiffers, Statistic::LevelDiffers].map(|why| counted(&scene.path, why));
    assert_eq!(after, before.map(|count| count + 1));
    let family = &scene.snapshot().families[1];
    assert_eq!((&*family.help, family.level), ("A metric of a stranger", 0), "the first one stays");
}

#[test]
fn every_number_type_counts_into_the_same_series() {
    let scene = Scene::new();
    stranger(&["register", scene.path(), "counter", "x_total"], &[]).expect("it registers and counts 1");
    scene.registry.float_counter("x_total", "").expect("the same family").inc_by(0.5);
    let value = &scene.snapshot().families[1].series[0].value;
    assert!(matches!(value, Value::Counter(number) if number.as_f64() == 1.5), "{value:?}");
}

fn create(registry: &Registry, kind: Kind, name: &str) -> Result<(), Error> {
    let opts = Opts::new(name, "");
    match kind {
        Kind::Counter => registry.create::<Counter>(&opts).map(drop),
        Kind::Gauge => registry.create::<Gauge>(&opts).map(drop),
        Kind::Histogram => registry.create::<Histogram>(&opts).map(drop),
        Kind::Tally => registry.create::<Tally>(&opts).map(drop),
        Kind::Info => registry.create::<Info>(&opts).map(drop),
        _ => registry.create::<StateSet>(&opts.states(&["on"])).map(drop),
    }
}

#[test]
fn names_that_another_family_s_samples_have_are_refused_in_both_orders() {
    use Kind::{Counter, Gauge, Histogram, Info, StateSet, Tally};
    for (n, (a, a_kind, b, b_kind)) in [
        ("h", Histogram, "h_sum", Gauge),
        ("h", Histogram, "h_count", Counter),
        ("h", Histogram, "h_bucket", Tally),
        ("h", Histogram, "h_created", StateSet),
        ("h", Histogram, "h_count_total", Counter),
        ("t", Tally, "t_sum", Gauge),
        ("t", Tally, "t_count", Histogram),
        ("c_total", Counter, "c", Gauge),
        ("c_total", Counter, "c_created", Gauge),
        ("c_total", Counter, "c", Counter),
        ("i_info", Info, "i", Histogram),
    ]
    .into_iter()
    .enumerate()
    {
        for (first, first_kind, second, second_kind) in [(a, a_kind, b, b_kind), (b, b_kind, a, a_kind)] {
            let scene = Scene::new();
            let (first, second) = (format!("x{n}_{first}"), format!("x{n}_{second}"));
            create(&scene.registry, first_kind, &first).expect("the first");
            let parts = [
                format!("metric {second:?} ({})", second_kind.name()),
                format!("clashes with {first:?} ({})", first_kind.name()),
                format!("(pid {})", std::process::id()),
                "both would expose a sample of the same name".to_owned(),
            ];
            let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
            let attempt = |registry: &Registry| create(registry, second_kind, &second);
            let error = scene.refuses(Statistic::RefusedClash, attempt, &parts);
            assert!(matches!(error, Error::Clash { .. }), "{error:?}");
            assert_eq!(scene.families(), ["events_total", &first]);
        }
    }
}

#[test]
fn whatever_the_writer_lets_in_side_by_side_does_not_clash() {
    let names = [
        "x",
        "x_total",
        "x_info",
        "x_sum",
        "x_count",
        "x_bucket",
        "x_created",
        "x_sum_total",
        "x_total_total",
    ];
    let scene = Scene::new();
    let (mut round, mut refused) = (0, 0_usize);
    for (first, first_kind, second, second_kind) in names.iter().flat_map(|first| {
        let pair = move |second| {
            let kinds = move |kind| Kind::ALL.map(|other| (*first, kind, second, other));
            Kind::ALL.into_iter().flat_map(kinds)
        };
        names.into_iter().filter(move |second| second > first).flat_map(pair)
    }) {
        round += 1;
        let [first, second] = [first, second].map(|name| format!("r{round}_{name}"));
        create(&scene.registry, first_kind, &first).expect("the first");
        let outcome = create(&scene.registry, second_kind, &second);
        let expected = clash(&first, first_kind, &second, second_kind);
        assert_eq!(
            outcome.is_err(),
            expected,
            "{first} {first_kind:?} {second} {second_kind:?}: {outcome:?}"
        );
        refused += usize::from(expected);
    }
    assert!(refused > 50 && refused < round, "{refused} of {round}");
    let snapshot = scene.snapshot();
    assert!(snapshot.stats.skipped.is_empty(), "{:?}", snapshot.stats.skipped);
    assert_eq!(snapshot.families.len(), 1 + 2 * round - refused);
}

/// Two processes register in step; what each got in each round.
fn race(scene: &Scene, [a, b]: [[&str; 2]; 2], rounds: usize) -> [Vec<String>; 2] {
    let count = rounds.to_string();
    let start = |me: &str, other: &str, [kind, suffix]: [&str; 2]| {
        Stranger::waiting(&["race", scene.path(), me, other, kind, suffix, &count])
    };
    let mut both = [start("a", "b", a), start("b", "a", b)];
    both.iter_mut().for_each(Stranger::go);
    both.map(|stranger| {
        let lines: Vec<String> = stranger.answer().expect("its lines").lines().map(str::to_owned).collect();
        assert_eq!(lines.len(), rounds);
        lines
    })
}

#[test]
fn of_two_processes_that_race_with_different_types_exactly_one_wins() {
    let scene = Scene::new();
    let rounds = 300;
    let [a, b] = race(&scene, [["counter", ""], ["histogram", ""]], rounds);
    let snapshot = scene.snapshot();
    assert!(snapshot.stats.skipped.is_empty(), "{:?}", snapshot.stats.skipped);
    for (round, (a, b)) in a.iter().zip(&b).enumerate() {
        let (winner, loser) = if a == "ok" { (Kind::Counter, b) } else { (Kind::Histogram, a) };
        assert_ne!(loser, "ok", "round {round}: both won");
        assert_clear(
            loser,
            &[
                &format!("metric \"race_{round}\""),
                &format!("found type {}", winner.name()),
                "stranger (pid ",
            ],
        );
        let name = format!("race_{round}");
        let kinds: Vec<Kind> = snapshot.families.iter().filter(|f| f.name == name).map(|f| f.kind).collect();
        assert_eq!(kinds, [winner], "round {round}");
    }
    let won = a.iter().filter(|line| *line == "ok").count();
    assert_eq!(won + b.iter().filter(|line| *line == "ok").count(), rounds);
    assert_eq!(counted(&scene.path, Statistic::RefusedConflict), rounds as u64);
}

#[test]
fn of_two_processes_that_race_with_clashing_names_one_is_served_and_the_other_accounted_for() {
    let scene = Scene::new();
    let rounds = 300;
    let [a, b] = race(&scene, [["gauge", ""], ["counter", "_total"]], rounds);
    let snapshot = scene.snapshot();
    let mut slipped = 0;
    for (round, (a, b)) in a.iter().zip(&b).enumerate() {
        let ok = [a, b].map(|line| line == "ok");
        slipped += u64::from(ok == [true, true]);
        assert_ne!(ok, [false, false], "round {round}: {a}, {b}");
        for line in [a, b].into_iter().filter(|line| *line != "ok") {
            assert_clear(line, &[&format!("race_{round}"), "clashes with", "stranger (pid "]);
        }
        let served = [format!("race_{round}"), format!("race_{round}_total")];
        let served = snapshot.families.iter().filter(|family| served.contains(&family.name)).count();
        assert_eq!(served, 1, "round {round}");
    }
    // Both come through when the lower one publishes after the other has looked.
    eprintln!("both came through in {slipped} of {rounds} rounds");
    let skipped: u64 = snapshot.stats.skipped.iter().map(|skipped| skipped.count).sum();
    assert!((slipped..=rounds as u64).contains(&skipped), "{:?}", snapshot.stats.skipped);
    assert_eq!(counted(&scene.path, Statistic::RefusedClash), rounds as u64 - slipped);
}
