//! Asking other servers: strict deadlines, bounded answers.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::check::Context;
use crate::record::{seconds, tidy};
use crate::{Error, Result};

/// Longest answer that is read, in bytes.
pub(super) const MAX_ANSWER: usize = 256 * 1024;

/// A server's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    /// For people: as it was given, without a secret.
    pub(super) shown: String,
    /// Before the host: user and password, or a token.
    pub(super) secret: Option<String>,
    /// `HOST:PORT`.
    pub(super) authority: String,
}

impl Server {
    /// Reads `[SCHEME://][SECRET@]HOST[:PORT][/]`.
    pub(super) fn parse(
        what: &'static str,
        url: &str,
        scheme: &str,
        port: u16,
        expected: &'static str,
    ) -> Result<Self> {
        let wrong = || {
            // What stands before the host may be a secret.
            let found = url.rsplit('@').next().unwrap_or(url).chars().take(256).collect();
            Error::Url { what, found, expected }
        };
        let rest = match url.split_once("://") {
            Some((found, rest)) if found.eq_ignore_ascii_case(scheme) => rest,
            Some(_) => return Err(wrong()),
            None => url,
        };
        let (secret, host) = match rest.rsplit_once('@') {
            Some((secret, host)) => (Some(secret.to_owned()), host),
            None => (None, rest),
        };
        let host = host.strip_suffix('/').unwrap_or(host);
        let has_port =
            host.rsplit_once(':').is_some_and(|(before, _)| !before.contains(':') || before.ends_with(']'));
        let authority = if has_port { host.to_owned() } else { format!("{host}:{port}") };
        let (name, number) = authority.rsplit_once(':').ok_or_else(wrong)?;
        let is_bare_v6 = name.contains(':') && !(name.starts_with('[') && name.ends_with(']'));
        let is_name = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
        if name.is_empty() || is_bare_v6 || !name.chars().all(is_name) || number.parse::<u16>().is_err() {
            return Err(wrong());
        }
        Ok(Self { shown: format!("{scheme}://{authority}"), secret, authority })
    }

    /// A connection to it.
    pub(super) async fn connect(&self) -> std::result::Result<TcpStream, String> {
        TcpStream::connect(&self.authority).await.map_err(|error| format!("no connection: {error}"))
    }
}

/// Has `work` done here, on a runtime of its own, with time left to say that there was no answer.
pub(super) fn ask<T>(
    server: &Server,
    context: &Context,
    work: impl Future<Output = std::result::Result<T, String>>,
) -> std::result::Result<T, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("no runtime: {error}"))?;
    let limit = context.remaining() * 9 / 10;
    let answer = runtime.block_on(async { tokio::time::timeout(limit, work).await });
    // A name that is being looked up isn't waited for.
    runtime.shutdown_background();
    let answer = answer.unwrap_or_else(|_| Err(no_answer(limit)));
    answer.map_err(|reason| format!("{}: {reason}", server.shown))
}

fn no_answer(limit: Duration) -> String {
    format!("no answer within {}", seconds(limit))
}

/// POSTs JSON, and reads the JSON of the answer: of a stream the first value.
pub(super) async fn post(server: &Server, path: &str, body: &Value) -> std::result::Result<Value, String> {
    let stream = TokioIo::new(server.connect().await?);
    let broken = |error: hyper::Error| format!("POST {path}: {error}");
    let (mut client, connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(64 * 1024)
        .handshake(stream)
        .await
        .map_err(broken)?;
    let request = Request::post(path)
        .header(HOST, &server.authority)
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body.to_string())))
        .map_err(|error| format!("POST {path}: {error}"))?;
    let exchange = async {
        let response = client.send_request(request).await.map_err(broken)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        let body = body.map_err(|error| format!("POST {path}: {error}"))?.to_bytes();
        read_json(path, status, &body)
    };
    tokio::pin!(exchange);
    tokio::select! {
        answer = &mut exchange => answer,
        // It ends with the answer, or because there won't be any.
        _ = connection => exchange.await,
    }
}

fn read_json(path: &str, status: StatusCode, body: &[u8]) -> std::result::Result<Value, String> {
    let first = serde_json::Deserializer::from_slice(body).into_iter::<Value>().next();
    let value = match first {
        Some(Ok(value)) => value,
        _ if status.is_success() => return Err(format!("POST {path}: the answer is no JSON")),
        _ => Value::Null,
    };
    let said = |value: &Value| {
        let error = value.get("error")?;
        Some(tidy(error.get("message").unwrap_or(error).as_str()?))
    };
    match said(&value) {
        Some(said) => Err(format!("POST {path}: {said}")),
        None if !status.is_success() => Err(format!("POST {path}: status {status}")),
        None => Ok(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Server> {
        Server::parse("etcd", url, "http", 2379, "http://HOST:PORT")
    }

    #[test]
    fn addresses_are_read() {
        for (url, authority) in [
            ("http://etcd:2379", "etcd:2379"),
            ("HTTP://etcd/", "etcd:2379"),
            ("etcd", "etcd:2379"),
            ("127.0.0.1:1", "127.0.0.1:1"),
            ("http://[::1]", "[::1]:2379"),
            ("http://[::1]:5", "[::1]:5"),
        ] {
            assert_eq!(parse(url).unwrap().authority, authority, "{url}");
        }
        for url in [
            "",
            "https://etcd:2379",
            "http://",
            "etcd:x",
            "etcd:65536",
            "a b",
            "::1",
            "http://a/b",
            "http://a\r\nb",
        ] {
            let error = parse(url).expect_err(url).to_string();
            assert!(error.ends_with("expected http://HOST:PORT"), "{error}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let server = parse("http://me:secret@etcd").unwrap();
        assert_eq!(server.secret.as_deref(), Some("me:secret"));
        assert_eq!(server.shown, "http://etcd:2379");
        assert!(!parse("http://me:secret@a b").unwrap_err().to_string().contains("secret"));
    }
}
