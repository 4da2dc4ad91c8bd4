//! Which path answers what.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use dyn_metrics_reader::encode::text::CONTENT_TYPE as EXPOSITION;
use http_body_util::Full;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use crate::landing;
use crate::negotiate::wants_gzip;
use crate::page::Page;
use crate::scrape::{NoPage, Scraper};
use crate::segments::{SegmentView, State};
use crate::self_metrics::Count;

/// Bodies are shared, whole, and of known length.
pub type Body = Full<Bytes>;

/// What answers the requests of all connections. Clones share everything.
pub trait Answers: Clone + Send + Sync + 'static {
    /// One request, whose body is not read, and its response.
    fn respond(self, request: Request<()>) -> impl Future<Output = Response<Body>> + Send;
}

/// Type of plain text.
pub const PLAIN: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";

/// What the landing page may do in a browser: nothing but show itself, whatever a path or label spells.
const CONTENT_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// Answers requests. Clones share everything.
#[derive(Clone)]
pub(crate) struct App {
    scraper: Scraper,
    scrapes: Count,
    patterns: Arc<[String]>,
}

impl App {
    /// `scrapes` counts the requests for `/metrics`.
    pub(crate) fn new(scraper: Scraper, scrapes: Count, patterns: &[String]) -> Self {
        Self { scraper, scrapes, patterns: patterns.into() }
    }

    pub(crate) fn scraper(&self) -> &Scraper {
        &self.scraper
    }

    async fn answer(self, request: Request<()>) -> Response<Body> {
        let path = request.uri().path();
        let is_known = matches!(path, "/" | "/metrics" | "/-/healthy" | "/-/ready");
        if let Some(refused) = refusal(&request, is_known, "/metrics") {
            return refused;
        }
        let answer = match path {
            "/metrics" => self.metrics(&request).await,
            "/-/healthy" => Ok(plain(StatusCode::OK, "healthy\n")),
            "/-/ready" => self.ready().await,
            _ => self.landing().await,
        };
        answer.unwrap_or_else(|error| match error {
            NoPage::Failed => plain(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the collection failed, the exporter's log says more\n",
            ),
            NoPage::Busy => {
                plain(StatusCode::SERVICE_UNAVAILABLE, "slow clients hold all pages that there may be\n")
            }
        })
    }

    async fn metrics(&self, request: &Request<()>) -> Result<Response<Body>, NoPage> {
        self.scrapes.inc();
        let page = match asked_level(request.uri().query().unwrap_or_default()) {
            Ok(None) => self.scraper.scrape().await?,
            Ok(Some(level)) => self.scraper.scrape_up_to(level).await?,
            Err(wrong) => return Ok(plain(StatusCode::BAD_REQUEST, wrong)),
        };
        Ok(exposition(request.headers(), &page).await)
    }

    /// Ready is who has just collected, also when there is no segment yet: those come and go.
    async fn ready(&self) -> Result<Response<Body>, NoPage> {
        let page = self.scraper.scrape().await?;
        let mapped = count(&page, |segment| segment.state.is_served());
        let bad = count(&page, |segment| matches!(segment.state, State::Bad(_)));
        Ok(plain(StatusCode::OK, format!("ready, segments mapped: {mapped}, skipped: {bad}\n")))
    }

    async fn landing(&self) -> Result<Response<Body>, NoPage> {
        let page = self.scraper.scrape().await?;
        let mut response = response(StatusCode::OK, HTML, landing::render(&self.patterns, page.found()));
        let policy = HeaderValue::from_static(CONTENT_POLICY);
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
        Ok(response)
    }
}

impl Answers for App {
    fn respond(self, request: Request<()>) -> impl Future<Output = Response<Body>> + Send {
        self.answer(request)
    }
}

