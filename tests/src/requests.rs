//! Random requests: right ones whose answers are known, and such with something wrong in them.

use crate::random;

/// What is drawn for requests: the same for the same seed.
#[derive(Debug)]
pub struct Random(random::Random);

impl Random {
    /// Starts it.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(random::Random::new(seed))
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.0.next() % end as u64) as usize
    }

    /// One of these.
    pub fn one<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len())]
    }
}

/// A request, and what its answer is to be.
#[derive(Debug)]
pub struct Request {
    /// What is sent.
    pub bytes: Vec<u8>,
    /// The status of the answer.
    pub status: u16,
    /// Whether the answer has no body.
    pub to_head: bool,
}

const METHODS: [&str; 8] = ["GET", "GET", "GET", "HEAD", "POST", "PUT", "OPTIONS", "BREW"];

const PATHS: [&str; 8] =
    ["/metrics", "/metrics", "/", "/-/healthy", "/-/ready", "/nothing", "/metrics/", "/%00"];

const FIELDS: [&str; 8] = [
    "Accept: text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
    "Accept-Encoding: gzip;q=0, br",
    "User-Agent: Prometheus/2.42.0",
    "X-Prometheus-Scrape-Timeout-Seconds: 10",
    "Connection: keep-alive",
    "X-Empty:",
    "X-Odd: \u{e9}\t,;\"=\\",
    "Cookie: a=b; c=d",
];

/// A right request, on a connection that stays open behind it.
pub fn right(random: &mut Random) -> Request {
    let (method, path) = (random.one(&METHODS), random.one(&PATHS));
    let origin = random.one(&["", "", "http://localhost:9464"]);
    let query = random.one(&["", "", "?name[]=a&b=%20"]);
    let mut text = format!("{method} {origin}{path}{query} HTTP/1.1\r\nHost: test\r\n");
    for _ in 0..random.below(6) {
        text += random.one(&FIELDS);
        text += "\r\n";
    }
    text += "\r\n";
    let known = matches!(path, "/metrics" | "/" | "/-/healthy" | "/-/ready");
    let status = match method {
        _ if !known => 404,
        "GET" | "HEAD" => 200,
        _ => 405,
    };
    Request { bytes: text.into_bytes(), status, to_head: method == "HEAD" }
}

const TRAPS: [&[u8]; 20] = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b"\t",
    b":",
    b"\xff",
    b"\r\n\r\n",
    b"HTTP/1.0",
    b"HTTP/2.0",
    b"Content-Length: 18446744073709551616\r\n",
    b"Content-Length: -1\r\n",
    b"Content-Length: 10\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Expect: 100-continue\r\n",
    b"Connection: upgrade\r\nUpgrade: h2c\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01",
    b"CONNECT a:1 ",
];

/// Spoils a request in one to four places, so that its answers, if there are any, can be all sorts.
pub fn spoil(random: &mut Random, mut bytes: Vec<u8>) -> Vec<u8> {
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len().max(1)).min(bytes.len());
        let end = (at + random.below(40)).min(bytes.len());
        match random.below(7) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..end)),
            2 => drop(bytes.splice(at..at, random.one(&TRAPS).iter().copied())),
            3 => drop(bytes.splice(at..end, random.one(&TRAPS).iter().copied())),
            4 => bytes.splice(at..at, bytes[at..end].to_vec()).for_each(drop),
            5 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << random.below(8)),
            _ => {
                let many = vec![random.below(256) as u8; random.below(40_000)];
                drop(bytes.splice(at..at, many));
            }
        }
    }
    bytes
}
