//! The server's life: bind, look once, accept, stop.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time;

use crate::connection;
use crate::http::App;
use crate::scrape::Scraper;
use crate::segments::Segments;
use crate::self_metrics::Count;
use crate::{Config, Error};

/// Most connections at once. Below the usual limit of 1024 descriptors, so that clients cannot take
/// those with which segments are opened; further clients wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 512;

/// How long a stop waits for responses in flight.
const DRAIN: Duration = Duration::from_secs(5);

/// Pause after an accept that failed for want of descriptors or memory: at once it would fail again.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

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
    let listener = TcpListener::bind(config.listen).await.map_err(fault)?;
    let address = listener.local_addr().map_err(fault)?;
    let scrapes = Count::default();
    let mut segments = Segments::new(config.shm.clone(), scrapes.clone());
    let scraper = Scraper::new(Box::new(move || segments.collect()));
    // A failure here has been logged and counted, and the next collection starts afresh.
    let _ = scraper.scrape().await;
    tracing::info!(%address, "listening");
    let app = App::new(scraper, scrapes, &config.shm);
    Ok(Server { listener, address, app, max_connections: MAX_CONNECTIONS })
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
        let (stop, stopped) = watch::channel(false);
        let mut connections = JoinSet::new();
        let mut shutdown = pin!(shutdown);
        let mut full = false;
        loop {
            let room = connections.len() < max_connections;
            if !room && !full {
                tracing::warn!(max_connections, "connection limit reached, new clients wait");
            }
            full = !room;
            tokio::select! {
                biased;
                () = shutdown.as_mut() => break,
                Some(_) = connections.join_next() => {}
                stream = accept(&listener), if room => {
                    connections.spawn(connection::serve(stream, app.clone(), stopped.clone()));
                }
            }
        }
        drop(listener);
        tracing::info!(connections = connections.len(), "stopping");
        // Nobody listening means that no connection is left.
        let _ = stop.send(true);
        drain(connections).await;
        match app.scraper().failed() {
            0 => Ok(()),
            failed => Err(Error::CollectionsFailed { failed }),
        }
    }
}

/// The next client. Cancel safe.
async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Without it a page's last segment may wait for an acknowledgement; a failure only costs time.
                let _ = stream.set_nodelay(true);
                return stream;
            }
            Err(error) if is_the_clients(&error) => {
                tracing::debug!(%error, "client left before it was served")
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept clients");
                time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Whether an accept failed for this one client only.
fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
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

    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    use tokio::sync::oneshot;
    use tokio::time::Instant;

    use super::*;

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
            let config = Config { shm, listen: ([127, 0, 0, 1], 0).into() };
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

    /// One scrape on `client`, which stays open: how many scrapes the server has then seen.
    async fn scrape(client: &mut BufReader<TcpStream>) -> u64 {
        client.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("a request");
        let mut line = String::new();
        loop {
            line.clear();
            assert!(client.read_line(&mut line).await.expect("a line") > 0, "the server closed");
            if let Some(count) = line.strip_prefix("dyn_metrics_exporter_scrapes_total ") {
                return count.trim().parse().expect("a number");
            }
        }
    }

    #[tokio::test]
    async fn a_client_above_the_limit_waits_for_a_place() {
        let config = Config { shm: vec!["/nothing".to_owned()], listen: ([127, 0, 0, 1], 0).into() };
        let server = Server { max_connections: 1, ..bind(config).await.expect("a free port") };
        let connect = || TcpStream::connect(server.address);
        let mut first = BufReader::new(connect().await.expect("a connection"));
        let mut second = BufReader::new(connect().await.expect("a place in the kernel's queue"));
        let clients = async {
            let waiting = scrape(&mut second);
            let served = async {
                for number in 1..=10 {
                    assert_eq!(scrape(&mut first).await, number);
                }
                drop(first);
            };
            // Were both served at once, the second would be among the first ten.
            assert_eq!(tokio::join!(waiting, served).0, 11);
        };
        let (stop, stopped) = oneshot::channel();
        let clients = async { (clients.await, stop.send(()).expect("a server")) };
        let run = server.run(async { stopped.await.expect("a stop") });
        tokio::join!(run, clients).0.expect("no problem");
    }
}
