//! Metrics that can't be registered: one clear error, and the segment stays as it was.

use dyn_metrics::{
    Builder, Counter, FloatGauge, Gauge, GaugeMode, Histogram, Opts, Registry, StateSet, Tally,
};
use dyn_metrics_layout::record::{MAX_HELP, MAX_LABEL_VALUE, MAX_LABELS, MAX_RECORD, MAX_STATES, MAX_UNIT};
use dyn_metrics_reader::{Statistic, Value, encode};
use dyn_metrics_tests::refusals::{Tree, assert_clear, counted, stranger, substance};
use dyn_metrics_tests::scene::Scene;

#[test]
fn metric_names_that_prometheus_does_not_allow_are_refused() {
    let scene = Scene::new();
    let long = "x".repeat(65_536);
    for (name, part) in [
        ("", "is empty"),
        ("9lives", "has '9' at byte 0"),
        ("a-b", "has '-' at byte 1"),
        ("a.b", "has '.' at byte 1"),
        ("a b", "has ' ' at byte 1"),
        (" a", "has ' ' at byte 0"),
        ("a\0b", "has '\\0' at byte 1"),
        ("a\nb", "has '\\n' at byte 1"),
        ("größe", "has 'ö' at byte 2"),
        ("a{b=\"c\"}", "has '{' at byte 1"),
        (&long, "has 65536 bytes, expected at most 512"),
        (&long[..513], "has 513 bytes, expected at most 512"),
        ("dyn_metrics_segments", "is reserved: dyn_metrics_* are metrics about dyn-metrics itself"),
        ("dyn_metrics_mine_total", "is reserved"),
        ("dyn_metrics", "is reserved"),
    ] {
        scene.refuses_invalid::<Counter>(&Opts::new(name, ""), &[], &["metric name", part]);
        scene.refuses_invalid::<Gauge>(&Opts::new(name, ""), &["model"], &["metric name", part]);
    }
    assert_eq!(scene.families(), ["events_total"]);
    let longest = scene.registry.counter(&long[..512], "").expect("512 bytes are allowed");
    longest.inc_by(3);
    scene.registry.gauge(":job:load_5m", "").expect("colons are allowed");
    assert_eq!(scene.families(), [":job:load_5m", "events_total", &long[..512]]);
}

#[test]
fn label_names_that_prometheus_does_not_allow_are_refused() {
    let scene = Scene::new();
    let long = "x".repeat(65_536);
    for (name, part) in [
        ("", "is empty"),
        ("9lives", "has '9' at byte 0"),
        ("a-b", "has '-' at byte 1"),
        ("a.b", "has '.' at byte 1"),
        ("a:b", "has ':' at byte 1"),
        ("a b", "has ' ' at byte 1"),
        ("a\0b", "has '\\0' at byte 1"),
        ("modèle", "has 'è' at byte 3"),
        ("__name__", "is reserved"),
        ("__", "is reserved"),
        (&long, "has 65536 bytes, expected at most 256"),
        (&long[..257], "has 257 bytes, expected at most 256"),
    ] {
        let opts = Opts::new("x_total", "");
        scene.refuses_invalid::<Counter>(&opts, &["good", name], &["label name", part]);
        scene.refuses_invalid::<Counter>(&opts.label(name, "v"), &[], &["label name", part]);
    }
    assert_eq!(scene.families(), ["events_total"]);
    scene
        .registry
        .family::<Counter>(&Opts::new("x_total", ""), &[&long[..256], "_a"])
        .expect("allowed")
        .with(&["", ""])
        .inc();
}

