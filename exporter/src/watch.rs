//! One log line for each thing that happens to a segment, none for each scrape.

use std::collections::BTreeMap;

use crate::segments::{SegmentView, State};

/// Remembers how each segment was seen last.
#[derive(Default)]
pub(crate) struct Watch {
    known: BTreeMap<String, SegmentView>,
}

/// What happened to a segment between two collections.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Event {
    /// Served from now on.
    Mapped { families: usize, series: u64, processes: usize },
    /// Another file under the same name.
    Replaced,
    /// A newer file has its name.
    Superseded,
    /// Nothing has its name any more.
    Unlinked,
    /// Named, and not there yet.
    Awaited,
    /// Was there, and is no more.
    Gone,
    /// There, and not readable.
    Bad(String),
    /// A part of it is not readable.
    PartSkipped(String),
}

impl Watch {
    /// Compares with the last collection, and logs what differs.
    pub(crate) fn log(&mut self, segments: &[SegmentView]) {
        for (segment, event) in self.events(segments) {
            match event {
                Event::Mapped { families, series, processes } => {
                    tracing::info!(?segment, families, series, processes, "segment mapped");
                }
                Event::Replaced => tracing::info!(?segment, "segment replaced by a new file"),
                Event::Superseded => tracing::info!(?segment, "segment superseded, still merged"),
                Event::Unlinked => {
                    tracing::warn!(?segment, "segment removed, served until its last process ends")
                }
                Event::Awaited => tracing::info!(?segment, "segment does not exist yet, waiting for it"),
                Event::Gone => tracing::warn!(?segment, "segment is gone"),
                Event::Bad(reason) => tracing::warn!(?segment, ?reason, "segment skipped"),
                Event::PartSkipped(part) => tracing::warn!(?segment, ?part, "part of a segment skipped"),
            }
        }
    }

    /// Events by the label of their segment.
    fn events(&mut self, segments: &[SegmentView]) -> Vec<(String, Event)> {
        let now: BTreeMap<_, _> =
            segments.iter().map(|segment| (segment.label.clone(), segment.clone())).collect();
        let mut events = Vec::new();
        for (label, segment) in &now {
            let before = self.known.get(label);
            let told = change(before, segment).into_iter().chain(newly_skipped(before, segment));
            events.extend(told.map(|event| (label.clone(), event)));
        }
        for (label, segment) in &self.known {
            if !now.contains_key(label) && segment.state != State::Missing {
                events.push((label.clone(), Event::Gone));
            }
        }
        self.known = now;
        events
    }
}

fn change(before: Option<&SegmentView>, now: &SegmentView) -> Option<Event> {
    let was_served = before.is_some_and(|before| before.state.is_served());
    if let Some(before) = before {
        if was_served && now.state.is_served() && before.id != now.id {
            return Some(Event::Replaced);
        }
        if before.state == now.state {
            return None;
        }
    }
    Some(match &now.state {
        State::Mapped => {
            let SegmentView { families, series, processes_alive: processes, .. } = *now;
            Event::Mapped { families, series, processes }
        }
        State::Superseded => Event::Superseded,
        State::Unlinked => Event::Unlinked,
        State::Missing if before.is_none() => Event::Awaited,
        State::Missing => Event::Gone,
        State::Bad(reason) => Event::Bad(reason.clone()),
    })
}

/// The reader's list only grows, up to a limit, while the file is the same.
fn newly_skipped(before: Option<&SegmentView>, now: &SegmentView) -> impl Iterator<Item = Event> {
    let told = before.filter(|before| before.id == now.id).map_or(0, |before| before.skipped.len());
    now.skipped.iter().skip(told).cloned().map(Event::PartSkipped)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABEL: &str = "/dev/shm/dynamo";
    const MAPPED: Event = Event::Mapped { families: 3, series: 4, processes: 5 };

    fn good(id: u64) -> SegmentView {
        SegmentView { id: [id, 0], ..SegmentView::example(LABEL) }
    }

    fn unserved(state: State) -> SegmentView {
        SegmentView { state, ..good(0) }
    }

    fn bad(reason: &str) -> SegmentView {
        unserved(State::Bad(reason.to_owned()))
    }

    /// Shows `story` to one watch: what is seen in each collection, and what is told.
    fn tell<const N: usize>(story: [(Option<SegmentView>, Option<Event>); N]) {
        let mut watch = Watch::default();
        for (step, (seen, expected)) in story.into_iter().enumerate() {
            let told: Vec<_> = watch.events(seen.as_slice()).into_iter().map(|(_, event)| event).collect();
            assert_eq!(told, Vec::from_iter(expected), "step {step}");
        }
    }

    #[test]
    fn each_change_is_told_once() {
        tell([
            (Some(unserved(State::Missing)), Some(Event::Awaited)),
            (Some(unserved(State::Missing)), None),
            (Some(good(1)), Some(MAPPED)),
            (Some(good(1)), None),
            (Some(good(2)), Some(Event::Replaced)),
            (Some(good(2)), None),
            (Some(bad("bad magic")), Some(Event::Bad("bad magic".to_owned()))),
            (Some(bad("bad magic")), None),
            (Some(bad("too short")), Some(Event::Bad("too short".to_owned()))),
            (Some(good(2)), Some(MAPPED)),
            (Some(unserved(State::Missing)), Some(Event::Gone)),
            (Some(unserved(State::Missing)), None),
            (Some(good(3)), Some(MAPPED)),
            (None, Some(Event::Gone)),
            (None, None),
            (Some(bad("bad magic")), Some(Event::Bad("bad magic".to_owned()))),
            (None, Some(Event::Gone)),
            (Some(unserved(State::Missing)), Some(Event::Awaited)),
            (None, None),
        ]);
    }

    #[test]
    fn losing_the_name_is_told_once() {
        let unlinked = SegmentView { state: State::Unlinked, ..good(1) };
        let superseded = SegmentView { state: State::Superseded, ..good(1) };
        tell([
            (Some(good(1)), Some(MAPPED)),
            (Some(unlinked.clone()), Some(Event::Unlinked)),
            (Some(unlinked), None),
            (Some(good(2)), Some(Event::Replaced)),
            (None, Some(Event::Gone)),
            (Some(superseded.clone()), Some(Event::Superseded)),
            (Some(superseded), None),
        ]);
    }

    #[test]
    fn growing_numbers_are_no_event() {
        let grown = SegmentView { series: 9, processes_alive: 1, bytes_used: 1 << 20, ..good(1) };
        tell([(Some(good(1)), Some(MAPPED)), (Some(grown), None)]);
    }

    #[test]
    fn each_skipped_part_is_told_once() {
        let skipping = |id, parts: &[&str]| {
            let skipped = parts.iter().map(|part| (*part).to_owned()).collect();
            Some(SegmentView { skipped, ..good(id) })
        };
        let part = |name: &str| Some(Event::PartSkipped(name.to_owned()));
        tell([
            (skipping(1, &[]), Some(MAPPED)),
            (skipping(1, &["a"]), part("a")),
            (skipping(1, &["a", "b"]), part("b")),
            (skipping(1, &["a", "b"]), None),
            (skipping(2, &[]), Some(Event::Replaced)),
            (skipping(2, &["a"]), part("a")),
        ]);
    }

    #[test]
    fn segments_are_told_apart() {
        let mut watch = Watch::default();
        let other = SegmentView::example("/dev/shm/other");
        assert_eq!(watch.events(&[good(1), other.clone()]).len(), 2);
        assert_eq!(watch.events(&[other]), [(LABEL.to_owned(), Event::Gone)]);
    }
}
