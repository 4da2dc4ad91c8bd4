//! The exporter as clients see it: raw bytes over TCP.

use std::fs;
use std::future::Future;
use std::io::Read;
use std::net::SocketAddr;
use std::path::Path;

use dyn_metrics_exporter::{Config, Error, bind};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// An exporter in this process, over a directory of its own.
struct Exporter {
    address: SocketAddr,
    directory: TempDir,
    stop: oneshot::Sender<()>,
    run: JoinHandle<Result<(), Error>>,
}

impl Exporter {
    /// Serves `segment` in a fresh directory, as `prepare` has left it.
    async fn start(prepare: impl FnOnce(&Path)) -> Self {
        Self::start_at([127, 0, 0, 1], prepare).await
    }

    async fn start_at(host: [u8; 4], prepare: impl FnOnce(&Path)) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let segment = directory.path().join("segment");
        prepare(&segment);
        Self::start_with(host, directory, &segment).await
    }

    /// Serves `pattern` in `directory`.
    async fn start_with(host: [u8; 4], directory: TempDir, pattern: &Path) -> Self {
        let shm = vec![pattern.to_str().expect("UTF-8").to_owned()];
        let server =
            bind(Config { shm, listen: (host, 0).into(), ..Config::default() }).await.expect("a free port");
        let address = server.local_addr();
        let (stop, stopped) = oneshot::channel();
        let run = tokio::spawn(server.run(async { stopped.await.expect("a stop") }));
        Self { address, directory, stop, run }
    }

    /// Serves a segment that does not exist.
    async fn empty() -> Self {
        Self::start(|_| {}).await
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("a connection")
    }

    /// Sends `bytes` on a connection of its own, and returns everything that comes back until the server closes.
    async fn exchange(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = self.connect().await;
        stream.write_all(bytes).await.expect("a request");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("an answer");
        answer
    }

    /// One request with `Connection: close`: head and body of the response.
    async fn request(&self, line: &str, headers: &str) -> (String, Vec<u8>) {
        let request = format!("{line} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{headers}\r\n");
        split(&self.exchange(request.as_bytes()).await)
    }

    async fn get(&self, path: &str) -> (String, String) {
        let (head, body) = self.request(&format!("GET {path}"), "").await;
        (head, String::from_utf8(body).expect("UTF-8"))
    }

    async fn stop(self) -> Result<(), Error> {
        self.stop.send(()).expect("a server");
        self.run.await.expect("no panic")
    }
}

fn split(answer: &[u8]) -> (String, Vec<u8>) {
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("an end of the head");
    let head = String::from_utf8(answer[..end].to_vec()).expect("UTF-8");
    (head, answer[end + 4..].to_vec())
}

/// The value of a header field.
fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .find_map(|(field, value)| field.eq_ignore_ascii_case(name).then_some(value.trim()))
}

fn status(head: &str) -> &str {
    head.split(' ').nth(1).expect("a status")
}

/// The value of a sample without labels.
fn sample(page: &str, name: &str) -> f64 {
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.expect(name).parse().expect("a number")
}

async fn read_response(stream: &mut TcpStream) -> (String, String) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("a byte of the head"));
    }
    let head = String::from_utf8(head).expect("UTF-8");
    let length = field(&head, "content-length").expect("a length").parse().expect("a number");
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.expect("the body");
    (head, String::from_utf8(body).expect("UTF-8"))
}

/// Runs a test on the same runtime as the program has: several threads.
fn with_threads(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(test);
}

