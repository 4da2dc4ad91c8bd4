//! What happens to processes, and what their gauges show then: the table in `docs/RELIABILITY.md`.
//!
//! In every row four processes set a gauge of each of the ten modes: E, which is killed before anything else
//! happens; N, which takes E's cells over and lives on; S, to which it happens; and X, which comes last. The sum
//! of their values tells who is in it, and S has the most extreme one.

use std::collections::BTreeMap;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use dyn_metrics_reader::{Collector, GaugeMode, Snapshot, Statistic, Value};
use dyn_metrics_tests::bytes::put;
use dyn_metrics_tests::document::assert_table;
use dyn_metrics_tests::reading::{assert_sound, assert_whole, segment, statistic};
use dyn_metrics_tests::refusals::is_root;
use dyn_metrics_tests::servers::{Exporter, have, sample, wait_for};
use dyn_metrics_tests::stage::{Peer, Stage, held_slots, next_tick, snapshot, wait_until_stopped};
use nix::sys::signal::Signal;

/// What each process sets, in tens so that sums can be taken apart; negative where the least value shows.
const VALUES: [(char, u32); 7] =
    [('X', 1), ('E', 20), ('N', 300), ('S', 4000), ('C', 50_000), ('G', 600_000), ('R', 7_000_000)];
/// Longer than whatever waits or believes: a claim tries for 0.1 s, a reader believes the kernel's answer for 1 s.
const STOPPED: Duration = Duration::from_millis(2500);
/// A group, and users in it.
const GROUP: u32 = 54_700;
const SUBJECT: u32 = 54_701;
const NEWCOMER: u32 = 54_702;
const READER: u32 = 54_703;

/// Where the processes of a row live.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Where {
    /// In the same place, under the same user.
    Here,
    /// N, S and R each as process 1 of a pid namespace.
    Namespaces,
    /// All but the first under other users, in the segment's group.
    Users,
}

struct Scene {
    place: Where,
    stage: Stage,
    exporter: Exporter,
    /// Processes that live, and obey.
    living: Vec<(char, Peer)>,
    /// Those that others have forked, by pid.
    forked: BTreeMap<u32, char>,
    /// Must not end before the row does.
    kept: Vec<Box<dyn Send>>,
}

impl Scene {
    /// E has lived, N lives.
    fn new(place: Where) -> Self {
        let stage = Stage::new();
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(stage.path(""), mode).expect("a directory for all");
        let path = stage.segment();
        let exporter = start_exporter(place, path.to_str().expect("UTF-8"));
        let mut scene =
            Self { place, stage, exporter, living: Vec::new(), forked: BTreeMap::new(), kept: Vec::new() };
        let group = format!("group={GROUP}");
        let options = if place == Where::Users { vec!["role=E", &group] } else { vec!["role=E"] };
        let mut earlier = scene.stage.peer_with(&options);
        set(&mut earlier, 'E');
        earlier.kill();
        scene.wait_for_slots(0);
        let neighbour = scene.peer('N');
        scene.sets('N', neighbour);
        scene
    }

    /// A process of the kind that the row has.
    fn peer(&self, who: char) -> Peer {
        let role = format!("role={who}");
        match self.place {
            Where::Namespaces => self.stage.namespaced_peer_with(&[&role]),
            Where::Users if who == 'S' => self.stage.peer_as(SUBJECT, GROUP, &[&role]),
            Where::Users if who == 'X' => self.stage.peer_as(NEWCOMER, GROUP, &[&role]),
            _ => self.stage.peer_with(&[&role]),
        }
    }

    /// S, which has set its gauges.
    fn subject(&self) -> Peer {
        let mut subject = self.peer('S');
        set(&mut subject, 'S');
        subject
    }

    /// Has the process set its gauges, and live on.
    fn sets(&mut self, who: char, mut peer: Peer) {
        set(&mut peer, who);
        self.living.push((who, peer));
    }

    fn fork(&mut self, parent: &mut Peer, who: char) -> Peer {
        let child = self.stage.fork(parent);
        self.forked.insert(child.pid() as u32, who);
        child
    }

