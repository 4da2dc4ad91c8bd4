//! One log line for each thing that happens to a segment, none for each scrape.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;

use dyn_metrics_reader::{LeftOut, LeftOutReason};

use crate::page::Found;
use crate::segments::{SegmentView, State};

/// Remembers how each segment was seen last.
#[derive(Default)]
pub(crate) struct Watch {
    known: BTreeMap<String, SegmentView>,
    /// Segments without space of which that was told.
    full: BTreeSet<String>,
    unmatched: Vec<String>,
    left_out: BTreeMap<LeftOutReason, usize>,
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
    /// It is a copy of the one at this path.
    Copy(String),
    /// Named, and not there yet.
    Awaited,
    /// Was there, and is no more.
    Gone,
    /// There, and not readable.
    Bad(String),
    /// So much found no space in it, of which so many bytes are left.
    Full { refused: u64, free: u64 },
    /// So many parts of it are not readable, one of which is told.
    PartsSkipped(u64, String),
}

impl Watch {
    /// Compares with the last collection, and logs what differs.
    pub(crate) fn log(&mut self, found: &Found) {
        self.log_segments(&found.segments);
        for pattern in self.newly_unmatched(&found.unmatched) {
            tracing::info!(?pattern, "pattern leads to no file yet");
        }
        for (reason, files) in self.newly_left_out(&found.left_out) {
            let (reason, first) = (reason.name(), found.left_out.files(reason).first());
            tracing::warn!(files, reason, ?first, "files left out");
        }
    }

    fn log_segments(&mut self, segments: &[SegmentView]) {
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
                Event::Copy(of) => tracing::warn!(?segment, ?of, "segment is a copy, left out"),
                Event::Full { refused, free } => {
                    tracing::warn!(?segment, refused, free, "segment has no space left");
                }
                Event::PartsSkipped(parts, first) => {
                    tracing::warn!(?segment, parts, ?first, "parts of a segment skipped");
                }
            }
        }
    }

    /// Patterns that lead to nothing, and did to something when they were last seen.
    fn newly_unmatched(&mut self, now: &[String]) -> Vec<String> {
        let before = mem::replace(&mut self.unmatched, now.to_vec());
        now.iter().filter(|pattern| !before.contains(pattern)).cloned().collect()
    }

    /// Reasons for which more files are left out than ever were told. That other things live in a place is no news.
    fn newly_left_out(&mut self, now: &LeftOut) -> Vec<(LeftOutReason, usize)> {
        let mut news = Vec::new();
        for reason in LeftOutReason::ALL.into_iter().filter(|reason| *reason != LeftOutReason::NoSegment) {
            let (told, now) = (self.left_out.entry(reason).or_default(), now.count(reason));
            if now > *told {
                *told = now;
                news.push((reason, now));
            }
        }
        news
    }

    /// Events by the label of their segment.
    fn events(&mut self, segments: &[SegmentView]) -> Vec<(String, Event)> {
        let now: BTreeMap<_, _> =
            segments.iter().map(|segment| (segment.label.clone(), segment.clone())).collect();
        let mut events = Vec::new();
        for (label, segment) in &now {
            let before = self.known.get(label);
            let full = newly_full(before, segment, self.full.contains(label));
            let (refused, free) = (segment.without_space, segment.bytes_free);
            let full_event = (full == Some(true)).then_some(Event::Full { refused, free });
            let is_known = |event: &Event| *event == Event::Unlinked && self.has_told_of_unlinked(segment);
            let change = change(before, segment).filter(|event| !is_known(event));
            let told = change.into_iter().chain(newly_skipped(before, segment)).chain(full_event);
            events.extend(told.map(|event| (label.clone(), event)));
            match full {
                Some(true) => drop(self.full.insert(label.clone())),
                Some(false) => drop(self.full.remove(label)),
                None => (),
            }
        }
        self.full.retain(|label| now.contains_key(label));
        for (label, segment) in &self.known {
            if !now.contains_key(label) && segment.state != State::Missing {
                events.push((label.clone(), Event::Gone));
            }
        }
        self.known = now;
        events
    }
}

impl Watch {
    /// Whether this file is known to have lost its name, perhaps under another label: a new file has got its own.
    fn has_told_of_unlinked(&self, segment: &SegmentView) -> bool {
        self.known.values().any(|known| known.id == segment.id && known.state == State::Unlinked)
    }
}

fn change(before: Option<&SegmentView>, now: &SegmentView) -> Option<Event> {
    let was_served = before.is_some_and(|before| before.state.is_served());
    if let Some(before) = before {
        if was_served && now.state.is_served() && before.id != now.id {
            return Some(Event::Replaced);
        }
        if is_same(&before.state, &now.state) {
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
        State::Copy(of) => Event::Copy(of.clone()),
        State::Missing if before.is_none() => Event::Awaited,
        State::Missing => Event::Gone,
        State::Bad(reason) => Event::Bad(reason.clone()),
    })
}

/// Whether two states are told in the same words, numbers aside: those of a file that somebody writes change all the
/// time.
fn is_same(before: &State, now: &State) -> bool {
    match (before, now) {
        (State::Bad(before), State::Bad(now)) => words(before).eq(words(now)),
        _ => before == now,
    }
}

/// The words of a text without the numbers.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric());
    words.filter(|word| !word.starts_with(|c: char| c.is_ascii_digit()))
}