#[test]
fn metrics_are_served_before_a_segment_exists() {
    with_threads(async {
        let exporter = Exporter::empty().await;
        let (head, page) = exporter.get("/metrics").await;
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert_eq!(field(&head, "content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
        assert_eq!(field(&head, "content-length"), Some(page.len().to_string().as_str()));
        assert_eq!(field(&head, "content-encoding"), None);
        assert!(page.ends_with('\n'));
        assert_eq!(sample(&page, "dyn_metrics_exporter_scrapes_total"), 1.0);
        assert!(sample(&page, "dyn_metrics_exporter_scrape_duration_seconds") > 0.0);
        assert!(page.contains("\ndyn_metrics_exporter_build_info{format=\""));
        let (_, page) = exporter.get("/metrics").await;
        assert_eq!(sample(&page, "dyn_metrics_exporter_scrapes_total"), 2.0);
        exporter.stop().await.expect("no problem");
    });
}

#[test]
fn every_family_is_announced_once() {
    with_threads(async {
        let exporter = Exporter::start(|path| fs::write(path, "no segment").expect("a file")).await;
        let (_, page) = exporter.get("/metrics").await;
        for keyword in ["# HELP ", "# TYPE "] {
            let names = page.lines().filter_map(|line| line.strip_prefix(keyword)?.split(' ').next());
            let mut names: Vec<_> = names.collect();
            let announced = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), announced, "{keyword} {names:?}");
        }
        exporter.stop().await.expect("no problem");
    });
}

#[test]
fn health_readiness_and_landing_page_are_served() {
    with_threads(async {
        let exporter = Exporter::empty().await;
        let (head, body) = exporter.get("/-/healthy").await;
        assert_eq!((status(&head), body.as_str()), ("200", "healthy\n"));
        let (head, body) = exporter.get("/-/ready").await;
        assert_eq!((status(&head), body.as_str()), ("200", "ready, segments mapped: 0, skipped: 0\n"));
        let (head, body) = exporter.get("/").await;
        assert_eq!(status(&head), "200");
        assert_eq!(field(&head, "content-type"), Some("text/html; charset=utf-8"));
        assert!(body.contains(exporter.directory.path().to_str().expect("UTF-8")), "{body}");
        exporter.stop().await.expect("no problem");
    });
}

#[test]
fn a_bad_segment_fails_no_scrape() {
    with_threads(async {
        let exporter = Exporter::start(|path| fs::write(path, "no segment").expect("a file")).await;
        let (head, _) = exporter.get("/metrics").await;
        assert_eq!(status(&head), "200");
        let (_, body) = exporter.get("/-/ready").await;
        assert_eq!(body, "ready, segments mapped: 0, skipped: 1\n");
        exporter.stop().await.expect("a bad segment is no problem of the exporter");
    });
}

#[test]
fn what_is_left_out_of_a_directory_shows() {
    if !nix::unistd::geteuid().is_root() {
        assert!(std::env::var_os("CI").is_none(), "giving a file away needs root");
        eprintln!("SKIPPED: giving a file away needs root");
        return;
    }
    with_threads(async {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("theirs<b>");
        fs::write(&path, "whatever").expect("a file");
        fs::write(directory.path().join("foreign"), "no segment").expect("a file");
        std::os::unix::fs::chown(&path, Some(54_321), None).expect("root may");
        let pattern = directory.path().to_owned();
        let exporter = Exporter::start_with([127, 0, 0, 1], directory, &pattern).await;
        let (_, page) = exporter.get("/metrics").await;
        assert_eq!(sample(&page, "dyn_metrics_files_left_out{reason=\"owner\"}"), 1.0);
        assert_eq!(sample(&page, "dyn_metrics_files_left_out{reason=\"no_segment\"}"), 1.0);
        let (_, landing) = exporter.get("/").await;
        let expected = "<p>2 files left out: 1 of other users (--allow-uid), 1 no segment.<br>";
        assert!(landing.contains(expected), "{landing}");
        assert!(landing.contains("/theirs&lt;b&gt;</code></p>"), "{landing}");
        assert!(landing.contains("No segment is served"), "{landing}");
        assert!(!landing.contains("No segment exists yet"), "{landing}");
        exporter.stop().await.expect("no problem");
    });
}

