//! What this process itself has in a segment: for its own server. Hidden: not for applications.

use std::cell::RefCell;
use std::collections::HashMap;

use dyn_metrics_layout::header::BYTES;
use dyn_metrics_layout::kind::Number;
use dyn_metrics_layout::name::is_reserved_label;
use dyn_metrics_layout::process::SlotWords;
use dyn_metrics_layout::record;
use dyn_metrics_layout::sync::Ordering;
use dyn_metrics_layout::{GaugeMode, Kind};

use crate::Registry;
use crate::family::FamilyCore;
use crate::gauge_cells::GaugeCore;
use crate::origin::{Identity, Origin};
use crate::segment::{Segment, attached};
use crate::sys::FileId;

/// A series that this process has registered or looked up, through any registry of the segment's path.
#[derive(Clone, Debug)]
pub struct OwnSeries {
    /// Its family's exposed name.
    pub name: &'static str,
    /// Its family's help.
    pub help: &'static str,
    /// Its family's unit; may be empty.
    pub unit: &'static str,
    /// Its family's type.
    pub kind: Kind,
    /// How the gauges of several processes combine.
    pub mode: GaugeMode,
    /// Names of the states of a state set, in the order of their bits.
    pub states: &'static [String],
    /// Its labels, sorted by name, the segment's common ones included.
    pub labels: Vec<(String, String)>,
    /// What this process has set; none where it has set nothing, and of kinds whose cells belong to no process.
    pub value: Option<Number>,
}

/// What the path of a registry leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The segment in which this process registers.
    Attached,
    /// Another file: new registrations will go there.
    Replaced,
    /// No file that could be looked at.
    Unreachable(String),
    /// A segment of this path in which this process has registered has no name any more: what counts there is lost with the
    /// last process that holds it.
    Removed,
}

/// What `registry` is a view of: without its prefix and labels, and with every level.
#[must_use]
pub fn whole(registry: &Registry) -> Registry {
    registry.whole()
}

/// Every series that this process has registered or looked up in the segments of `registry`, sorted by name and labels.
///
/// Cost: reads the record of each, so for scrapes, not for hot paths. A series that a superseded segment has too is there
/// once, with the value in the newest one that has any.
#[must_use]
pub fn series(registry: &Registry) -> Vec<OwnSeries> {
    let found = RefCell::new(HashMap::new());
    for segment in attached().filter(|segment| segment.path == registry.path()) {
        let common = common_labels(segment);
        let note = |origin: &Origin, value| {
            let Some(series) = own(origin, &common, value) else { return };
            let mut found = found.borrow_mut();
            let kept =
                found.entry((series.name, series.labels.clone())).or_insert_with(|| series.clone()).value;
            if kept.is_none() {
                found.insert((series.name, series.labels.clone()), series);
            }
        };
        segment.infos.for_each(|origin| note(origin, None));
        segment.gauges.for_each(|core| {
            let Some(Identity::Segment(origin)) = core.identity() else { return };
            note(origin, GaugeCore::value(core));
        });
        for cells in &segment.cells {
            cells.for_each(|cells| {
                let Some(Identity::Segment(origin)) = cells.identity() else { return };
                note(origin, None);
            });
        }
    }
    let mut found: Vec<OwnSeries> = found.into_inner().into_values().collect();
    found.sort_by(|a, b| (a.name, &a.labels).cmp(&(b.name, &b.labels)));
    found
}

fn own(origin: &Origin, common: &[(String, String)], value: Option<Number>) -> Option<OwnSeries> {
    let FamilyCore { name, help, unit, kind, mode, states, .. } = origin.family;
    if origin.is_gone() {
        return None;
    }
    let mut labels = origin.labels().ok()?;
    for (label, text) in common {
        let reserved = is_reserved_label(label, *kind, mode.is_all(), name);
        if !reserved && labels.iter().all(|(own, _)| own != label) {
            labels.push((label.clone(), text.clone()));
        }
    }
    labels.sort();
    Some(OwnSeries { name, help, unit, kind: *kind, mode: *mode, states, labels, value })
}

