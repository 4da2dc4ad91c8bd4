//! Full filesystems and segments: registration says so, and what is registered goes on counting.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use dyn_metrics::{Counter, Error, Family, FloatCounter, Gauge, GaugeMode, Histogram, Opts, Registry, Tally};
use dyn_metrics_layout::header::{RESERVED_END, Statistic};
use dyn_metrics_reader::{Collector, Snapshot, check};
use dyn_metrics_tests::filesystems::{fill_up, in_small_filesystem};
use dyn_metrics_tests::reading::{labelled, number};
use dyn_metrics_tests::refusals::{Tree, assert_clear, counted};
use nix::mount::{MsFlags, mount};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

const MIB: u64 = 1 << 20;

/// Runs `work` on every CPU that this thread may use.
fn on_every_cpu(work: impl Fn()) -> u64 {
    let before = sched_getaffinity(Pid::from_raw(0)).expect("its CPUs");
    let mut count = 0;
    for cpu in (0..CpuSet::count()).filter(|cpu| before.is_set(*cpu).unwrap_or(false)) {
        let mut one = CpuSet::new();
        one.set(cpu).expect("a CPU");
        sched_setaffinity(Pid::from_raw(0), &one).expect("it moves");
        work();
        count += 1;
    }
    sched_setaffinity(Pid::from_raw(0), &before).expect("it moves back");
    count
}

fn segment_of(path: &Path, max_bytes: u64) -> Registry {
    Registry::builder().path(path).max_bytes(max_bytes).processes(16).open().expect("a segment")
}

fn snapshot(path: &Path) -> Snapshot {
    let snapshot = Collector::new(&[path.display().to_string()]).collect();
    assert!(snapshot.stats.skipped.is_empty(), "{:?}", snapshot.stats.skipped);
    snapshot
}

fn assert_sound(path: &Path) {
    let report = check::check(path).expect("a segment");
    assert!(report.is_sound(), "{:?}", report.faults);
}

fn assert_full(error: &Error, path: &Path, what: &str, reason: &str) {
    assert!(matches!(error, Error::Full { .. }), "{error:?}");
    let path = path.to_str().expect("UTF-8");
    assert_clear(&error.to_string(), &[path, &format!("no space for {what}: "), reason, "remedy: "]);
}

const NO_SPACE: &str = "filesystem full (ENOSPC: No space left on device)";

#[test]
fn creating_a_segment_on_a_full_filesystem_is_refused_and_leaves_nothing() {
    in_small_filesystem("size=1m", |directory| {
        let path = directory.join("segment");
        for free in [0, 4096, 61_440] {
            fill_up(directory, free);
            let before = Tree::of(directory);
            let error = Registry::open_at(&path).expect_err("no room");
            assert_full(&error, &path, "a new segment", NO_SPACE);
            before.assert_unchanged(directory, &error.to_string());
            let stat = nix::sys::statvfs::statvfs(directory).expect("its numbers");
            assert_eq!(stat.blocks_free() * stat.fragment_size(), free, "what was allocated is given back");
            fs::remove_file(directory.join("filler")).expect("it goes");
        }
        Registry::open_at(&path).expect("room now").counter("x_total", "").expect("a counter").inc();
    });
}

#[test]
fn free_bytes_are_no_more_than_the_filesystem_has() {
    in_small_filesystem("size=2m", |directory| {
        let path = directory.join("segment");
        let registry = segment_of(&path, 64 * MIB);
        registry.counter("x_total", "").expect("a counter").inc();
        let free = || snapshot(&path).segments[0].bytes_free;
        let file = fs::metadata(&path).expect("a file").len();
        let used = snapshot(&path).segments[0].bytes_used;
        assert_eq!(free(), 2 * MIB - used, "the rest of the file, and of the filesystem");
        fill_up(directory, 4096);
        assert_eq!(free(), file - used + 4096);
    });
    in_small_filesystem("size=0", |directory| {
        let path = directory.join("segment");
        let _registry = segment_of(&path, 64 * MIB);
        let report = &snapshot(&path).segments[0];
        assert_eq!(report.bytes_free, 64 * MIB - report.bytes_used, "a filesystem without a limit");
    });
}

