//! Which server, and where: by code or by environment variables.

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use dyn_metrics::Registry;

use crate::check::{Check, Spec};
use crate::report::Report;
use crate::system::System;
use crate::{Error, Result};

/// `true` starts the server.
pub const ENABLED_VARIABLE: &str = "DYN_SYSTEM_ENABLED";
/// The port; 0 takes a free one.
pub const PORT_VARIABLE: &str = "DYN_SYSTEM_PORT";
/// The address, or a name that has one.
pub const HOST_VARIABLE: &str = "DYN_SYSTEM_HOST";
/// One more path of the health probe.
pub const HEALTH_PATH_VARIABLE: &str = "DYN_SYSTEM_HEALTH_PATH";
/// One more path of the liveness probe.
pub const LIVE_PATH_VARIABLE: &str = "DYN_SYSTEM_LIVE_PATH";

/// The port when nothing else is said.
pub const DEFAULT_PORT: u16 = 8081;
/// The address when nothing else is said: any.
pub const DEFAULT_HOST: &str = "0.0.0.0";

/// A probe's answer in a format of the application's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// Its media type.
    pub content_type: String,
    /// Its body.
    pub body: String,
}

/// Writes the answers of probes; see [`Builder::format`].
pub(crate) type Format = Arc<dyn Fn(&Report) -> Option<Rendered> + Send + Sync>;

/// Which series `/metrics` shows unless it is asked for others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// Those that this process has registered.
    #[default]
    Process,
    /// All of the segment.
    Segment,
}

/// A system that is to be started: see [`System::builder`].
#[must_use]
pub struct Builder {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) health_path: Option<String>,
    pub(crate) live_path: Option<String>,
    pub(crate) registry: Option<Registry>,
    /// Why there is no segment.
    pub(crate) refused: Option<String>,
    pub(crate) scope: Scope,
    pub(crate) version: String,
    pub(crate) ready_by_checks: bool,
    pub(crate) format: Option<Format>,
    pub(crate) checks: Vec<(Spec, Box<dyn Check>)>,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            host: DEFAULT_HOST.to_owned(),
            port: DEFAULT_PORT,
            health_path: None,
            live_path: None,
            registry: None,
            refused: None,
            scope: Scope::default(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ready_by_checks: true,
            format: None,
            checks: Vec::new(),
        }
    }
}

impl Builder {
    /// The address to listen on, or a name that has one, of which an IPv4 address is preferred.
    pub fn host(mut self, host: &str) -> Self {
        host.clone_into(&mut self.host);
        self
    }

    /// The port to listen on; 0 takes a free one, which [`System::address`] names.
    pub const fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// One more path of the health probe.
    pub fn health_path(mut self, path: &str) -> Self {
        self.health_path = Some(path.to_owned());
        self
    }

    /// One more path of the liveness probe.
    pub fn live_path(mut self, path: &str) -> Self {
        self.live_path = Some(path.to_owned());
        self
    }

    /// The registry to show, and to show oneself in; the process's, [`Registry::root`], unless given.
    pub fn registry(mut self, registry: &Registry) -> Self {
        self.registry = Some(registry.clone());
        self
    }

    /// The segment can't be had, for this reason: only probes are served, and the check `segment` says so. For bindings, which
    /// open it themselves.
    pub fn without_segment(mut self, reason: &str) -> Self {
        self.refused = Some(reason.to_owned());
        self
    }

