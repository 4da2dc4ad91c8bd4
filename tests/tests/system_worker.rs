//! A worker as it runs in a pod: started by its environment, found through its segment, asked from outside.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use dyn_metrics_reader::Collector;
use dyn_metrics_tests::clients::Client;
use dyn_metrics_tests::servers::{Guard, program, wait_for};
use dyn_metrics_tests::systems::{fails_with, get, probe, wait_for_check};
use tempfile::TempDir;

struct Worker {
    child: Guard,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    address: SocketAddr,
    _directory: TempDir,
}

impl Worker {
    /// Starts one, and finds its server as tools do: in the segment.
    fn start() -> Self {
        let directory = tempfile::tempdir_in("/dev/shm").unwrap();
        let path = directory.path().join("segment");
        let mut command = Command::new(program("attended"));
        command.arg(&path).stdin(Stdio::piped()).stdout(Stdio::piped());
        command.envs([
            ("DYN_SYSTEM_ENABLED", "true"),
            ("DYN_SYSTEM_PORT", "0"),
            ("DYN_SYSTEM_HOST", "127.0.0.1"),
        ]);
        let mut child = Guard(command.spawn().expect("a worker"));
        let (input, output) = (child.0.stdin.take().unwrap(), BufReader::new(child.0.stdout.take().unwrap()));
        let pid = child.0.id();
        let mut collector = Collector::new(&[path.to_string_lossy().into_owned()]);
        let port = wait_for("its port", || {
            let seen = collector.collect();
            let process = seen.segments[0].processes.iter().find(|process| process.pid == pid)?;
            Some(process.http_port).filter(|port| *port != 0)
        });
        Self { child, input, output, address: ([127, 0, 0, 1], port).into(), _directory: directory }
    }

    fn say(&mut self, line: &str) {
        writeln!(self.input, "{line}").expect("it reads");
    }

    fn hear(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("it answers");
        line.trim_end().to_owned()
    }
}

