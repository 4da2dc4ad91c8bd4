//! One HTTP request at a time, with a deadline for all of it.
//!
//! The client that `opentelemetry-otlp` brings would double what it depends on. A metrics library in somebody's server
//! sends to a collector on its machine, or gets a provider from its owner.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderValue};
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use opentelemetry_http::{Bytes, HttpClient, HttpError};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse as Answer;
use prost::Message;
use tokio::net::TcpStream;

use super::exporting::{Outcomes, Told};
use super::locked;

/// Most bytes of an answer.
const MOST_ANSWERED: usize = 1 << 20;

/// The client of one exporter.
#[derive(Debug)]
pub(super) struct Client {
    /// From connecting to the answer's end.
    pub(super) timeout: Duration,
    pub(super) outcomes: Arc<Outcomes>,
}

#[async_trait]
impl HttpClient for Client {
    /// Blocks: the SDK exports on a thread of its own.
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let result = self.send_now(request);
        *locked(&self.outcomes.told) = match &result {
            Ok(answer) => told(answer),
            Err(error) => Told { error: Some(error.to_string()), ..Told::default() },
        };
        result
    }
}

impl Client {
    fn send_now(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let late = |_| HttpError::from(format!("no answer within {:?}", self.timeout));
        let result = runtime.block_on(async {
            tokio::time::timeout(self.timeout, send(request)).await.map_err(late).flatten()
        });
        // A look-up of the host's name that hangs is not waited for.
        runtime.shutdown_background();
        result
    }
}

async fn send(mut request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
    let uri = request.uri().clone();
    let host = uri.host().ok_or("found an address without host")?;
    let port = uri.port_u16().unwrap_or(80);
    let authority = format!("{host}:{port}");
    let connected = TcpStream::connect((host.trim_matches(['[', ']']), port)).await;
    let stream = connected.map_err(|error| format!("{authority}: {error}"))?;
    request.headers_mut().insert(HOST, HeaderValue::from_str(&authority)?);
    *request.uri_mut() = uri.path_and_query().map_or(Uri::from_static("/"), |path| path.clone().into());
    let wrong = |error: hyper::Error| HttpError::from(format!("{authority}: {error}"));
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(wrong)?;
    let connection = tokio::spawn(connection);
    let answer = sender.send_request(request.map(Full::new)).await.map_err(wrong)?;
    let (parts, body) = answer.into_parts();
    let body = Limited::new(body, MOST_ANSWERED).collect().await;
    connection.abort();
    Ok(Response::from_parts(parts, body.map_err(|error| format!("{authority}: {error}"))?.to_bytes()))
}

/// What an answer says.
fn told(answer: &Response<Bytes>) -> Told {
    if !answer.status().is_success() {
        return Told { error: Some(format!("answered {}", answer.status())), ..Told::default() };
    }
    match Answer::decode(answer.body().clone()) {
        Ok(answer) => {
            let rejected = answer.partial_success.map_or(0, |partial| partial.rejected_data_points.max(0));
            Told { rejected: rejected as u64, ..Told::default() }
        }
        Err(error) => {
            let error = Some(format!("answered {} with something else than OTLP: {error}", answer.status()));
            Told { error, is_garbage: true, rejected: 0 }
        }
    }
}