    /// Waits until this many slots are held: what a kill releases, it releases a moment later.
    fn wait_for_slots(&self, count: usize) {
        wait_for("slots", || (held_slots(&self.stage.segment()).len() == count).then_some(()));
    }

    /// Who holds a slot, in the order of slots: by the kernel's word for it.
    fn holders(&self, seen: &Snapshot) -> Vec<char> {
        let alive: Vec<_> = segment(seen).processes.iter().filter(|process| process.alive).collect();
        let slots: Vec<u32> = alive.iter().map(|process| process.slot).collect();
        assert_eq!(slots, held_slots(&self.stage.segment()));
        let role = |role: &str| role.chars().next().expect("a role");
        alive.iter().map(|p| self.forked.get(&p.pid).copied().unwrap_or_else(|| role(&p.role))).collect()
    }

    /// What a reader that has never looked before sees; the exporter, which looks all the time, must come to show
    /// the same.
    fn look(&self) -> Shown {
        let seen = self.stage.snapshot();
        assert_whole(&seen);
        let shown = GaugeMode::EVERY.map(|mode| names(mode, &values(&seen, mode.name())));
        let mut page = String::new();
        let start = Instant::now();
        let count = wait_for("the exporter to show what a new reader sees", || {
            page = self.exporter.metrics();
            let same = GaugeMode::EVERY.map(|mode| names(mode, &exposed(&page, mode.name()))) == shown;
            let processes = sample(&page, &processes_metric(&self.stage))?;
            let is_late = start.elapsed() > Duration::from_secs(30);
            assert!(!is_late, "a new reader sees {shown:?}, the exporter {page}");
            (same && processes == self.holders(&seen).len() as f64).then_some(processes)
        });
        Shown { modes: shown, processes: count as usize, holders: self.holders(&seen) }
    }

    /// X comes: which cells it gets.
    fn newcomer(&mut self) -> &'static str {
        let [taken, private] = self.counts();
        let newcomer = self.peer('X');
        self.sets('X', newcomer);
        match self.counts() {
            [now, p] if (now, p) == (taken, private) => "new cells",
            [now, p] if (now, p) == (taken + 9, private) => "the dead's",
            [now, p] if (now, p) == (taken, private + 10) => "private cells",
            [now, p] => panic!("{} cells taken over, {} private", now - taken, p - private),
        }
    }

    fn counts(&self) -> [u64; 2] {
        let seen = self.stage.snapshot();
        [Statistic::GaugeTakeovers, Statistic::PrivateNoSlot].map(|of| statistic(&seen, of))
    }
}

fn start_exporter(place: Where, path: &str) -> Exporter {
    match place {
        Where::Users => Exporter::start_as(READER, GROUP, &[path]),
        _ => Exporter::start(&[path]),
    }
}

fn processes_metric(stage: &Stage) -> String {
    format!("dyn_metrics_processes{{segment=\"{}\"}}", stage.segment().display())
}

/// What one look shows.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Shown {
    /// Who is in the value of each mode.
    modes: [String; 10],
    processes: usize,
    holders: Vec<char>,
}

impl Shown {
    /// What must show once X has set its gauges too: nobody else's value comes or goes.
    fn with_newcomer(&self) -> Self {
        let mut modes = self.modes.clone();
        for (mode, shown) in GaugeMode::EVERY.into_iter().zip(&mut modes) {
            *shown = match (mode.name().trim_start_matches("live"), shown.as_str()) {
                ("mostrecent", _) | (_, "none" | "0") => "X".to_owned(),
                ("all" | "sum", others) => format!("X{others}"),
                (_, others) => others.to_owned(),
            };
        }
        let mut holders = self.holders.clone();
        holders.push('X');
        Self { modes, processes: self.processes + 1, holders }
    }
}

fn set(peer: &mut Peer, who: char) {
    set_by(peer, who, "");
}

/// Registers and sets a gauge of each mode, each command led by `how`.
fn set_by(peer: &mut Peer, who: char, how: &str) {
    let value = VALUES.iter().find(|(known, _)| *known == who).expect("a process").1;
    next_tick();
    for mode in GaugeMode::EVERY.map(GaugeMode::name) {
        let keep = if mode == "all" { "9" } else { "" };
        let sign = if mode.ends_with("min") { "-" } else { "" };
        peer.done(&format!("{how}register gauge {mode} {mode} {keep}"));
        peer.done(&format!("{how}update {mode} {sign}{value}"));
    }
}