#[test]
fn a_worker_whose_loop_is_blocked_is_live_and_shown_as_stalled() {
    // make test-deep blocks it for 30 seconds.
    let seconds =
        std::env::var("DYN_SYSTEM_BLOCKED_SECONDS").map_or(3, |seconds| seconds.parse().expect("a number"));
    let mut worker = Worker::start();
    wait_for("health", || (probe(worker.address, "/health").status == 200).then_some(()));
    assert_eq!(probe(worker.address, "/health").report["version"], "9.8.7");
    let began = Instant::now();
    worker.say(&format!("block {}", 1000 * seconds));
    let found =
        wait_for_check(worker.address, "main_loop", |check| fails_with(check, "stalled: no beat for "));
    assert_eq!(found["probe"], "health");
    while began.elapsed() < Duration::from_secs(seconds).mul_f64(0.8) {
        let (live, health) = (probe(worker.address, "/liveness"), probe(worker.address, "/health"));
        assert_eq!((live.status, live.word()), (200, "live"));
        if began.elapsed() < Duration::from_secs(seconds).mul_f64(0.8) {
            assert_eq!((health.status, health.word()), (503, "unhealthy"));
            assert!(fails_with(health.check("main_loop"), "limit 0.5 s"), "{:?}", health.report);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(worker.hear(), "done block");
    wait_for("health", || (probe(worker.address, "/health").status == 200).then_some(()));
}

#[test]
fn a_frozen_engine_shows_and_the_worker_goes_on() {
    let mut worker = Worker::start();
    worker.say("pending 4");
    wait_for_check(worker.address, "engine", |check| {
        fails_with(check, "stalled: 4 pending, and the count stays at 0")
    });
    assert_eq!(probe(worker.address, "/liveness").status, 200);
    worker.say("pending 0");
    wait_for_check(worker.address, "engine", |check| check["reason"] == "nothing pending");
    drop(worker.input);
    assert!(worker.child.0.wait().unwrap().success());
}

/// Probes a second while they are measured.
const RATE: u32 = 1000;

#[test]
#[ignore = "measures: make test-deep"]
fn a_thousand_probes_a_second_leave_the_worker_as_fast() {
    let mut worker = Worker::start();
    let mut ratios: [Vec<f64>; 2] = Default::default();
    let mut sent = 0;
    for _ in 0..15 {
        let [quiet, probed] = [false, true].map(|probes| {
            worker.say("measure 1000");
            if probes {
                sent += probe_for(worker.address, Duration::from_millis(900));
            }
            let line = worker.hear();
            assert_eq!(worker.hear(), "done measure");
            let mut numbers =
                line.strip_prefix("measured ").expect("numbers").split(' ').map(|n| n.parse::<f64>());
            [(); 2].map(|()| numbers.next().expect("a number").expect("a number"))
        });
        for at in 0..2 {
            ratios[at].push(probed[at] / quiet[at]);
        }
    }
    let medians = ratios.map(|mut ratios| {
        ratios.sort_by(f64::total_cmp);
        ratios[ratios.len() / 2]
    });
    println!("{sent} probes; update {:.3}, request {:.3} of the time without", medians[0], medians[1]);
    assert!(f64::from(sent) >= 0.9 * 15.0 * 0.9 * f64::from(RATE), "{sent} probes are too few");
    assert!(medians.iter().all(|ratio| *ratio < 1.1), "{medians:?}");
}

/// Sends probes at [`RATE`] over one connection; how many were answered.
fn probe_for(address: SocketAddr, time: Duration) -> u32 {
    let mut client = Client::connect(address).expect("a connection");
    let (start, mut sent) = (Instant::now(), 0);
    while start.elapsed() < time {
        let path = ["/liveness", "/readiness", "/health"][sent as usize % 3];
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).expect("it is read");
        let answer = client.answer(false).expect("an answer").expect("an answer");
        assert!(matches!(answer.status, 200 | 503));
        sent += 1;
        let due = Duration::from_secs(1) * sent / RATE;
        std::thread::sleep(due.saturating_sub(start.elapsed()));
    }
    sent
}

#[test]
fn manifests_are_what_kubernetes_takes() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/kubernetes");
    let python = dyn_metrics_tests::servers::have("kubernetes-validate");
    if !python {
        return;
    }
    let output = Command::new("kubernetes-validate")
        .args(["--strict", &format!("{root}/worker.yaml")])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{said}");
    // A PodMonitor's schema is the Prometheus operator's: here only that it is YAML, and names what the pod has.
    let read = "import sys, yaml, json; print(json.dumps([yaml.safe_load(open(p)) for p in sys.argv[1:]]))";
    let files = ["worker.yaml", "podmonitor.yaml"].map(|name| format!("{root}/{name}"));
    let output = Command::new("python3").args(["-c", read]).args(files).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let (worker, monitor) = (&read[0], &read[1]);
    let pod = &worker["spec"]["template"];
    assert_eq!(monitor["spec"]["selector"]["matchLabels"], pod["metadata"]["labels"]);
    let port = &monitor["spec"]["podMetricsEndpoints"][0]["port"];
    let containers = pod["spec"]["containers"].as_array().unwrap();
    assert!(containers.iter().any(|container| &container["ports"][0]["name"] == port));
    assert_eq!(pod["spec"]["volumes"][0]["emptyDir"]["medium"], "Memory");
    let worker = containers.iter().find(|container| container["name"] == "worker").unwrap();
    for (probe, path) in
        [("startupProbe", "/liveness"), ("livenessProbe", "/liveness"), ("readinessProbe", "/readiness")]
    {
        assert_eq!(worker[probe]["httpGet"]["path"], path, "{probe}");
    }
}

#[test]
fn a_worker_answers_while_it_is_asked_for_pages() {
    let worker = Worker::start();
    for _ in 0..20 {
        assert_eq!(
            get(worker.address, "/metrics", "Accept-Encoding: gzip\r\n").field("content-encoding"),
            Some("gzip")
        );
        assert_eq!(probe(worker.address, "/liveness").status, 200);
    }
}
