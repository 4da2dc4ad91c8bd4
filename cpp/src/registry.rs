//! Segments and registries.

use std::ffi::{CStr, CString, c_char};

use dyn_metrics::{Builder, Registry};

use crate::choice::kind_text;
use crate::handles::{List, c_text, close, dynm_registry, open, opened};
use crate::input::{give, labels, list, not_null, sized, store, text, text_or_empty};
use crate::status::{Result, dynm_status, edge, failure};
use crate::types::{
    DYNM_ABI_LEVEL, DYNM_FORCE, DYNM_FRESH, DYNM_SET_GROUP, dynm_label, dynm_registry_description,
    dynm_segment_options,
};

pub(crate) static REGISTRIES: List<dynm_registry> = List::new();
/// Key of the registry that [`dynm_root`] gives.
const ROOT: &str = "root";

/// A registry's texts, as C reads them; never freed.
pub(crate) struct Scope {
    path: CString,
    kind: CString,
    prefix: CString,
    labels: Labels,
}

/// Labels as C reads them.
pub(crate) struct Labels {
    _texts: Vec<(CString, CString)>,
    list: Vec<dynm_label>,
}

// SAFETY: the pointers lead into texts that the value owns and never changes.
unsafe impl Send for Labels {}
// SAFETY: as above.
unsafe impl Sync for Labels {}

impl Labels {
    pub(crate) fn new<'l>(pairs: impl Iterator<Item = (&'l str, &'l str)>) -> Self {
        let texts: Vec<_> = pairs.map(|(name, value)| (c_text(name), c_text(value))).collect();
        let pair =
            |(name, value): &(CString, CString)| dynm_label { name: name.as_ptr(), value: value.as_ptr() };
        let list = texts.iter().map(pair).collect();
        Self { _texts: texts, list }
    }

    pub(crate) fn list(&self) -> &[dynm_label] {
        &self.list
    }
}

impl Scope {
    pub(crate) fn new(registry: &Registry) -> Self {
        let pairs = registry.labels().iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let path = c_text(&registry.path().to_string_lossy());
        let (kind, prefix) = (kind_text(registry), c_text(registry.prefix()));
        Self { path, kind, prefix, labels: Labels::new(pairs) }
    }

    pub(crate) fn kind(&self) -> &CStr {
        &self.kind
    }
}

/// Refuses a level of the ABI that this library doesn't have.
pub(crate) fn check_level(level: u32) -> Result<()> {
    if level <= DYNM_ABI_LEVEL {
        return Ok(());
    }
    let message = format!(
        "the header is of ABI level {level}, this libdyn_metrics has {DYNM_ABI_LEVEL}; install one as new as the header"
    );
    failure(dynm_status::DYNM_OLD_LIBRARY, message)
}

fn builder(options: &dynm_segment_options) -> Result<Builder> {
    check_level(options.abi_level)?;
    let unknown = options.flags & !(DYNM_SET_GROUP | DYNM_FRESH | DYNM_FORCE);
    if unknown != 0 {
        return failure(
            dynm_status::DYNM_OLD_LIBRARY,
            format!("options.flags: found unknown bits {unknown:#x}"),
        );
    }
    let given = |flag| options.flags & flag != 0;
    let mut builder = Registry::builder().fresh(given(DYNM_FRESH)).force(given(DYNM_FORCE));
    builder = builder.role(text_or_empty(options.role, "options.role")?);
    if !options.path.is_null() {
        builder = builder.path(text(options.path, "options.path")?);
    }
    if given(DYNM_SET_GROUP) {
        builder = builder.group(options.group);
    }
    for (number, set) in [
        (options.mode, Builder::mode as fn(Builder, u32) -> Builder),
        (options.processes, Builder::processes),
        (options.max_series_per_family, Builder::max_series_per_family),
    ] {
        builder = if number == 0 { builder } else { set(builder, number) };
    }
    if options.max_bytes != 0 {
        builder = builder.max_bytes(options.max_bytes);
    }
    for (name, value) in
        labels(options.process_labels, options.process_label_count, "options.process_labels")?
    {
        builder = builder.process_label(name, value);
    }
    for (name, value) in labels(options.common_labels, options.common_label_count, "options.common_labels")? {
        builder = builder.common_label(name, value);
    }
    let uids = list(options.allowed_uids, options.allowed_uid_count, "options.allowed_uids")?;
    Ok(uids.iter().fold(builder, |builder, uid| builder.allow_uid(*uid)))
}

