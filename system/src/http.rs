//! Which path answers what.
#![allow(clippy::disallowed_types, reason = "process-local count, never in the segment")]

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use dyn_metrics_exporter::serving::{Answers, Body, PLAIN, exposition, plain, refusal, response};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Request, Response, StatusCode};

use crate::accept::prefers_text;
use crate::config::{Builder, Format, Rendered, Scope};
use crate::engine::Engine;
use crate::metrics::Metrics;
use crate::pages::Pages;
use crate::report::Report;
use crate::{Error, Probe, Result};

const JSON: &str = "application/json";

/// Longest time that a format of the application's own may take: well below the second that Kubernetes waits for an answer.
const FORMAT_LIMIT: Duration = Duration::from_millis(250);

/// Most calls of it that may be over that: further answers are in our format at once.
const MOST_FORMATTING: usize = 2;

/// Answers requests. Clones share everything.
#[derive(Clone)]
pub(crate) struct App(Arc<Inner>);

struct Inner {
    engine: Arc<Engine>,
    paths: Paths,
    scope: Scope,
    format: Option<Format>,
    formatting: AtomicUsize,
    segment: std::result::Result<(Pages, Metrics), String>,
}

/// What is served at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Probe(Probe),
    Metrics,
    List,
}

impl Target {
    const fn name(self) -> &'static str {
        match self {
            Self::Probe(probe) => probe.name(),
            Self::Metrics => "metrics",
            Self::List => "the list of paths",
        }
    }
}

