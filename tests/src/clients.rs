//! HTTP clients of the exporter: raw bytes out, answers read without forgiving anything.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::mpsc::{self, Sender, TryRecvError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::exposition;
use crate::servers::{Exporter, wait_for};

/// One scrape that leaves the connection open.
pub const SCRAPE: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n";

/// How long a test waits for bytes before it gives up on them.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long Prometheus waits for a page unless told otherwise.
const SCRAPE_TIMEOUT: Duration = Duration::from_secs(10);

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its fields, names in lower case.
    pub fields: Vec<(String, String)>,
    /// Its body, of exactly the length that was announced.
    pub body: Vec<u8>,
}

impl Answer {
    /// The value of a field.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    /// Whether the server says that it closes behind it.
    #[must_use]
    pub fn is_last(&self) -> bool {
        self.field("connection").is_some_and(|value| value == "close")
    }

    /// The page, which must be faultless.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn page(&self) -> Result<Page, String> {
        if self.status != 200 {
            return Err(format!("status {}", self.status));
        }
        Page::read(&self.body)
    }
}

/// What a page shows.
#[derive(Debug)]
pub struct Page {
    /// Values by the sample's name and labels, as the text has them.
    pub samples: BTreeMap<String, f64>,
}

impl Page {
    fn read(page: &[u8]) -> Result<Self, String> {
        let families = exposition::parse(page)?;
        if families.is_empty() {
            return Err("an empty page".to_owned());
        }
        let samples = families.iter().flat_map(|family| &family.samples);
        Ok(Self { samples: samples.map(|sample| (sample.series(), sample.value)).collect() })
    }
}

/// A connection.
#[derive(Debug)]
pub struct Client(BufReader<TcpStream>);

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// What the system says.
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// The stream itself.
    #[must_use]
    pub fn stream(&self) -> &TcpStream {
        self.0.get_ref()
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// What the system says.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.get_mut().write_all(bytes)
    }

    /// Sends no more; the answers still come.
    ///
    /// # Errors
    /// What the system says.
    pub fn half_close(&self) -> io::Result<()> {
        self.stream().shutdown(std::net::Shutdown::Write)
    }

    /// The next answer; none at an end between two. An answer to HEAD has no body.
    ///
    /// # Errors
    /// What the system says, or `InvalidData` where it is no answer.
    pub fn answer(&mut self, to_head: bool) -> io::Result<Option<Answer>> {
        let Some(line) = self.line()? else { return Ok(None) };
        let status = line.strip_prefix("HTTP/1.1 ").or(line.strip_prefix("HTTP/1.0 "));
        let status = status.and_then(|rest| rest.split(' ').next()?.parse().ok());
        let status = status.ok_or_else(|| bad(&format!("status line {line:?}")))?;
        let mut fields = Vec::new();
        loop {
            let line = self.line()?.ok_or_else(|| io::Error::from(ErrorKind::UnexpectedEof))?;
            match line.split_once(": ") {
                Some((name, value)) => fields.push((name.to_ascii_lowercase(), value.to_owned())),
                None if line.is_empty() => break,
                None => return Err(bad(&format!("field {line:?}"))),
            }
        }
        let mut answer = Answer { status, fields, body: Vec::new() };
        let length = answer.field("content-length").and_then(|length| length.parse().ok());
        let length: usize = length.ok_or_else(|| bad("no length"))?;
        if !to_head {
            answer.body.resize(length, 0);
            self.0.read_exact(&mut answer.body)?;
        }
        Ok(Some(answer))
    }

    fn line(&mut self) -> io::Result<Option<String>> {
        let mut line = Vec::new();
        if self.0.read_until(b'\n', &mut line)? == 0 {
            return Ok(None);
        }
        let line = line.strip_suffix(b"\r\n").ok_or(ErrorKind::UnexpectedEof)?;
        String::from_utf8(line.to_vec()).map(Some).map_err(|_| bad("no text"))
    }

    /// One scrape, whose page must be faultless; whether the connection stays open.
    ///
    /// # Errors
    /// What is wrong.
    pub fn scrape(&mut self) -> Result<(Page, bool), String> {
        self.send(SCRAPE).map_err(|error| format!("sending: {error}"))?;
        let answer = self.answer(false).map_err(|error| format!("reading: {error}"))?;
        let answer = answer.ok_or("closed without an answer")?;
        Ok((answer.page()?, !answer.is_last()))
    }
}

fn bad(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}