#[test]
fn labels_that_the_exposition_adds_are_refused() {
    let scene = Scene::new();
    let opts = || Opts::new("x", "");
    let added = |label: &str, kind: &str| {
        [format!("found label {label:?}"), format!("the exposition of a {kind} adds it")]
    };
    let refused = |parts: [String; 2], attempt: &dyn Fn(&[&str])| {
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        attempt(&[&["metric \"x\"", "expected another name"][..], &parts].concat());
    };
    refused(added("le", "histogram"), &|parts| scene.refuses_invalid::<Histogram>(&opts(), &["le"], parts));
    refused(added("le", "histogram"), &|parts| {
        scene.refuses_invalid::<Histogram>(&opts().label("le", "1"), &[], parts)
    });
    refused(added("quantile", "summary"), &|parts| {
        scene.refuses_invalid::<Tally>(&opts(), &["quantile"], parts)
    });
    for mode in [GaugeMode::All, GaugeMode::LiveAll] {
        let opts = || opts().mode(mode);
        refused(added("pid", "gauge"), &|parts| scene.refuses_invalid::<Gauge>(&opts(), &["pid"], parts));
        refused(added("pid", "gauge"), &|parts| {
            scene.refuses_invalid::<FloatGauge>(&opts().label("pid", "1"), &[], parts)
        });
        let opts = || opts().states(&["on"]);
        refused(added("pid", "stateset"), &|parts| {
            scene.refuses_invalid::<StateSet>(&opts(), &["pid"], parts)
        });
    }
    refused(added("x", "stateset"), &|parts| {
        scene.refuses_invalid::<StateSet>(&opts().states(&["on"]), &["x"], parts)
    });
    assert_eq!(scene.families(), ["events_total"]);
    // Where nothing is added, they are ordinary labels.
    scene
        .registry
        .family::<Counter>(&Opts::new("c_total", ""), &["le", "quantile", "pid"])
        .expect("a counter");
    scene.registry.family::<Gauge>(&Opts::new("g", ""), &["le", "pid"]).expect("a gauge that is summed up");
}

#[test]
fn a_label_that_is_given_twice_is_refused() {
    let scene = Scene::new();
    let parts = ["metric \"x_total\"", "found label \"model\" twice, expected once"];
    scene.refuses_invalid::<Counter>(&Opts::new("x_total", ""), &["model", "status", "model"], &parts);
    scene.refuses_invalid::<Counter>(&Opts::new("x_total", "").label("model", "a"), &["model"], &parts);
    scene.refuses_invalid::<Counter>(
        &Opts::new("x_total", "").label("model", "a").label("model", "b"),
        &[],
        &parts,
    );
    let info = |registry: &Registry| registry.info("x_total", "", &[("model", "1"), ("model", "1")]);
    scene.refuses(Statistic::RefusedInvalid, info, &parts);
    assert_eq!(scene.families(), ["events_total"]);
}

#[test]
fn bounds_that_make_no_histogram_are_refused() {
    let scene = Scene::new();
    let many: Vec<f64> = (0..257).map(f64::from).collect();
    let expected = "expected 1 to 256 finite ones in strictly ascending order";
    for (bounds, part) in [
        (&[][..], "bounds are empty"),
        (&[1.0, 0.5], "bounds hold 1 before 0.5 at position 0"),
        (&[0.1, 0.2, 0.2], "bounds hold 0.2 before 0.2 at position 1"),
        (&[0.0, -0.0], "bounds hold 0 before -0 at position 0"),
        (&[f64::NAN], "bounds hold NaN at position 0"),
        (&[1.0, f64::NAN, 2.0], "bounds hold NaN at position 1"),
        (&[1.0, f64::INFINITY], "bounds hold inf at position 1 (the last bucket is +Inf anyway)"),
        (&[f64::NEG_INFINITY, 1.0], "bounds hold -inf at position 0"),
        (&many, "bounds number 257, more than 256"),
    ] {
        scene.refuses_invalid::<Histogram>(
            &Opts::new("x_seconds", "").bounds(bounds),
            &[],
            &[part, expected],
        );
    }
    assert_eq!(scene.families(), ["events_total"]);
    let most = scene.registry.histogram("x_seconds", "", &many[..256]).expect("256 are allowed");
    most.observe(255.5);
    scene
        .registry
        .histogram("y_seconds", "", &[f64::MIN, -0.0, f64::MIN_POSITIVE, f64::MAX])
        .expect("odd but ascending");
    assert!(
        matches!(&scene.snapshot().families[1].series[0].value, Value::Histogram { buckets, .. } if buckets[256] == 1)
    );
}

