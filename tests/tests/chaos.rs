//! Chaos in short: processes that are killed, stopped, forked and replaced at random lose no acknowledged update, and
//! nothing falls from one scrape to the next. `make soak` is the long form; the twins show that both would be seen.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::sync::atomic::Ordering;

use dyn_metrics_tests::chaos::findings::Findings;
use dyn_metrics_tests::chaos::scrapers::scrape_once;
use dyn_metrics_tests::chaos::watch::Watch;
use dyn_metrics_tests::servers::program;

/// What a run has printed, and whether it ended well.
struct Run {
    text: String,
    is_clean: bool,
}

impl Run {
    /// A run with these options.
    fn new(options: &[&str]) -> Self {
        Self::of(Command::new(program("chaotic")), options)
    }

    fn of(mut command: Command, options: &[&str]) -> Self {
        let output = command.arg("drive").arg("limit=240").args(options).output().expect("a run");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        Self { text: text + &errors, is_clean: output.status.success() }
    }

    /// A run with a broken twin for two seconds.
    fn of_twin(twin: &str) -> Self {
        let mut command = Command::new(program("chaotic"));
        // Who wants the other test to be longer doesn't want this one to be.
        for option in ["SECONDS", "INCREMENTS", "KILLS", "SERIES", "PROCESSES", "THREADS", "LIMIT"] {
            command.env_remove(format!("DYN_METRICS_CHAOS_{option}"));
        }
        Self::of(command, &["seconds=2", "increments=1000", "kills=2", "series=100", "processes=4", twin])
    }

    fn number(&self, name: &str) -> u64 {
        let line = self.text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let number = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
        number.unwrap_or_else(|| panic!("no {name} in:\n{}", self.text))
    }
}

#[test]
fn no_acknowledged_update_is_lost_in_chaos_and_nothing_falls() {
    let run = Run::new(&[
        "seconds=5",
        "increments=10000000",
        "kills=30",
        "series=8000",
        "processes=6",
        "threads=2",
    ]);
    assert!(run.is_clean, "{}", run.text);
    for name in ["lost", "surplus", "decreases", "vanished"] {
        assert_eq!(run.number(name), 0, "{name}:\n{}", run.text);
    }
    assert!(run.number("acknowledged") >= 10_000_000, "{}", run.text);
    for name in ["forks", "execs", "stops", "censuses", "scrapes_http", "scrapes_reader", "audits"] {
        assert!(run.number(name) > 0, "{name}:\n{}", run.text);
    }
    println!("{}", run.text);
}

#[test]
fn increments_that_are_acknowledged_and_not_made_are_reported_as_lost() {
    let run = Run::of_twin("twin=forgets");
    assert!(!run.is_clean && run.number("lost") > 0, "{}", run.text);
    assert!(run.text.contains("WRONG: What { group: Events"), "{}", run.text);
}

#[test]
fn increments_by_plain_loads_and_stores_are_reported_as_lost() {
    let run = Run::of_twin("twin=plain");
    assert!(!run.is_clean && run.number("lost") > 0, "{}", run.text);
}

#[test]
fn increments_made_twice_are_reported_as_too_many() {
    let run = Run::of_twin("twin=repeats");
    assert!(!run.is_clean && run.number("surplus") > 0, "{}", run.text);
    assert_eq!(run.number("lost"), 0, "{}", run.text);
}

/// An exporter that answers with these pages, one after the other.
fn serve(pages: [&'static str; 3]) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let address = listener.local_addr().expect("its address");
    std::thread::spawn(move || {
        for page in pages {
            let mut client = BufReader::new(listener.accept().expect("a client").0);
            let mut line = String::new();
            while line != "\r\n" {
                line.clear();
                assert!(client.read_line(&mut line).expect("a request") > 0);
            }
            write!(client.get_mut(), "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{page}", page.len())
                .expect("a reader");
        }
    });
    address
}

#[test]
fn a_scraper_reports_what_falls_and_what_vanishes() {
    let pages = [
        "# TYPE a_total counter\na_total{n=\"1\"} 5\na_total{n=\"2\"} 1\n",
        "# TYPE a_total counter\na_total{n=\"1\"} 6\na_total{n=\"2\"} 1\n",
        "# TYPE a_total counter\na_total{n=\"1\"} 5\n",
    ];
    let (address, findings, mut watch) = (serve(pages), Findings::default(), Watch::default());
    for wrong in [(0, 0), (0, 0), (1, 1)] {
        scrape_once(address, &mut watch, &findings);
        let found = (findings.decreases.load(Ordering::Relaxed), findings.vanished.load(Ordering::Relaxed));
        assert_eq!(found, wrong);
    }
    let texts = ["exporter: a_total{n=\"1\"} went from 6 to 5", "exporter: a_total{n=\"2\"} vanished"];
    assert_eq!(findings.texts(), texts);
}