/// Sends `bytes` and no more; the answers, in order, and how the connection ended.
///
/// # Panics
/// When nobody listens, or an answer is none.
#[must_use]
pub fn exchange(address: SocketAddr, bytes: &[u8]) -> (Vec<Answer>, End) {
    let mut client = Client::connect(address).expect("a connection");
    // What the server refuses it may not read to its end.
    let _ = client.send(bytes).and_then(|()| client.half_close());
    let mut answers = Vec::new();
    let end = loop {
        match client.answer(false) {
            Ok(Some(answer)) => answers.push(answer),
            Ok(None) => break End::Closed,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break End::Reset,
            Err(error) => panic!("{error} after {answers:?}, to {:?}", String::from_utf8_lossy(bytes)),
        }
    };
    (answers, end)
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// In order.
    Closed,
    /// By a reset.
    Reset,
}

/// A client that does as it should, beside all others: it scrapes all the time, and every scrape must succeed.
#[derive(Debug)]
pub struct Regular {
    stop: Sender<()>,
    thread: JoinHandle<Result<Scrapes, String>>,
}

/// What a [`Regular`] client has seen.
#[derive(Debug, Default)]
pub struct Scrapes {
    /// Pages, each faultless.
    pub pages: usize,
    /// The longest time from connecting to a whole page.
    pub slowest: Duration,
}

impl Regular {
    /// Starts to scrape, every page with the sample `expected`; a new connection for each page, as health checks do.
    #[must_use]
    pub fn start(address: SocketAddr, expected: &'static str) -> Self {
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let mut scrapes = Scrapes::default();
            while stopped.try_recv() == Err(TryRecvError::Empty) {
                let began = Instant::now();
                let mut client = Client::connect(address).map_err(|error| error.to_string())?;
                client.stream().set_read_timeout(Some(SCRAPE_TIMEOUT)).map_err(|error| error.to_string())?;
                let (page, _) =
                    client.scrape().map_err(|error| format!("page {}: {error}", scrapes.pages))?;
                page.samples.get(expected).ok_or_else(|| format!("{expected} is missing"))?;
                scrapes.pages += 1;
                scrapes.slowest = scrapes.slowest.max(began.elapsed());
            }
            Ok(scrapes)
        });
        Self { stop, thread }
    }

    /// Stops.
    ///
    /// # Panics
    /// When a scrape has failed.
    #[must_use]
    pub fn end(self) -> Scrapes {
        // It fails where a scrape has failed, which is told below.
        let _ = self.stop.send(());
        let scrapes = self.thread.join().expect("a thread").expect("every scrape succeeds");
        assert!(scrapes.pages > 0);
        scrapes
    }
}

/// What an exporter uses.
#[derive(Debug, Clone, Copy)]
pub struct Use {
    /// Descriptors.
    pub descriptors: usize,
    /// Memory of its own, in KiB; segments are not among it.
    pub memory: u64,
    /// Time of processors, in hundredths of a second.
    pub ticks: u64,
}

impl Use {
    /// What it uses now.
    ///
    /// # Panics
    /// When it has ended.
    #[must_use]
    pub fn of(exporter: &Exporter) -> Self {
        let proc = Path::new("/proc").join(exporter.child.0.id().to_string());
        let text = |name| std::fs::read_to_string(proc.join(name)).expect("the exporter runs");
        let status = text("status");
        let memory = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("a line");
        let memory = memory.trim().trim_end_matches(" kB").parse().expect("a number");
        let stat = text("stat");
        let times = stat.rsplit_once(')').expect("a name").1.split(' ').skip(12).take(2);
        let ticks = times.map(|time| time.parse::<u64>().expect("a number")).sum();
        Self { descriptors: std::fs::read_dir(proc.join("fd")).expect("a list").count(), memory, ticks }
    }

    /// Waits until the exporter has no more open than before, and demands that its memory is bounded.
    ///
    /// # Panics
    /// When it has more.
    #[must_use]
    pub fn again(self, exporter: &Exporter) -> Self {
        wait_for("closed connections", || (Self::of(exporter).descriptors <= self.descriptors).then_some(()));
        Self::of(exporter)
    }
}

/// Allows this process as many descriptors as it may have.
///
/// # Panics
/// When those are fewer than `needed`.
pub fn allow_descriptors(needed: u64) {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    assert!(hard >= needed, "found a hard limit of {hard} descriptors, expected {needed}: ulimit -Hn");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("the hard limit");
}