/// The values of all samples of a gauge.
fn values(seen: &Snapshot, name: &str) -> Vec<f64> {
    let family = seen.families.iter().find(|family| family.name == name);
    let number = |value: &Value| match value {
        Value::Gauge(number) => number.as_f64(),
        other => panic!("{other:?} is no gauge"),
    };
    family.map_or_else(Vec::new, |family| family.series.iter().map(|s| number(&s.value)).collect())
}

/// The same, as the exporter's page has them.
fn exposed(page: &str, name: &str) -> Vec<f64> {
    let of = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']));
    page.lines()
        .filter(of)
        .map(|l| l.rsplit(' ').next().and_then(|n| n.parse().ok()).expect("a number"))
        .collect()
}

/// Whose values these are, taken apart digit by digit.
fn names(mode: GaugeMode, values: &[f64]) -> String {
    let sign = if mode.name().ends_with("min") { -1.0 } else { 1.0 };
    let mut rest: u64 = values.iter().map(|value| (value * sign) as u64).sum();
    let mut names = String::new();
    for (who, value) in VALUES {
        let digit = rest / 10_u64.pow(value.ilog10()) % 10;
        if digit > 0 {
            assert_eq!(digit, u64::from(value / 10_u32.pow(value.ilog10())), "{values:?} in {}", mode.name());
            names.push(who);
            rest -= u64::from(value);
        }
    }
    assert_eq!(rest, 0, "{values:?} in {}", mode.name());
    if mode.is_all() {
        assert_eq!(values.len(), names.len(), "a sample for each: {values:?}");
    }
    match values {
        [] => "none".to_owned(),
        [0.0] => "0".to_owned(),
        _ => names,
    }
}

struct Row {
    name: &'static str,
    place: Where,
    happens: fn(&mut Scene),
}

const fn row(name: &'static str, place: Where, happens: fn(&mut Scene)) -> Row {
    Row { name, place, happens }
}

