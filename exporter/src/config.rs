//! What an exporter is told: which segments, which address.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The segment that is served when nothing else is said.
pub const DEFAULT_SHM: &str = "/dev/shm/dynamo";

/// The environment variable that replaces [`DEFAULT_SHM`], for writers and readers alike.
pub const SHM_VARIABLE: &str = "DYN_METRICS_SHM";

/// The address that is served when nothing else is said; 9464 is Prometheus' registered port for such exporters.
pub const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 9464);

/// Which segments to serve, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Files, directories or globs; each is looked up anew at every collection, so nothing needs to exist yet.
    pub shm: Vec<String>,
    /// The address to listen on; port 0 takes a free one, which [`Server::local_addr`](crate::Server::local_addr) names.
    pub listen: SocketAddr,
}

impl Default for Config {
    fn default() -> Self {
        Self { shm: vec![DEFAULT_SHM.to_owned()], listen: DEFAULT_LISTEN }
    }
}