#[test]
fn creating_a_segment_without_a_free_inode_is_refused() {
    in_small_filesystem("size=8m,nr_inodes=2", |directory| {
        fs::write(directory.join("other"), "").expect("the last inode");
        let path = directory.join("segment");
        let before = Tree::of(directory);
        let error = Registry::open_at(&path).expect_err("no inode");
        assert_full(&error, &path, "a new segment", NO_SPACE);
        before.assert_unchanged(directory, &error.to_string());
    });
}

#[test]
fn a_segment_is_made_under_a_temporary_name_where_proc_is_missing_and_leaves_none() {
    in_small_filesystem("size=1m", |directory| {
        mount(Some("tmpfs"), "/proc", Some("tmpfs"), MsFlags::empty(), None::<&str>).expect("an empty /proc");
        let path = directory.join("segment");
        fill_up(directory, 61_440);
        let before = Tree::of(directory);
        let error = Registry::open_at(&path).expect_err("no room");
        assert_full(&error, &path, "a new segment", NO_SPACE);
        before.assert_unchanged(directory, &error.to_string());
        fs::remove_file(directory.join("filler")).expect("it goes");
        fill_up(directory, 65_536);
        let registry = Registry::open_at(&path).expect("just enough room");
        let counter = registry.counter("x_total", "").expect("a counter");
        counter.inc();
        // Nothing of the rest needs /proc either.
        let gauge = registry.gauge("gauge", "").expect("a gauge");
        gauge.set(3);
        assert_eq!((counter.value(), gauge.value()), (1, 3));
        assert_eq!(counted(&path, Statistic::PrivateNoSlot), 0);
        assert_eq!(number(&snapshot(&path), "gauge"), Some(3.0));
        let mut names: Vec<_> =
            directory.read_dir().expect("it").map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["filler", "segment"], "no temporary name is left");
    });
}

#[test]
fn a_replacement_that_finds_no_space_leaves_the_old_segment_in_use() {
    in_small_filesystem("size=1m", |directory| {
        let path = directory.join("segment");
        let registry = segment_of(&path, 512 << 10);
        let counter = registry.counter("x_total", "").expect("a counter");
        counter.inc();
        fill_up(directory, 0);
        let before = Tree::of(directory);
        let error = Registry::builder().path(&path).fresh(true).force(true).open().expect_err("no room");
        assert!(matches!(error, Error::Full { .. }), "{error:?}");
        before.assert_unchanged(directory, &error.to_string());
        counter.inc();
        assert_eq!(number(&snapshot(&path), "x_total"), Some(2.0));
    });
}

#[test]
fn a_filesystem_that_is_mounted_read_only_is_named_as_such() {
    in_small_filesystem("size=1m", |directory| {
        let path = directory.join("segment");
        fs::write(&path, vec![7; 4096]).expect("a file");
        let read_only = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(None::<&str>, directory, None::<&str>, read_only, None::<&str>).expect("it is remounted");
        for path in [path, directory.join("missing")] {
            let error = Registry::open_at(&path).expect_err("nothing can be written").to_string();
            assert_clear(&error, &[path.to_str().expect("UTF-8"), "Read-only file system"]);
        }
    });
}

/// Registers series until not even the smallest structure, 128 bytes, finds room in the file.
fn use_up(family: &Family<Counter>) {
    for n in 0..5000 {
        let _ = family.try_with(&[&n.to_string()]);
    }
}