/// A page as Prometheus takes it, compressed for those who ask.
pub async fn exposition(headers: &HeaderMap, page: &Arc<Page>) -> Response<Body> {
    let compressed = if wants_gzip(headers) { page.gzip().await } else { None };
    let gzip = compressed.is_some();
    let mut response = response(StatusCode::OK, EXPOSITION, compressed.unwrap_or_else(|| page.text()));
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    if gzip {
        response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

/// The priority level that a query asks for: `level=N`, once. Other parameters are others' affair.
///
/// # Errors
/// A line about what is wrong, for the client.
pub fn asked_level(query: &str) -> Result<Option<u8>, String> {
    let mut asked = query.split('&').filter_map(|pair| match pair.split_once('=') {
        Some(("level", value)) => Some(value),
        _ => (pair == "level").then_some(""),
    });
    let Some(level) = asked.next() else { return Ok(None) };
    if asked.next().is_some() {
        return Err("level: found it more than once, expected once\n".to_owned());
    }
    // No sign, and nothing that needs an escape.
    let digits = level.bytes().all(|byte| byte.is_ascii_digit()).then_some(level);
    match digits.and_then(|digits| digits.parse().ok()) {
        Some(level) => Ok(Some(level)),
        None => Err(format!("level: found {level:?}, expected a number from 0 to 255\n")),
    }
}

/// The answer to a request that is not for a path that there is, from one host, by GET or HEAD; `instead` is the path to
/// try.
pub fn refusal(request: &Request<()>, path_is_known: bool, instead: &str) -> Option<Response<Body>> {
    if is_about_no_path(request) {
        return Some(method_not_allowed());
    }
    if request.headers().get_all(header::HOST).iter().nth(1).is_some() {
        return Some(plain(StatusCode::BAD_REQUEST, "found more than one host, expected one\n"));
    }
    if !path_is_known {
        return Some(plain(StatusCode::NOT_FOUND, format!("not found, try {instead}\n")));
    }
    let is_allowed = matches!(*request.method(), Method::GET | Method::HEAD);
    (!is_allowed).then(method_not_allowed)
}

/// `OPTIONS *`, and `CONNECT`, which names a host instead of a path.
fn is_about_no_path(request: &Request<()>) -> bool {
    let method = request.method();
    *method == Method::CONNECT || (*method == Method::OPTIONS && request.uri().path() == "*")
}

fn count(page: &Page, wanted: impl Fn(&SegmentView) -> bool) -> usize {
    page.found().segments.iter().filter(|segment| wanted(segment)).count()
}

fn method_not_allowed() -> Response<Body> {
    let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    response
}

/// A line of text.
pub fn plain(status: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    response(status, PLAIN, text)
}

/// A body of this type, which browsers are told to believe.
pub fn response(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    let body = body.into();
    let length = HeaderValue::from(body.len());
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    // Set here, so that the answer to HEAD has it too.
    headers.insert(header::CONTENT_LENGTH, length);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;
    use crate::gzip::Gzip;
    use crate::page::Found;

    /// An exporter of one good and one bad segment, whose pages tell their number.
    fn app() -> App {
        let mut number = 0;
        let scraper = Scraper::new(
            Box::new(move || {
                number += 1;
                let good = SegmentView::example("/dev/shm/<good>");
                let bad = SegmentView {
                    state: State::Bad("bad magic".to_owned()),
                    ..SegmentView::example("/dev/shm/bad")
                };
                let found = Found { segments: vec![good, bad], ..Found::default() };
                Page::new(format!("collections {number}\n").into_bytes(), found, Gzip::default())
            }),
            Count::default(),
        );
        App::new(scraper, Count::default(), &["/dev/shm/*".to_owned()])
    }

    async fn ask(app: &App, method: Method, target: &str) -> (Response<Body>, String) {
        let request = Request::builder().method(method).uri(target).body(()).expect("a request");
        let response = app.clone().respond(request).await;
        let body = response.clone().into_body().collect().await.expect("a body").to_bytes();
        (response, String::from_utf8(body.to_vec()).expect("UTF-8"))
    }

    #[tokio::test]
    async fn metrics_is_the_page_with_type_and_length() {
        let app = app();
        for (target, expected) in [("/metrics", "collections 1\n"), ("/metrics?a=b", "collections 2\n")] {
            let (response, body) = ask(&app, Method::GET, target).await;
            assert_eq!((response.status(), body.as_str()), (StatusCode::OK, expected));
            assert_eq!(response.headers()[header::CONTENT_TYPE], "text/plain; version=0.0.4; charset=utf-8");
            assert_eq!(response.headers()[header::CONTENT_LENGTH], "14");
            assert_eq!(response.headers()[header::VARY], "Accept-Encoding");
        }
        assert_eq!(app.scrapes.value(), 2);
    }

    #[tokio::test]
    async fn a_level_is_a_number_given_once() {
        let collect = Box::new(|level| Page::of(format!("up to {level}\n").into_bytes(), &Gzip::default()));
        let app = App::new(Scraper::selective(collect, Count::default()), Count::default(), &[]);
        for (query, level) in
            [("", 255), ("?level=0", 0), ("?a=b&level=007&levels=1", 7), ("?level=255", 255)]
        {
            let (response, body) = ask(&app, Method::GET, &format!("/metrics{query}")).await;
            assert_eq!((response.status(), body), (StatusCode::OK, format!("up to {level}\n")), "{query}");
        }
        for (query, found) in [
            ("?level=256", "found \"256\""),
            ("?level=-1", "found \"-1\""),
            ("?level=+1", "found \"+1\""),
            ("?level=", "found \"\""),
            ("?level", "found \"\""),
            ("?level=1&level=1", "more than once"),
            ("?level=all%0A", "found \"all%0A\""),
        ] {
            let (response, body) = ask(&app, Method::GET, &format!("/metrics{query}")).await;
            assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{query}");
            assert!(body.contains(found) && body.contains("expected"), "{body}");
        }
        assert_eq!(app.scrapes.value(), 11, "these were scrapes too");
    }

    #[tokio::test]
    async fn ready_tells_how_many_segments_are_mapped() {
        let (response, body) = ask(&app(), Method::GET, "/-/ready").await;
        assert_eq!(
            (response.status(), body.as_str()),
            (StatusCode::OK, "ready, segments mapped: 1, skipped: 1\n")
        );
    }

    #[tokio::test]
    async fn healthy_needs_no_collection() {
        let app = app();
        let (response, body) = ask(&app, Method::GET, "/-/healthy").await;
        assert_eq!((response.status(), body.as_str()), (StatusCode::OK, "healthy\n"));
        assert_eq!(ask(&app, Method::GET, "/metrics").await.1, "collections 1\n");
    }

    #[tokio::test]
    async fn the_landing_page_is_html_and_no_scrape() {
        let app = app();
        let (response, body) = ask(&app, Method::GET, "/").await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()[header::CONTENT_TYPE], HTML);
        assert!(body.contains("/dev/shm/&lt;good&gt;"));
        assert_eq!(app.scrapes.value(), 0);
    }

    #[tokio::test]
    async fn other_paths_are_not_found_whatever_the_method() {
        let app = app();
        for target in ["/metrics/", "/Metrics", "//metrics", "/-/", "/index.html", "*"] {
            assert_eq!(ask(&app, Method::GET, target).await.0.status(), StatusCode::NOT_FOUND, "{target}");
            assert_eq!(ask(&app, Method::POST, target).await.0.status(), StatusCode::NOT_FOUND, "{target}");
        }
    }

    #[tokio::test]
    async fn other_methods_are_told_which_are_allowed() {
        let app = app();
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS, Method::TRACE] {
            let (response, _) = ask(&app, method, "/metrics").await;
            assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
            assert_eq!(response.headers()[header::ALLOW], "GET, HEAD");
        }
    }

    #[tokio::test]
    async fn methods_without_a_path_are_told_which_are_allowed() {
        for (method, target) in [(Method::OPTIONS, "*"), (Method::CONNECT, "localhost:9464")] {
            let (response, _) = ask(&app(), method, target).await;
            assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED, "{target}");
        }
    }

    #[tokio::test]
    async fn two_hosts_are_a_bad_request() {
        let request = Request::builder().uri("/metrics").header("host", "a").header("host", "b");
        let response = app().respond(request.body(()).expect("a request")).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    }

    #[tokio::test]
    async fn a_failed_collection_is_status_500() {
        let scraper = Scraper::new(Box::new(|| panic!("on purpose")), Count::default());
        let app = App::new(scraper, Count::default(), &[]);
        for target in ["/metrics", "/-/ready", "/"] {
            let (response, _) = ask(&app, Method::GET, target).await;
            assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR, "{target}");
        }
        assert_eq!(ask(&app, Method::GET, "/-/healthy").await.0.status(), StatusCode::OK);
    }
}