#[test]
fn a_client_that_has_closed_its_side_gets_its_answer() {
    with_threads(async {
        let exporter = Exporter::empty().await;
        let mut stream = exporter.connect().await;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("a request");
        stream.shutdown().await.expect("half a connection");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("an answer");
        let (head, body) = split(&answer);
        assert_eq!(status(&head), "200");
        assert!(body.ends_with(b"dyn_metrics_exporter_scrapes_total 1\n"));
        exporter.stop().await.expect("no problem");
    });
}

#[test]
fn head_is_get_without_the_body() {
    with_threads(async {
        let exporter = Exporter::empty().await;
        for path in ["/", "/metrics", "/-/healthy", "/-/ready"] {
            let (head, body) = exporter.request(&format!("HEAD {path}"), "").await;
            assert_eq!(status(&head), "200", "{path}");
            assert!(field(&head, "content-length").is_some_and(|length| length != "0"), "{head}");
            assert!(body.is_empty(), "{path}");
        }
        exporter.stop().await.expect("no problem");
    });
}

#[test]
fn unknown_paths_and_methods_are_refused() {
    with_threads(async {
        let exporter = Exporter::empty().await;
        let (head, _) = exporter.get("/metric").await;
        assert_eq!(status(&head), "404");
        for line in ["POST /metrics", "DELETE /", "PATCH /-/ready", "BREW /metrics"] {
            let (head, _) = exporter.request(line, "").await;
            assert_eq!((status(&head), field(&head, "allow")), ("405", Some("GET, HEAD")), "{line}");
        }
        exporter.stop().await.expect("no problem");
    });
}

#[test]
fn a_request_body_is_not_waited_for() {
    with_threads(async {
        let exporter = Exporter::empty().await;
        let request = b"POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n";
        let (head, _) = split(&exporter.exchange(request).await);
        assert_eq!(status(&head), "405");
        exporter.stop().await.expect("no problem");
    });
}