#[test]
fn a_segment_with_holes_is_filled_or_refused_before_anybody_writes_into_one() {
    in_small_filesystem("size=1m", |directory| {
        let (path, copy) = (directory.join("segment"), directory.join("copy"));
        segment_of(&path, 4 * MIB).counter("x_total", "").expect("a counter").inc();
        let bytes = fs::read(&path).expect("its bytes");
        let sparse = fs::File::create(&copy).expect("a file");
        for (n, page) in bytes.chunks(4096).enumerate().filter(|(_, page)| page.iter().any(|byte| *byte != 0))
        {
            sparse.write_all_at(page, 4096 * n as u64).expect("room");
        }
        sparse.set_len(bytes.len() as u64).expect("a hole");
        fill_up(directory, 0);
        let before = Tree::of(directory);
        let error = Registry::open_at(&copy).expect_err("no room").to_string();
        before.assert_unchanged(directory, &error);
        assert_clear(&error, &[copy.to_str().expect("UTF-8"), "No space left on device"]);
        fs::remove_file(directory.join("filler")).expect("it goes");
        let counter = Registry::open_at(&copy).expect("room").counter("x_total", "").expect("a counter");
        fill_up(directory, 0);
        counter.inc();
        assert_eq!(counter.value(), 2);
    });
}

/// Metrics of every kind, registered before space runs out, and what they must say.
struct Metrics {
    counter: Counter,
    float: FloatCounter,
    tally: Tally,
    histogram: Histogram,
    family: Family<Counter>,
    gauge: Gauge,
    rounds: u64,
}

impl Metrics {
    fn register(registry: &Registry) -> Self {
        let family = registry.family(&Opts::new("family_total", ""), &["n"]).expect("a family");
        for n in 0..20 {
            let _ = family.with(&[&n.to_string()]);
        }
        let gauge = registry.gauge("gauge", "").expect("a gauge");
        gauge.set(5);
        Self {
            counter: registry.counter("counter_total", "").expect("a counter"),
            float: registry.float_counter("float_total", "").expect("a counter"),
            tally: registry.tally("tally", "").expect("a tally"),
            histogram: registry.histogram("histogram", "", &[1.0, 2.0]).expect("a histogram"),
            family,
            gauge,
            rounds: 0,
        }
    }

    /// Updates everything once on every CPU.
    fn update(&mut self) {
        self.rounds += on_every_cpu(|| {
            self.counter.inc();
            self.float.inc_by(0.5);
            self.tally.observe(2.0);
            self.histogram.observe(1.5);
            self.gauge.inc();
            for n in 0..20 {
                self.family.with(&[&n.to_string()]).inc();
            }
        });
    }

    /// Fails when anything was lost, by the handles or in the segment as others see it.
    fn assert_whole(&self, path: &Path) {
        let n = self.rounds;
        assert_eq!((self.counter.value(), self.float.value()), (n, 0.5 * n as f64));
        assert_eq!((self.tally.count(), self.histogram.count(), self.gauge.value()), (n, n, 5 + n as i64));
        let snapshot = snapshot(path);
        for (name, each) in [("counter_total", 1.0), ("float_total", 0.5)] {
            assert_eq!(number(&snapshot, name), Some(each * n as f64), "{name}");
        }
        assert_eq!(number(&snapshot, "gauge"), Some(5.0 + n as f64));
        for series in 0..20 {
            let value = labelled(&snapshot, "family_total", &[("n", &series.to_string())]);
            assert_eq!(value, Some(n as f64), "series {series}");
        }
    }
}

/// Registers counters until there is no room: how many, and the error.
fn register_until_full(registry: &Registry, prefix: &str) -> (u64, Error) {
    for n in 0..1_000_000 {
        match registry.counter(&format!("{prefix}_{n}_total"), "") {
            Ok(counter) => counter.inc(),
            Err(error) => return (n, error),
        }
    }
    panic!("never full");
}

