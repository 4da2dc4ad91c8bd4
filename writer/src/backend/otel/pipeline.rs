//! A provider that exports over OTLP/HTTP, as code or the specification's variables say.

use std::collections::{BTreeMap, HashMap};
use std::env;
use std::fmt::Display;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry::{Key, KeyValue};
use opentelemetry_otlp::{MetricExporter, Protocol, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{Instrument, PeriodicReader, SdkMeterProvider, Stream, Temporality};

use super::client::Client;
use super::exporting::{Counted, Outcomes};
use super::{OpenTelemetry, locked};
use crate::error::{Error, Result};
use crate::sys;

/// How many series each family may have, for the SDK, which has a limit of its own.
pub(super) type Limits = Arc<Mutex<BTreeMap<String, usize>>>;

const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
const PROTOCOLS: [&str; 2] = ["OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];
const TIMEOUTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"];
/// Of a request, where nothing is said: the specification's.
const TIMEOUT: Duration = Duration::from_secs(10);
const INSTANCE: Key = Key::from_static_str("service.instance.id");

/// Options of an [`OpenTelemetry`] that exports over OTLP/HTTP, as protobuf.
///
/// What is not said here, the variables of OpenTelemetry's specification say: `OTEL_EXPORTER_OTLP_ENDPOINT`, `_HEADERS`
/// and `_TIMEOUT`, each also with `METRICS_` after `OTLP_`, `OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE`,
/// `OTEL_METRIC_EXPORT_INTERVAL`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_SERVICE_NAME`; and `OTEL_SDK_DISABLED=true` or
/// `OTEL_METRICS_EXPORTER=none`, with which nothing is exported.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct OpenTelemetryBuilder {
    endpoint: Option<String>,
    headers: HashMap<String, String>,
    interval: Option<Duration>,
    timeout: Option<Duration>,
    temporality: Option<Temporality>,
    service_name: Option<String>,
    attributes: Vec<KeyValue>,
}

impl OpenTelemetryBuilder {
    /// The whole address that is posted to, default `http://localhost:4318/v1/metrics`. TLS is not spoken: send to a
    /// collector on this machine, or use [`OpenTelemetry::with_meter_provider`].
    pub fn endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.endpoint = Some(endpoint.into());
        self
    }

    /// A header of each request.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.insert(name.into(), value.into());
        self
    }

    /// Between two exports, default 60 s; not 0.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = Some(interval);
        self
    }

    /// Of a request, and for the retries of an export: default 10 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Whether totals are exported or what was added since, default totals. With deltas, what a failed export had is
    /// lost.
    pub fn temporality(mut self, temporality: Temporality) -> Self {
        self.temporality = Some(temporality);
        self
    }

    /// The resource's `service.name`.
    pub fn service_name(mut self, name: impl Into<String>) -> Self {
        self.service_name = Some(name.into());
        self
    }

    /// Another attribute of the resource. `service.instance.id` is a random one unless it is given: what two
    /// processes export is never taken for one's.
    pub fn attribute(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.attributes.push(KeyValue::new(name.into(), value.into()));
        self
    }

    /// Makes it, and starts the thread that exports.
    ///
    /// # Errors
    /// [`Error::Option`] for what can't be done: TLS, another protocol, an address that is none.
    pub fn build(self) -> Result<OpenTelemetry> {
        let limits = Limits::default();
        let outcomes = Arc::new(Outcomes::default());
        let of_family = Arc::clone(&limits);
        let mut provider = SdkMeterProvider::builder().with_resource(self.resource()).with_view(
            move |instrument: &Instrument| {
                let limit = locked(&of_family).get(instrument.name()).copied()?;
                Stream::builder().with_cardinality_limit(limit).build().ok()
            },
        );
        if !is_disabled()? {
            let exporter = Counted { exporter: self.exporter(&outcomes)?, outcomes: Arc::clone(&outcomes) };
            let reader = PeriodicReader::builder(exporter);
            let reader = reader.with_interval(self.interval.unwrap_or_else(interval));
            provider = provider.with_reader(reader.build());
        }
        OpenTelemetry::new(provider.build(), limits, outcomes, true)
    }

    fn exporter(&self, outcomes: &Arc<Outcomes>) -> Result<MetricExporter> {
        self.check_endpoint()?;
        if let Some((option, found)) = first(PROTOCOLS).filter(|(_, found)| found != "http/protobuf") {
            return Err(unusable(option, found, "http/protobuf"));
        }
        let timeout = self.timeout.or_else(|| TIMEOUTS.iter().find_map(|name| milliseconds(name)));
        let timeout = timeout.unwrap_or(TIMEOUT);
        let client = Client { timeout, outcomes: Arc::clone(outcomes) };
        let mut builder = MetricExporter::builder().with_http().with_http_client(client);
        builder = builder.with_protocol(Protocol::HttpBinary).with_timeout(timeout);
        builder = builder.with_headers(self.headers.clone());
        if let Some(endpoint) = &self.endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        let built = match self.temporality {
            Some(temporality) => builder.with_temporality(temporality).build(),
            None => builder.build(),
        };
        built
            .map_err(|error| unusable("OTEL_EXPORTER_OTLP", error, "what OpenTelemetry's specification says"))
    }

    fn check_endpoint(&self) -> Result<()> {
        let given = self.endpoint.clone().map(|endpoint| ("endpoint", endpoint));
        let Some((option, endpoint)) = given.or_else(|| first(ENDPOINTS)) else { return Ok(()) };
        let (scheme, rest) = endpoint.split_once("://").unwrap_or_default();
        if rest.split('/').next().is_some_and(|authority| authority.contains('@')) {
            let expected = "an address without, and a header that says who sends";
            return Err(unusable(option, "an address with a user's name", expected));
        }
        if scheme.eq_ignore_ascii_case("http") {
            return Ok(());
        }
        Err(unusable(option, endpoint, "an address that begins with http://: TLS is not spoken"))
    }

    fn resource(&self) -> Resource {
        let given = self.resource_of(&self.attributes);
        if given.get(&INSTANCE).is_some() {
            return given;
        }
        self.resource_of(self.attributes.iter().chain([&KeyValue::new(INSTANCE, random_uuid())]))
    }

    fn resource_of<'a>(&self, attributes: impl IntoIterator<Item = &'a KeyValue>) -> Resource {
        let builder = Resource::builder().with_attributes(attributes.into_iter().cloned());
        match &self.service_name {
            Some(name) => builder.with_service_name(name.clone()).build(),
            None => builder.build(),
        }
    }
}

