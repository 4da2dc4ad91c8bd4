//! The server's life: bind, look once, accept, stop.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time;

use crate::connection;
use crate::descriptors;
use crate::door::Door;
use crate::http::{Answers, App};
use crate::scrape::Scraper;
use crate::segments::Segments;
use crate::self_metrics::Counts;
use crate::{Config, Error};

/// How long a stop waits for responses in flight.
const DRAIN: Duration = Duration::from_secs(5);

/// Clients that may wait to be accepted. The system ignores more, who then try again after 1 second, after 3, after 7;
/// its own default of 128 would turn a burst of some hundred scrapes into time-outs.
const BACKLOG: u32 = 1024;

/// What the kernel may keep for a client that hasn't read it yet, in bytes; it takes twice as much with what it needs
/// itself. Otherwise that is up to 4 MB, 2 GB for 512 clients that don't read.
const SEND_BUFFER: u32 = 128 * 1024;

/// How long a client may leave bytes unread in the kernel, in milliseconds, also when its connection has been closed: the
/// kernel would otherwise keep them for as long as the client says that it is there.
const UNREAD: u32 = 60_000;

/// An exporter that is bound, and has looked at its segments once.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    app: App,
    max_connections: usize,
}

/// Takes the address, and collects once, so that the log says what was found. No segment needs to exist.
///
/// Runs on tokio, with its I/O and time drivers.
///
/// # Errors
///
/// [`Error::NoSegments`] where `config.shm` is empty or has an empty pattern;
/// [`Error::AddressInUse`] and [`Error::Listen`] where the address cannot be had.
pub async fn bind(config: Config) -> Result<Server, Error> {
    if config.shm.is_empty() || config.shm.iter().any(String::is_empty) {
        return Err(Error::NoSegments);
    }
    let fault = |error| Error::listen(config.listen, error);
    let listener = listen(config.listen).map_err(fault)?;
    let address = listener.local_addr().map_err(fault)?;
    let counts = Counts::default();
    let mut segments =
        Segments::new(config.shm.clone(), config.allow_uids, config.callback_timeout, counts.clone());
    let scraper = Scraper::new(Box::new(move || segments.collect()), counts.older_pages);
    // A failure here has been logged and counted, and the next collection starts afresh.
    let _ = scraper.scrape().await;
    tracing::info!(%address, "listening");
    let app = App::new(scraper, counts.scrapes, &config.shm);
    Ok(Server { listener, address, app, max_connections: descriptors::connections() })
}

/// A listener on this address, whose connections' memory in the kernel is bounded.
///
/// # Errors
/// What the system says.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    // Connections inherit both.
    socket.set_send_buffer_size(SEND_BUFFER)?;
    setsockopt(&socket, sockopt::TcpUserTimeout, &UNREAD)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

impl Server {
    /// The address that clients can use: with the real port where 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown` completes, then lets responses in flight finish for up to 5 seconds.
    ///
    /// Dropping the future ends all connections at once.
    ///
    /// # Errors
    ///
    /// [`Error::CollectionsFailed`], at the end, where a collection had panicked.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
        let Self { listener, app, max_connections, .. } = self;
        host(listener, app.clone(), max_connections, shutdown).await;
        match app.scraper().failed() {
            0 => Ok(()),
            failed => Err(Error::CollectionsFailed { failed }),
        }
    }
}

/// Serves at most so many connections at once until `shutdown` completes, then lets responses in flight finish for up to
/// 5 seconds.
pub async fn host<A: Answers>(
    listener: TcpListener,
    app: A,
    max_connections: usize,
    shutdown: impl Future<Output = ()>,
) {
    let (stop, stopped) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    let mut door = Door::new(listener, max_connections);
    loop {
        let taken = connections.len();
        tokio::select! {
            biased;
            () = shutdown.as_mut() => break,
            Some(_) = connections.join_next() => {}
            (stream, seat) = door.next(taken) => {
                connections.spawn(connection::serve(stream, app.clone(), seat, stopped.clone()));
            }
        }
    }
    drop(door);
    tracing::info!(connections = connections.len(), "stopping");
    // Nobody listening means that no connection is left.
    let _ = stop.send(true);
    drain(connections).await;
}