#[test]
fn a_full_filesystem_refuses_registrations_and_what_is_registered_goes_on_counting() {
    in_small_filesystem("size=2m", |directory| {
        let path = directory.join("segment");
        let registry = segment_of(&path, 4 * MIB);
        let mut metrics = Metrics::register(&registry);
        let crumbs = registry.family::<Counter>(&Opts::new("crumbs_total", ""), &["n"]).expect("a family");
        let late_gauge = registry.gauge("late_gauge", "").expect("a gauge");
        let all_gauge =
            registry.create::<Gauge>(&Opts::new("all_gauge", "").mode(GaugeMode::All)).expect("a gauge");
        metrics.update();
        fill_up(directory, 0);
        let length = fs::metadata(&path).expect("the segment").len();

        let refused = counted(&path, Statistic::RefusedFull);
        let (registered, error) = register_until_full(&registry, "late");
        assert!(registered > 0, "what was allocated already is used");
        assert!(matches!(error, Error::Full { .. }), "{error:?}");
        assert_clear(&error.to_string(), &[path.to_str().expect("UTF-8"), NO_SPACE, "remedy: "]);
        assert_eq!(counted(&path, Statistic::RefusedFull), refused + 1);
        assert_eq!(fs::metadata(&path).expect("the segment").len(), length, "the file did not grow");

        for _ in 0..3 {
            metrics.update();
            metrics.assert_whole(&path);
        }
        assert_sound(&path);

        // Smaller things may still have found room.
        use_up(&crumbs);
        let private = counted(&path, Statistic::PrivateFull);
        late_gauge.set(7);
        all_gauge.set(8);
        late_gauge.inc();
        assert_eq!((late_gauge.value(), all_gauge.value()), (8, 8));
        assert_eq!(counted(&path, Statistic::PrivateFull), private + 2, "counted once for each");
        assert_ne!(number(&snapshot(&path), "late_gauge"), Some(8.0), "nobody else sees it");
        metrics.update();
        metrics.assert_whole(&path);

        // With space again, registration works again.
        fs::remove_file(directory.join("filler")).expect("it goes");
        let (more, _) = (0..500).fold((0, ()), |(n, ()), _| {
            let counter = registry.counter(&format!("again_{n}_total"), "").expect("there is room");
            counter.inc_by(n + 1);
            (n + 1, ())
        });
        let seen = snapshot(&path);
        assert!((0..more).all(|n| number(&seen, &format!("again_{n}_total")) == Some(n as f64 + 1.0)));
        metrics.update();
        metrics.assert_whole(&path);
        assert_sound(&path);
    });
}

#[test]
fn a_block_that_finds_no_space_leaves_its_cpu_to_the_shared_block() {
    in_small_filesystem("size=2m", |directory| {
        let path = directory.join("segment");
        let registry = segment_of(&path, 4 * MIB);
        let crumbs = registry.family::<Counter>(&Opts::new("crumbs_total", ""), &["n"]).expect("a family");
        // Registered, and no CPU has counted yet: no block exists.
        let counters: Vec<Counter> =
            (0..300).map(|n| registry.counter(&format!("c{n}_total"), "").expect("a counter")).collect();
        fill_up(directory, 0);
        use_up(&crumbs);
        let used = |path: &Path| word(path, RESERVED_END);
        let before = used(&path);
        let rounds = on_every_cpu(|| counters.iter().for_each(Counter::inc));
        let rounds = rounds + on_every_cpu(|| counters.iter().for_each(Counter::inc));
        let snapshot = snapshot(&path);
        for (n, counter) in counters.iter().enumerate() {
            assert_eq!(counter.value(), rounds, "counter {n}");
            assert_eq!(number(&snapshot, &format!("c{n}_total")), Some(rounds as f64), "counter {n}");
        }
        let failed = counted(&path, Statistic::BlockFailed);
        if dyn_metrics::update_path() == "rseq" {
            assert!(failed > 0, "room was found: {} bytes", used(&path) - before);
            assert!(failed < 100, "a failure is not repeated on each update: {failed}");
        }
        assert_sound(&path);

        // A registration that succeeds lets blocks be tried again.
        fs::remove_file(directory.join("filler")).expect("it goes");
        registry.counter("one_more_total", "").expect("there is room");
        let before = used(&path);
        let more = on_every_cpu(|| counters.iter().for_each(|counter| counter.inc_by(2)));
        assert!(counters.iter().all(|counter| counter.value() == rounds + 2 * more));
        if dyn_metrics::update_path() == "rseq" {
            assert!(used(&path) > before, "blocks were made");
            assert_eq!(counted(&path, Statistic::BlockFailed), failed);
        }
    });
}

/// The word of the file at `offset`.
fn word(path: &Path, offset: u64) -> u64 {
    let mut word = [0; 8];
    let file = fs::File::open(path).expect("the segment");
    file.read_exact_at(&mut word, offset).expect("a whole header");
    u64::from_le_bytes(word)
}

