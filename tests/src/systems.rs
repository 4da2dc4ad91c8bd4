//! A process's own server, asked as Kubernetes and people ask it.

use std::net::SocketAddr;
use std::time::Duration;

use dyn_metrics::Registry;
use dyn_metrics_system::{Builder, Spec, System};
use serde_json::Value;
use tempfile::TempDir;

use crate::clients::{Answer, Client};

/// A system of this process, with a segment of its own.
pub struct Scene {
    /// The server and its checks.
    pub system: System,
    /// Its segment.
    pub registry: Registry,
    directory: TempDir,
}

impl Scene {
    /// Starts a system with these options.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(options: impl FnOnce(Builder) -> Builder) -> Self {
        let directory = tempfile::tempdir_in("/dev/shm").expect("a directory");
        let registry = Registry::builder().path(directory.path().join("s")).max_bytes(4 << 20);
        let registry = registry.open().expect("a segment");
        let builder = System::builder().registry(&registry).host("127.0.0.1").port(0);
        let system = options(builder).start().expect("a system");
        Self { system, registry, directory }
    }

    /// Where the segment is.
    #[must_use]
    pub fn directory(&self) -> &std::path::Path {
        self.directory.path()
    }

    /// The answer to GET of this path.
    #[must_use]
    pub fn get(&self, path: &str) -> Answer {
        get(self.system.address(), path, "")
    }

    /// Status, word and the checks of a probe.
    #[must_use]
    pub fn probe(&self, path: &str) -> Probed {
        probe(self.system.address(), path)
    }

    /// Waits until a check is as it should be.
    ///
    /// # Panics
    /// When that doesn't come.
    pub fn wait_for_check(&self, name: &str, wanted: impl FnMut(&Value) -> bool) -> Value {
        wait_for_check(self.system.address(), name, wanted)
    }
}

/// A check that runs often, so that a test needn't wait.
#[must_use]
pub fn often(name: &str) -> Spec {
    Spec::new(name).every(Duration::from_millis(20)).timeout(Duration::from_millis(500))
}

/// GET of a path, with further header lines, each ended.
///
/// # Panics
/// When there is no answer.
#[must_use]
pub fn get(address: SocketAddr, path: &str, headers: &str) -> Answer {
    let mut client = Client::connect(address).expect("a connection");
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\n{headers}\r\n");
    client.send(request.as_bytes()).expect("it is read");
    client.answer(false).expect("an answer").expect("an answer")
}

/// The answer of a probe.
#[derive(Debug)]
pub struct Probed {
    /// 200 or 503.
    pub status: u16,
    /// The JSON.
    pub report: Value,
}

impl Probed {
    /// The answer in a word.
    #[must_use]
    pub fn word(&self) -> &str {
        self.report["status"].as_str().unwrap_or("")
    }

    /// A check, null where the probe doesn't show it.
    #[must_use]
    pub fn check(&self, name: &str) -> &Value {
        let checks = self.report["checks"].as_array().map_or(&[][..], Vec::as_slice);
        checks.iter().find(|check| check["name"] == name).unwrap_or(&Value::Null)
    }
}

/// Asks a probe.
///
/// # Panics
/// When its answer is no JSON.
#[must_use]
pub fn probe(address: SocketAddr, path: &str) -> Probed {
    let answer = get(address, path, "");
    let report = serde_json::from_slice(&answer.body).expect("JSON");
    Probed { status: answer.status, report }
}

/// Waits until `/health` shows a check as it should be.
///
/// # Panics
/// When that doesn't come.
pub fn wait_for_check(address: SocketAddr, name: &str, mut wanted: impl FnMut(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    for _ in 0..1200 {
        last = probe(address, "/health").check(name).clone();
        if wanted(&last) {
            return last;
        }
        std::thread::sleep(Duration::from_millis(25));
    }
    panic!("waited in vain for another check than {last}");
}

/// Whether a check fails with a reason that contains `text`.
#[must_use]
pub fn fails_with(check: &Value, text: &str) -> bool {
    check["status"] == "failing" && check["reason"].as_str().is_some_and(|reason| reason.contains(text))
}