/// The labels of the segment that every sample gets.
pub(crate) fn common_labels(segment: &'static Segment) -> Vec<(String, String)> {
    let mut bytes = vec![0; BYTES];
    let copied = segment.reach(0).and_then(|view| Ok(view.copy(0, &mut bytes)?));
    let block = segment.header.common_labels(&bytes);
    let count = segment.header.common_count as usize;
    if copied.is_err() || record::check_labels(block, count, 0).is_err() {
        return Vec::new();
    }
    record::labels(block).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Says in this process's slot at which port its own server listens, 0 none; false where it has no slot.
pub fn set_http_port(registry: &Registry, port: u16) -> bool {
    let Some(segment) = registry.current() else { return false };
    let Ok(claimant) = segment.claimant() else { return false };
    let Ok(words) = segment.at::<SlotWords>(segment.header.process_slot(claimant.slot)) else { return false };
    words.http_port.store(u64::from(port), Ordering::Relaxed);
    true
}

/// What the registry's path leads to now.
#[must_use]
pub fn standing(registry: &Registry) -> Standing {
    let links = |segment: &Segment| segment.with_fd(|fd| Ok(nix::sys::stat::fstat(fd)?.st_nlink));
    if attached().any(|segment| segment.path == registry.path() && links(segment) == Ok(0)) {
        return Standing::Removed;
    }
    match FileId::at(registry.path()) {
        Err(errno) => Standing::Unreachable(std::io::Error::from(errno).to_string()),
        Ok(id) if registry.current().is_some_and(|segment| segment.id == id) => Standing::Attached,
        Ok(_) => Standing::Replaced,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Counter, Opts};

    #[test]
    fn a_process_knows_its_own_series_and_values() {
        let directory = tempfile::tempdir_in("/dev/shm").unwrap();
        let builder = Registry::builder().path(directory.path().join("s")).max_bytes(1 << 20);
        let registry = builder.common_label("host", "a").common_label("le", "x").open().unwrap();
        registry.counter("c_total", "Cs").unwrap().inc();
        registry.info("build_info", "", &[("host", "b")]).unwrap();
        registry.gauge("unset", "").unwrap();
        let gauge = registry.child("", &[("zone", "1")]).unwrap().float_gauge("g", "").unwrap();
        gauge.set(1.5);
        let opts = Opts::new("h", "").bounds(&[1.0]);
        registry.family::<crate::Histogram>(&opts, &["m"]).unwrap().with(&["x"]).observe(0.5);
        let found = series(&registry);
        let shown: Vec<_> = found.iter().map(|own| (own.name, own.labels.clone(), own.value)).collect();
        let labels = |pairs: &[(&str, &str)]| -> Vec<_> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let expected = [
            ("build_info", labels(&[("host", "b"), ("le", "x")]), None),
            ("c_total", labels(&[("host", "a"), ("le", "x")]), None),
            ("g", labels(&[("host", "a"), ("le", "x"), ("zone", "1")]), Some(Number::Float(1.5))),
            ("h", labels(&[("host", "a"), ("m", "x")]), None),
            ("unset", labels(&[("host", "a"), ("le", "x")]), None),
        ];
        assert_eq!(shown, expected);
        assert_eq!(found[1].help, "Cs");
    }

    #[test]
    fn what_others_have_registered_is_not_ones_own() {
        let directory = tempfile::tempdir_in("/dev/shm").unwrap();
        let open = |name: &str| {
            Registry::builder().path(directory.path().join(name)).max_bytes(1 << 20).open().unwrap()
        };
        let (one, other) = (open("one"), open("other"));
        other.create::<Counter>(&Opts::new("c_total", "")).unwrap();
        assert!(series(&one).is_empty());
        assert_eq!(series(&other).len(), 1);
    }

    #[test]
    #[cfg_attr(miri, ignore = "removes a file by name")]
    fn a_segment_that_loses_its_name_shows() {
        let directory = tempfile::tempdir_in("/dev/shm").unwrap();
        let path = directory.path().join("s");
        let open = || Registry::builder().path(&path).max_bytes(1 << 20).open().unwrap();
        let registry = open();
        assert!(set_http_port(&registry, 8081));
        assert_eq!(standing(&registry), Standing::Attached);
        let aside = directory.path().join("aside");
        std::fs::rename(&path, &aside).unwrap();
        assert!(matches!(standing(&registry), Standing::Unreachable(_)));
        let _other = open();
        assert_eq!(standing(&registry), Standing::Replaced);
        std::fs::remove_file(&aside).unwrap();
        assert_eq!(standing(&registry), Standing::Removed);
    }
}
