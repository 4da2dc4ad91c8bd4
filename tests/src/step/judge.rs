//! What others make of a directory in which a process has died.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use dyn_metrics_layout::file::{BIRTH_INFIX, superseded_base};
use dyn_metrics_reader::{Collector, SegmentReport, check};

use crate::servers::{Guard, program};
use crate::step::page::{Page, faults};
use crate::step::scenario::{SEGMENT, Scenario, is_damaged};

/// A server of second processes: see `second.rs`.
#[derive(Debug)]
pub struct Judge {
    _server: Guard,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    /// How many directories were judged.
    pub judged: u64,
    /// Most bytes that a death has wasted.
    pub most_wasted: u64,
    /// Most files that a death has left beside the segment.
    pub most_beside: usize,
}

/// What a reader that is attached all along shows, before and once all is done.
#[derive(Debug)]
pub struct Expected<'e> {
    /// At the first mark.
    pub before: &'e Page,
    /// At the last mark.
    pub done: &'e Page,
    /// Bytes that the scenario draws.
    pub drawn: u64,
    /// Bytes that were wasted before.
    pub wasted: u64,
    /// Whether there was a segment before: then its name leads to one at every moment.
    pub is_there: bool,
}

impl Default for Judge {
    fn default() -> Self {
        let mut command = Command::new(program("victim"));
        command.arg("second").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child: Child = command.spawn().expect("a server of second processes");
        let (input, output) = (child.stdin.take().expect("a pipe"), child.stdout.take().expect("a pipe"));
        let output = BufReader::new(output);
        Self { _server: Guard(child), input, output, judged: 0, most_wasted: 0, most_beside: 0 }
    }
}

/// Segments of a directory: the named one and those that it has superseded.
fn segments(directory: &Path) -> Vec<PathBuf> {
    let is_superseded = |name: &str| superseded_base(name.as_bytes()) == Some(SEGMENT.len());
    let is_segment = |name: &str| name == SEGMENT || (is_superseded(name) && !name.contains(BIRTH_INFIX));
    let entries = std::fs::read_dir(directory).expect("the directory");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.filter(|path| path.file_name().and_then(|n| n.to_str()).is_some_and(is_segment)).collect()
}

/// A reader of the directory's segment.
#[must_use]
pub fn reader(directory: &Path) -> Collector {
    Collector::new(&[directory.join(SEGMENT).display().to_string()])
}

impl Judge {
    /// Judges what `directory` holds, in which nobody lives any more. `attached` is a reader that was attached
    /// before the death. What is wrong.
    ///
    /// # Panics
    /// When the server of second processes is gone.
    pub fn judge(
        &mut self,
        scenario: &Scenario,
        (directory, note): (&Path, &str),
        attached: &mut Collector,
        expected: &Expected<'_>,
    ) -> Vec<String> {
        self.judged += 1;
        let mut wrong = self.check(directory, Some(expected));
        if self.judged % PROGRAM_EVERY == 1 {
            wrong.extend(check_by_program(directory));
        }
        if expected.is_there && !directory.join(SEGMENT).exists() {
            wrong.push(format!("{SEGMENT}: nothing has the name any more"));
        }
        let beside = left_beside(directory).len();
        self.most_beside = self.most_beside.max(beside);
        let now = Page::of(attached);
        wrong.extend(unserved(attached));
        wrong.extend(faults(expected.before, &now, expected.done, scenario.loses, scenario.vanishing));
        let told = self.ask(&format!("go-on {} {note}", directory.display()));
        wrong.extend(told.lines().filter(|line| line.starts_with("error")).map(str::to_owned));
        if told.lines().last().is_none_or(|line| !line.starts_with("ended Exited") || !line.ends_with(", 0)"))
        {
            wrong.push(format!("the second process: {told}"));
        }
        let (then, anew) = (Page::of(attached), Page::of(&mut reader(directory)));
        if then != anew {
            wrong.push(format!("a reader from before shows {then:?}, a new one {anew:?}"));
        }
        wrong.extend(inexact(&now, &then, &told, !scenario.rebooted));
        wrong.extend(self.check(directory, None));
        if beside > 0 {
            let told = self.ask(&format!("fresh {} -", directory.display()));
            wrong.extend(
                left_beside(directory).into_iter().map(|name| format!("{name} is left for ever: {told}")),
            );
        }
        wrong
    }