const ROWS: &[Row] = &[
    row("nothing", Where::Here, |scene| {
        let subject = scene.subject();
        scene.living.push(('S', subject));
    }),
    row("SIGKILL", Where::Here, |scene| {
        scene.subject().kill();
        scene.wait_for_slots(1);
    }),
    row("SIGKILL, its slot goes to R, which sets nothing", Where::Here, |scene| {
        scene.subject().kill();
        scene.wait_for_slots(1);
        let heir = scene.peer('R');
        scene.kept.push(Box::new(heir));
    }),
    row("SIGSTOP for longer than any time-out", Where::Here, is_stopped),
    row("exec", Where::Here, |scene| executes(scene, false)),
    row("exec, and the new program R attaches", Where::Here, |scene| {
        let mut subject = scene.subject();
        subject.tell("exec-and-serve");
        scene.wait_for_slots(1);
        subject.open(&scene.stage.segment(), &["role=R"]).expect("it attaches anew");
        scene.sets('R', subject);
    }),
    row("exec with the descriptor leaked", Where::Here, |scene| executes(scene, true)),
    row("SIGKILL, its descriptor leaked to a program that lives on", Where::Here, |scene| {
        let mut subject = scene.subject();
        subject.number("leak-descriptors");
        let heir = subject.number("spawn-idle") as u32;
        assert!(has_open(heir, scene), "nothing leaked");
        scene.kept.push(Box::new(subject.kill_and_keep_children()));
        scene.wait_for_slots(1);
        assert!(has_open(heir, scene), "the heir lives and has it");
    }),
    row("fork of C, S killed first", Where::Here, |scene| {
        let mut subject = scene.subject();
        let child = scene.fork(&mut subject, 'C');
        scene.sets('C', child);
        scene.kept.push(Box::new(subject.kill_and_keep_children()));
        scene.wait_for_slots(2);
    }),
    row("fork of C, which sets nothing, S killed first", Where::Here, |scene| {
        let mut subject = scene.subject();
        let mut child = scene.fork(&mut subject, 'C');
        child.done("count all none 1 1000");
        scene.kept.push(Box::new((subject.kill_and_keep_children(), child)));
        scene.wait_for_slots(1);
    }),
    row("fork of C, fork of G by C, S and C killed", Where::Here, |scene| {
        let mut subject = scene.subject();
        let mut child = scene.fork(&mut subject, 'C');
        set(&mut child, 'C');
        let grandchild = scene.fork(&mut child, 'G');
        scene.sets('G', grandchild);
        scene.kept.push(Box::new(subject.kill_and_keep_children()));
        scene.wait_for_slots(3);
        scene.kept.push(Box::new(child.kill_and_keep_children()));
        scene.wait_for_slots(2);
    }),
    row("exit of the thread that attached, registered and set", Where::Here, |scene| {
        let mut subject = scene.stage.idle_peer();
        let path = scene.stage.segment();
        subject.done(&format!("in-another-thread open {} role=S", path.display()));
        set_by(&mut subject, 'S', "in-another-thread ");
        scene.living.push(('S', subject));
    }),
    row("exit of the first thread, which did all that, others go on", Where::Here, |scene| {
        let mut subject = scene.subject();
        subject.done("end-first-thread");
        attaches_elsewhere(scene, &mut subject);
        scene.living.push(('S', subject));
    }),
    row("S and N have equal pids, in two pid namespaces", Where::Namespaces, |scene| {
        let subject = scene.subject();
        scene.living.push(('S', subject));
    }),
    row("S and N have equal pids, S killed", Where::Namespaces, |scene| {
        scene.subject().kill();
        scene.wait_for_slots(1);
    }),
    row(
        "S killed, restarted as R: same pid 1, new pid namespace, segment kept",
        Where::Namespaces,
        |scene| {
            scene.subject().kill();
            scene.wait_for_slots(1);
            let restarted = scene.peer('R');
            scene.sets('R', restarted);
        },
    ),
    row("all killed by a reboot, S restarted as R, segment kept", Where::Here, is_rebooted),
    row("S is of another user, by the segment's group", Where::Users, |scene| {
        let subject = scene.subject();
        scene.living.push(('S', subject));
    }),
    row("S is of another user, by the segment's group, and killed", Where::Users, |scene| {
        scene.subject().kill();
        scene.wait_for_slots(1);
    }),
];

fn is_stopped(scene: &mut Scene) {
    let now = Arc::new(Mutex::new(Instant::now()));
    let clock = Arc::clone(&now);
    let clock = Arc::new(move || *clock.lock().expect("a time"));
    let mut reader = Collector::with_clock(&[scene.stage.segment().display().to_string()], clock);
    let subject = scene.subject();
    subject.signal(Signal::SIGSTOP);
    wait_until_stopped(subject.pid());
    assert_eq!(segment(&reader.collect()).processes_alive(), 2);
    std::thread::sleep(STOPPED);
    *now.lock().expect("a time") += Duration::from_secs(365 * 24 * 3600);
    let seen = reader.collect();
    assert_eq!(segment(&seen).processes_alive(), 2, "a year later");
    assert_eq!(names(GaugeMode::LiveSum, &values(&seen, "livesum")), "NS");
    scene.living.push(('S', subject));
}

/// The process attaches to another segment, and gets a slot there.
fn attaches_elsewhere(scene: &Scene, peer: &mut Peer) {
    let other = scene.stage.path("other");
    peer.open(&other, &["role=S"]).expect("it attaches");
    set(peer, 'S');
    assert_eq!(names(GaugeMode::LiveSum, &values(&snapshot(&other), "livesum")), "S");
    peer.open(&scene.stage.segment(), &[]).expect("it is attached");
}

fn executes(scene: &mut Scene, leaks: bool) {
    let mut subject = scene.subject();
    if leaks {
        subject.number("leak-descriptors");
    }
    subject.tell("exec");
    scene.wait_for_slots(1);
    let command = std::fs::read_to_string(format!("/proc/{}/cmdline", subject.pid())).expect("it lives on");
    assert!(command.contains("idle"), "as another program: {command:?}");
    assert_eq!(has_open(subject.pid() as u32, scene), leaks);
    scene.kept.push(Box::new(subject));
}