/// Waits for `connections`, and cuts those that take longer than [`DRAIN`].
async fn drain(mut connections: JoinSet<()>) {
    let all = async { while connections.join_next().await.is_some() {} };
    if time::timeout(DRAIN, all).await.is_err() {
        tracing::warn!(connections = connections.len(), "cutting connections that did not finish in time");
        connections.shutdown().await;
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::mpsc;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::sync::oneshot;
    use tokio::task;
    use tokio::time::Instant;

    use super::*;
    use crate::gzip::Gzip;
    use crate::page::{Found, Page};
    use crate::self_metrics::Count;

    #[tokio::test(start_paused = true)]
    async fn draining_cuts_what_never_ends() {
        let (began, mut connections) = (Instant::now(), JoinSet::new());
        connections.spawn(pending());
        connections.spawn(async {});
        drain(connections).await;
        assert_eq!(began.elapsed().as_secs(), DRAIN.as_secs());
    }

    #[tokio::test]
    async fn a_server_needs_a_segment_to_look_for() {
        for shm in [vec![], vec![String::new()]] {
            let config = Config { shm, listen: ([127, 0, 0, 1], 0).into(), ..Config::default() };
            assert!(matches!(bind(config).await, Err(Error::NoSegments)));
        }
    }

    #[tokio::test]
    async fn an_address_in_use_is_named() {
        let first = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = first.local_addr().expect("an address");
        let config = Config { listen: address, ..Config::default() };
        let error = bind(config).await.err().expect("an error");
        assert!(matches!(error, Error::AddressInUse { .. }));
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    }

    /// Runs `server` while `clients` do something.
    async fn run<F: Future>(server: Server, clients: impl FnOnce(SocketAddr) -> F) -> F::Output {
        let (stop, stopped) = oneshot::channel();
        let clients = clients(server.address);
        let clients = async { (clients.await, stop.send(()).expect("a server")) };
        let run = server.run(async { stopped.await.expect("a stop") });
        let (run, (result, ())) = tokio::join!(run, clients);
        run.expect("no problem");
        result
    }

    /// One request on `client`, which stays open; whether it was answered.
    async fn ask(client: &mut TcpStream) -> bool {
        let sent = client.write_all(b"HEAD /-/healthy HTTP/1.1\r\nHost: a\r\n\r\n").await;
        sent.is_ok() && read_head(client).await
    }

    /// Whether a whole good answer without a body comes.
    async fn read_head(client: &mut TcpStream) -> bool {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match client.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return false,
            }
        }
        head.starts_with(b"HTTP/1.1 200 OK")
    }

    #[tokio::test]
    async fn a_client_above_the_limit_takes_the_place_of_the_longest_idle() {
        let listen = ([127, 0, 0, 1], 0).into();
        let config = Config { shm: vec!["/nothing".to_owned()], listen, ..Config::default() };
        let server = Server { max_connections: 2, ..bind(config).await.expect("a free port") };
        run(server, |address| async move {
            let connect = || async { TcpStream::connect(address).await.expect("a connection") };
            let (mut first, mut silent) = (connect().await, connect().await);
            assert!(ask(&mut first).await);
            let mut third = connect().await;
            assert!(ask(&mut third).await, "it takes the place of one that has asked for nothing");
            assert_eq!(silent.read(&mut [0]).await.expect("an end"), 0);
            assert!(ask(&mut first).await);
            let mut fourth = connect().await;
            assert!(ask(&mut fourth).await);
            assert!(!ask(&mut third).await, "it was idle for longer than the first");
            assert!(ask(&mut first).await);
        })
        .await;
    }

    #[tokio::test]
    async fn a_client_above_the_limit_waits_while_all_others_are_served() {
        let (started, starts) = mpsc::channel();
        let (go, gate) = mpsc::channel();
        let collect = Box::new(move || {
            started.send(()).expect("the test listens");
            gate.recv().expect("the test lets go");
            Page::new(Vec::new(), Found::default(), Gzip::default())
        });
        let app = App::new(Scraper::new(collect, Count::default()), Count::default(), &[]);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let server = Server { listener, address, app, max_connections: 1 };
        run(server, |address| async move {
            let connect = || async { TcpStream::connect(address).await.expect("a connection") };
            let mut first = connect().await;
            first.write_all(b"HEAD /metrics HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("a request");
            task::spawn_blocking(move || starts.recv()).await.expect("a thread").expect("a collection");
            let mut second = connect().await;
            let waiting = ask(&mut second);
            let served = async {
                // Time in which the server could close the first.
                for _ in 0..1000 {
                    task::yield_now().await;
                }
                go.send(()).expect("a collection");
                read_head(&mut first).await
            };
            assert_eq!(tokio::join!(waiting, served), (true, true), "the second once the first is idle");
        })
        .await;
    }
}
