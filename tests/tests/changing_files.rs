//! Files that change under writers that write and an exporter that is scraped: the table in `docs/RELIABILITY.md`.
//!
//! In each case a process increments a counter all the time, an exporter over this segment and another one is scraped,
//! something happens to the file, and the exporter is scraped again. Whatever happens, the exporter serves the
//! other segment, and only a truncated file kills the writer.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;

use dyn_metrics_reader::raw;
use dyn_metrics_tests::bytes::Random;
use dyn_metrics_tests::document::assert_table;
use dyn_metrics_tests::filesystems::{fill_up, in_small_filesystem};
use dyn_metrics_tests::refusals::is_root;
use dyn_metrics_tests::servers::{Exporter, Serving, program, program_as, sample, wait_for};
use dyn_metrics_tests::stage::{Peer, Stage, wait_until_stopped};
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::mount::{MsFlags, mount};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

/// Scrapes after something has happened.
const SCRAPES: u64 = 5;
/// Somebody who is not root, and owns nothing.
const READER: u32 = 54_703;
const PAGE: u64 = 4096;

struct Scene {
    stage: Stage,
    path: PathBuf,
    writer: Option<Peer>,
    /// Of those that came later.
    others: Vec<Peer>,
    /// Another segment, elsewhere.
    rest: Serving,
    rest_path: PathBuf,
    _elsewhere: tempfile::TempDir,
    exporter: Exporter,
    is_root: bool,
    /// What the writer has counted so far.
    counted: f64,
    /// Whether it registers something in the end.
    registers: bool,
    /// Samples about the system itself, as they were before.
    before: Vec<String>,
}

impl Scene {
    fn new(stage: Stage, is_root: bool) -> Self {
        let elsewhere = tempfile::tempdir_in("/dev/shm").expect("a directory in /dev/shm");
        let (path, rest) = (stage.segment(), elsewhere.path().join("rest"));
        for directory in [&stage.path(""), elsewhere.path()] {
            fs::set_permissions(directory, Permissions::from_mode(0o755)).expect("a directory for all");
        }
        let mut writer = stage.peer();
        // So that what comes afterwards lies in an extent of many pages.
        assert_eq!(writer.number("series many_total 10000 0 2000"), 0.0);
        // On every CPU, so that each has its block.
        let counted = writer.number("count main moving 1 16384");
        writer.done("spin 1");
        let mut serving = Serving::start(Path::new(env!("CARGO_BIN_EXE_serving")), &rest, "rest");
        serving.work(1);
        for path in [&path, &rest] {
            fs::set_permissions(path, Permissions::from_mode(0o644)).expect("segments for all to read");
        }
        let exporter = start_exporter(is_root, &[&path, &rest]);
        let mut scene = Self {
            stage,
            path,
            writer: Some(writer),
            others: Vec::new(),
            rest: serving,
            rest_path: rest,
            _elsewhere: elsewhere,
            exporter,
            is_root,
            counted,
            registers: true,
            before: Vec::new(),
        };
        scene.before = about_the_system(&scene.scrape());
        scene
    }

    /// A page, on which the other segment is as it should be.
    fn scrape(&mut self) -> String {
        let expected = self.rest.work(7);
        let page = self.exporter.metrics();
        let found = sample(&page, "e2e_requests_total{role=\"rest\",status=\"ok\"}");
        assert_eq!(found, Some(expected as f64), "the other segment");
        page
    }

    /// A look at the segment by root, who may open it for writing.
    fn file(&self) -> File {
        File::options().read(true).write(true).open(&self.path).expect("the segment")
    }

    /// Does something to the file while the writer stands still.
    fn meanwhile(&self, work: impl FnOnce(&File)) {
        let (writer, file) = (self.writer.as_ref().expect("a writer"), self.file());
        writer.signal(Signal::SIGSTOP);
        wait_until_stopped(writer.pid());
        work(&file);
        writer.signal(Signal::SIGCONT);
    }

    /// Where the counter's values lie: the first page of the blocks of its extent, and the end of the last.
    fn values(&self) -> (u64, u64) {
        let raw = raw::read(&self.path).expect("a segment");
        let family = raw.families.iter().find(|family| family.name == "work_total").expect("the counter");
        let series = raw.series.iter().find(|series| series.family == family.offset).expect("its series");
        let (_, link) = series.cells.first().expect("its cells");
        let extent = raw.extents.iter().find(|extent| extent.offset == link.extent).expect("its extent");
        let places = || extent.blocks.iter().map(|(_, at)| *at).chain([extent.shared]);
        let first = places().min().expect("a block") / PAGE * PAGE;
        let last = places().max().expect("a block") + 8 * u64::from(extent.words);
        assert!(last > first + 2 * PAGE, "a small extent");
        (first, last.next_multiple_of(PAGE))
    }