/// Whether the process has a descriptor of the segment.
fn has_open(pid: u32, scene: &Scene) -> bool {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("a process");
    entries
        .flatten()
        .any(|entry| std::fs::read_link(entry.path()).is_ok_and(|to| to == scene.stage.segment()))
}

/// Everybody dies, and another boot id is that of the segment. A reboot takes the exporter along.
fn is_rebooted(scene: &mut Scene) {
    scene.subject().kill();
    scene.living.drain(..).for_each(|(_, peer)| peer.kill());
    scene.wait_for_slots(0);
    let path = scene.stage.segment();
    let file = std::fs::File::options().read(true).write(true).open(&path).expect("the segment");
    let mut header = vec![0; 4096];
    file.read_exact_at(&mut header, 0).expect("a header");
    put(&mut header, "boot_id", &[7; 16]);
    file.write_all_at(&header, 0).expect("room");
    scene.exporter = start_exporter(scene.place, path.to_str().expect("UTF-8"));
    let restarted = scene.peer('R');
    scene.sets('R', restarted);
}

/// Performs a row; none when this process may not.
fn perform(row: &Row) -> Option<Vec<String>> {
    let can = match row.place {
        Where::Here => true,
        Where::Namespaces => may_make_namespaces(),
        Where::Users => is_root("becoming other users"),
    };
    if !can {
        return None;
    }
    let mut scene = Scene::new(row.place);
    (row.happens)(&mut scene);
    let shown = scene.look();
    let cells = scene.newcomer();
    let expected = if cells == "private cells" { shown.clone() } else { shown.with_newcomer() };
    assert_same(&scene.look(), &expected, "with a newcomer");
    // Whoever lives still writes cells of its own, and nobody else's.
    for (who, peer) in &mut scene.living {
        peer.signal(Signal::SIGCONT);
        set(peer, *who);
    }
    assert_same(&scene.look(), &expected, "once the living have set theirs again");
    assert_sound(&scene.stage.segment());
    let holders: String = shown.holders.iter().collect();
    let holders = if holders.is_empty() { "nobody".to_owned() } else { holders };
    Some([&shown.modes[..], &[shown.processes.to_string(), holders, cells.to_owned()]].concat())
}

/// The order of slots doesn't matter: X may have got that of a dead one.
fn assert_same(found: &Shown, expected: &Shown, when: &str) {
    let sorted = |shown: &Shown| {
        let mut shown = shown.clone();
        shown.holders.sort_unstable();
        shown
    };
    assert_eq!(sorted(found), sorted(expected), "{when}");
}

/// Whether this process may make pid namespaces; in CI it must.
fn may_make_namespaces() -> bool {
    if !have("unshare") {
        return false;
    }
    let mut command = std::process::Command::new("unshare");
    let made = command.args(["--pid", "--fork", "true"]).status().expect("unshare starts").success();
    assert!(made || std::env::var_os("CI").is_none(), "pid namespaces can't be made");
    if !made {
        eprintln!("SKIPPED: no permission to make a pid namespace");
    }
    made
}

#[test]
fn the_table_of_liveness_is_what_happens() {
    // Most of the time is spent waiting: for a second, after which a reader asks the kernel again.
    let rows: Vec<_> = std::thread::scope(|scope| {
        let performed: Vec<_> = ROWS.iter().map(|row| (row, scope.spawn(|| perform(row)))).collect();
        let join = |(row, thread): (&Row, std::thread::ScopedJoinHandle<'_, _>)| {
            (row.name.to_owned(), thread.join().unwrap_or_else(|_| panic!("{}: see above", row.name)))
        };
        performed.into_iter().map(join).collect()
    });
    let modes = GaugeMode::EVERY.map(|mode| format!("`{}`", mode.name()));
    let heading: Vec<&str> = ["what happens to S"]
        .into_iter()
        .chain(modes.iter().map(String::as_str))
        .chain(["`dyn_metrics_processes`", "hold a slot", "X gets"])
        .collect();
    assert_table("liveness", &heading, &rows);
}