/// Whether a segment that had space, or isn't known to have none (`told`), has none now; no news is none.
fn newly_full(before: Option<&SegmentView>, now: &SegmentView, told: bool) -> Option<bool> {
    let is_tight = now.bytes_free < (now.bytes_used + now.bytes_free) / 10;
    let before = before.filter(|before| before.id == now.id);
    let grew = before.map_or(is_tight && now.without_space > 0, |b| now.without_space > b.without_space);
    match told {
        false if grew => Some(true),
        true if !grew && !is_tight => Some(false),
        _ => None,
    }
}

/// One line for all of them. The reader's count only grows while the file is the same, and its list up to a limit.
fn newly_skipped(before: Option<&SegmentView>, now: &SegmentView) -> Option<Event> {
    let before = before.filter(|before| before.id == now.id);
    let (told, listed) = before.map_or((0, 0), |before| (before.skipped_total, before.skipped.len()));
    let parts = now.skipped_total.checked_sub(told).filter(|parts| *parts > 0)?;
    let first = now.skipped.get(listed).or(now.skipped.last());
    Some(Event::PartsSkipped(parts, first.cloned().unwrap_or_default()))
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
    fn a_file_that_changes_all_the_time_is_told_of_once() {
        let told = |reason: &str| Some(Event::Bad(reason.to_owned()));
        tell([
            (
                Some(bad("too short: found 5 bytes, expected 4096")),
                told("too short: found 5 bytes, expected 4096"),
            ),
            (Some(bad("too short: found 9 bytes, expected 4096")), None),
            (Some(bad("corrupt at offset 9: found 0x5b")), told("corrupt at offset 9: found 0x5b")),
            (Some(bad("corrupt at offset 8: found 0xa")), None),
        ]);
    }

    #[test]
    fn a_segment_without_space_is_told_of_once_until_it_has_some() {
        let full = |without_space, bytes_free| {
            Some(SegmentView { without_space, bytes_free, bytes_used: 1000, ..good(1) })
        };
        let told = |refused, free| Some(Event::Full { refused, free });
        tell([
            (full(7, 9000), Some(MAPPED)),
            (full(8, 5), told(8, 5)),
            (full(9, 5), None),
            (full(9, 5), None),
            (full(9, 9000), None),
            (full(9, 9000), None),
            (full(10, 9000), told(10, 9000)),
        ]);
    }

    #[test]
    fn what_lost_its_name_is_told_of_once_also_when_a_new_file_takes_its_label() {
        let mut watch = Watch::default();
        let unlinked =
            |label: &str| SegmentView { label: label.to_owned(), state: State::Unlinked, ..good(1) };
        let told =
            |events: Vec<(String, Event)>| events.into_iter().map(|(_, event)| event).collect::<Vec<_>>();
        assert_eq!(told(watch.events(&[good(1)])), [MAPPED]);
        assert_eq!(told(watch.events(&[unlinked(LABEL)])), [Event::Unlinked]);
        assert_eq!(told(watch.events(&[good(2), unlinked("other")])), [Event::Replaced]);
    }

    #[test]
    fn growing_numbers_are_no_event() {
        let grown = SegmentView { series: 9, processes_alive: 1, bytes_used: 1 << 20, ..good(1) };
        tell([(Some(good(1)), Some(MAPPED)), (Some(grown), None)]);
    }

    #[test]
    fn skipped_parts_are_told_once_and_together() {
        let skipping = |id, parts: &[&str], skipped_total| {
            let skipped = parts.iter().map(|part| (*part).to_owned()).collect();
            Some(SegmentView { skipped, skipped_total, ..good(id) })
        };
        let parts = |count, first: &str| Some(Event::PartsSkipped(count, first.to_owned()));
        tell([
            (skipping(1, &[], 0), Some(MAPPED)),
            (skipping(1, &["a"], 1), parts(1, "a")),
            (skipping(1, &["a", "b", "c"], 3), parts(2, "b")),
            (skipping(1, &["a", "b", "c"], 3), None),
            (skipping(1, &["a", "b", "c"], 1000), parts(997, "c")),
            (skipping(2, &[], 0), Some(Event::Replaced)),
            (skipping(2, &["a"], 1), parts(1, "a")),
        ]);
    }

    #[test]
    fn a_copy_is_told_once() {
        let copy = || Some(unserved(State::Copy("/a".to_owned())));
        tell([(copy(), Some(Event::Copy("/a".to_owned()))), (copy(), None), (Some(good(1)), Some(MAPPED))]);
    }

    #[test]
    fn a_pattern_without_a_match_is_told_when_it_becomes_one() {
        let mut watch = Watch::default();
        let pattern = || vec!["/a/*".to_owned()];
        assert_eq!(watch.newly_unmatched(&pattern()), pattern());
        assert_eq!(watch.newly_unmatched(&pattern()), [] as [String; 0]);
        assert_eq!(watch.newly_unmatched(&[]), [] as [String; 0]);
        assert_eq!(watch.newly_unmatched(&pattern()), pattern());
    }

    #[test]
    fn segments_are_told_apart() {
        let mut watch = Watch::default();
        let other = SegmentView::example("/dev/shm/other");
        assert_eq!(watch.events(&[good(1), other.clone()]).len(), 2);
        assert_eq!(watch.events(&[other]), [(LABEL.to_owned(), Event::Gone)]);
    }
}