/// RFC 9562, version 4.
fn random_uuid() -> String {
    let (high, low) = (sys::random() & !0xf000 | 0x4000, sys::random() & (!0 >> 2) | 1 << 63);
    let (first, second, third) = (high >> 32, high >> 16 & 0xffff, high & 0xffff);
    format!("{first:08x}-{second:04x}-{third:04x}-{:04x}-{:012x}", low >> 48, low & 0xffff_ffff_ffff)
}

fn unusable(option: &'static str, found: impl Display, expected: &str) -> Error {
    Error::Option { option, found: found.to_string(), expected: expected.to_owned() }
}

/// The first of these variables that is set and not empty.
fn first<const N: usize>(names: [&'static str; N]) -> Option<(&'static str, String)> {
    names.into_iter().find_map(|name| variable(name).map(|value| (name, value)))
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}

/// A time, as the specification writes it; one that is none is ignored, as it says.
fn milliseconds(name: &str) -> Option<Duration> {
    let value = variable(name)?;
    let time = value.parse().ok().filter(|time| *time > 0).map(Duration::from_millis);
    if time.is_none() {
        log::warn!("otel: {name}: found {value:?}, expected milliseconds: ignored");
    }
    time
}

fn interval() -> Duration {
    milliseconds("OTEL_METRIC_EXPORT_INTERVAL").unwrap_or(Duration::from_secs(60))
}

/// Whether the environment wants no exports.
fn is_disabled() -> Result<bool> {
    if variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Ok(true);
    }
    match variable("OTEL_METRICS_EXPORTER").as_deref() {
        None | Some("otlp") => Ok(false),
        Some("none") => Ok(true),
        Some(other) => Err(unusable("OTEL_METRICS_EXPORTER", other, "otlp or none")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_spoken_is_refused() {
        for endpoint in ["https://collector:4318/v1/metrics", "collector:4318", "", "grpc://collector"] {
            let built = OpenTelemetry::builder().endpoint(endpoint).build();
            let error = built.unwrap_err().to_string();
            assert!(error.contains("http://") && error.contains(endpoint), "{error}");
        }
        assert!(OpenTelemetry::builder().endpoint("http://").build().is_err());
        let secret = OpenTelemetry::builder().endpoint("http://me:secret@collector/v1/metrics").build();
        let error = secret.unwrap_err().to_string();
        assert!(error.contains("a user's name") && !error.contains("secret"), "{error}");
    }

    #[test]
    fn ids_are_random_ones_of_version_4() {
        let (one, other) = (random_uuid(), random_uuid());
        assert_ne!(one, other);
        let bytes = one.as_bytes();
        assert_eq!((one.len(), bytes[8], bytes[14], bytes[23]), (36, b'-', b'4', b'-'), "{one}");
        assert!(b"89ab".contains(&bytes[19]), "{one}");
    }

    #[test]
    fn an_instance_that_is_given_stays() {
        let id = |builder: OpenTelemetryBuilder| builder.resource().get(&INSTANCE).map(|id| id.to_string());
        assert_eq!(id(OpenTelemetry::builder().attribute("service.instance.id", "7")).unwrap(), "7");
        assert_eq!(id(OpenTelemetry::builder()).unwrap().len(), 36);
    }
}
