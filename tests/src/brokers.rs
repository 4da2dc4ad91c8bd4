//! Real etcd and NATS servers, on free ports of the loopback interface, with files of their own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::servers::{Guard, free_port, post, wait_for};

/// A server program that may be stopped, killed and started again at the same address.
pub struct Broker {
    /// Where it listens.
    pub address: SocketAddr,
    start: Box<dyn Fn() -> Command + Send>,
    answers: fn(SocketAddr) -> bool,
    child: Option<Guard>,
    _directory: TempDir,
}

impl Broker {
    fn new(
        address: SocketAddr,
        directory: TempDir,
        start: impl Fn() -> Command + Send + 'static,
        answers: fn(SocketAddr) -> bool,
    ) -> Self {
        let mut broker =
            Self { address, start: Box::new(start), answers, child: None, _directory: directory };
        broker.start();
        broker
    }

    /// An etcd of one member.
    ///
    /// # Panics
    /// When it doesn't start.
    #[must_use]
    pub fn etcd() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let (port, peer) = (free_port(), free_port());
        let data = directory.path().join("data");
        let start = move || {
            let (client, peer) = (format!("http://127.0.0.1:{port}"), format!("http://127.0.0.1:{peer}"));
            let mut command = Command::new("etcd");
            command.arg("--data-dir").arg(&data).args(["--name", "only", "--log-level", "error"]);
            command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
            command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
            command.args(["--initial-cluster", &format!("only={peer}"), "--unsafe-no-fsync"]);
            let settings = std::env::vars_os().map(|(name, _)| name);
            settings.filter(|name| name.to_string_lossy().starts_with("ETCD")).for_each(|name| {
                command.env_remove(name);
            });
            command
        };
        let answers = |address| {
            let answer = post(address, "/v3/maintenance/status", "{}");
            answer.is_some_and(|(status, body)| status == 200 && body.contains("\"leader\""))
        };
        Self::new(([127, 0, 0, 1], port).into(), directory, start, answers)
    }

    /// A NATS server.
    ///
    /// # Panics
    /// When it doesn't start.
    #[must_use]
    pub fn nats() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let port = free_port();
        let start = move || {
            let mut command = Command::new("nats-server");
            command.args(["-a", "127.0.0.1", "-p", &port.to_string()]);
            command
        };
        let answers = |address| {
            let Ok(mut stream) = TcpStream::connect(address) else { return false };
            let mut start = [0; 5];
            stream.read_exact(&mut start).is_ok() && &start == b"INFO "
        };
        Self::new(([127, 0, 0, 1], port).into(), directory, start, answers)
    }

    /// Starts it, where it was killed.
    ///
    /// # Panics
    /// When it doesn't answer.
    pub fn start(&mut self) {
        let mut command = (self.start)();
        command.stdout(Stdio::null()).stderr(Stdio::null()).stdin(Stdio::null());
        self.child = Some(Guard(command.spawn().expect("it starts")));
        wait_for("a server", || (self.answers)(self.address).then_some(()));
    }

    /// Kills it.
    pub fn kill(&mut self) {
        self.child = None;
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// When it was killed.
    pub fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("it lives");
        kill(Pid::from_raw(child.0.id() as i32), signal).expect("it lives");
    }

    /// Asks etcd.
    ///
    /// # Panics
    /// When it doesn't answer with 200 and JSON.
    #[must_use]
    pub fn ask(&self, path: &str, body: &str) -> Value {
        let (status, body) = post(self.address, path, body).expect("etcd answers");
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).expect("JSON")
    }

    /// Has etcd grant a lease of so many seconds.
    ///
    /// # Panics
    /// When it doesn't.
    #[must_use]
    pub fn grant(&self, seconds: u64) -> i64 {
        let granted = self.ask("/v3/lease/grant", &format!("{{\"TTL\": {seconds}}}"));
        granted["ID"].as_str().and_then(|id| id.parse().ok()).expect("an id")
    }
}

/// An instance of a NATS service: answers the pings of the service protocol until it is dropped.
pub struct Service(TcpStream);

impl Service {
    /// Registers it.
    ///
    /// # Panics
    /// When NATS refuses.
    #[must_use]
    pub fn register(nats: SocketAddr, name: &str, id: &str) -> Self {
        let mut stream = TcpStream::connect(nats).expect("a connection");
        let mut lines = BufReader::new(stream.try_clone().expect("a second handle")).lines();
        let ping = format!("$SRV.PING.{name}");
        write!(stream, "CONNECT {{\"verbose\":false}}\r\nSUB {ping} 1\r\nSUB {ping}.{id} 2\r\nPING\r\n")
            .expect("sent");
        loop {
            let line = lines.next().expect("a line").expect("text");
            assert!(!line.starts_with("-ERR"), "{line}");
            if line == "PONG" {
                break;
            }
        }
        let mut answers = stream.try_clone().expect("a third handle");
        let answer = format!(
            "{{\"type\":\"io.nats.micro.v1.ping_response\",\"name\":\"{name}\",\"id\":\"{id}\",\"version\":\"2.1.0\"}}"
        );
        std::thread::spawn(move || {
            // MSG SUBJECT SID REPLY SIZE
            for line in lines.map_while(Result::ok) {
                let words: Vec<_> = line.split(' ').collect();
                let sent = match words[..] {
                    ["MSG", _, _, reply, _] => {
                        write!(answers, "PUB {reply} {}\r\n{answer}\r\n", answer.len())
                    }
                    ["PING"] => write!(answers, "PONG\r\n"),
                    _ => Ok(()),
                };
                if sent.is_err() {
                    return;
                }
            }
        });
        Self(stream)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.shutdown(std::net::Shutdown::Both);
    }
}

/// A listener that accepts, says this much, and then nothing for ever.
#[must_use]
pub fn mute(greeting: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        let mut held = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.expect("a client");
            let _ = stream.write_all(greeting);
            held.push(stream);
        }
    });
    address
}

/// A listener that answers whatever comes with these bytes and closes.
#[must_use]
pub fn babbler(answer: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a client");
            let _ = stream.set_read_timeout(Some(Duration::from_millis(100)));
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(&answer);
        }
    });
    address
}