/// All paths, each with the one that stands for it in metrics.
struct Paths(HashMap<String, (Target, &'static str)>);

const PATHS: [(&str, Target, &str); 10] = [
    ("/", Target::List, "/"),
    ("/metrics", Target::Metrics, "/metrics"),
    ("/health", Target::Probe(Probe::Health), "/health"),
    ("/healthz", Target::Probe(Probe::Health), "/health"),
    ("/liveness", Target::Probe(Probe::Liveness), "/liveness"),
    ("/live", Target::Probe(Probe::Liveness), "/liveness"),
    ("/livez", Target::Probe(Probe::Liveness), "/liveness"),
    ("/readiness", Target::Probe(Probe::Readiness), "/readiness"),
    ("/ready", Target::Probe(Probe::Readiness), "/readiness"),
    ("/readyz", Target::Probe(Probe::Readiness), "/readiness"),
];

impl Paths {
    fn new(builder: &Builder) -> Result<Self> {
        builder.check_paths()?;
        let mut paths: HashMap<String, (Target, &'static str)> =
            PATHS.into_iter().map(|(path, target, name)| (path.to_owned(), (target, name))).collect();
        let (health, live) = (Target::Probe(Probe::Health), Target::Probe(Probe::Liveness));
        for (path, target, name) in
            [(&builder.health_path, health, "/health"), (&builder.live_path, live, "/liveness")]
        {
            let Some(path) = path else { continue };
            let (first, _) = *paths.entry(path.clone()).or_insert((target, name));
            if first != target {
                let (first, second) = (first.name(), target.name());
                return Err(Error::SamePath { path: path.clone(), first, second });
            }
        }
        Ok(Self(paths))
    }

    fn get(&self, path: &str) -> Option<(Target, &'static str)> {
        self.0.get(path).copied()
    }

    /// A line for each path, sorted.
    fn list(&self) -> String {
        let mut lines: Vec<_> =
            self.0.iter().map(|(path, (target, _))| format!("{path} {}\n", target.name())).collect();
        lines.sort();
        lines.concat()
    }
}

impl App {
    pub(crate) fn new(
        builder: &Builder,
        engine: Arc<Engine>,
        segment: std::result::Result<(Pages, Metrics), String>,
    ) -> Result<Self> {
        let (paths, scope, format) = (Paths::new(builder)?, builder.scope, builder.format.clone());
        let formatting = AtomicUsize::new(0);
        Ok(Self(Arc::new(Inner { engine, paths, scope, format, formatting, segment })))
    }

    async fn answer(self, request: Request<()>) -> Response<Body> {
        let began = Instant::now();
        let found = self.0.paths.get(request.uri().path());
        let answer = match (refusal(&request, found.is_some(), "/"), found) {
            (Some(refused), _) => refused,
            (None, Some((Target::Probe(probe), _))) => self.probe(probe, &request).await,
            (None, Some((Target::Metrics, _))) => self.metrics(&request).await,
            (None, _) => plain(StatusCode::OK, self.0.paths.list()),
        };
        if let Ok((_, metrics)) = &self.0.segment {
            let path = found.map_or("other", |(_, name)| name);
            metrics.count_request(path, answer.status().as_u16(), began.elapsed());
        }
        answer
    }

    async fn metrics(&self, request: &Request<()>) -> Response<Body> {
        let (pages, _) = match &self.0.segment {
            Ok(segment) => segment,
            Err(reason) => return plain(StatusCode::SERVICE_UNAVAILABLE, format!("no segment: {reason}\n")),
        };
        let scope = match parameter(request, "scope") {
            None => self.0.scope,
            Some("process") => Scope::Process,
            Some("segment") => Scope::Segment,
            Some(found) => return bad("scope", found, "process or segment"),
        };
        let scraper = if scope == Scope::Process { &pages.process } else { &pages.segment };
        match scraper.scrape().await {
            Ok(page) => exposition(request.headers(), &page).await,
            Err(_) => {
                plain(StatusCode::INTERNAL_SERVER_ERROR, "the collection failed by a defect of the reader\n")
            }
        }
    }

    async fn probe(&self, probe: Probe, request: &Request<()>) -> Response<Body> {
        let verbose = match parameter(request, "verbose") {
            None | Some("" | "1" | "true") => true,
            Some("0" | "false") => false,
            Some(found) => return bad("verbose", found, "0 or 1"),
        };
        let report = self.0.engine.report(probe);
        let status = if report.passes { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let mut answer = if !verbose {
            plain(status, format!("{}\n", report.status))
        } else {
            match self.formatted(&report).await {
                Some(Rendered { content_type, body }) => custom(status, &content_type, body),
                None => ours(status, &report, request.headers()),
            }
        };
        answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        answer.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
        answer
    }

    /// The report in the application's own format, if it has one that answers in time. It runs where it can block nobody:
    /// the application may hold a lock, an interpreter's for instance, that it needs.
    async fn formatted(&self, report: &Report) -> Option<Rendered> {
        let format = Arc::clone(self.0.format.as_ref()?);
        if self.0.formatting.fetch_add(1, Ordering::AcqRel) >= MOST_FORMATTING {
            self.0.formatting.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        let (app, report) = (self.clone(), report.clone());
        let running = tokio::task::spawn_blocking(move || {
            let _done = Formatted(app);
            format(&report)
        });
        match tokio::time::timeout(FORMAT_LIMIT, running).await {
            Ok(Ok(rendered)) => rendered,
            Ok(Err(_)) | Err(_) => {
                tracing::warn!("the application's format of probes panicked or took too long");
                None
            }
        }
    }
}

impl Answers for App {
    fn respond(self, request: Request<()>) -> impl Future<Output = Response<Body>> + Send {
        self.answer(request)
    }
}

/// A call of the application's format that is over, also by a panic.
struct Formatted(App);

impl Drop for Formatted {
    fn drop(&mut self) {
        self.0.0.formatting.fetch_sub(1, Ordering::AcqRel);
    }
}

fn ours(status: StatusCode, report: &Report, headers: &HeaderMap) -> Response<Body> {
    if prefers_text(headers) {
        response(status, PLAIN, report.to_text())
    } else {
        response(status, JSON, report.to_json())
    }
}

fn custom(status: StatusCode, content_type: &str, body: String) -> Response<Body> {
    let mut answer = response(status, PLAIN, body);
    // One that can't be a header stays plain text.
    if let Ok(content_type) = HeaderValue::from_str(content_type) {
        answer.headers_mut().insert(header::CONTENT_TYPE, content_type);
    }
    answer
}

/// The last value of a parameter in the query.
fn parameter<'r>(request: &'r Request<()>, name: &str) -> Option<&'r str> {
    let pairs = request.uri().query()?.rsplit('&');
    let mut pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.find(|(found, _)| *found == name).map(|(_, value)| value)
}

fn bad(name: &str, found: &str, expected: &str) -> Response<Body> {
    let found: String = found.chars().take(64).collect();
    plain(StatusCode::BAD_REQUEST, format!("parameter {name}: found {found:?}, expected {expected}\n"))
}
