//! A receiver of OTLP/HTTP: takes exports and keeps them, or answers as badly as it is told to.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::pending;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use dyn_metrics::backend::OpenTelemetryBuilder;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::{HistogramDataPoint, Metric, NumberDataPoint};
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::oneshot;

use crate::servers::wait_for;

/// What a receiver does with a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Takes it.
    Take,
    /// Takes it but for this many points.
    Reject(i64),
    /// Answers this status; with 429 and 503 that one may try again in an hour.
    Status(u16),
    /// Answers 200 with a page of text.
    Page,
    /// Answers 200 with a body that has no end.
    Endless,
    /// Answers what is no HTTP.
    Noise,
    /// Reads the request, and never answers.
    Silence,
    /// Closes each connection at once.
    Close,
}

/// An export that was taken.
#[derive(Clone, Debug)]
pub struct Export {
    /// Its path.
    pub path: String,
    /// Its headers.
    pub headers: BTreeMap<String, String>,
    /// As it came.
    pub body: Vec<u8>,
    /// As it reads.
    pub message: ExportMetricsServiceRequest,
}

#[derive(Debug)]
struct State {
    answer: Answer,
    /// Requests that were read, whatever was answered.
    requests: u64,
    exports: Vec<Export>,
}

/// A receiver that has its port, where connections are refused until it listens.
#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    socket: Option<TcpSocket>,
    running: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Receiver {
    /// One that doesn't listen yet.
    ///
    /// # Panics
    /// When there is no port.
    #[must_use]
    pub fn bound() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(([127, 0, 0, 1], 0).into()).expect("a port");
        let address = socket.local_addr().expect("its port");
        let state = Arc::new(Mutex::new(State { answer: Answer::Take, requests: 0, exports: Vec::new() }));
        Self { address, state, socket: Some(socket), running: None }
    }

    /// One that takes what comes.
    #[must_use]
    pub fn start() -> Self {
        let mut receiver = Self::bound();
        receiver.listen();
        receiver
    }

    /// Listens from now on.
    ///
    /// # Panics
    /// When it does so already, or can't.
    pub fn listen(&mut self) {
        let socket = self.socket.take().expect("a socket that doesn't listen yet");
        let (state, (stop, stopped)) = (Arc::clone(&self.state), oneshot::channel());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let listener = socket.listen(64).expect("a port that is ours");
                tokio::select! { () = serve(&listener, &state) => (), _ = stopped => () }
            });
        });
        // Refused until the thread listens.
        wait_for("the receiver", || std::net::TcpStream::connect(self.address).ok());
        self.running = Some((stop, thread));
    }

    /// Answers so from the next connection on.
    pub fn answer(&self, answer: Answer) {
        self.state().answer = answer;
    }

    /// Where metrics are posted to.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}/v1/metrics", self.address)
    }

    /// Its address, without path.
    #[must_use]
    pub fn base(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Options that export here, and only when asked to: once a day.
    pub fn builder(&self) -> OpenTelemetryBuilder {
        OpenTelemetryBuilder::default().endpoint(self.endpoint()).interval(Duration::from_secs(86_400))
    }

    /// The exports that it took so far.
    #[must_use]
    pub fn exports(&self) -> Vec<Export> {
        self.state().exports.clone()
    }

    /// The requests that it read so far.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.state().requests
    }

    /// The newest export.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn last(&self) -> Export {
        self.state().exports.last().expect("an export").clone()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no panic of the receiver's")
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.running.take() {
            let _ = stop.send(());
            let _ = thread.join();
        }
    }
}

async fn serve(listener: &TcpListener, state: &Arc<Mutex<State>>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let state = Arc::clone(state);
        tokio::spawn(async move {
            let answer = state.lock().expect("no panic").answer.clone();
            match answer {
                Answer::Close => drop(stream),
                Answer::Noise => noise(stream).await,
                Answer::Endless => endless(stream).await,
                answer => {
                    let service = hyper::service::service_fn(|request| {
                        let (state, answer) = (Arc::clone(&state), answer.clone());
                        async move { Ok::<_, Infallible>(answered(request, &state, answer).await) }
                    });
                    let connection = hyper::server::conn::http1::Builder::new();
                    let _ = connection.serve_connection(TokioIo::new(stream), service).await;
                }
            }
        });
    }
}

async fn noise(mut stream: TcpStream) {
    let mut buffer = [0; 1 << 16];
    let _ = stream.read(&mut buffer).await;
    let _ = stream.write_all(b"220 mail.example ESMTP\r\n\r\n").await;
}

async fn endless(mut stream: TcpStream) {
    let mut buffer = [0; 1 << 16];
    let _ = stream.read(&mut buffer).await;
    let mut sent = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
    while sent.is_ok() {
        sent = stream.write_all(&buffer).await;
    }
}