    /// The small filesystem that was mounted for the case.
    fn filesystem(&self) -> &Path {
        self.path.parent().and_then(Path::parent).expect("its root")
    }

    fn check(&self) -> (i32, String) {
        let mut command = match self.is_root {
            true => Command::new(program("dyn-metrics")),
            false => program_as("dyn-metrics", READER, READER),
        };
        let output = command.arg("check").arg(&self.path).output().expect("the program");
        let status = output.status.code().unwrap_or_else(|| panic!("check died: {output:?}"));
        let text = String::from_utf8([output.stdout, output.stderr].concat()).expect("UTF-8");
        (status, text)
    }
}

fn start_exporter(is_root: bool, paths: &[&Path]) -> Exporter {
    let paths: Vec<&str> = paths.iter().map(|path| path.to_str().expect("UTF-8")).collect();
    if is_root { Exporter::start(&paths) } else { Exporter::start_as(READER, READER, &paths) }
}

fn punch(file: &File, from: u64, to: u64) {
    let mode = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    fallocate(file, mode, from as i64, (to - from) as i64).expect("a hole");
}

/// Samples that say how things are.
fn about_the_system(page: &str) -> Vec<String> {
    const NAMES: [&str; 5] = [
        "dyn_metrics_segment_up",
        "dyn_metrics_pattern_files",
        "dyn_metrics_records_skipped_total",
        "dyn_metrics_registrations_refused_total",
        "dyn_metrics_files_left_out",
    ];
    page.lines().filter(|line| NAMES.iter().any(|name| line.starts_with(name))).map(str::to_owned).collect()
}

struct Case {
    name: &'static str,
    place: Where,
    /// Whether the writer dies of it.
    dies: bool,
    /// Whether the exporter goes on as if nothing had happened, for nothing has to it.
    is_harmless: bool,
    happens: fn(&mut Scene),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Where {
    /// In `/dev/shm`.
    Shm,
    /// In a tmpfs of 4 MiB that is mounted for the case.
    Small,
    /// As the first, and exporter and check are not root.
    NotRoot,
}

const fn case(name: &'static str, place: Where, happens: fn(&mut Scene)) -> Case {
    Case { name, place, dies: false, is_harmless: false, happens }
}

impl Case {
    const fn which_kills(self) -> Self {
        Self { dies: true, ..self }
    }

