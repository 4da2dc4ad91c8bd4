//! A service's levels, each a registry.

use std::ffi::c_char;

use dyn_metrics::{Component, DistributedRuntime, Endpoint, MetricsRegistry, Namespace, Registry, Scheme};

use crate::handles::{dynm_registry, open, opened};
use crate::input::{store, text};
use crate::registry::REGISTRIES;
use crate::status::{Result, dynm_status, edge, failure};
use crate::types::{DYNM_SCHEME_UPSTREAM, dynm_label};

/// A level of a hierarchy.
pub(crate) enum Level {
    Runtime(DistributedRuntime),
    Namespace(Namespace),
    Component(Component),
    Endpoint(Endpoint),
}

impl Level {
    fn registry(&self) -> &Registry {
        match self {
            Self::Runtime(level) => level.registry(),
            Self::Namespace(level) => level.registry(),
            Self::Component(level) => level.registry(),
            Self::Endpoint(level) => level.registry(),
        }
    }
}

/// A runtime, the level of everything that a process does: a registry whose namespaces, components and endpoints add
/// their labels.
///
/// By default names begin with `dynamo_`, and levels have the labels `namespace`, `component` and `endpoint`;
/// DYNM_SCHEME_UPSTREAM: `dynamo_component_`, and `dynamo_namespace`, ... as NVIDIA Dynamo's own runtime.
///
/// Requires: `parent` a registry, or NULL for dynm_root()'s; `flags` 0 or DYNM_SCHEME_UPSTREAM; `prefix` another beginning
/// of names, or NULL; `labels` a list of `label_count`, for every series (`worker_id` for instance); `runtime` not NULL.
/// Guarantees: as dynm_registry_child(); a user's label that a level adds is refused at every level. Threads: any.
/// Signals: no. Cost: memory. Errors: as dynm_registry_child() and dynm_root(), and DYNM_OLD_LIBRARY for unknown flags.
///
/// # Safety
/// As Requires says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_runtime(
    parent: *const dynm_registry,
    flags: u32,
    prefix: *const c_char,
    labels: *const dynm_label,
    label_count: usize,
    runtime: *mut *const dynm_registry,
) -> dynm_status {
    edge(|| {
        store(runtime, std::ptr::null(), "runtime")?;
        let (home, key) = match parent.is_null() {
            true => (Registry::root()?, String::new()),
            false => open(parent).map(|parent| (parent.registry.clone(), parent.key.clone()))?,
        };
        if flags & !DYNM_SCHEME_UPSTREAM != 0 {
            let message = format!("flags: found unknown bits in {flags:#x}");
            return failure(dynm_status::DYNM_OLD_LIBRARY, message);
        }
        let is_upstream = flags & DYNM_SCHEME_UPSTREAM != 0;
        let mut scheme = if is_upstream { Scheme::upstream() } else { Scheme::default() };
        if !prefix.is_null() {
            scheme = scheme.prefix(text(prefix, "prefix")?);
        }
        let pairs = crate::input::labels(labels, label_count, "labels")?;
        let scheme = pairs.iter().fold(scheme, |scheme, (name, value)| scheme.label(name, value));
        let made = DistributedRuntime::with_registry(&home, scheme)?;
        let key = format!("{key}\0runtime {flags} {:?} {:?}", made.prefix(), made.labels());
        store(runtime, keep(key, || Ok(Level::Runtime(made)))?, "runtime")
    })
}

/// The registry of a level, the same for the same key.
fn keep(key: String, make: impl FnOnce() -> Result<Level>) -> Result<*const dynm_registry> {
    let same = |known: &dynm_registry| known.key == key;
    let found = REGISTRIES.find_or_push(same, || {
        let level = make()?;
        Ok(dynm_registry::new(key.clone(), level.registry().clone()).of_level(level))
    })?;
    Ok(opened(found))
}

/// Stores the level below `parent` that `make` makes.
fn below(
    parent: *const dynm_registry,
    what: &'static str,
    name: *const c_char,
    registry: *mut *const dynm_registry,
    make: impl FnOnce(&Level, &str) -> Option<dyn_metrics::Result<Level>>,
) -> dynm_status {
    edge(|| {
        store(registry, std::ptr::null(), what)?;
        let (parent, name) = (open(parent)?, text(name, "name")?);
        let made = parent.level.as_ref().and_then(|level| make(level, name));
        let Some(made) = made else {
            let message = format!("found a registry that has no {what}, expected the level above it");
            return failure(dynm_status::DYNM_WRONG_TYPE, message);
        };
        let made = made?;
        let key = format!("{}\0{what} {name:?}", parent.key);
        store(registry, keep(key, || Ok(made))?, what)
    })
}

/// A namespace of a runtime: what belongs together, an application or a tenant for instance.
///
/// Requires: `runtime` from dynm_runtime(); `name` a text, empty for none; `registry` not NULL. Guarantees: the name is
/// the label's value, to the letter; otherwise as dynm_registry_child(). Threads: any. Signals: no. Cost: memory. Errors:
/// DYNM_NULL, DYNM_CLOSED, DYNM_WRONG_TYPE, DYNM_UTF8, DYNM_LABELS.
///
/// # Safety
/// As Requires says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_namespace(
    runtime: *const dynm_registry,
    name: *const c_char,
    registry: *mut *const dynm_registry,
) -> dynm_status {
    below(runtime, "namespace", name, registry, |level, name| match level {
        Level::Runtime(runtime) => Some(runtime.namespace(name).map(Level::Namespace)),
        _ => None,
    })
}

/// A component of a namespace: what does one thing, in one or many processes. As dynm_namespace(), of one.
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_component(
    namespace_: *const dynm_registry,
    name: *const c_char,
    registry: *mut *const dynm_registry,
) -> dynm_status {
    below(namespace_, "component", name, registry, |level, name| match level {
        Level::Namespace(namespace) => Some(namespace.component(name).map(Level::Component)),
        _ => None,
    })
}

/// An endpoint of a component: a way to ask it for something. As dynm_namespace(), of one.
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_endpoint(
    component: *const dynm_registry,
    name: *const c_char,
    registry: *mut *const dynm_registry,
) -> dynm_status {
    below(component, "endpoint", name, registry, |level, name| match level {
        Level::Component(component) => Some(component.endpoint(name).map(Level::Endpoint)),
        _ => None,
    })
}
