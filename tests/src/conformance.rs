//! What the writers of all languages do alike: replayers of `tests/data/conformance/`, and their pages.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use dyn_metrics_reader::{Collector, encode};

use crate::exposition;

/// The line after a replayer's page.
pub const END: &str = "# EOF";

/// Metrics about dyn-metrics itself that stay in the page: what was refused and dropped.
const KEPT: [&str; 3] =
    ["dyn_metrics_registrations_refused_total", "dyn_metrics_updates_dropped_total", EVENTS];

const EVENTS: &str = "dyn_metrics_segment_events_total";
const KEPT_EVENTS: [&str; 3] = ["infinite", "help_differs", "level_differs"];

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/conformance")
}

/// The script.
#[must_use]
pub fn script() -> PathBuf {
    directory().join("script.txt")
}

/// The page that it gives.
#[must_use]
pub fn page() -> PathBuf {
    directory().join("page.txt")
}

/// A replayer that has done all steps and lives.
#[derive(Debug)]
pub struct Replayer {
    child: Child,
    input: Option<ChildStdin>,
    segment: PathBuf,
    page: String,
}

impl Replayer {
    /// Runs `command` with the script and the segment as arguments, until it has done all steps.
    ///
    /// # Errors
    /// What it said when it did not.
    pub fn start(mut command: Command, script: &Path, segment: &Path) -> Result<Self, String> {
        command.arg(script).arg(segment).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("{command:?}: {error}"))?;
        let mut page = String::new();
        let mut ended = false;
        for line in BufReader::new(child.stdout.take().expect("piped")).lines() {
            let line = line.map_err(|error| error.to_string())?;
            if line == END {
                ended = true;
                break;
            }
            page.push_str(&line);
            page.push('\n');
        }
        if !ended {
            let mut said = String::new();
            let _ = child.stderr.take().expect("piped").read_to_string(&mut said);
            let status = child.wait().map_err(|error| error.to_string())?;
            return Err(format!("{command:?}: {status}\n{said}"));
        }
        let input = child.stdin.take();
        Ok(Self { child, input, segment: segment.to_owned(), page })
    }

    /// Its process's number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The page as the replayer has rendered it; empty when its language can't.
    #[must_use]
    pub fn own_page(&self) -> String {
        comparable(&self.page, &self.segment, &[self.pid()])
    }

    /// Lets it end.
    ///
    /// # Panics
    /// When it does not end well.
    pub fn end(mut self) {
        drop(self.input.take());
        let status = self.child.wait().expect("a child");
        assert!(status.success(), "{status}");
    }
}

impl Drop for Replayer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The page of a segment as this process reads it, whole.
#[must_use]
pub fn whole_page(segment: &Path) -> String {
    let mut text = Vec::new();
    let mut collector = Collector::new(&[segment.to_string_lossy().into_owned()]);
    encode::text::encode(&collector.collect(), &mut text);
    String::from_utf8(text).expect("a page is UTF-8")
}

/// A page without what differs from run to run; `pids` are those of the processes that made it.
#[must_use]
pub fn comparable(page: &str, segment: &Path, pids: &[u32]) -> String {
    let label = format!("segment=\"{}\"", segment.display());
    let mut kept = String::new();
    for line in page.lines() {
        let announced = ["# HELP ", "# TYPE "].iter().find_map(|head| line.strip_prefix(head));
        let name = announced.unwrap_or(line).split(['{', ' ']).next().unwrap_or_default();
        let of_event = |event| line.contains(&format!("{{event=\"{event}\""));
        let is_other_event = name == EVENTS && announced.is_none() && !KEPT_EVENTS.into_iter().any(of_event);
        if name.starts_with("dyn_metrics_") && !KEPT.contains(&name) || is_other_event {
            continue;
        }
        let mut line = line.replace(&format!(",{label}"), "");
        for pid in pids {
            line = line.replace(&format!("pid=\"{pid}\""), "pid=\"PID\"");
        }
        let _ = writeln!(kept, "{line}");
    }
    kept
}

/// A sample: its name, its labels, and the bits of its number.
pub type Sample = (String, BTreeMap<String, String>, String);

/// Names, labels and numbers of a page as our reader of the text format finds them.
///
/// # Panics
/// When the page is not valid.
#[must_use]
pub fn samples(page: &str) -> Vec<Sample> {
    let families = exposition::parse(page.as_bytes()).unwrap_or_else(|error| panic!("{error}\n{page}"));
    let unescape = |text: &str| {
        text.replace("\\\\", "\0").replace("\\n", "\n").replace("\\\"", "\"").replace('\0', "\\")
    };
    let read = |sample: &exposition::Sample<'_>| {
        let labels = sample.labels.iter().map(|(name, value)| ((*name).to_owned(), unescape(value)));
        (sample.name.to_owned(), labels.collect(), format!("{:016x}", sample.value.to_bits()))
    };
    families.iter().flat_map(|family| &family.samples).map(read).collect()
}

/// The same as Python's client library finds them; none when it isn't there, which in CI is a failure.
///
/// # Panics
/// When it doesn't accept the page.
#[must_use]
pub fn foreign_samples(page: &Path) -> Option<Vec<Sample>> {
    let script = "import json, struct, sys\n\
        from prometheus_client.parser import text_string_to_metric_families as parse\n\
        text = open(sys.argv[1], newline='').read()\n\
        json.dump([[s.name, s.labels, struct.pack('>d', s.value).hex()] for f in parse(text) for s in f.samples], sys.stdout)";
    let import = Command::new("python3").args(["-c", "import prometheus_client.parser"]).output();
    if !import.is_ok_and(|done| done.status.success()) {
        assert!(std::env::var_os("CI").is_none(), "prometheus_client is missing; make setup installs it");
        eprintln!("SKIPPED: prometheus_client is missing; make setup installs it");
        return None;
    }
    let done = Command::new("python3").args(["-c", script]).arg(page).output().expect("python3");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    Some(serde_json::from_slice(&done.stdout).expect("JSON"))
}

/// Compares with the committed page; `BLESS=1` writes that.
///
/// # Panics
/// When they differ.
pub fn expect_page(found: &str, bless: bool) {
    if bless && std::env::var_os("BLESS").is_some() {
        fs::write(page(), found).expect("the page can be written");
    }
    let expected = fs::read_to_string(page()).unwrap_or_default();
    for (number, (found, expected)) in found.lines().zip(expected.lines()).enumerate() {
        assert_eq!(found, expected, "line {} of page.txt", number + 1);
    }
    assert_eq!(found.lines().count(), expected.lines().count(), "{found}");
}