    const fn which_harms_nobody(self) -> Self {
        Self { is_harmless: true, ..self }
    }
}

const fn deadly(name: &'static str, happens: fn(&mut Scene)) -> Case {
    case(name, Where::Shm, happens).which_kills()
}

const CASES: &[Case] = &[
    deadly("truncated to nothing", |scene| scene.file().set_len(0).expect("shorter")),
    deadly("truncated to its header", |scene| scene.file().set_len(PAGE).expect("shorter")),
    deadly("truncated in the midst of an extent", |scene| {
        scene.file().set_len(scene.values().0).expect("shorter");
    }),
    case("truncated behind all that is in use", Where::Shm, |scene| {
        let mut word = [0; 8];
        let file = scene.file();
        file.read_exact_at(&mut word, dyn_metrics_layout::header::RESERVED_END).expect("a header");
        file.set_len(u64::from_le_bytes(word).next_multiple_of(PAGE)).expect("shorter");
        scene.registers = false; // which would take space that is gone, and be killed
    }),
    case("truncated in the midst of an extent and grown again", Where::Shm, |scene| {
        let cut = scene.values().0;
        scene.meanwhile(|file| shrink_and_grow(file, cut));
    }),
    case("truncated to nothing and grown again", Where::Shm, |scene| {
        scene.meanwhile(|file| shrink_and_grow(file, 0));
    }),
    case("a hole punched into an extent", Where::Shm, |scene| {
        let (from, to) = scene.values();
        scene.meanwhile(|file| punch(file, from, to));
    }),
    case("a hole punched into all but the header", Where::Shm, |scene| {
        let end = scene.file().metadata().expect("a file").len();
        scene.meanwhile(|file| punch(file, PAGE, end));
    }),
    case("a hole punched into the header", Where::Shm, |scene| punch(&scene.file(), 0, PAGE)),
    case("replaced by another segment (rename)", Where::Shm, |scene| {
        let other = scene.stage.path("other");
        let mut peer = scene.stage.try_peer(&other, &[]).expect("a segment");
        peer.done("register counter others_total");
        fs::rename(other, &scene.path).expect("it is renamed");
        scene.others.push(peer);
    }),
    case("replaced by a foreign file (rename)", Where::Shm, |scene| {
        fs::write(scene.stage.path("foreign"), vec![b'x'; 10_000]).expect("a file");
        fs::rename(scene.stage.path("foreign"), &scene.path).expect("it is renamed");
    }),
    case("replaced by a directory", Where::Shm, |scene| {
        fs::remove_file(&scene.path).expect("it goes");
        fs::create_dir(&scene.path).expect("a directory");
    }),
    case("replaced by a FIFO", Where::Shm, |scene| {
        fs::remove_file(&scene.path).expect("it goes");
        mkfifo(&scene.path, Mode::S_IRWXU).expect("a FIFO");
    }),
    case("replaced by a symbolic link to itself, moved", Where::Shm, |scene| {
        fs::rename(&scene.path, scene.stage.path("moved")).expect("it moves");
        symlink("moved", &scene.path).expect("a link");
    }),
    case("unlinked", Where::Shm, |scene| fs::remove_file(&scene.path).expect("it goes")),
    case("unlinked by a cleaner, made anew by the next process", Where::Shm, |scene| {
        fs::remove_file(&scene.path).expect("it goes");
        let mut next = scene.stage.peer();
        next.done("spin 1");
        scene.others.push(next);
    }),
    case("mode 000, exporter running as another user", Where::NotRoot, |scene| {
        fs::set_permissions(&scene.path, Permissions::from_mode(0o000)).expect("its mode");
    })
    .which_harms_nobody(),
    case("mode 000, exporter started after it", Where::NotRoot, |scene| {
        fs::set_permissions(&scene.path, Permissions::from_mode(0o000)).expect("its mode");
        scene.exporter = start_exporter(false, &[&scene.path, &scene.rest_path]);
    }),
    case("its directory's mode 000, exporter running as another user", Where::NotRoot, |scene| {
        fs::set_permissions(scene.stage.path(""), Permissions::from_mode(0o000)).expect("its mode");
    }),
    case("filesystem filled", Where::Small, |scene| {
        fill_up(scene.filesystem(), 0);
        let writer = scene.writer.as_mut().expect("a writer");
        assert!(writer.number("series more_total 100000 0 50000") > 0.0, "it isn't full");
    }),
    case("a hole punched into an extent, filesystem filled", Where::Small, |scene| {
        let (from, to) = scene.values();
        scene.meanwhile(|file| {
            punch(file, from, to);
            fill_up(scene.filesystem(), 0);
        });
    })
    .which_kills(),
    case("remounted read-only while in use: refused by the kernel", Where::Small, |scene| {
        assert_eq!(remount(scene.filesystem(), MsFlags::MS_RDONLY), Err(Errno::EBUSY));
    })
    .which_harms_nobody(),
    case("mounted read-only for exporter and check", Where::Small, |scene| {
        let (path, place) = (scene.path.clone(), scene.filesystem().to_owned());
        let rest = scene.rest_path.clone();
        scene.exporter = elsewhere(move || {
            remount(&place, MsFlags::MS_BIND | MsFlags::MS_RDONLY).expect("a read-only view");
            let refused = File::options().append(true).open(&path).map(drop);
            assert_eq!(refused.map_err(|error| error.raw_os_error()), Err(Some(Errno::EROFS as i32)));
            start_exporter(true, &[&path, &rest])
        });
    })
    .which_harms_nobody(),
    case("remounted read-only when its writers are dead", Where::Small, |scene| {
        let mut writer = scene.writer.take().expect("a writer");
        scene.counted += writer.number("stop");
        writer.kill();
        // What a kill releases, it releases a moment later.
        wait_for("the mount", || remount(scene.filesystem(), MsFlags::MS_RDONLY).ok());
    })
    .which_harms_nobody(),
];

/// Runs `work` with mounts of its own.
fn elsewhere<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).expect("a mount namespace");
            work()
        });
        worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn remount(place: &Path, flags: MsFlags) -> nix::Result<()> {
    mount(None::<&str>, place, None::<&str>, MsFlags::MS_REMOUNT | flags, None::<&str>)
}

fn shrink_and_grow(file: &File, cut: u64) {
    let len = file.metadata().expect("a file").len();
    file.set_len(cut).and_then(|()| file.set_len(len)).expect("shorter, and as long as before");
}

