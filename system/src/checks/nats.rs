//! NATS: reached, answers, and has our service registered. Spoken to in its text protocol.

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::net::{MAX_ANSWER, Server, ask};
use crate::check::{Check, Context, Outcome};
use crate::record::tidy;
use crate::{Error, Result};

const EXPECTED: &str = "nats://[USER:PASSWORD@ or TOKEN@]HOST:PORT, without TLS";

/// Lines that are read while one is waited for: a server sends a few of its own.
const MOST_LINES: usize = 64;

/// Fails when NATS can't be reached, doesn't answer, or no instance of a service answers the service protocol's ping.
#[derive(Clone, Debug)]
pub struct Nats {
    server: Server,
    /// Where the service is asked: `$SRV.PING.NAME` or `$SRV.PING.NAME.ID`.
    service: Option<String>,
}

impl Nats {
    /// The server at `nats://HOST:PORT`.
    ///
    /// # Errors
    /// [`Error::Url`].
    pub fn new(url: &str) -> Result<Self> {
        Ok(Self { server: Server::parse("NATS", url, "nats", 4222, EXPECTED)?, service: None })
    }

    /// An instance of this service must answer.
    ///
    /// # Errors
    /// [`Error::Url`] for what can't be a service's name.
    pub fn service(self, name: &str) -> Result<Self> {
        self.ask_for(&[name])
    }

    /// This instance of a service must answer.
    ///
    /// # Errors
    /// As [`Self::service`].
    pub fn service_instance(self, name: &str, id: &str) -> Result<Self> {
        self.ask_for(&[name, id])
    }

    fn ask_for(mut self, parts: &[&str]) -> Result<Self> {
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        for part in parts {
            if part.is_empty() || part.len() > 128 || !part.chars().all(is_allowed) {
                let found = part.chars().take(128).collect();
                return Err(Error::Url {
                    what: "NATS service",
                    found,
                    expected: "1 to 128 of A-Z a-z 0-9 _ -",
                });
            }
        }
        self.service = Some(parts.join("."));
        Ok(self)
    }

    async fn look(&self) -> Outcome {
        let mut client = Client { stream: BufReader::new(self.server.connect().await?) };
        let info = client.line().await?;
        let info = info.strip_prefix("INFO ").and_then(|info| serde_json::from_str::<Value>(info).ok());
        let info = info.ok_or("it doesn't begin as NATS does")?;
        if info["tls_required"] == true {
            return Err("it requires TLS, which is not spoken here".to_owned());
        }
        client.send(&format!("CONNECT {}\r\nPING\r\n", self.options())).await?;
        client.wait_for("PONG").await?;
        let version = format!("version {}", info["version"].as_str().unwrap_or("unknown"));
        match &self.service {
            None => Ok(version),
            Some(service) => Ok(format!("{version}, {}", client.ping(service).await?)),
        }
    }

    fn options(&self) -> Value {
        let mut options = json!({
            "verbose": false, "pedantic": false, "tls_required": false, "name": "dyn-metrics-system",
            "lang": "rust", "version": env!("CARGO_PKG_VERSION"), "protocol": 1,
            "headers": true, "no_responders": true,
        });
        match self.server.secret.as_deref().map(|secret| secret.split_once(':').ok_or(secret)) {
            Some(Ok((user, password))) => (options["user"], options["pass"]) = (user.into(), password.into()),
            Some(Err(token)) => options["auth_token"] = token.into(),
            None => (),
        }
        options
    }
}

impl Check for Nats {
    fn check(&self, context: &Context) -> Outcome {
        ask(&self.server, context, self.look())
    }

    fn needs_network(&self) -> bool {
        true
    }
}

struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    async fn send(&mut self, text: &str) -> std::result::Result<(), String> {
        self.stream.write_all(text.as_bytes()).await.map_err(|error| format!("sending: {error}"))
    }

    /// The next line.
    async fn line(&mut self) -> Outcome {
        let mut line = Vec::new();
        let limit = MAX_ANSWER as u64;
        let read = (&mut self.stream).take(limit).read_until(b'\n', &mut line).await;
        read.map_err(|error| format!("reading: {error}"))?;
        if !line.ends_with(b"\n") {
            let what =
                if line.len() < MAX_ANSWER { "it has closed the connection" } else { "its line never ends" };
            return Err(what.to_owned());
        }
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    /// The next line that begins with one of these words; keeps the conversation up meanwhile.
    async fn wait_for(&mut self, word: &str) -> Outcome {
        for _ in 0..MOST_LINES {
            let line = self.line().await?;
            let found = line.split_ascii_whitespace().next().unwrap_or("");
            match found {
                "-ERR" => return Err(format!("it says {}", tidy(line.trim_start_matches("-ERR")))),
                "PING" => self.send("PONG\r\n").await?,
                _ if found.ends_with(word) => return Ok(line),
                _ => (),
            }
        }
        Err(format!("{MOST_LINES} lines, and no {word} among them"))
    }

    /// Whether an instance of a service answers the ping of NATS' service protocol.
    async fn ping(&mut self, service: &str) -> Outcome {
        let inbox = format!("_INBOX.{}.{}", std::process::id(), unique());
        self.send(&format!("SUB {inbox} 1\r\nPUB $SRV.PING.{service} {inbox} 0\r\n\r\n")).await?;
        // MSG or HMSG.
        let line = self.wait_for("MSG").await.map_err(|reason| format!("service {service}: {reason}"))?;
        let size =
            line.rsplit(' ').next().and_then(|size| size.parse().ok()).filter(|size| *size <= MAX_ANSWER);
        let mut message = vec![0; size.ok_or("an answer of no sensible size")?];
        self.stream.read_exact(&mut message).await.map_err(|error| format!("reading: {error}"))?;
        if line.starts_with("HMSG") && message.starts_with(b"NATS/1.0 503") {
            return Err(format!("service {service} is not registered: nobody answers $SRV.PING.{service}"));
        }
        let start = message.iter().position(|byte| *byte == b'{').unwrap_or(message.len());
        let answer: Value = serde_json::from_slice(&message[start..]).unwrap_or_default();
        let text = |field: &str| tidy(answer[field].as_str().unwrap_or("unknown"));
        Ok(format!("service {service} answers with id {}, version {}", text("id"), text("version")))
    }
}

/// A number that no other conversation of this process has.
fn unique() -> u128 {
    use std::time::{SystemTime, UNIX_EPOCH};
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_connects_says_who_he_is() {
        let options = |url| Nats::new(url).unwrap().options();
        assert_eq!(options("nats://me:pass:word@a")["pass"], "pass:word");
        assert_eq!(options("nats://me:pass@a")["user"], "me");
        assert_eq!(options("nats://token@a")["auth_token"], "token");
        assert_eq!(options("a")["auth_token"], Value::Null);
    }

    #[test]
    fn names_that_would_ask_others_are_refused() {
        let nats = || Nats::new("nats://a").unwrap();
        for name in ["", "a.b", "*", ">", "a b", "a\r\nPUB x 0", &"a".repeat(129)] {
            assert!(nats().service(name).is_err() && nats().service_instance("a", name).is_err(), "{name}");
        }
        assert!(nats().service("generate-1_x").is_ok());
        assert!(Nats::new("tls://a").is_err());
    }
}
