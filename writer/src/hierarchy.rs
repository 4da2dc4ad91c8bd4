//! A service's levels, each a registry: runtime, namespace, component, endpoint.

use std::sync::Arc;

use crate::error::Result;
use crate::metrics_registry::MetricsRegistry;
use crate::registry::Registry;

/// How the levels show in names and labels.
///
/// By default names begin with `dynamo_`, and series have the labels `namespace`, `component` and `endpoint`. Values
/// are what the levels are called, to the letter. A level without a name has no label: to Prometheus an empty value
/// is none.
#[derive(Clone, Debug)]
pub struct Scheme {
    prefix: String,
    namespace: String,
    component: String,
    endpoint: String,
    labels: Vec<(String, String)>,
}

impl Default for Scheme {
    fn default() -> Self {
        Self::new("dynamo_", "")
    }
}

impl Scheme {
    fn new(prefix: &str, before: &str) -> Self {
        let label = |level: &str| format!("{before}{level}");
        Self {
            prefix: prefix.to_owned(),
            namespace: label("namespace"),
            component: label("component"),
            endpoint: label("endpoint"),
            labels: Vec::new(),
        }
    }

    /// The names and labels that NVIDIA Dynamo's own runtime gives: prefix `dynamo_component_`, labels
    /// `dynamo_namespace`, `dynamo_component`, `dynamo_endpoint`; with [`Self::worker_id`] that, too.
    #[must_use]
    pub fn upstream() -> Self {
        Self::new("dynamo_component_", "dynamo_")
    }

    /// Another prefix, as it shall stand in names.
    #[must_use]
    pub fn prefix(mut self, prefix: &str) -> Self {
        prefix.clone_into(&mut self.prefix);
        self
    }

    /// A label `worker_id` on every series.
    #[must_use]
    pub fn worker_id(self, id: &str) -> Self {
        self.label("worker_id", id)
    }

    /// Another label on every series.
    #[must_use]
    pub fn label(mut self, name: &str, value: &str) -> Self {
        self.labels.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// A level: what it is called, and its registry.
#[derive(Clone, Debug)]
struct Level {
    name: String,
    registry: Registry,
    scheme: Arc<Scheme>,
}

impl Level {
    /// The level below, with its label.
    fn below(&self, label: impl Fn(&Scheme) -> &str, name: &str) -> Result<Self> {
        let labels = [(label(&self.scheme), name)];
        let registry = self.registry.level("", if name.is_empty() { &[] } else { &labels }, &[])?;
        Ok(Self { name: name.to_owned(), registry, scheme: Arc::clone(&self.scheme) })
    }
}

/// The runtime: the level of everything that a process does.
///
/// ```
/// # fn main() -> Result<(), dyn_metrics::Error> {
/// use dyn_metrics::{DistributedRuntime, MetricsRegistry, Registry, Scheme};
///
/// # let dir = tempfile::tempdir_in("/dev/shm").unwrap();
/// # let root = Registry::open_at(dir.path().join("s"))?;
/// // DistributedRuntime::new() takes the process's registry: Registry::root().
/// let runtime = DistributedRuntime::with_registry(&root, Scheme::default())?;
/// let backend = runtime.namespace("prod")?.component("backend")?;
/// let generate = backend.endpoint("generate")?;
/// let requests = generate.create_intcounter("requests_total", "Requests answered", &[("model", "llama")])?;
/// requests.inc();
/// let line = r#"dynamo_requests_total{component="backend",endpoint="generate",model="llama",namespace="prod"} 1"#;
/// # #[cfg(feature = "render")]
/// assert!(backend.prometheus_format_str()?.contains(line));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct DistributedRuntime(Level);

/// What belongs together within a runtime, an application or a tenant for instance.
#[derive(Clone, Debug)]
pub struct Namespace(Level);

/// A part of a namespace that does one thing, in one or many processes.
#[derive(Clone, Debug)]
pub struct Component(Level);

/// A way to ask a component for something.
#[derive(Clone, Debug)]
pub struct Endpoint(Level);

impl DistributedRuntime {
    /// The runtime of the process's registry, with names and labels as [`Scheme`] has them by default.
    ///
    /// # Errors
    /// As [`Registry::root`].
    pub fn new() -> Result<Self> {
        Self::with_registry(&Registry::root()?, Scheme::default())
    }

    /// A runtime of another registry or scheme.
    ///
    /// # Errors
    /// As [`Registry::child`], for the prefix and the labels of `scheme`.
    pub fn with_registry(registry: &Registry, scheme: Scheme) -> Result<Self> {
        let labels: Vec<_> =
            scheme.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let levels = [&*scheme.namespace, &scheme.component, &scheme.endpoint];
        let registry = registry.child(&scheme.prefix, &labels)?.level("", &[], &levels)?;
        Ok(Self(Level { name: String::new(), registry, scheme: Arc::new(scheme) }))
    }

    /// A namespace of it.
    ///
    /// # Errors
    /// [`crate::Error::DuplicateLabel`] where the scheme's labels have the level's name.
    pub fn namespace(&self, name: &str) -> Result<Namespace> {
        self.0.below(|scheme| &scheme.namespace, name).map(Namespace)
    }
}

impl Namespace {
    /// A component of it.
    ///
    /// # Errors
    /// As [`DistributedRuntime::namespace`].
    pub fn component(&self, name: &str) -> Result<Component> {
        self.0.below(|scheme| &scheme.component, name).map(Component)
    }
}

impl Component {
    /// An endpoint of it.
    ///
    /// # Errors
    /// As [`DistributedRuntime::namespace`].
    pub fn endpoint(&self, name: &str) -> Result<Endpoint> {
        self.0.below(|scheme| &scheme.endpoint, name).map(Endpoint)
    }
}

macro_rules! levels {
    ($($level:ident)*) => {$(
        impl $level {
            /// What it is called.
            #[must_use]
            pub fn name(&self) -> &str {
                &self.0.name
            }

            /// Its registry, for code that keeps one without knowing of what.
            #[must_use]
            pub fn metrics_registry(&self) -> Arc<dyn MetricsRegistry> {
                Arc::new(self.0.registry.clone())
            }
        }

        impl MetricsRegistry for $level {
            fn registry(&self) -> &Registry {
                &self.0.registry
            }
        }
    )*};
}

levels! { DistributedRuntime Namespace Component Endpoint }