/// What was found of a case: a row of the table.
fn perform(case: &Case) -> Option<Vec<String>> {
    match case.place {
        Where::Shm => Some(observe(case, Scene::new(Stage::new(), true))),
        Where::NotRoot => {
            is_root("becoming another user").then(|| observe(case, Scene::new(Stage::new(), false)))
        }
        Where::Small => {
            let mut found = None;
            in_small_filesystem("size=4m", |place| {
                found = Some(observe(case, Scene::new(Stage::within(place), true)));
            });
            found
        }
    }
}

fn observe(case: &Case, mut scene: Scene) -> Vec<String> {
    (case.happens)(&mut scene);
    let mut page = String::new();
    for _ in 0..SCRAPES {
        page = scene.scrape();
    }
    let (status, text) = scene.check();
    let metrics = news(&scene.before, &about_the_system(&page));
    let (writer, counted) = end_of_writer(case, &mut scene);
    let shown = whole(&mut scene, counted);
    let path = scene.path.to_str().expect("UTF-8");
    let check = format!("{status}: {}", short(text.lines().next().unwrap_or_default(), path));
    let log = told(&scene.exporter.end(), path);
    assert_eq!(log.is_empty(), case.is_harmless, "{}: {log:?}", case.name);
    assert_eq!(metrics.is_empty(), case.is_harmless, "{}: {metrics:?}", case.name);
    let or_none = |list: Vec<String>| if list.is_empty() { "-".to_owned() } else { list.join("; ") };
    vec![writer, shown, or_none(log), or_none(metrics), check]
}

/// How the writer goes on, or died; what it has counted.
fn end_of_writer(case: &Case, scene: &mut Scene) -> (String, Option<f64>) {
    let Some(mut writer) = scene.writer.take() else {
        return ("killed before".to_owned(), Some(scene.counted));
    };
    if case.dies {
        assert_eq!(writer.death(), Signal::SIGBUS as i32, "what killed the writer");
        return ("**SIGBUS**".to_owned(), None);
    }
    let counted = scene.counted + writer.number("stop");
    if !scene.registers {
        scene.others.push(writer);
        return ("counts".to_owned(), Some(counted));
    }
    let path = scene.path.to_str().expect("UTF-8");
    let registered = match writer.ask("register counter late_total") {
        Ok(_) => "counts, registers".to_owned(),
        Err(error) => format!("counts; registration: {}", short(&error, path)),
    };
    scene.others.push(writer);
    (registered, Some(counted))
}

/// How much of what the writer has counted is on the page.
fn whole(scene: &mut Scene, counted: Option<f64>) -> String {
    let others: f64 =
        scene.others.iter_mut().filter_map(|peer| peer.ask("stop").ok()?.parse::<f64>().ok()).sum();
    let page = scene.scrape();
    let counts = match (sample(&page, "work_total"), counted) {
        (_, None) => return "what is left".to_owned(),
        (None, _) => return "nothing".to_owned(),
        (Some(shown), Some(counted)) => (counted..=counted + others).contains(&shown),
    };
    let series = page.lines().filter(|line| line.starts_with("many_total{")).count();
    if counts && series == 2000 { "all of it".to_owned() } else { "what is left".to_owned() }
}

/// Samples that there were not before, without the path; of counters that they count.
fn news(before: &[String], now: &[String]) -> Vec<String> {
    let mut news = Vec::new();
    for sample in now.iter().filter(|sample| !before.contains(sample)) {
        let (name, value) = sample.rsplit_once(' ').expect("a value");
        let (name, labels) = name.split_once('{').expect("labels");
        let labels = labels.trim_end_matches('}').split("\",").map(|label| label.trim_end_matches('"'));
        let label = |label: &str| {
            let (key, value) = label.split_once("=\"").expect("a value");
            let of_path = value.split_once(" (").map(|(_, which)| format!(" ({which}"));
            if key == "reason" { format!(" {value}") } else { of_path.unwrap_or_default() }
        };
        let labels: String = labels.map(label).collect();
        let name = name.trim_start_matches("dyn_metrics_");
        // Which parts a truncation or a hole takes along depends on the CPUs that have counted.
        let is_chance = [" record", " cells", " gauge"].iter().any(|reason| labels.contains(reason));
        match name.ends_with("_total") {
            true if value == "0" || is_chance => (),
            true => news.push(format!("`{name}`{labels}")),
            false => news.push(format!("`{name}`{labels} = {value}")),
        }
    }
    news
}

