//! Scrapes over HTTP: the exporter's program, on the loopback interface.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use dyn_metrics_benches::bars::OURS;
use dyn_metrics_benches::rows::RenderRow;

use crate::args::Arguments;
use crate::peers::ours::{Home, touch_on_each_cpu, toucher};
use crate::peers::{Kind, Page};
use crate::rendering::{COLD, Case, measure};

/// What is scraped: kind, series.
const SCENES: [(Kind, usize); 4] =
    [(Kind::Counter, 1_000), (Kind::Counter, 10_000), (Kind::Counter, 100_000), (Kind::Histogram, 10_000)];

pub fn run(arguments: &Arguments, home: &Home) -> io::Result<Vec<RenderRow>> {
    let mut rows = Vec::new();
    for (kind, series) in SCENES {
        if arguments.quick && series > 1_000 {
            continue;
        }
        let segment = format!("http_{}_{series}", kind.name());
        let touch = toucher(kind, series, &home.open(&segment));
        touch_on_each_cpu(&touch);
        let touch = std::rc::Rc::new(touch);
        let exporter = Exporter::start(&home.path(&segment))?;
        let mut cases = Vec::new();
        for (suffix, encoding) in [("", None), ("_gzip", Some("gzip"))] {
            let mut client = Client::connect(exporter.address)?;
            check(&client.get(encoding)?, series, encoding)?;
            let touch = std::rc::Rc::clone(&touch);
            let render = move || client.get(encoding).map_or(0, |body| body.len());
            let page = Page::new(OURS, move || touch(), render);
            cases.push(Case { kind: format!("http_{}{suffix}", kind.name()), series, page });
        }
        rows.extend(measure(cases, arguments.renderings()));
    }
    rows.retain(|row| !row.kind.ends_with(COLD)); // the exporter has caches of its own
    Ok(rows)
}

/// Whether a page has at least a line for each series.
fn check(body: &[u8], series: usize, encoding: Option<&str>) -> io::Result<()> {
    let mut text = Vec::new();
    match encoding {
        None => text.extend_from_slice(body),
        Some(_) => drop(flate2::read::GzDecoder::new(body).read_to_end(&mut text)?),
    }
    let lines = text.iter().filter(|byte| **byte == b'\n').count();
    if lines >= series {
        return Ok(());
    }
    Err(io::Error::other(format!("the page has {lines} lines, expected {series} series")))
}

/// The exporter's program; ended when dropped.
pub struct Exporter {
    child: Child,
    pub address: SocketAddr,
}

impl Exporter {
    /// Starts the program that was built beside this one.
    pub fn start(segment: &Path) -> io::Result<Self> {
        let program = std::env::current_exe()?.with_file_name("dyn-metrics-exporter");
        let mut command = Command::new(program);
        command.arg("--shm").arg(segment).args(["--listen", "127.0.0.1:0"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let log = child.stderr.take().map(BufReader::new);
        let mut exporter = Self { child, address: SocketAddr::from(([127, 0, 0, 1], 0)) };
        let mut log = log.ok_or_else(|| io::Error::other("no log"))?;
        let mut line = String::new();
        while !line.contains("listening address=") {
            line.clear();
            if log.read_line(&mut line)? == 0 {
                return Err(io::Error::other("the exporter ended before it listened"));
            }
        }
        let address = line.split("address=").nth(1).and_then(|rest| rest.split_whitespace().next());
        exporter.address =
            address.and_then(|address| address.parse().ok()).ok_or_else(|| io::Error::other(line))?;
        std::thread::spawn(move || io::copy(&mut log, &mut io::sink()));
        Ok(exporter)
    }

    /// Memory that it occupies, in KiB.
    pub fn resident(&self) -> io::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        number.ok_or_else(|| io::Error::other("no VmRSS in /proc"))
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A connection that is kept.
pub struct Client(BufReader<TcpStream>);

impl Client {
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::with_capacity(256 << 10, stream)))
    }

    /// The body of `/metrics`, encoded as asked for.
    pub fn get(&mut self, encoding: Option<&str>) -> io::Result<Vec<u8>> {
        let accept = encoding.map_or(String::new(), |name| format!("Accept-Encoding: {name}\r\n"));
        let request = format!("GET /metrics HTTP/1.1\r\nHost: bench\r\n{accept}\r\n");
        self.0.get_mut().write_all(request.as_bytes())?;
        let status = self.line()?;
        if !status.starts_with("HTTP/1.1 200") {
            return Err(io::Error::other(status));
        }
        let (mut length, mut chunked, mut encoded) = (0, false, false);
        loop {
            let line = self.line()?.to_ascii_lowercase();
            match line.split_once(": ") {
                None => break,
                Some(("content-length", value)) => length = value.parse().map_err(io::Error::other)?,
                Some(("transfer-encoding", value)) => chunked = value == "chunked",
                Some(("content-encoding", _)) => encoded = true,
                Some(_) => (),
            }
        }
        if encoded != encoding.is_some() {
            return Err(io::Error::other("the body is not encoded as asked for"));
        }
        if chunked { self.chunks() } else { self.exactly(length) }
    }

    fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let size = usize::from_str_radix(&self.line()?, 16).map_err(io::Error::other)?;
            body.extend(self.exactly(size)?);
            self.line()?;
            if size == 0 {
                return Ok(body);
            }
        }
    }

    fn exactly(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.0.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.0.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        line.truncate(line.trim_end().len());
        Ok(line)
    }
}