    /// Which series `/metrics` shows unless `?scope=process` or `?scope=segment` says otherwise.
    pub const fn scope(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// The application's version, for the answers of probes.
    pub fn version(mut self, version: &str) -> Self {
        version.clone_into(&mut self.version);
        self
    }

    /// Stays in state `starting` until [`System::set_state`]; otherwise it becomes ready once every required check has
    /// passed.
    pub const fn starts_until_told(mut self) -> Self {
        self.ready_by_checks = false;
        self
    }

    /// Writes the answers of probes in a format of the application's own; `?verbose=0` still gives the bare word, and the status
    /// stays 200 or 503. A format that panics, or takes longer than 0.25 s, is replaced by ours for that request.
    pub fn format(self, format: impl Fn(&Report) -> Rendered + Send + Sync + 'static) -> Self {
        self.format_or_ours(move |report| Some(format(report)))
    }

    /// As [`Self::format`], of one that may give none: then that request is answered in our format.
    pub fn format_or_ours(
        mut self,
        format: impl Fn(&Report) -> Option<Rendered> + Send + Sync + 'static,
    ) -> Self {
        self.format = Some(Arc::new(format));
        self
    }

    /// A check that is there from the first request on.
    pub fn check(mut self, spec: Spec, check: impl Check) -> Self {
        self.checks.push((spec, Box::new(check)));
        self
    }

    /// As [`Self::check`], of what is boxed already: for bindings.
    pub fn check_boxed(mut self, spec: Spec, check: Box<dyn Check>) -> Self {
        self.checks.push((spec, check));
        self
    }

    /// Starts server and checks.
    ///
    /// Takes its own threads and runtime, so it may be called from anywhere, and returns once requests are answered.
    ///
    /// # Errors
    /// [`Error::AddressInUse`] and [`Error::Listen`] where the address can't be had, those of its checks, what is
    /// wrong with its options. A segment that can't be opened is none: `/metrics` and the check `segment` say so.
    pub fn start(self) -> Result<System> {
        System::start(self)
    }

    /// As the environment says: none unless `DYN_SYSTEM_ENABLED` is true.
    ///
    /// # Errors
    /// [`Error::Variable`] for a value that can't be used.
    pub fn from_env() -> Result<Option<Self>> {
        Self::from_variables(|name| std::env::var_os(name))
    }

    /// As [`Self::from_env`], with variables from elsewhere; an empty one is none.
    ///
    /// # Errors
    /// As [`Self::from_env`].
    pub fn from_variables(variable: impl Fn(&str) -> Option<OsString>) -> Result<Option<Self>> {
        let text = |name: &'static str| -> Result<Option<String>> {
            let Some(value) = variable(name).filter(|value| !value.is_empty()) else { return Ok(None) };
            let wrong = |value: OsString| invalid(name, &value.to_string_lossy(), "UTF-8");
            value.into_string().map(Some).map_err(wrong)
        };
        let enabled = text(ENABLED_VARIABLE)?.map(|value| truth(&value)).transpose()?.unwrap_or(false);
        if !enabled {
            return Ok(None);
        }
        let mut builder = Self::default();
        if let Some(port) = text(PORT_VARIABLE)? {
            let wrong = |_| invalid(PORT_VARIABLE, &port, "a port, 0 to 65535, 0 for any free one");
            builder.port = port.parse().map_err(wrong)?;
        }
        if let Some(host) = text(HOST_VARIABLE)? {
            builder.host = host;
        }
        builder.health_path = text(HEALTH_PATH_VARIABLE)?;
        builder.live_path = text(LIVE_PATH_VARIABLE)?;
        // Found out before anything is started.
        builder.address()?;
        builder.check_paths()?;
        Ok(Some(builder))
    }

    /// The address to listen on.
    pub(crate) fn address(&self) -> Result<SocketAddr> {
        let expected = "an address or the name of one, such as 0.0.0.0, ::1 or localhost";
        let wrong = || invalid(HOST_VARIABLE, &self.host, expected);
        let host = self.host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&self.host);
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok((address, self.port).into());
        }
        let found: Vec<_> = (host, self.port).to_socket_addrs().map_err(|_| wrong())?.collect();
        found.iter().find(|address| address.is_ipv4()).or(found.first()).copied().ok_or_else(wrong)
    }

    /// Whether the paths of its own can be paths.
    pub(crate) fn check_paths(&self) -> Result<()> {
        let paths = [(HEALTH_PATH_VARIABLE, &self.health_path), (LIVE_PATH_VARIABLE, &self.live_path)];
        for (variable, path) in paths {
            let Some(path) = path else { continue };
            let is_allowed = |c: char| c.is_ascii_graphic() && !"?#\"<>\\^`{|}".contains(c);
            if !path.starts_with('/') || path.len() > 256 || !path.chars().all(is_allowed) {
                let found: String = path.chars().take(256).collect();
                return Err(invalid(
                    variable,
                    &found,
                    "a path that begins with /, without query, at most 256 bytes",
                ));
            }
        }
        Ok(())
    }
}

fn truth(value: &str) -> Result<bool> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err(invalid(ENABLED_VARIABLE, value, "true or false")),
    }
}

fn invalid(variable: &'static str, found: &str, expected: &'static str) -> Error {
    Error::Variable { variable, found: found.to_owned(), expected }
}
