//! etcd: reached, has a leader, knows our lease and what we have registered. Spoken to by its HTTP/JSON gateway.

use std::time::Duration;

use serde_json::{Value, json};

use super::net::{Server, ask, post};
use crate::check::{Check, Context, Outcome};
use crate::record::seconds;
use crate::{Error, Result};

const EXPECTED: &str = "http://HOST:PORT, without user or TLS";

/// Fails when etcd can't be reached, has no leader or an alarm, has lost the lease, or has no key under a prefix.
///
/// With [`Self::keep_alive`] each run renews the lease, as long as the liveness probe passes: who is not live loses
/// what is bound to it.
#[derive(Clone, Debug)]
pub struct Etcd {
    server: Server,
    lease: Option<i64>,
    keeps_alive: bool,
    prefix: Option<String>,
}

impl Etcd {
    /// The etcd at `http://HOST:PORT`.
    ///
    /// # Errors
    /// [`Error::Url`].
    pub fn new(url: &str) -> Result<Self> {
        let server = Server::parse("etcd", url, "http", 2379, EXPECTED)?;
        if server.secret.is_some() {
            return Err(Error::Url { what: "etcd", found: server.shown, expected: EXPECTED });
        }
        Ok(Self { server, lease: None, keeps_alive: false, prefix: None })
    }

    /// This lease must not have expired.
    #[must_use]
    pub const fn lease(mut self, id: i64) -> Self {
        self.lease = Some(id);
        self
    }

    /// Renews the lease at each run while the liveness probe passes, and lets it lapse while not. The interval of the check must be
    /// well below the lease's time to live: a third of it, say.
    #[must_use]
    pub const fn keep_alive(mut self) -> Self {
        self.keeps_alive = true;
        self
    }

    /// A key must begin with this: where the component registers itself.
    #[must_use]
    pub fn key_prefix(mut self, prefix: &str) -> Self {
        self.prefix = Some(prefix.to_owned());
        self
    }

    async fn look(&self, context: &Context) -> Outcome {
        let mut found = Vec::new();
        // First, so that what follows can't keep it from being renewed.
        if let Some(lease) = self.lease {
            found.push(self.look_at_lease(lease, context).await?);
        }
        found.insert(0, self.look_at_server().await?);
        if let Some(prefix) = &self.prefix {
            found.push(self.look_for_key(prefix).await?);
        }
        Ok(found.join(", "))
    }

    async fn look_at_server(&self) -> Outcome {
        let status = post(&self.server, "/v3/maintenance/status", &json!({})).await?;
        let errors = status["errors"].as_array().map_or(&[][..], Vec::as_slice);
        if let Some(error) = errors.iter().find_map(Value::as_str) {
            return Err(format!("it reports {error}"));
        }
        // A member's id has 64 bits; none is 0, which the gateway leaves out.
        if status["leader"].as_str().is_none_or(|leader| leader == "0") {
            return Err("it has no leader".to_owned());
        }
        Ok(format!("version {}", status["version"].as_str().unwrap_or("unknown")))
    }

    async fn look_at_lease(&self, lease: i64, context: &Context) -> Outcome {
        let id = json!({ "ID": lease.to_string() });
        let renews = self.keeps_alive && context.is_live();
        let (left, granted) = if renews {
            let answer = post(&self.server, "/v3/lease/keepalive", &id).await?;
            let granted = number(&answer["result"]["TTL"]).unwrap_or(0);
            (granted, granted)
        } else {
            let answer = post(&self.server, "/v3/lease/timetolive", &id).await?;
            (number(&answer["TTL"]).unwrap_or(0), number(&answer["grantedTTL"]).unwrap_or(0))
        };
        let Ok(left) = u64::try_from(left).map(Duration::from_secs) else {
            return Err(format!("lease {lease} has expired or was revoked"));
        };
        if granted <= 0 {
            return Err(format!("lease {lease} has expired or was revoked"));
        }
        let (left_text, every) = (seconds(left), seconds(context.interval()));
        if self.keeps_alive && !renews {
            return Err(format!(
                "lease {lease} is not renewed, for this process is not live: {left_text} left"
            ));
        }
        if renews && left <= context.interval() {
            return Err(format!("lease {lease} lives {left_text} and is renewed every {every}"));
        }
        Ok(format!("lease {lease} has {left_text} left"))
    }

    async fn look_for_key(&self, prefix: &str) -> Outcome {
        let end = end_of_range(prefix.as_bytes());
        let range = json!({ "key": base64(key_or_any(prefix.as_bytes())), "range_end": base64(&end), "count_only": true });
        let answer = post(&self.server, "/v3/kv/range", &range).await?;
        match number(&answer["count"]).unwrap_or(0) {
            0 => Err(format!("no key begins with {prefix:?}")),
            count => Ok(format!("{count} keys begin with {prefix:?}")),
        }
    }
}

impl Check for Etcd {
    fn check(&self, context: &Context) -> Outcome {
        ask(&self.server, context, self.look(context))
    }

    fn needs_network(&self) -> bool {
        true
    }
}

/// A 64-bit number, which the gateway writes as text.
fn number(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

/// The key that etcd takes for the first of all, where the prefix is empty.
const fn key_or_any(prefix: &[u8]) -> &[u8] {
    if prefix.is_empty() { b"\0" } else { prefix }
}

/// The first key beyond all that begin with `prefix`; a zero byte where there is none.
fn end_of_range(prefix: &[u8]) -> Vec<u8> {
    let Some(last) = prefix.iter().rposition(|byte| *byte < 0xff) else { return vec![0] };
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    end
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = (0..3).fold(0_u32, |bits, at| bits << 8 | u32::from(*chunk.get(at).unwrap_or(&0)));
        for digit in 0..4 {
            let value = bits >> (18 - 6 * digit) & 0x3f;
            text.push(if digit <= chunk.len() { DIGITS[value as usize] as char } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_rfc_4648() {
        for (plain, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes()), text);
        }
        assert_eq!(base64(&[0xfb, 0xff]), "+/8=");
    }

    #[test]
    fn ranges_end_behind_the_last_key_with_the_prefix() {
        assert_eq!(end_of_range(b"/a/"), b"/a0");
        assert_eq!(end_of_range(b"a\xff\xff"), b"b");
        assert_eq!(end_of_range(b"\xff"), [0]);
        assert_eq!(end_of_range(b""), [0]);
    }

    #[test]
    fn what_is_not_spoken_is_refused() {
        for url in ["https://etcd:2379", "http://me:secret@etcd"] {
            let error = Etcd::new(url).unwrap_err().to_string();
            assert!(error.ends_with("expected http://HOST:PORT, without user or TLS"), "{error}");
            assert!(!error.contains("secret"));
        }
    }
}
