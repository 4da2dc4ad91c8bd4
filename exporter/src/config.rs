//! What an exporter is told: which segments, which address.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

/// The segment that is served when nothing else is said.
pub const DEFAULT_SHM: &str = "/dev/shm/dynamo";

/// The environment variable that replaces [`DEFAULT_SHM`], for writers and readers alike.
pub const SHM_VARIABLE: &str = "DYN_METRICS_SHM";

/// The address that is served when nothing else is said; 9464 is Prometheus' registered port for such exporters.
pub const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 9464);

/// How long on-scrape callbacks are waited for when nothing else is said.
pub const DEFAULT_CALLBACK_TIMEOUT: Duration = Duration::from_millis(100);

/// Which segments to serve, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Files, directories or globs; each is looked up anew at every collection, so nothing needs to exist yet.
    pub shm: Vec<String>,
    /// Users besides root and the exporter's own whose files are served where a directory or a glob leads to them.
    pub allow_uids: Vec<u32>,
    /// Priority level of the least important families that are served, 0 to 255; a scrape may ask for fewer.
    pub max_level: u8,
    /// The address to listen on; port 0 takes a free one, which [`Server::local_addr`](crate::Server::local_addr) names.
    pub listen: SocketAddr,
    /// How long processes are waited for to run their on-scrape callbacks before each collection; 0 asks nobody.
    pub callback_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            shm: vec![DEFAULT_SHM.to_owned()],
            allow_uids: Vec::new(),
            max_level: u8::MAX,
            listen: DEFAULT_LISTEN,
            callback_timeout: DEFAULT_CALLBACK_TIMEOUT,
        }
    }
}

/// Reads an address to listen on: `ADDR:PORT`, or a name in place of the address, of which an IPv4 address is preferred.
///
/// # Errors
/// What is wrong, in words, with an example.
pub fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    let found: Vec<SocketAddr> = text
        .to_socket_addrs()
        .map_err(|error| format!("{error}; expected ADDR:PORT, such as 127.0.0.1:9464 or [::1]:9464"))?
        .collect();
    let address = found.iter().find(|address| address.is_ipv4()).or(found.first());
    address.copied().ok_or_else(|| "it has no address".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_names_are_read() {
        for (text, expected) in [
            ("127.0.0.1:9464", "127.0.0.1:9464"),
            ("[::1]:0", "[::1]:0"),
            ("localhost:9464", "127.0.0.1:9464"),
        ] {
            assert_eq!(parse_listen(text).map(|address| address.to_string()).as_deref(), Ok(expected));
        }
        for wrong in ["9464", "localhost", ":x", "127.0.0.1:65536", ""] {
            let error = parse_listen(wrong).expect_err(wrong);
            assert!(error.contains("such as 127.0.0.1:9464"), "{error}");
        }
    }
}
