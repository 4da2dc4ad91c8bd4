//! Clients that dawdle, more of them than the exporter has places: they cost themselves, and nobody else.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use dyn_metrics_tests::clients::{Regular, SCRAPE, Use, allow_descriptors};
use dyn_metrics_tests::served::{Served, segment};
use nix::sys::socket::{setsockopt, sockopt};

/// More than there are places.
const CLIENTS: usize = 600;

/// Series, and bytes of labels of each: the page is longer than what the kernel takes for a client that doesn't read.
const LARGE: (usize, usize) = (9_000, 500);

/// KiB of a page, generously.
const PAGE: u64 = 5 << 10;

/// What a client does when it is its turn, which is a few times a second.
type Turn = fn(&mut TcpStream) -> std::io::Result<()>;

/// Slow clients, and who drives them; those that the exporter closes come back at once.
struct Slow {
    stop: Sender<()>,
    thread: JoinHandle<usize>,
}

impl Slow {
    fn start(address: SocketAddr, clients: usize, first: &'static [u8], turn: Turn) -> Self {
        let (stop, stopped) = mpsc::channel();
        Self { stop, thread: thread::spawn(move || drive(address, clients, first, turn, &stopped)) }
    }

    /// Ends all; how many connections there were.
    fn end(self) -> usize {
        self.stop.send(()).expect("it runs");
        self.thread.join().expect("no fault")
    }
}

fn drive(address: SocketAddr, clients: usize, first: &[u8], turn: Turn, stopped: &Receiver<()>) -> usize {
    let (mut streams, mut connections) = (Vec::new(), 0);
    while stopped.try_recv() == Err(TryRecvError::Empty) {
        while streams.len() < clients {
            if let Ok(stream) = slow_connection(address, first) {
                streams.push(stream);
                connections += 1;
            }
        }
        streams.retain_mut(|stream| match turn(stream) {
            Ok(()) => true,
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        });
        thread::sleep(Duration::from_millis(100));
    }
    connections
}

/// With the smallest window that the kernel allows.
fn slow_connection(address: SocketAddr, first: &[u8]) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    setsockopt(&stream, sockopt::RcvBuf, &1)?;
    stream.write_all(first)?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}

/// Whether the exporter has closed: nothing is read of what it sends.
fn watch(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.take_error()?.map_or(Ok(()), Err)?;
    match stream.peek(&mut [0]) {
        Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
        Ok(_) => Ok(()),
        Err(error) => Err(error),
    }
}

fn drip(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(b"x")?;
    watch(stream)
}

fn sip(stream: &mut TcpStream) -> std::io::Result<()> {
    watch(stream)?;
    stream.read_exact(&mut [0])
}

/// Seconds for which each kind of client is there.
fn seconds() -> u64 {
    let seconds = std::env::var("DYN_METRICS_SLOW_SECONDS");
    seconds.map_or(2, |seconds| seconds.parse().expect("a number of seconds"))
}

/// Has slow clients beside one that does as it should, which must notice nothing but a short wait.
fn beside(what: &str, kinds: &[(&'static [u8], Turn)]) {
    allow_descriptors(4096);
    let sample: &'static str = format!("served_total{{n=\"{:0<1$}\"}}", 0, LARGE.1).leak();
    let served = Served::start_by(segment(LARGE.0, LARGE.1), |command| command);
    let address = served.exporter.address;
    let warm = Regular::start(address, sample);
    thread::sleep(Duration::from_millis(500));
    let _ = warm.end();
    let before = Use::of(&served.exporter);
    let slow: Vec<Slow> = kinds
        .iter()
        .map(|(first, turn)| Slow::start(address, CLIENTS.div_ceil(kinds.len()), first, *turn))
        .collect();
    let (regular, began) = (Regular::start(address, sample), Instant::now());
    let mut most = before;
    while began.elapsed() < Duration::from_secs(seconds()) {
        thread::sleep(Duration::from_millis(50));
        let now = Use::of(&served.exporter);
        most.descriptors = most.descriptors.max(now.descriptors);
        most.memory = most.memory.max(now.memory);
    }
    let scrapes = regular.end();
    let connections: usize = slow.into_iter().map(Slow::end).sum();
    let after = before.again(&served.exporter);
    println!(
        "{what}: {connections} slow connections, {scrapes:?}, before {before:?}, most {most:?}, after {after:?}"
    );
    assert!(connections >= CLIENTS);
    // One more is accepted, and waits for its place.
    assert!(most.descriptors <= before.descriptors + 512 + 1, "{most:?}");
    // 20 pages may be alive, and each connection has some KiB of its own.
    assert!(most.memory <= before.memory + 20 * PAGE + (32 << 10), "{before:?} {most:?}");
}

#[test]
fn clients_that_say_nothing_block_nobody() {
    beside("silent", &[(b"", watch)]);
}

#[test]
fn clients_that_drip_their_requests_block_nobody() {
    beside("dripping", &[(b"GET /metrics HTTP/1.1\r\nX: ", drip)]);
}

#[test]
fn clients_that_never_read_block_nobody() {
    beside("not reading", &[(SCRAPE, watch)]);
}

#[test]
fn clients_that_read_one_byte_at_a_time_block_nobody() {
    beside("sipping", &[(SCRAPE, sip)]);
}

#[test]
fn slow_clients_of_all_kinds_together_block_nobody() {
    beside("all kinds", &[(b"", watch), (b"GET / HTTP/1.1\r\nX: ", drip), (SCRAPE, watch), (SCRAPE, sip)]);
}