    /// Has a second process do something; what it says.
    fn ask(&mut self, what: &str) -> String {
        writeln!(self.input, "{what}").expect("the server lives");
        let mut told = String::new();
        while !told.ends_with("\n\n") {
            assert!(self.output.read_line(&mut told).expect("text") > 0, "the server died: {told}");
        }
        told.trim_end().to_owned()
    }

    /// Verifies every segment.
    fn check(&mut self, directory: &Path, expected: Option<&Expected<'_>>) -> Vec<String> {
        let mut wrong = Vec::new();
        for path in segments(directory).iter().filter(|path| !is_damaged(path)) {
            let name = path.file_name().unwrap_or_default().display();
            match check::check(path) {
                Ok(report) if report.is_sound() => {
                    let Some(expected) = expected else { continue };
                    self.most_wasted =
                        self.most_wasted.max(report.bytes_wasted.saturating_sub(expected.wasted));
                    let most = expected.wasted + expected.drawn;
                    if report.bytes_wasted > most {
                        wrong
                            .push(format!("{name}: {} bytes wasted, of at most {most}", report.bytes_wasted));
                    }
                }
                Ok(report) => wrong.push(format!("{name}: {:?}", report.faults)),
                Err(error) => wrong.push(format!("{name}: {error}")),
            }
        }
        wrong
    }
}

/// Of this many directories the program `dyn-metrics` checks one: it does what [`check::check`] does.
const PROGRAM_EVERY: u64 = 40;

fn check_by_program(directory: &Path) -> Option<String> {
    let path = directory.join(SEGMENT);
    if !path.exists() || is_damaged(&path) {
        return None;
    }
    let output =
        Command::new(program("dyn-metrics")).arg("check").arg(&path).output().expect("the program runs");
    let told = || String::from_utf8_lossy(&output.stdout).into_owned();
    (!output.status.success()).then(|| format!("dyn-metrics check: {}, {}", output.status, told()))
}

/// Segments that a reader doesn't serve, or not wholly.
fn unserved(attached: &mut Collector) -> Vec<String> {
    let is_wrong = |segment: &&SegmentReport| {
        let is_there = segment.path.exists() && !is_damaged(&segment.path);
        is_there && !(segment.state.is_served() && segment.skipped.is_empty())
    };
    let tell = |s: &SegmentReport| format!("{}: {:?}, {:?} skipped", s.path.display(), s.state, s.skipped);
    attached.collect().segments.iter().filter(is_wrong).map(tell).collect()
}

/// Where the second process's numbers and the reader's don't agree.
fn inexact(now: &Page, then: &Page, told: &str, gauges: bool) -> Vec<String> {
    let mut wrong = Vec::new();
    for line in told.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let [name, first, last] = fields[..] else { continue };
        let (Ok(first), Ok(last)) = (first.parse::<f64>(), last.parse::<f64>()) else { continue };
        let by = then.total(name) - now.total(name);
        if by != last - first || by <= 0.0 {
            wrong.push(format!("{name}: a process counted from {first} to {last}, a reader saw {by} more"));
        }
    }
    let added = if gauges { f64::from(crate::step::second::ADDED) } else { 0.0 };
    let expected = [
        ("deaths_running", now.value("deaths_running") + added),
        ("deaths_high", now.value("deaths_high").max(added)),
        ("deaths_recent", if gauges { added } else { now.value("deaths_recent") }),
    ];
    for (name, expected) in expected {
        if then.value(name) != expected {
            wrong.push(format!("{name}: found {}, expected {expected}", then.value(name)));
        }
    }
    wrong
}

/// Files other than the segment: once it is fresh, nobody would ever remove them.
fn left_beside(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).expect("the directory");
    let names = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
    names.filter(|name| name != SEGMENT).collect()
}
