//! The main job on real input: writer processes, the exporter, a real Prometheus, and foreign parsers.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use dyn_metrics_tests::servers::{Exporter, Guard, Serving, free_port, get, have, program, sample, wait_for};

fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").expect("a directory in /dev/shm")
}

fn serving(path: &Path, role: &str) -> Serving {
    Serving::start(Path::new(env!("CARGO_BIN_EXE_serving")), path, role)
}

/// Sum of a counter over its series.
fn total(text: &str, family: &str) -> f64 {
    let samples =
        text.lines().filter(|line| line.starts_with(family) && line[family.len()..].starts_with('{'));
    samples.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

fn sample_lines(text: &str) -> usize {
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).count()
}

/// A real Prometheus that scrapes one target.
struct Prometheus {
    _child: Guard,
    address: SocketAddr,
}

impl Prometheus {
    fn start(directory: &Path, target: SocketAddr) -> Self {
        let config = directory.join("prometheus.yml");
        let yaml = format!(
            "global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}\nscrape_configs:\n- job_name: dyn\n  static_configs: [{{targets: ['{target}']}}]\n"
        );
        fs::write(&config, yaml).unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", directory.join("tsdb").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus starts");
        Self { _child: Guard(child), address }
    }

    /// The value of a query that has one answer.
    fn query(&self, query: &str) -> Option<f64> {
        let (status, body) = get(self.address, &format!("/api/v1/query?query={query}"))?;
        if status != 200 {
            return None;
        }
        let answer: serde_json::Value = serde_json::from_str(&body).ok()?;
        answer["data"]["result"][0]["value"][1].as_str()?.parse().ok()
    }

    fn wait_until(&self, query: &str, expected: f64) {
        let mut seen = None;
        let mut tries = 0;
        wait_for(&format!("{query} to be {expected}"), || {
            seen = self.query(query);
            tries += 1;
            if tries % 100 == 0 {
                eprintln!("{query}: {seen:?}, expected {expected}");
            }
            (seen == Some(expected)).then_some(())
        });
    }
}

#[test]
fn prometheus_stores_what_writers_acknowledged_across_a_kill() {
    if !have("prometheus") {
        return;
    }
    let directory = directory();
    let path = directory.path().join("segment");
    let exporter = Exporter::start(&[path.to_str().unwrap()]); // before the segment exists
    assert_eq!(sample(&exporter.metrics(), "e2e_latency_seconds_count"), None);
    let mut workers: Vec<_> = (0..3).map(|n| serving(&path, &format!("worker-{n}"))).collect();
    let mut acknowledged: u64 = workers.iter_mut().map(|worker| worker.work(1000)).sum();

    let prometheus = Prometheus::start(directory.path(), exporter.address);
    prometheus.wait_until("up", 1.0);
    prometheus.wait_until("sum(e2e_requests_total)", acknowledged as f64);
    prometheus.wait_until("e2e_latency_seconds_count", acknowledged as f64);
    prometheus.wait_until("e2e_running_requests", 3.0);
    let text = exporter.metrics();
    prometheus.wait_until("scrape_samples_scraped", sample_lines(&text) as f64);
    assert_eq!(total(&text, "e2e_requests_total"), acknowledged as f64);

    drop(workers.swap_remove(0)); // SIGKILL
    let mut newcomer = serving(&path, "worker-3");
    acknowledged += newcomer.work(500);
    let before = workers.iter_mut().map(|worker| worker.work(250) - 1000).sum::<u64>();
    acknowledged += before;
    prometheus.wait_until("sum(e2e_requests_total)", acknowledged as f64);
    prometheus.wait_until("e2e_latency_seconds_count", acknowledged as f64);
    prometheus.wait_until("e2e_request_bytes_sum", 512.0 * acknowledged as f64);
    prometheus.wait_until("e2e_running_requests", 3.0);
    prometheus.wait_until("e2e_peak_requests", 1000.0);
    let text = exporter.metrics();
    prometheus.wait_until("scrape_samples_scraped", sample_lines(&text) as f64);
    drop((workers, newcomer));
    assert_eq!(exporter.sample("e2e_latency_seconds_count"), Some(acknowledged as f64));
    // Whether an owner lives is asked once a second.
    wait_for("the dead workers' gauges to go", || {
        (exporter.sample("e2e_running_requests") == Some(0.0)).then_some(())
    });
}

#[test]
fn foreign_parsers_read_the_exposition_back_to_the_same_values() {
    let directory = directory();
    let path = directory.path().join("segment");
    let exporter = Exporter::start(&[path.to_str().unwrap()]);
    let mut worker = serving(&path, "wörker \"1\"\\");
    worker.work(400);
    let text = exporter.metrics();
    check_with_promtool(&text);
    check_with_prometheus_client(&text, directory.path());
}

