//! Requests of every shape: each gets the answer that it should, or a clear refusal.

use std::thread;
use std::time::Duration;

use dyn_metrics_tests::clients::{Client, End, SCRAPE, exchange};
use dyn_metrics_tests::served::{SAMPLE, Served};

/// Sends `request` and no more; the statuses of the answers.
fn statuses(served: &Served, request: &[u8]) -> Vec<u16> {
    let (answers, end) = exchange(served.exporter.address, request);
    assert_eq!(end, End::Closed, "{:?}", String::from_utf8_lossy(request));
    answers.iter().map(|answer| answer.status).collect()
}

/// As [`statuses`], each request on a connection of its own.
fn assert_each(cases: &[(&[u8], &[u16])]) {
    let served = Served::start();
    for (request, expected) in cases {
        assert_eq!(statuses(&served, request), *expected, "{:?}", String::from_utf8_lossy(request));
    }
    assert_eq!(statuses(&served, SCRAPE), [200], "it goes on");
}

#[test]
fn long_heads_are_refused_by_an_answer_that_arrives() {
    let served = Served::start();
    for length in [16 << 10, 64 << 10, 512 << 10] {
        let mut headers = b"GET /metrics HTTP/1.1\r\nHost: a\r\nX: ".to_vec();
        headers.resize(length, b'x');
        assert_eq!(statuses(&served, &headers), [431], "{length}");
        // One who sends in pieces, and would not look for an answer if that failed.
        let mut client = Client::connect(served.exporter.address).expect("a connection");
        for piece in headers.chunks(4096) {
            client.send(piece).expect("the exporter reads on");
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(client.answer(false).expect("an answer").expect("one").status, 431);
        headers.extend_from_slice(b"\r\n\r\n");
        assert_eq!(statuses(&served, &headers), [431], "{length}");
        let line = [b"GET /".to_vec(), vec![b'x'; length]].concat();
        assert!(matches!(statuses(&served, &line)[..], [414 | 431]), "{length}");
    }
    let many = format!("GET /metrics HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(10_000));
    assert_eq!(statuses(&served, many.as_bytes()), [431]);
}

#[test]
fn a_request_line_without_end_is_answered_and_cut() {
    let served = Served::start();
    let mut client = Client::connect(served.exporter.address).expect("a connection");
    client.send(b"GET /").expect("a beginning");
    let mut sent = 0_u64;
    // At last the exporter reads no more, and a reset tells.
    while client.send(&[b'x'; 4096]).is_ok() {
        sent += 4096;
        assert!(sent < 1 << 30, "a client may go on for ever");
    }
    let mut client = Client::connect(served.exporter.address).expect("a connection");
    client.send(&[b'x'; 20_000]).expect("a line");
    let answer = client.answer(false).expect("an answer").expect("one");
    assert_eq!(answer.status, 431);
    assert!(answer.is_last());
}

#[test]
fn a_thousand_pipelined_requests_are_answered_in_order() {
    let served = Served::start();
    let paths = ["/-/healthy", "/nothing", "/metrics", "/-/ready"];
    let request = |n: usize| format!("GET {}?{n} HTTP/1.1\r\nHost: a\r\n\r\n", paths[n % 4]);
    let requests: String = (0..1000).map(request).collect();
    let (answers, end) = exchange(served.exporter.address, requests.as_bytes());
    assert_eq!((answers.len(), end), (1000, End::Closed));
    for (n, answer) in answers.iter().enumerate() {
        match n % 4 {
            0 => assert_eq!(answer.body, b"healthy\n"),
            1 => assert_eq!(answer.status, 404),
            2 => assert!(answer.page().expect("a page").samples.contains_key(SAMPLE)),
            _ => assert!(answer.body.starts_with(b"ready, segments mapped: 1")),
        }
    }
}

#[test]
fn http_1_0_closes_unless_asked_not_to() {
    let served = Served::start();
    let keep = b"GET /-/healthy HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
    let two = [&keep[..], b"GET /-/healthy HTTP/1.0\r\n\r\n", keep].concat();
    let (answers, _) = exchange(served.exporter.address, &two);
    assert_eq!(answers.len(), 2, "the second says nothing of a third");
    assert_eq!(answers[0].field("connection"), Some("keep-alive"));
    assert_eq!(answers[1].field("connection"), None);
}

#[test]
fn a_client_that_has_closed_its_side_gets_all_its_answers() {
    let served = Served::start();
    let mut client = Client::connect(served.exporter.address).expect("a connection");
    client.send(&SCRAPE.repeat(3)).expect("requests");
    client.half_close().expect("half a connection");
    for _ in 0..3 {
        client.answer(false).expect("an answer").expect("one").page().expect("a page");
    }
    assert_eq!(client.answer(false).expect("an end"), None);
}

#[test]
fn wrong_methods_are_told_which_are_right() {
    let served = Served::start();
    for line in
        ["POST /metrics", "PUT /", "OPTIONS *", "CONNECT localhost:9464", "TRACE /metrics", "BREW /-/ready"]
    {
        let request = format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n");
        let (answers, _) = exchange(served.exporter.address, request.as_bytes());
        assert_eq!(answers.len(), 1, "{line}");
        assert_eq!((answers[0].status, answers[0].field("allow")), (405, Some("GET, HEAD")), "{line}");
    }
}

#[test]
fn every_form_of_target_is_understood() {
    assert_each(&[
        (b"GET http://localhost:9464/metrics HTTP/1.1\r\nHost: a\r\n\r\n", &[200]),
        (b"GET https://user@[::1]/metrics?a#b HTTP/1.1\r\nHost: a\r\n\r\n", &[200]),
        (b"GET http://localhost HTTP/1.1\r\nHost: a\r\n\r\n", &[200]),
        (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", &[404]),
        (b"GET //metrics HTTP/1.1\r\nHost: a\r\n\r\n", &[404]),
        (b"GET /metrics/../metrics HTTP/1.1\r\nHost: a\r\n\r\n", &[404]),
        (b"GET metrics HTTP/1.1\r\nHost: a\r\n\r\n", &[404]),
        (b"GET /metrics HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", &[400]),
    ]);
}

#[test]
fn nothing_behind_a_body_is_taken_for_a_request() {
    const INNER: &str = "GET /-/ready HTTP/1.1\r\nHost: a\r\n\r\n";
    let get = |fields: &str, body: &str| {
        format!("GET /-/healthy HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n{body}{INNER}").into_bytes()
    };
    let served = Served::start();
    let chunk = format!("{:x}\r\n{INNER}\r\n0\r\n\r\n", INNER.len());
    for (fields, body, expected) in [
        ("Content-Length: 5", "12345", 200),
        ("Content-Length: 36", "", 200),
        ("Content-Length: 1000000", "", 200),
        ("Content-Length: 5\r\nExpect: 100-continue", "", 200),
        ("Transfer-Encoding: chunked", "0\r\n\r\n", 200),
        ("Transfer-Encoding: chunked", &chunk, 200),
        // Bad chunks.
        ("Transfer-Encoding: chunked", "nonsense\r\n", 200),
        ("Transfer-Encoding: chunked", "ffffffffffffffffff\r\n", 200),
        ("Transfer-Encoding: chunked", "-1\r\n", 200),
        // Each end of the body is somewhere else to somebody.
        ("Content-Length: 5\r\nContent-Length: 5", "12345", 200),
        ("Content-Length: 5\r\nContent-Length: 6", "12345", 400),
        ("Content-Length: 5, 6", "12345", 400),
        ("Content-Length: +5", "12345", 400),
        ("Content-Length: 0x5", "12345", 400),
        ("Content-Length: 99999999999999999999", "", 400),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked", "0\r\n\r\n", 200),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5", "0\r\n\r\n", 200),
        ("Transfer-Encoding: chunked, identity", "0\r\n\r\n", 400),
        ("Transfer-Encoding: xchunked", "0\r\n\r\n", 400),
        ("Transfer-Encoding : chunked", "0\r\n\r\n", 400),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: cow", "0\r\n\r\n", 400),
    ] {
        assert_eq!(statuses(&served, &get(fields, body)), [expected], "{fields:?} {body:?}");
    }
    assert_eq!(statuses(&served, &get("Content-Length: 0", "")), [200, 200], "no body ends nothing");
}

#[test]
fn what_is_no_http_1_is_refused() {
    assert_each(&[
        (b"GET /metrics HTTP/1.1\r\nHost: a\0b\r\n\r\n", &[400]),
        (b"GET /met\0rics HTTP/1.1\r\nHost: a\r\n\r\n", &[400]),
        (b"GET /metrics\xff HTTP/1.1\r\nHost: a\r\n\r\n", &[400]),
        (b"G\xc3\x89T /metrics HTTP/1.1\r\nHost: a\r\n\r\n", &[400]),
        (b"GET /metrics HTTP/1.1\r\nX\xff: a\r\n\r\n", &[400]),
        // A value may hold bytes that are no ASCII.
        (b"GET /metrics HTTP/1.1\r\nHost: a\r\nX: \xff\xc3\x89\r\n\r\n", &[200]),
        (b"GET /metrics HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", &[400]),
        (b"GET /metrics HTTP/1.1\rHost: a\r\r", &[400]),
        (b"GET /metrics HTTP/2.0\r\nHost: a\r\n\r\n", &[400]),
        (b"GET /metrics\r\n\r\n", &[400]),
        (b"\r\n\r\n\r\nGET /metrics HTTP/1.1\r\nHost: a\r\n\r\n", &[200]),
        // A hello of TLS 1.3, and an answer of SSH.
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", &[400]),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", &[400]),
        // HTTP/2 with prior knowledge is closed: an answer of HTTP/1 would mean nothing to such a client.
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", &[]),
        (b"GET /metrics HT", &[]),
        (b"", &[]),
    ]);
}
