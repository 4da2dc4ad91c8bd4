//! What keeps a registry's numbers, and how much of it is shown.

use std::ffi::{CString, c_char};

use dyn_metrics::Registry;

use crate::handles::{dynm_registry, open, opened};
use crate::input::{store, text};
use crate::registry::REGISTRIES;
use crate::status::{dynm_status, edge, failure};
use crate::visit::give_text;

/// A registry of a kind that the environment's `DYN_METRICS_REGISTRY` may name: "shm" is a segment, "null" nothing,
/// "prometheus" this process's memory, "plugin:/path.so?options" what a plugin does.
///
/// Requires: `kind` such a name, or NULL for what the environment says, without it "shm"; `registry` not NULL.
/// Guarantees: metrics are registered and updated as in a segment; the same kind gives the same registry of a process,
/// and each call wants its dynm_registry_close(). On failure `*registry` is NULL. Threads: any. Signals: no. Cost: as
/// dynm_open(). Errors: DYNM_OPTION (this library doesn't have the kind, or a plugin can't be used), DYNM_UTF8, and as
/// dynm_open().
///
/// # Safety
/// As Requires says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_registry_of_kind(
    kind: *const c_char,
    registry: *mut *const dynm_registry,
) -> dynm_status {
    edge(|| {
        store(registry, std::ptr::null(), "registry")?;
        let (made, named) = if kind.is_null() {
            let named = std::env::var_os("DYN_METRICS_REGISTRY").unwrap_or_default();
            (Registry::from_env()?, named.to_string_lossy().into_owned())
        } else {
            let kind = text(kind, "kind")?;
            (Registry::of_kind(kind)?, kind.to_owned())
        };
        // Of a segment its path, which the environment may change later; of another one all of its name: plugins have options.
        let key = match made.is_segment() {
            true => format!("\0kind shm {}", made.path().display()),
            false => format!("\0kind {named}"),
        };
        let same = |known: &dynm_registry| known.key == key;
        let found = REGISTRIES.find_or_push(same, || Ok(dynm_registry::new(key.clone(), made)))?;
        store(registry, opened(found), "registry")
    })
}

/// What keeps a registry's numbers: "shm" for a segment, "null" for nothing, ...
///
/// Requires: a registry. Guarantees: stays for ever. Threads: any. Signals: yes. Cost: none. Errors: "" for what is no
/// open registry.
///
/// # Safety
/// As Requires says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_registry_kind(registry: *const dynm_registry) -> *const c_char {
    open(registry).map_or(c"".as_ptr(), |registry| registry.scope.kind().as_ptr())
}

/// The same registry, of which only families up to a priority level are rendered and visited.
///
/// Requires: `parent` a registry; `level` 0 (most important) to 255; `registry` not NULL. Guarantees: everything goes on
/// being counted, the numbers of other families are not read; children are the same. The same arguments give the same
/// registry, and each call wants its dynm_registry_close(). On failure `*registry` is NULL. Threads: any. Signals: no.
/// Cost: memory. Errors: DYNM_NULL, DYNM_CLOSED, DYNM_OPTION.
///
/// # Safety
/// As Requires says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_registry_with_max_level(
    parent: *const dynm_registry,
    level: u32,
    registry: *mut *const dynm_registry,
) -> dynm_status {
    edge(|| {
        store(registry, std::ptr::null(), "registry")?;
        let parent = open(parent)?;
        let Ok(level) = u8::try_from(level) else {
            let message = format!("level: found {level}, expected 0 to 255");
            return failure(dynm_status::DYNM_OPTION, message);
        };
        let key = format!("{}\0level {level}", parent.key);
        let same = |known: &dynm_registry| known.key == key;
        let make = || Ok(dynm_registry::new(key.clone(), parent.registry.with_max_level(level)));
        store(registry, opened(REGISTRIES.find_or_push(same, make)?), "registry")
    })
}

/// Renders what is registered through a registry and those below it as Prometheus text 0.0.4: names with its prefix,
/// series with its labels.
///
/// Requires, Guarantees, Threads, Signals, Cost: as dynm_render(). Errors: as there, and DYNM_OPTION for a registry that
/// shows nothing.
///
/// # Safety
/// As Requires says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_registry_format(
    registry: *const dynm_registry,
    text: *mut *mut c_char,
    length: *mut usize,
) -> dynm_status {
    edge(|| {
        store(text, std::ptr::null_mut(), "text")?;
        give_text(open(registry)?.registry.render()?.into_bytes(), text, length)
    })
}

/// A registry's kind, as C reads it.
pub(crate) fn kind_text(registry: &Registry) -> CString {
    crate::handles::c_text(registry.kind())
}