#[test]
fn gzip_is_served_to_who_asks() {
    with_threads(async {
        let exporter = Exporter::empty().await;
        let (head, body) = exporter.request("GET /metrics", "Accept-Encoding: br, gzip;q=0.8\r\n").await;
        assert_eq!(field(&head, "content-encoding"), Some("gzip"));
        assert_eq!(field(&head, "vary"), Some("Accept-Encoding"));
        assert_eq!(field(&head, "content-length"), Some(body.len().to_string().as_str()));
        let mut page = String::new();
        flate2::read::GzDecoder::new(&body[..]).read_to_string(&mut page).expect("a gzip stream");
        assert_eq!(sample(&page, "dyn_metrics_exporter_scrapes_total"), 1.0);

        let (head, body) = exporter.request("GET /metrics", "Accept-Encoding: gzip;q=0\r\n").await;
        assert_eq!(field(&head, "content-encoding"), None);
        assert!(body.starts_with(b"# HELP "));
        exporter.stop().await.expect("no problem");
    });
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    with_threads(async {
        let exporter = Exporter::empty().await;
        let mut stream = exporter.connect().await;
        let requests = ["/-/healthy", "/nothing", "/metrics", "/-/ready"]
            .map(|path| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"))
            .concat();
        stream.write_all(requests.as_bytes()).await.expect("requests");
        let mut bodies = Vec::new();
        for expected in ["200", "404", "200", "200"] {
            let (head, body) = read_response(&mut stream).await;
            assert_eq!(status(&head), expected);
            bodies.push(body);
        }
        assert_eq!(bodies[0], "healthy\n");
        assert!(bodies[2].contains("dyn_metrics_exporter_build_info"));
        assert!(bodies[3].starts_with("ready, "));
        exporter.stop().await.expect("no problem");
    });
}

#[test]
fn one_connection_serves_many_scrapes() {
    with_threads(async {
        let exporter = Exporter::empty().await;
        let mut stream = exporter.connect().await;
        for scrape in 1..=20 {
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("a request");
            let (_, page) = read_response(&mut stream).await;
            assert_eq!(sample(&page, "dyn_metrics_exporter_scrapes_total"), f64::from(scrape));
        }
        exporter.stop().await.expect("no problem");
    });
}

#[test]
fn garbage_is_a_bad_request() {
    with_threads(async {
        let exporter = Exporter::empty().await;
        for garbage in
            [&b"\x16\x03\x01\x02\x00\x01\r\n\r\n"[..], b"nonsense\r\n\r\n", b"GET /metrics HTTP/9.9\r\n\r\n"]
        {
            let (head, _) = split(&exporter.exchange(garbage).await);
            assert_eq!(status(&head), "400", "{garbage:?}");
        }
        let (head, _) = exporter.get("/-/healthy").await;
        assert_eq!(status(&head), "200");
        exporter.stop().await.expect("no problem");
    });
}

#[test]
fn long_heads_are_refused() {
    with_threads(async {
        let exporter = Exporter::empty().await;
        // Exactly what the server reads before it refuses, so that no unread byte turns its answer into a reset.
        let mut long = b"GET /metrics HTTP/1.1\r\nHost: a\r\nX: ".to_vec();
        long.resize(16 * 1024, b'x');
        let (head, _) = split(&exporter.exchange(&long).await);
        assert_eq!(status(&head), "431");
        let many = format!("GET /metrics HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(65));
        let (head, _) = split(&exporter.exchange(many.as_bytes()).await);
        assert_eq!(status(&head), "431");
        exporter.stop().await.expect("no problem");
    });
}

#[test]
fn slow_clients_block_nobody() {
    with_threads(async {
        let exporter = Exporter::empty().await;
        let mut slow = exporter.connect().await;
        slow.write_all(b"GET /metr").await.expect("half a request");
        let silent = exporter.connect().await;
        let mut deaf = exporter.connect().await;
        deaf.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("a request");
        for _ in 0..3 {
            assert_eq!(status(&exporter.get("/metrics").await.0), "200");
        }
        slow.write_all(b"ics HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("the other half");
        assert_eq!(status(&read_response(&mut slow).await.0), "200");
        drop((silent, deaf));
        exporter.stop().await.expect("no problem");
    });
}

#[test]
fn concurrent_scrapes_are_all_answered() {
    with_threads(async {
        let exporter = Exporter::empty().await;
        let (address, mut clients) = (exporter.address, tokio::task::JoinSet::new());
        for _ in 0..100 {
            clients.spawn(async move {
                let mut stream = TcpStream::connect(address).await.expect("a connection");
                stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("a request");
                read_response(&mut stream).await
            });
        }
        for (head, _) in clients.join_all().await {
            assert_eq!(status(&head), "200");
        }
        let (_, page) = exporter.get("/metrics").await;
        assert_eq!(sample(&page, "dyn_metrics_exporter_scrapes_total"), 101.0);
        exporter.stop().await.expect("no problem");
    });
}

#[test]
fn a_stop_closes_the_port_and_idle_connections() {
    with_threads(async {
        // A host of its own, so that no other test takes the port once it is free.
        let exporter = Exporter::start_at([127, 77, 0, 1], |_| {}).await;
        let (address, mut idle) = (exporter.address, exporter.connect().await);
        idle.write_all(b"GET /-/healthy HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("a request");
        read_response(&mut idle).await;
        exporter.stop().await.expect("no problem");
        assert_eq!(idle.read(&mut [0]).await.expect("an end"), 0);
        let error = TcpStream::connect(address).await.expect_err("nobody listens");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    });
}

#[test]
fn an_address_can_be_used_again_after_a_stop() {
    with_threads(async {
        // A host of its own, so that no other test takes the port once it is free.
        let exporter = Exporter::start_at([127, 77, 0, 2], |_| {}).await;
        let shm = vec!["/nothing".to_owned()];
        let taken = Config { shm, listen: exporter.address, ..Config::default() };
        let error = bind(taken.clone()).await.err().expect("an address in use");
        assert!(error.to_string().contains(&exporter.address.to_string()), "{error}");
        exporter.get("/metrics").await;
        exporter.stop().await.expect("no problem");
        assert!(bind(taken).await.is_ok());
    });
}
