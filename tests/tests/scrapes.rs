//! Many scrapes of one exporter: what it answers stays right, and it needs no more memory for them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Child;

use dyn_metrics::{Counter, Histogram, Opts, Registry};
use dyn_metrics_tests::servers::{Exporter, sample};

const SERIES: usize = 100;

/// A client that keeps its connection.
struct Client(BufReader<TcpStream>);

impl Client {
    /// The body of `/metrics`.
    fn scrape(&mut self) -> Vec<u8> {
        // In one piece: the kernel would hold a second one back until the first is acknowledged.
        let request = b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n";
        self.0.get_mut().write_all(request).expect("a request");
        let mut length = 0;
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).expect("an answer");
            match line.trim().to_ascii_lowercase().split_once(": ") {
                Some(("content-length", value)) => length = value.parse().expect("a length"),
                None if line == "\r\n" => break,
                _ => {}
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).expect("a body");
        body
    }
}

/// KiB of memory of its own that are in use; the segment is not among them.
fn resident(process: &Child) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).expect("its status");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[test]
fn ten_thousand_scrapes_need_no_more_memory_than_a_thousand() {
    let directory = tempfile::tempdir_in("/dev/shm").expect("a directory in /dev/shm");
    let path = directory.path().join("segment");
    let registry = Registry::builder().path(&path).open().expect("a segment");
    let counters = registry.family::<Counter>(&Opts::new("requests_total", "Requests."), &["n"]).unwrap();
    let histograms = registry.family::<Histogram>(&Opts::new("latency_seconds", "Latency."), &["n"]).unwrap();
    let counters: Vec<Counter> = (0..SERIES).map(|n| counters.with(&[&n.to_string()])).collect();
    let histograms: Vec<Histogram> = (0..SERIES).map(|n| histograms.with(&[&n.to_string()])).collect();
    let exporter = Exporter::start(&[path.to_str().expect("UTF-8")]);
    let mut client = Client(BufReader::new(TcpStream::connect(exporter.address).expect("a connection")));
    let mut after_a_thousand = 0;
    for number in 1..=10_000_usize {
        counters[number % SERIES].inc();
        histograms[number % SERIES].observe(0.1);
        let body = client.scrape();
        if number % 1000 == 1 {
            let text = String::from_utf8(body).expect("UTF-8");
            let expected = number.div_ceil(SERIES) as f64;
            assert_eq!(
                sample(&text, &format!("requests_total{{n=\"{}\"}}", number % SERIES)),
                Some(expected)
            );
            assert_eq!(sample(&text, "latency_seconds_count{n=\"1\"}"), Some(expected));
        }
        if number == 1000 {
            after_a_thousand = resident(&exporter.child.0);
        }
    }
    let (before, now) = (after_a_thousand, resident(&exporter.child.0));
    // A leak of fifty bytes in each scrape would show; a page has 200 KiB.
    assert!(now <= before + 440, "{before} KiB after 1 000 scrapes, {now} KiB after 10 000");
}
