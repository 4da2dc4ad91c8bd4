//! One client: HTTP/1 over any stream, with limits on what it may send and how long it may take.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::header::{self, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::http::{Answers, Body};
use crate::room::Seat;
use crate::timed::Timed;

/// Longest request line and headers together, in bytes; longer ones are answered with status 431.
const MAX_HEAD: usize = 16 * 1024;

/// Most header fields of one request; Prometheus sends about eight.
const MAX_HEADERS: usize = 64;

/// How long, and how many bytes of it, a client may go on sending after the last answer.
const LINGER: Duration = Duration::from_secs(2);
const MAX_LINGER: u64 = 1024 * 1024;

/// What a client is served over.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {
    /// Has the coming end of the stream throw away what its client hasn't read, and tell the client so.
    fn cut(&self);
}

impl Stream for TcpStream {
    /// Otherwise the kernel would keep it for minutes, for a client that reads nothing.
    fn cut(&self) {
        // It fails where the client has gone.
        let _ = self.set_zero_linger();
    }
}

/// Serves one client until it leaves, breaks a limit, has to make room, or `stop` turns true and its request is
/// answered.
pub(crate) async fn serve<S, A>(stream: S, app: A, seat: Arc<Seat>, mut stop: watch::Receiver<bool>)
where
    S: Stream,
    A: Answers,
{
    let mut stream = Timed::new(stream, Arc::clone(&seat));
    let ended = exchange(&mut stream, app, &seat, &mut stop).await;
    let stream = stream.into_inner();
    if seat.is_sending() {
        stream.cut();
    } else if ended {
        tokio::select! {
            () = linger(stream) => {}
            () = seat.closed() => {}
            () = stopped(&mut stop) => {}
        }
    }
}