#[test]
fn a_segment_at_its_limit_refuses_registrations_and_what_is_registered_goes_on_counting() {
    let directory = tempfile::tempdir_in("/dev/shm").expect("a directory in /dev/shm");
    for (max, processes) in [(256 << 10, 16), (MIB, 1), (3 * MIB, 512)] {
        let path = directory.path().join(format!("segment-{max}"));
        let builder = Registry::builder().path(&path).max_bytes(max).processes(processes);
        let registry = builder.open().expect("a segment");
        let mut metrics = Metrics::register(&registry);
        metrics.update();
        let (registered, error) = register_until_full(&registry, "late");
        assert!(matches!(error, Error::Full { .. }), "{error:?}");
        let parts =
            [path.to_str().unwrap(), "no space for", "would pass its limit of", "remedy: Builder::max_bytes"];
        assert_clear(&error.to_string(), &parts);
        assert!(fs::metadata(&path).expect("it").len() <= max, "the file never passes its limit");
        let used = word(&path, RESERVED_END);
        assert!(used <= max && used > max - max / 4, "{used} of {max} used when it was called full");
        // However often it is tried again, what is left is not eaten up by attempts.
        for n in 0..50 {
            registry.counter(&format!("late_{registered}_total"), "").expect_err("still full");
            assert!(counted(&path, Statistic::RefusedFull) >= n + 2);
        }
        let used_up = word(&path, RESERVED_END) - used;
        assert!(used_up <= 4096, "50 refused attempts took {used_up} bytes");
        metrics.update();
        metrics.assert_whole(&path);
        assert_sound(&path);
    }
}

#[test]
fn a_family_that_finds_no_space_hands_out_private_handles_that_count() {
    let directory = tempfile::tempdir_in("/dev/shm").expect("a directory in /dev/shm");
    let path = directory.path().join("segment");
    let registry = segment_of(&path, 256 << 10);
    let family = registry.family::<Counter>(&Opts::new("x_total", ""), &["n"]).expect("a family");
    let (mut private, mut shared) = (0, 0);
    for n in 0..2000 {
        let counter = family.with(&[&n.to_string()]);
        counter.inc();
        assert!(counter.value() >= 1, "series {n}");
        if counter.is_private() { private += 1 } else { shared += 1 }
    }
    assert!(private > 0 && shared > 0, "{private} private, {shared} shared");
    assert!(counted(&path, Statistic::RefusedFull) >= private);
    let error = family.try_with(&["9999"]).expect_err("no room");
    assert!(matches!(error, Error::Full { .. }), "{error:?}");
    let snapshot = snapshot(&path);
    let total: f64 = (0..2000).filter_map(|n| labelled(&snapshot, "x_total", &[("n", &n.to_string())])).sum();
    assert_eq!(total, f64::from(shared));
    assert_eq!(
        fs::metadata(&path).expect("it").blocks() * 512,
        fs::metadata(&path).expect("it").len(),
        "no hole"
    );
    assert_sound(&path);
}

#[test]
fn attaching_allocates_no_more_than_the_segment_s_limit_whatever_length_the_file_has() {
    let directory = tempfile::tempdir_in("/dev/shm").expect("a directory in /dev/shm");
    let (path, copy) = (directory.path().join("segment"), directory.path().join("copy"));
    segment_of(&path, 256 << 10).counter("x_total", "").expect("a counter").inc();
    fs::copy(&path, &copy).expect("a copy");
    let file = fs::OpenOptions::new().write(true).open(&copy).expect("the copy");
    file.set_len(200 * MIB).expect("a long hole");
    Registry::open_at(&copy).expect("attached").counter("x_total", "").expect("the counter").inc();
    let metadata = file.metadata().expect("its numbers");
    assert!(metadata.blocks() * 512 <= 256 << 10, "{} bytes allocated", metadata.blocks() * 512);
    assert_eq!(metadata.len(), 200 * MIB, "never truncated");
    assert_eq!(number(&snapshot(&copy), "x_total"), Some(2.0));
}