/// What the exporter has logged of changes: no two lines say the same.
fn told(log: &str, path: &str) -> Vec<String> {
    let (start, rest) = log.split_once("listening address=").expect("a start");
    let start = start.lines().filter(|line| line.contains(" WARN "));
    let lines = start.chain(rest.lines().skip(1));
    let of_changes = lines.filter(|line| [" segment=", " pattern="].iter().any(|key| line.contains(key)));
    let told: Vec<String> = of_changes.map(|line| gist(line, path)).collect();
    let once: std::collections::BTreeSet<_> = told.iter().collect();
    assert!(once.len() == told.len(), "told again: {log}");
    told
}

/// Level, message and reason of a line of the log.
fn gist(line: &str, path: &str) -> String {
    let text = line.split_once("Z ").expect("a time").1.trim_start();
    let place = [" segment=", " pattern="].iter().find_map(|key| text.find(key)).expect("a place");
    let reason = ["reason=\"", "first=Some(\"", "first=\""].iter().find_map(|key| text.split_once(key));
    let reason =
        reason.map_or_else(String::new, |(_, why)| format!(": {}", short(why.trim_end_matches('"'), path)));
    format!("{}{reason}", &text[..place])
}

/// What an error or verdict says first: without the path, and with N for numbers.
fn short(text: &str, path: &str) -> String {
    let text = text.trim_start_matches("dyn-metrics: ").replace(path, "");
    let text = text.trim_start_matches(": ");
    let ends = [": found", ": this", ", expected", ": the"].iter().filter_map(|end| text.find(end));
    let words = text[..ends.min().unwrap_or(text.len())].split(' ');
    let is_number = |word: &str| word.starts_with(|c: char| c.is_ascii_digit());
    words.map(|word| if is_number(word) { "N" } else { word }).collect::<Vec<_>>().join(" ")
}

#[test]
fn the_table_of_changing_files_is_what_happens() {
    let rows: Vec<_> = CASES.iter().map(|case| (case.name.to_owned(), perform(case))).collect();
    let heading =
        ["what happens to the file", "writer", "on the page", "log", "self-metrics", "`dyn-metrics check`"];
    assert_table("files", &heading, &rows);
}

/// Truncates, punches, fills and grows the file all the time, and puts good bytes back, until it is told to stop.
fn spoil(path: &Path, good: &[u8], stop: mpsc::Receiver<()>) -> u64 {
    let mut random = Random::new(4);
    let file = File::options().write(true).open(path).expect("the segment");
    let mut rounds = 0;
    while stop.try_recv() == Err(mpsc::TryRecvError::Empty) {
        let at = random.below(good.len() as u64);
        match random.below(4) {
            0 => file.set_len(at).expect("shorter"),
            1 => shrink_and_grow(&file, at),
            2 => punch(&file, at / PAGE * PAGE, at / PAGE * PAGE + PAGE * (1 + random.below(20))),
            _ => file.write_all_at(&at.to_le_bytes(), at).expect("room"),
        }
        file.write_all_at(good, 0).expect("room");
        rounds += 1;
    }
    rounds
}

#[test]
fn no_reader_dies_of_a_file_that_changes_all_the_time() {
    let directory = tempfile::tempdir_in("/dev/shm").expect("a directory in /dev/shm");
    let (path, rest) = (directory.path().join("segment"), directory.path().join("rest"));
    let good = fs::read(dyn_metrics_tests::golden::data("segment")).expect("the golden segment");
    fs::write(&path, &good).expect("a file");
    let mut serving = Serving::start(Path::new(env!("CARGO_BIN_EXE_serving")), &rest, "rest");
    let exporter = start_exporter(true, &[&path, &rest]);
    let (end, stop) = mpsc::channel();
    let rounds = std::thread::scope(|scope| {
        let (path, good) = (&path, &good);
        let spoiler = scope.spawn(move || spoil(path, good, stop));
        for _ in 0..15 {
            for verb in ["check", "dump", "info"] {
                let output = Command::new(program("dyn-metrics")).arg(verb).arg(path).output();
                let status = output.expect("the program").status;
                assert!(status.code().is_some_and(|code| code <= 2), "{verb} ended with {status}");
            }
            for _ in 0..20 {
                let expected = serving.work(1) as f64;
                let found = sample(&exporter.metrics(), "e2e_requests_total{role=\"rest\",status=\"ok\"}");
                assert_eq!(found, Some(expected), "the other segment");
            }
        }
        drop(end);
        spoiler.join().expect("it goes on to the end")
    });
    assert!(rounds > 100, "{rounds} changes");
    let _ = exporter.end();
}