#[test]
fn texts_that_are_too_long_are_refused_and_never_cut() {
    let scene = Scene::new();
    let long = "é".repeat(32_768);
    let cases = [
        (Opts::new("x_total", &long), "help too long: found 65536, expected at most 4096"),
        (Opts::new("x_total", &long[..MAX_HELP + 2]), "help too long: found 4098, expected at most 4096"),
        (
            Opts::new("x_total", "").label("l", &long),
            "label value too long: found 65536, expected at most 4096",
        ),
        (
            Opts::new("x_total", "").label("l", &long[..MAX_LABEL_VALUE + 2]),
            "label value too long: found 4098",
        ),
    ];
    for (opts, part) in cases {
        scene.refuses_invalid::<Counter>(&opts, &[], &["metric \"x_total\"", part]);
    }
    let unit = "u".repeat(MAX_UNIT + 1);
    let opts = Opts::new(&format!("x_{unit}"), "").unit(&unit);
    scene.refuses_invalid::<Gauge>(&opts, &[], &["unit too long: found 65, expected at most 64"]);
    let states = ["a".repeat(4096), "b".repeat(4096), "c".repeat(4096), "d".repeat(4096)];
    let states: Vec<&str> = states.iter().map(String::as_str).collect();
    let opts = Opts::new("x", "").states(&states);
    scene.refuses_invalid::<StateSet>(
        &opts,
        &[],
        &["texts of states too long: found 16392, expected at most 16384"],
    );
    assert_eq!(scene.families(), ["events_total"]);
    scene
        .registry
        .create::<Counter>(&Opts::new("x_total", &long[..MAX_HELP]).label("l", &long[..MAX_LABEL_VALUE]))
        .expect("the longest");
    let family = &scene.snapshot().families[1];
    assert_eq!((&*family.help, family.series[0].labels.value("l")), (&long[..4096], Some(&long[..4096])));
}