fn check_with_promtool(text: &str) {
    if !have("promtool") {
        return;
    }
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut promtool.stdin.take().unwrap(), text.as_bytes()).unwrap();
    let done = promtool.wait_with_output().unwrap();
    let said = [done.stdout, done.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(done.status.success(), "promtool: {said:?}\n{text}");
}

fn check_with_prometheus_client(text: &str, directory: &Path) {
    let python = ["python3"].into_iter().find(|python| {
        let import = ["-c", "import prometheus_client.parser"];
        Command::new(python).args(import).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    });
    let Some(python) = python else {
        assert!(std::env::var_os("CI").is_none(), "prometheus_client is missing; make setup installs it");
        eprintln!("SKIPPED: prometheus_client is missing; make setup installs it");
        return;
    };
    let exposition = directory.join("metrics.txt");
    fs::write(&exposition, text).unwrap();
    let script = "import json, sys\nfrom prometheus_client.parser import text_string_to_metric_families as parse\n\
        out = [[s.name, s.labels, repr(s.value)] for f in parse(open(sys.argv[1]).read()) for s in f.samples]\n\
        print(json.dumps(out))";
    let done = Command::new(python).args(["-c", script]).arg(&exposition).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let samples: Vec<(String, serde_json::Map<String, serde_json::Value>, String)> =
        serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(samples.len(), sample_lines(text));
    let value = |name: &str, label: &str, wanted: &str| {
        let found = samples.iter().find(|(n, labels, _)| {
            n == name && (label.is_empty() || labels.get(label).and_then(|v| v.as_str()) == Some(wanted))
        });
        found.unwrap_or_else(|| panic!("no {name} with {label}={wanted:?}\n{text}")).2.parse::<f64>().unwrap()
    };
    assert_eq!(value("e2e_requests_total", "role", "wörker \"1\"\\"), 400.0);
    assert_eq!(value("e2e_latency_seconds_bucket", "le", "0.1"), 100.0);
    assert_eq!(value("e2e_latency_seconds_bucket", "le", "0.25"), 300.0);
    assert_eq!(value("e2e_latency_seconds_bucket", "le", "+Inf"), 400.0);
    assert_eq!(value("e2e_latency_seconds_sum", "", ""), 75.0);
    assert_eq!(value("e2e_request_bytes_sum", "", ""), 204_800.0);
    assert_eq!(value("e2e_busy_seconds_total", "", ""), 0.4);
    assert_eq!(value("e2e_build_info", "version", "1.0 \"β\"\\\n"), 1.0);
    assert_eq!(value("e2e_state", "e2e_state", "ready"), 1.0);
    assert_eq!(value("e2e_state", "e2e_state", "starting"), 0.0);
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let spelled: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
        assert!(
            samples.iter().any(|(name, _, parsed)| {
                line.starts_with(name.as_str()) && parsed.parse() == Ok(spelled)
            }),
            "{line} is not among the parsed samples"
        );
    }
}

#[test]
fn families_are_contiguous_with_one_help_and_one_type() {
    let directory = directory();
    let path = directory.path().join("segment");
    let exporter = Exporter::start(&[path.to_str().unwrap()]);
    serving(&path, "a").work(3);
    let text = exporter.metrics();
    let mut seen = std::collections::BTreeSet::new();
    let (mut current, mut kind) = (String::new(), String::new());
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, of) = rest.split_once(' ').unwrap();
            assert_eq!(name, current, "TYPE follows its HELP");
            kind = of.to_owned();
        } else if let Some(rest) = line.strip_prefix("# HELP ") {
            current = rest.split(' ').next().unwrap().to_owned();
            assert!(seen.insert(current.clone()), "{current} announced twice");
        } else {
            let name = line.split(['{', ' ']).next().unwrap();
            let suffixes: &[&str] = match kind.as_str() {
                "histogram" => &["_bucket", "_sum", "_count"],
                "summary" => &["_sum", "_count"],
                _ => &[""],
            };
            let fits = suffixes.iter().any(|suffix| name.strip_suffix(suffix) == Some(&current));
            assert!(fits, "{line} stands under {current} ({kind})");
        }
    }
    assert!(seen.contains("e2e_requests_total") && seen.iter().any(|name| name.starts_with("dyn_metrics_")));
}