async fn answered(request: Request<Incoming>, state: &Mutex<State>, answer: Answer) -> Response<Full<Bytes>> {
    let path = request.uri().path().to_owned();
    let text = |value: &hyper::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = request
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), text(value)))
        .collect::<BTreeMap<_, _>>();
    let Ok(body) = request.into_body().collect().await else { return Response::default() };
    let body = body.to_bytes();
    state.lock().expect("no panic").requests += 1;
    let rejected_data_points = match answer {
        Answer::Take => 0,
        Answer::Reject(points) => points,
        Answer::Status(status) => {
            let response = Response::builder().status(status).header("retry-after", "3600");
            return response.body(Full::default()).expect("a valid answer");
        }
        Answer::Page => return Response::new(Full::from("<html>Please log in</html>")),
        _ => return pending().await,
    };
    let message = ExportMetricsServiceRequest::decode(body.clone()).expect("an export");
    state.lock().expect("no panic").exports.push(Export { path, headers, body: body.to_vec(), message });
    let error_message = String::new();
    let partial = ExportMetricsPartialSuccess { rejected_data_points, error_message };
    let answer =
        ExportMetricsServiceResponse { partial_success: (rejected_data_points > 0).then_some(partial) };
    Response::new(Full::from(answer.encode_to_vec()))
}

/// Attributes as text, sorted.
#[must_use]
pub fn attributes(of: &[KeyValue]) -> Vec<(String, String)> {
    let text = |value: &Option<AnyValue>| match value.as_ref().and_then(|value| value.value.clone()) {
        Some(any_value::Value::StringValue(text)) => text,
        other => format!("{other:?}"),
    };
    let mut all: Vec<_> = of.iter().map(|pair| (pair.key.clone(), text(&pair.value))).collect();
    all.sort();
    all
}

impl Export {
    /// The metrics of this name.
    #[must_use]
    pub fn metrics(&self, name: &str) -> Vec<Metric> {
        let scopes = self.message.resource_metrics.iter().flat_map(|resource| &resource.scope_metrics);
        scopes.flat_map(|scope| &scope.metrics).filter(|metric| metric.name == name).cloned().collect()
    }

    /// The one metric of this name.
    ///
    /// # Panics
    /// When there are others, or none.
    #[must_use]
    pub fn metric(&self, name: &str) -> Metric {
        let [metric] = &self.metrics(name)[..] else {
            panic!("{name}: not one metric in {:?}", self.message)
        };
        metric.clone()
    }

    /// The resource's attributes.
    #[must_use]
    pub fn resource(&self) -> Vec<(String, String)> {
        let resources = self.message.resource_metrics.iter().filter_map(|metrics| metrics.resource.as_ref());
        resources.flat_map(|resource| attributes(&resource.attributes)).collect()
    }
}

impl Export {
    /// Its points as lines of Prometheus text, sorted: names, labels and numbers as a segment's are written.
    ///
    /// # Panics
    /// For what is neither number nor histogram.
    #[must_use]
    pub fn samples(&self) -> Vec<String> {
        let scopes = self.message.resource_metrics.iter().flat_map(|resource| &resource.scope_metrics);
        let mut lines = Vec::new();
        for metric in scopes.flat_map(|scope| &scope.metrics) {
            match metric.data.as_ref().expect("data") {
                Data::Gauge(gauge) => numbers(&metric.name, &gauge.data_points, &mut lines),
                Data::Sum(sum) => numbers(&metric.name, &sum.data_points, &mut lines),
                Data::Histogram(histogram) => {
                    histogram
                        .data_points
                        .iter()
                        .for_each(|point| histogram_lines(&metric.name, point, &mut lines));
                }
                other => panic!("{other:?}"),
            }
        }
        lines.sort();
        lines
    }
}

fn numbers(name: &str, points: &[NumberDataPoint], lines: &mut Vec<String>) {
    for point in points {
        let value = match point.value.expect("a value") {
            Value::AsInt(n) => n.to_string(),
            Value::AsDouble(x) => x.to_string(),
        };
        let mut labels = attributes(&point.attributes);
        labels.sort_by_key(|(label, _)| label == name); // a state comes last
        lines.push(line(name, &labels, &value));
    }
}

fn histogram_lines(name: &str, point: &HistogramDataPoint, lines: &mut Vec<String>) {
    let labels = attributes(&point.attributes);
    let bounds = point.explicit_bounds.iter().map(|bound| format!("{bound}")).chain(["+Inf".to_owned()]);
    let mut below = 0;
    for (bound, count) in bounds.zip(&point.bucket_counts) {
        below += count;
        let mut labels = labels.clone();
        labels.push(("le".to_owned(), bound));
        lines.push(line(&format!("{name}_bucket"), &labels, &below.to_string()));
    }
    lines.push(line(&format!("{name}_count"), &labels, &point.count.to_string()));
    lines.push(line(&format!("{name}_sum"), &labels, &point.sum.unwrap_or(f64::NAN).to_string()));
}

fn line(name: &str, labels: &[(String, String)], value: &str) -> String {
    let escaped = |text: &str| text.replace('\\', "\\\\").replace('\n', "\\n").replace('"', "\\\"");
    let pairs: Vec<_> = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
    if pairs.is_empty() {
        format!("{name} {value}")
    } else {
        format!("{name}{{{}}} {value}", pairs.join(","))
    }
}
