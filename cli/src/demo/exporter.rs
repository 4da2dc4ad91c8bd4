//! The exporter beside the demo: found next to this binary, started, and asked where it listens.

use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use super::DemoError;
use super::children::{Launcher, Process};

/// Where the exporter listens when nobody says otherwise.
pub const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9464);
/// Longest wait for the exporter to listen.
const START_LIMIT: Duration = Duration::from_secs(10);

/// The running exporter and the address it has.
pub struct Exporter {
    /// Its process.
    pub process: Process,
    /// Where it listens.
    pub address: SocketAddr,
}

/// The exporter's binary next to `program`.
pub fn find(program: &Path) -> Result<PathBuf, DemoError> {
    let path = program.with_file_name("dyn-metrics-exporter");
    if path.is_file() { Ok(path) } else { Err(DemoError::ExporterMissing { path }) }
}

/// The address to ask for, and whether it is another than the default because that is taken.
pub fn choose_address(wanted: Option<SocketAddr>) -> Result<(SocketAddr, bool), DemoError> {
    let address = wanted.unwrap_or(DEFAULT_LISTEN);
    match TcpListener::bind(address) {
        Ok(_) => Ok((address, false)),
        Err(error) if wanted.is_none() && error.kind() == ErrorKind::AddrInUse => {
            Ok((SocketAddr::new(address.ip(), 0), true))
        }
        Err(source) => Err(DemoError::Listen { address, source }),
    }
}

impl Exporter {
    /// Starts the binary at `path` and waits until it listens.
    pub fn start(launcher: &Launcher, path: &Path, listen: SocketAddr) -> Result<Self, DemoError> {
        let mut process = launcher.exporter(path, listen)?;
        let stderr = process.take_stderr().expect("the exporter was started with a pipe");
        let (sender, address) = mpsc::channel();
        let log = thread::spawn(move || follow(stderr, &sender));
        if let Some(address) = wait_for_address(&address) {
            return Ok(Self { process, address });
        }
        process.kill()?;
        let detail = log.join().unwrap_or_default();
        Err(DemoError::ExporterFailed { path: path.to_owned(), detail })
    }
}

fn wait_for_address(address: &Receiver<SocketAddr>) -> Option<SocketAddr> {
    address.recv_timeout(START_LIMIT).ok()
}

/// Reads the exporter's log to its end, so that it never blocks; returns the last line.
fn follow(stderr: impl Read, address: &Sender<SocketAddr>) -> String {
    let mut last = String::new();
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        if let Some(found) = parse_address(&line) {
            // Only the first is waited for.
            let _ = address.send(found);
        }
        if !line.trim().is_empty() {
            last = line;
        }
    }
    last
}

/// The address in a log line that says `listening address=ADDR:PORT`.
fn parse_address(line: &str) -> Option<SocketAddr> {
    let (_, fields) = line.split_once("listening")?;
    fields.split_whitespace().find_map(|field| field.strip_prefix("address=")?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_found_in_the_log_line() {
        let line = "2026-01-01T00:00:00Z  INFO dyn_metrics_exporter: listening address=127.0.0.1:43210 shm=1";
        assert_eq!(parse_address(line), Some("127.0.0.1:43210".parse().unwrap()));
        assert_eq!(parse_address("INFO listening address=[::1]:9464"), Some("[::1]:9464".parse().unwrap()));
        assert_eq!(parse_address("INFO stopped address=127.0.0.1:1"), None);
        assert_eq!(parse_address("INFO listening address=nowhere"), None);
    }

    #[test]
    fn the_log_is_read_to_its_end() {
        let (sender, receiver) = mpsc::channel();
        let log = "starting\nlistening address=127.0.0.1:80\nerror: too bad\n\n";
        assert_eq!(follow(log.as_bytes(), &sender), "error: too bad");
        assert_eq!(receiver.recv().unwrap().port(), 80);
    }

    #[test]
    fn a_taken_address_is_an_error_only_if_it_was_asked_for() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = taken.local_addr().unwrap();
        assert!(
            matches!(choose_address(Some(address)), Err(DemoError::Listen { address: a, .. }) if a == address)
        );
        let (chosen, moved) = choose_address(None).unwrap();
        assert_eq!(chosen.port() == 0, moved);
    }

    #[test]
    fn a_missing_exporter_is_named() {
        let error = find(Path::new("/nonexistent/dyn-metrics")).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/dyn-metrics-exporter"));
    }
}