#[test]
fn the_exporter_follows_replacement_removal_and_return() {
    let directory = directory();
    let path = directory.path().join("segment");
    let exporter = Exporter::start(&[path.to_str().unwrap()]);
    let mut old = serving(&path, "old");
    old.work(10);
    assert_eq!(total(&exporter.metrics(), "e2e_requests_total"), 10.0);

    // What a replacement leaves: the old file beside the new one; the warm writer goes on counting into it.
    fs::rename(&path, directory.path().join("segment.superseded-0123456789abcdef")).unwrap();
    let mut new = serving(&path, "new");
    new.work(5);
    old.work(7);
    let text = exporter.metrics();
    assert_eq!(total(&text, "e2e_requests_total"), 22.0, "{text}");
    assert_eq!(sample(&text, "e2e_running_requests"), Some(2.0), "{text}");
    drop(old);
    assert_eq!(total(&exporter.metrics(), "e2e_requests_total"), 22.0);

    // Unlinked by hand: the exporter serves the inode it holds until its last process is gone.
    for entry in fs::read_dir(directory.path()).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    new.work(1);
    assert!(total(&exporter.metrics(), "e2e_requests_total") >= 6.0);
    drop(new);
    wait_for("the removed segment to be given up", || {
        (total(&exporter.metrics(), "e2e_requests_total") == 0.0).then_some(())
    });
    serving(&path, "returned").work(3);
    assert_eq!(total(&exporter.metrics(), "e2e_requests_total"), 3.0);
}

#[test]
fn a_damaged_segment_is_replaced_by_the_next_writer_and_the_exporter_goes_on() {
    let directory = directory();
    let path = directory.path().join("segment");
    let exporter = Exporter::start(&[path.to_str().unwrap()]);
    let mut old = serving(&path, "old");
    old.work(10);
    assert_eq!(total(&exporter.metrics(), "e2e_requests_total"), 10.0);
    damage(&path);
    serving(&path, "new").work(5);
    old.work(1); // a warm writer notices nothing
    let text = exporter.metrics();
    assert_eq!(sample(&text, "e2e_requests_total{role=\"new\",status=\"ok\"}"), Some(5.0), "{text}");
}

/// Flips a bit in the header of the first index table.
fn damage(path: &Path) {
    use std::os::unix::fs::FileExt;
    let file = fs::File::options().read(true).write(true).open(path).unwrap();
    let mut head = vec![0; 4096];
    file.read_exact_at(&mut head, 0).unwrap();
    let header = dyn_metrics_layout::header::Header::decode(&head, file.metadata().unwrap().len()).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, header.index + 4).unwrap();
    file.write_all_at(&[byte[0] ^ 1], header.index + 4).unwrap();
}

#[test]
fn several_segments_merge_and_one_bad_file_hides_nothing() {
    let directory = directory();
    let path = |name: &str| directory.path().join(name);
    fs::write(path("c-bad"), "not a segment, but long enough to look at").unwrap();
    let glob = path("*-*");
    let exporter = Exporter::start(&[glob.to_str().unwrap()]);
    let (mut a, mut b) = (serving(&path("a-1"), "same"), serving(&path("b-2"), "same"));
    a.work(3);
    b.work(4);
    let text = exporter.metrics();
    assert_eq!(sample(&text, "e2e_requests_total{role=\"same\",status=\"ok\"}"), Some(7.0), "{text}");
    assert_eq!(sample(&text, "e2e_running_requests"), Some(2.0));
}

#[test]
fn health_landing_page_and_stop_work() {
    let directory = directory();
    let path = directory.path().join("segment");
    let mut exporter = Exporter::start(&[path.to_str().unwrap()]);
    serving(&path, "a").work(1);
    for (page, part) in [("/-/healthy", ""), ("/-/ready", ""), ("/", "/metrics")] {
        let (status, body) = get(exporter.address, page).unwrap();
        assert_eq!(status, 200, "{page}");
        assert!(body.contains(part), "{page}: {body}");
    }
    assert_eq!(get(exporter.address, "/nothing").unwrap().0, 404);
    let pid = nix::unistd::Pid::from_raw(i32::try_from(exporter.child.0.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert!(exporter.child.0.wait().unwrap().success());
}

#[test]
fn dump_and_check_read_the_segment_after_every_writer_is_dead() {
    let directory = directory();
    let path = directory.path().join("segment");
    let mut worker = serving(&path, "late");
    worker.work(12);
    drop(worker); // SIGKILL
    let copy: PathBuf = directory.path().join("copy");
    fs::copy(&path, &copy).unwrap();
    for file in [&path, &copy] {
        let dump = Command::new(program("dyn-metrics")).arg("dump").arg(file).output().unwrap();
        let text = String::from_utf8(dump.stdout).unwrap();
        assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
        assert!(text.contains("e2e_requests_total") && text.contains("12"), "{text}");
        let check = Command::new(program("dyn-metrics")).arg("check").arg(file).output().unwrap();
        assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));
    }
}