/// Requests and answers; whether they have come to their end, so that the last answer may be on its way.
async fn exchange<S: Stream, A: Answers>(
    stream: &mut Timed<S>,
    app: A,
    seat: &Arc<Seat>,
    stop: &mut watch::Receiver<bool>,
) -> bool {
    let service = service_fn(|request| {
        seat.work();
        answer(app.clone(), seat, request)
    });
    let mut connection = pin!(http().serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        // A request that has come goes before the wish that the connection may close.
        biased;
        ended = connection.as_mut() => ended,
        () = seat.closed() => {
            tracing::debug!("slow connection closed to make room");
            return false;
        }
        () = stopped(stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = &ended {
        tracing::debug!(%error, "connection ended early");
    }
    ended.is_ok() || ended.is_err_and(|error| error.is_parse())
}

fn http() -> http1::Builder {
    let mut http = http1::Builder::new();
    // hyper's own header time-out would also end the pause between two scrapes: `Timed` tells them apart.
    http.header_read_timeout(None).max_buf_size(MAX_HEAD).max_headers(MAX_HEADERS);
    // A client that has sent all it wants may close its side and still read: `nc -N`, a shell's /dev/tcp.
    http.half_close(true);
    http
}

/// The application's answer, which says whether it is the last one.
async fn answer<A, B>(app: A, seat: &Seat, request: Request<B>) -> Result<Response<Body>, Infallible>
where
    A: Answers,
{
    // Whatever stands behind a body is never taken for a request, whoever sees its end elsewhere.
    let has_body = [header::CONTENT_LENGTH, header::TRANSFER_ENCODING]
        .iter()
        .any(|field| request.headers().get(field).is_some_and(|value| value != "0"));
    let mut response = app.respond(request.map(drop)).await;
    // Where others wait, a client that comes back later needs no place meanwhile.
    if has_body || seat.is_crowded() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

/// Returns when the server stops.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the server itself has gone, which is a stop too.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Ends a connection, but for a while reads what its client still sends: to close it with bytes unread would reset it, and
/// a reset can take from the client the answer that was sent before.
async fn linger<S: Stream>(mut stream: S) {
    // It fails where the client has closed already.
    let _ = stream.shutdown().await;
    let mut rest = stream.take(MAX_LINGER);
    let _ = timeout(LINGER, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await;
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tokio::io::{DuplexStream, duplex};
    use tokio::task::JoinHandle;
    use tokio::time::Instant;

    use super::*;
    use crate::gzip::Gzip;
    use crate::http::App;
    use crate::page::{Found, Page};
    use crate::room::Room;
    use crate::scrape::Scraper;
    use crate::self_metrics::Count;
    use crate::timed::{REQUEST, RESPONSE};

    impl Stream for DuplexStream {
        fn cut(&self) {}
    }

    /// Buffer between client and server; smaller than the page.
    const BUFFER: usize = 32 * 1024;

    fn start(scraper: Scraper) -> (DuplexStream, watch::Sender<bool>, JoinHandle<()>) {
        let (client, server) = duplex(BUFFER);
        let (stop, stopped) = watch::channel(false);
        let app = App::new(scraper, Count::default(), &[]);
        (client, stop, tokio::spawn(serve(server, app, Room::default().seat(), stopped)))
    }

    fn scraper(collect: impl FnMut() -> Page + Send + 'static) -> Scraper {
        Scraper::new(Box::new(collect), Count::default())
    }

    fn pages_of(size: usize) -> Scraper {
        scraper(move || Page::new(vec![b'#'; size], Found::default(), Gzip::default()))
    }

    async fn rest(mut client: DuplexStream) -> String {
        let mut text = String::new();
        client.read_to_string(&mut text).await.expect("UTF-8 until the end");
        text
    }

    #[tokio::test]
    async fn a_stop_lets_the_request_in_flight_finish() {
        let (started, starts) = mpsc::channel();
        let (go, gate) = mpsc::channel();
        let scraper = scraper(move || {
            started.send(()).expect("the test listens");
            gate.recv().expect("the test lets go");
            Page::new(b"in flight\n".to_vec(), Found::default(), Gzip::default())
        });
        let (mut client, stop, server) = start(scraper);
        client.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("a request");
        tokio::task::spawn_blocking(move || starts.recv().expect("a collection")).await.expect("a thread");
        stop.send(true).expect("a listener");
        go.send(()).expect("a collection");
        let response = rest(client).await;
        assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
        assert!(response.ends_with("\r\n\r\nin flight\n"), "{response}");
        server.await.expect("an end");
    }

    #[tokio::test]
    async fn a_stop_closes_idle_connections() {
        let (mut client, stop, server) = start(pages_of(5));
        client.write_all(b"GET /-/healthy HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("a request");
        let mut answer = [0; 12];
        client.read_exact(&mut answer).await.expect("an answer");
        assert_eq!(&answer, b"HTTP/1.1 200");
        stop.send(true).expect("a listener");
        assert!(rest(client).await.ends_with("healthy\n"));
        server.await.expect("an end");
    }

    #[tokio::test(start_paused = true)]
    async fn half_a_request_is_dropped_at_its_deadline() {
        let (mut client, _stop, server) = start(pages_of(5));
        let began = Instant::now();
        client.write_all(b"GET /metrics HT").await.expect("half a request");
        server.await.expect("an end");
        assert_eq!(began.elapsed().as_secs(), REQUEST.as_secs());
        assert_eq!(rest(client).await, "");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_is_dropped_at_its_deadline() {
        let (mut client, _stop, server) = start(pages_of(4 * BUFFER));
        client.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("a request");
        let began = Instant::now();
        server.await.expect("an end");
        assert_eq!(began.elapsed().as_secs(), RESPONSE.as_secs());
        assert_eq!(rest(client).await.len(), BUFFER);
    }

    #[tokio::test]
    async fn a_request_with_a_body_is_the_last() {
        for field in ["Content-Length: 2", "Transfer-Encoding: chunked"] {
            let (mut client, _stop, server) = start(pages_of(5));
            let request = format!("GET /-/healthy HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n0\r\n\r\n");
            client.write_all(request.repeat(2).as_bytes()).await.expect("requests");
            client.shutdown().await.expect("an end");
            let answers = rest(client).await;
            assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 1, "{answers}");
            assert!(answers.contains("\r\nconnection: close\r\n"), "{answers}");
            server.await.expect("an end");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_refused_client_still_sends_is_read_for_a_while() {
        let (mut client, _stop, server) = start(pages_of(5));
        client.write_all(&[b'x'; MAX_HEAD + BUFFER]).await.expect("it is taken");
        client.write_all(&[b'x'; 10 * BUFFER]).await.expect("it is taken, also behind the answer");
        let began = Instant::now();
        server.await.expect("an end");
        assert_eq!(began.elapsed().as_secs(), LINGER.as_secs());
        assert!(rest(client).await.starts_with("HTTP/1.1 431 "));
    }

    #[tokio::test]
    async fn answers_end_their_connections_while_others_wait() {
        let (mut client, server) = duplex(BUFFER);
        let (room, (_stop, stopped)) = (Room::default(), watch::channel(false));
        room.set_crowded(true);
        let app = App::new(pages_of(5), Count::default(), &[]);
        let server = tokio::spawn(serve(server, app, room.seat(), stopped));
        client.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("a request");
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.expect("an end");
        assert!(answer.contains("\r\nconnection: close\r\n") && answer.ends_with("#####"), "{answer}");
        drop(client);
        server.await.expect("an end");
    }
}