/// Opens a segment, creating it when there is none.
///
/// Requires: `options` from dynm_segment_options_init(), or NULL for the defaults; `registry` not NULL.
/// Guarantees: on success `*registry` is the segment's registry; the same options give the same one, and each
/// opening wants its dynm_registry_close(). On failure `*registry` is NULL and what is at the path is
/// unchanged. Nothing in `options` is kept. Threads: any. Signals: no. Cost: system calls, memory for the
/// mapping. Errors: DYNM_OPTION, DYNM_NAME, DYNM_LABELS, DYNM_UTF8, DYNM_PERMISSION, DYNM_NOT_SEGMENT,
/// DYNM_NEWER_SEGMENT, DYNM_OLD_LIBRARY, DYNM_FULL, DYNM_IN_USE, DYNM_IO, DYNM_NULL.
///
/// # Safety
/// As Requires says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_open(
    options: *const dynm_segment_options,
    registry: *mut *const dynm_registry,
) -> dynm_status {
    edge(|| {
        store(registry, std::ptr::null(), "registry")?;
        let builder =
            if options.is_null() { Registry::builder() } else { builder(&sized(options, "options")?)? };
        let made = builder.clone().open()?;
        let key = format!("{}\0{builder:?}", made.path().display());
        let same = |known: &dynm_registry| known.key == key;
        let found = REGISTRIES.find_or_push(same, || Ok(dynm_registry::new(key.clone(), made)))?;
        store(registry, opened(found), "registry")
    })
}

/// The root registry of this process: the segment at the environment's `DYN_METRICS_SHM`, else at
/// `/dev/shm/dynamo`, opened by the first call; what its `DYN_METRICS_REGISTRY` names instead, see
/// dynm_registry_of_kind().
///
/// Requires: `registry` not NULL. Guarantees: every call gives the same one; dynm_registry_close() of it does
/// nothing. A call that failed may be repeated. Threads: any. Signals: no. Cost: after the first call a
/// comparison. Errors: as dynm_open().
///
/// # Safety
/// As Requires says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_root(registry: *mut *const dynm_registry) -> dynm_status {
    edge(|| {
        store(registry, std::ptr::null(), "registry")?;
        let make = || Ok(dynm_registry::new(ROOT.to_owned(), Registry::root()?));
        let found = REGISTRIES.find_or_push(|known| known.key == ROOT, make)?;
        store(registry, opened(found), "registry")
    })
}

/// A registry of the same segment, or what is used instead, with a prefix before every name and labels on every series.
///
/// Requires: `parent` a registry; `prefix` as it shall stand in the name ("dynamo_"), or NULL for none;
/// `labels` a list of `label_count`; `registry` not NULL. Guarantees: the parent's prefix and labels come
/// first; what is registered through it is the same series as one of the full name and labels. The same
/// arguments give the same registry, and each call wants its dynm_registry_close(); closing the parent
/// doesn't close it. On failure `*registry` is NULL. Threads: any. Signals: no. Cost: memory. Errors:
/// DYNM_NULL, DYNM_CLOSED, DYNM_UTF8, DYNM_NAME, DYNM_LABELS.
///
/// # Safety
/// As Requires says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_registry_child(
    parent: *const dynm_registry,
    prefix: *const c_char,
    labels: *const dynm_label,
    label_count: usize,
    registry: *mut *const dynm_registry,
) -> dynm_status {
    edge(|| {
        store(registry, std::ptr::null(), "registry")?;
        let parent = open(parent)?;
        let pairs = crate::input::labels(labels, label_count, "labels")?;
        let child = parent.registry.child(text_or_empty(prefix, "prefix")?, &pairs)?;
        let key = format!("{}\0child {:?} {:?}", parent.key, child.prefix(), child.labels());
        let same = |known: &dynm_registry| known.key == key;
        let found = REGISTRIES.find_or_push(same, || Ok(dynm_registry::new(key.clone(), child)))?;
        store(registry, opened(found), "registry")
    })
}

/// Ends registration through a registry, once for each opening.
///
/// Requires: a registry. Guarantees: after the last close its use gives DYNM_CLOSED. Metrics and families
/// that came from it go on working, the segment stays mapped and the file stays: what was counted is not
/// lost. Threads: any, also while others use it. Signals: yes. Cost: small. Errors: DYNM_NULL,
/// DYNM_WRONG_TYPE, DYNM_CLOSED.
///
/// # Safety
/// As Requires says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_registry_close(registry: *const dynm_registry) -> dynm_status {
    edge(|| match crate::handles::object(registry)? {
        root if root.key == ROOT => Ok(()),
        _ => close(registry),
    })
}

/// Path, prefix and labels of a registry.
///
/// Requires: a registry; `out->struct_size` set. Guarantees: what `*out` points to belongs to the library and
/// stays for ever. Threads: any. Signals: yes. Cost: a copy. Errors: DYNM_NULL, DYNM_WRONG_TYPE, DYNM_CLOSED,
/// DYNM_OPTION.
///
/// # Safety
/// As Requires says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_registry_describe(
    registry: *const dynm_registry,
    out: *mut dynm_registry_description,
) -> dynm_status {
    edge(|| {
        let Scope { path, prefix, labels, .. } = &open(registry)?.scope;
        let description = dynm_registry_description {
            struct_size: 0,
            path: path.as_ptr(),
            prefix: prefix.as_ptr(),
            labels: labels.list().as_ptr(),
            label_count: labels.list().len(),
        };
        not_null(out, "out")?;
        give(&description, out, "out")
    })
}