#[test]
fn too_many_labels_are_refused_before_the_family_is_registered() {
    let scene = Scene::new();
    let names: Vec<String> = (0..=MAX_LABELS).map(|n| format!("l{n:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let parts = ["metric \"x_total\"", "list of labels too long: found 65, expected at most 64"];
    let opts = || Opts::new("x_total", "");
    scene.refuses_invalid::<Counter>(&opts(), &names, &parts);
    scene.refuses_invalid::<Counter>(&opts().label("a", "1").label("b", "2"), &names[2..], &parts);
    let all = names.iter().fold(opts(), |opts, name| opts.label(name, "v"));
    scene.refuses_invalid::<Counter>(&all, &[], &parts);
    assert_eq!(scene.families(), ["events_total"]);
    let family = scene.registry.family::<Counter>(&opts(), &names[..64]).expect("64 are allowed");
    family.with(&["v"; 64]).inc();
    assert_eq!(scene.snapshot().families[1].series[0].labels.len(), 64);
}

/// Values of 8 labels (of 1 byte each) whose block has this many bytes.
fn values_of_block(bytes: usize) -> Vec<String> {
    let each = (bytes - 8 * 5) / 8;
    let mut values = vec!["v".repeat(each); 8];
    values[0].push_str(&"v".repeat(bytes - 8 * (5 + each)));
    values
}

#[test]
fn labels_that_together_pass_a_record_are_refused_and_take_no_space() {
    let scene = Scene::new();
    let (names, most) = (["a", "b", "c", "d", "e", "f", "g", "h"], MAX_RECORD - 56);
    for too_long in [most + 1, most + 8, most + 40, most + 48] {
        let values = values_of_block(too_long);
        let opts = names
            .iter()
            .zip(&values)
            .fold(Opts::new("x_total", ""), |opts, (name, value)| opts.label(name, value));
        scene.refuses_invalid::<Counter>(&opts, &[], &["metric \"x_total\"", "too long", "expected at most"]);
    }
    assert_eq!(scene.families(), ["events_total"]);
    let family = scene.registry.family::<Counter>(&Opts::new("x_total", ""), &names).expect("a family");
    for too_long in [most + 1, most + 8, most + 40, most + 48] {
        let values = values_of_block(too_long);
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        for _ in 0..3 {
            let attempt = |_: &Registry| family.try_with(&values);
            scene.refuses(
                Statistic::RefusedInvalid,
                attempt,
                &["metric \"x_total\"", "too long", "expected at most"],
            );
        }
        assert!(family.with(&values).is_private() && family.get(&values).is_none());
    }
    let values = values_of_block(most);
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    family.try_with(&values).expect("the longest").inc();
    assert_eq!(scene.snapshot().families[1].series.len(), 1);
}

#[test]
fn label_values_are_any_text_and_stay_exact() {
    let scene = Scene::new();
    let family = scene.registry.family::<Counter>(&Opts::new("x_total", ""), &["l"]).expect("a family");
    let values = [
        "",
        " ",
        "模型-7b",
        "naïve",
        "a\nb",
        "q\"uote",
        "back\\slash",
        "\0",
        "{}=,",
        "\u{1f600}",
        "\u{feff}",
    ];
    for (n, value) in values.iter().enumerate() {
        family.try_with(&[value]).expect("any text is allowed").inc_by(n as u64 + 1);
    }
    let snapshot = scene.snapshot();
    let series = &snapshot.families[1].series;
    assert_eq!(series.len(), values.len());
    for (n, value) in values.iter().enumerate() {
        let found = series.iter().find(|series| series.labels.value("l") == Some(value)).expect("exact");
        assert!(
            matches!(found.value, Value::Counter(number) if number.as_f64() == n as f64 + 1.0),
            "{value:?}"
        );
    }
    let mut page = Vec::new();
    encode::text::encode(&snapshot, &mut page);
    let page = String::from_utf8(page).expect("UTF-8");
    for line in [
        "x_total{l=\"a\\nb\"} 5",
        "x_total{l=\"q\\\"uote\"} 6",
        "x_total{l=\"back\\\\slash\"} 7",
        "x_total{l=\"模型-7b\"} 3",
    ] {
        assert!(page.lines().any(|found| found == line), "{line} is not in {page}");
    }
}

#[test]
fn as_many_label_values_as_names_are_expected() {
    let scene = Scene::new();
    let family =
        scene.registry.family::<Counter>(&Opts::new("x_total", "").label("c", "1"), &["a", "b"]).expect("it");
    for values in [&[][..], &["1"], &["1", "2", "3"]] {
        let found = format!("found {} label values, expected 2", values.len());
        scene.refuses(
            Statistic::RefusedInvalid,
            |_| family.try_with(values),
            &["metric \"x_total\"", &found],
        );
        let handle = family.with(values);
        handle.inc();
        assert!(handle.is_private() && handle.value() == 1, "it counts, for its owner alone");
        assert!(family.get(values).is_none());
    }
    assert!(scene.snapshot().families[1].series.is_empty());
}

#[test]
fn a_unit_that_does_not_end_the_name_is_refused() {
    let scene = Scene::new();
    let long = "y".repeat(65_536);
    for (name, unit) in [
        ("x_total", "seconds"),
        ("x_milliseconds", "seconds"),
        ("x_seconds_count", "seconds"),
        ("seconds_x", "seconds"),
        ("x_seconds", "Seconds"),
        ("x_bytes", "bytes "),
        ("x", &long),
    ] {
        let name_part = format!("metric {name:?}");
        let parts = [&*name_part, "expected the name to end in its unit, found unit"];
        scene.refuses_invalid::<Gauge>(&Opts::new(name, "").unit(unit), &[], &parts);
    }
    assert_eq!(scene.families(), ["events_total"]);
    scene
        .registry
        .create::<Counter>(&Opts::new("x_seconds_total", "").unit("seconds"))
        .expect("before _total");
    scene.registry.create::<Gauge>(&Opts::new("seconds", "").unit("seconds")).expect("nothing but the unit");
}

#[test]
fn states_that_make_no_state_set_are_refused() {
    let scene = Scene::new();
    let many: Vec<String> = (0..=MAX_STATES).map(|n| format!("s{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let long = "s".repeat(65_536);
    for (states, part) in [
        (&[][..], "states number 0, expected 1 to 63"),
        (&many, "states number 64, expected 1 to 63"),
        (&["on", "off", "on"], "states hold \"on\" twice, expected once"),
        (&["on", ""], "states hold one of 0 bytes, expected 1 to 4096"),
        (&[&long], "states hold one of 65536 bytes, expected 1 to 4096"),
        (&[&long, &long], "expected 1 to 4096"),
    ] {
        scene.refuses_invalid::<StateSet>(&Opts::new("x", "").states(states), &[], &["metric \"x\"", part]);
    }
    assert_eq!(scene.families(), ["events_total"]);
    let most = scene.registry.state_set("x", "", &many[..63]).expect("63 are allowed");
    assert!(most.set("s62") && most.is_on("s62") && !most.set("s63") && !most.set(""));
}

#[test]
fn options_that_make_no_sense_are_refused_and_leave_no_file() {
    let directory = tempfile::tempdir_in("/dev/shm").expect("a directory");
    let path = directory.path().join("segment");
    let long = "x".repeat(65_536);
    let builder = || Registry::builder().path(&path);
    let many = (0..65).fold(builder(), |builder, n| builder.common_label(&format!("l{n}"), "v"));
    let cases: Vec<(Builder, &[&str])> = vec![
        (builder().processes(0), &["option processes: found 0, expected 1 to 4096"]),
        (builder().processes(4097), &["option processes: found 4097, expected 1 to 4096"]),
        (builder().max_bytes(0), &["option max_bytes: found 0, expected 262144 to 1099511627776"]),
        (builder().max_bytes(262_143), &["option max_bytes: found 262143, expected 262144 to"]),
        (builder().max_bytes(u64::MAX), &["option max_bytes: found 18446744073709551615, expected"]),
        (builder().max_series_per_family(0), &["option max_series_per_family: found 0, expected 1 to"]),
        (builder().mode(0), &["option mode: found 0000, expected 0600 to 0777"]),
        (builder().mode(0o444), &["option mode: found 0444, expected 0600 to 0777"]),
        (builder().mode(0o4777), &["option mode: found 4777, expected 0600 to 0777"]),
        (builder().mode(u32::MAX), &["option mode: found", "expected 0600 to 0777"]),
        (builder().role(&long), &["option role (its bytes): found 65536, expected 0 to 128"]),
        (builder().common_label("", "v"), &["label name \"\" is empty"]),
        (builder().common_label("a-b", "v"), &["label name \"a-b\" has '-' at byte 1"]),
        (builder().common_label("__a", "v"), &["label name \"__a\" is reserved"]),
        (builder().common_label("a", &long), &["common labels", "too long: found 65536, expected at most"]),
        (
            builder().common_label("a", "1").common_label("a", "1"),
            &["found label \"a\" twice, expected once"],
        ),
        (many, &["common labels", "list of labels too long: found 65, expected at most 64"]),
        (builder().process_label("a:b", "v"), &["label name \"a:b\" has ':' at byte 1"]),
        (
            builder().process_label("a", &long[..240]),
            &["process labels", "too long: found 245, expected at most 240"],
        ),
        (
            builder().process_label("a", "1").process_label("a", "2"),
            &["found label \"a\" twice, expected once"],
        ),
    ];
    let before = Tree::of(directory.path());
    for (builder, parts) in cases {
        let error = builder.open().expect_err("no segment").to_string();
        before.assert_unchanged(directory.path(), &error);
        assert_clear(&error, parts);
    }
}

#[test]
fn a_role_of_several_lines_does_not_break_errors() {
    let scene = Scene::with(|builder| builder.role("line 1\nline 2"));
    scene.registry.gauge("x", "").expect("a gauge");
    let error = stranger(&["register", scene.path(), "counter", "x"], &[]).expect_err("another type");
    assert_clear(&error, &["metric \"x\"", "role line 1\\nline 2"]);
}

#[test]
fn constant_labels_do_not_pass_a_family_s_limit() {
    let scene = Scene::new();
    let opts = |n: usize| Opts::new("x_total", "").max_series(3).label("worker", &format!("w{n}"));
    let handles: Vec<Counter> = (0..10).map(|n| scene.registry.create(&opts(n)).expect("a handle")).collect();
    handles.iter().for_each(Counter::inc);
    let snapshot = scene.snapshot();
    let series = &snapshot.families[1].series;
    let workers: Vec<&str> = series.iter().filter_map(|series| series.labels.value("worker")).collect();
    assert_eq!(workers, ["__overflow__", "w0", "w1", "w2"]);
    assert!(matches!(series[0].value, Value::Counter(number) if number.as_f64() == 7.0), "{:?}", series[0]);
    assert_eq!(counted(&scene.path, Statistic::RefusedSeriesLimit), 7);
    let family = scene.registry.family::<Counter>(&opts(1), &["status"]).expect("the same family");
    family.with(&["ok"]).inc();
    family.with(&["failed"]).inc();
    let snapshot = scene.snapshot();
    assert_eq!(snapshot.families[1].series.len(), 5, "one more overflow series, for the other label names");
}

#[test]
fn refused_handles_count_privately_and_the_directory_stays_clean() {
    let scene = Scene::new();
    let before = substance(&scene.path);
    let private = scene.registry.counter("9", "").unwrap_or_default();
    private.inc_by(4);
    let gauge = scene.registry.gauge("9", "").unwrap_or_default();
    gauge.set(-4);
    let histogram = scene.registry.histogram("9", "", &[]).unwrap_or_default();
    histogram.observe(1.0);
    assert_eq!((private.value(), gauge.value(), histogram.count()), (4, -4, 1));
    assert!(substance(&scene.path) == before);
    assert_eq!(scene.directory.path().read_dir().expect("it").count(), 1);
}
