//! The subscriptions to series of one family.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use dyn_metrics_reader::Labels;

use super::event::Event;
use super::mailbox::Mailbox;
use super::rule::{Rule, Seen};
use super::source::Source;

/// Which series of a family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Choice {
    /// Labels that they must have.
    pub(super) labels: Vec<(String, String)>,
    /// The only others that they may have, where these are limited: the segment's common ones.
    pub(super) others: Option<Vec<(String, String)>>,
}

/// A family of a segment, and who watches which of its series.
pub(super) struct Home {
    pub(super) path: PathBuf,
    pub(super) family: Arc<str>,
    source: Source,
    slots: Vec<Slot>,
    by_id: HashMap<u64, usize>,
    watches: Vec<Watch>,
    looks: u64,
}

/// A series.
struct Slot {
    id: u64,
    labels: Labels,
    value: Option<f64>,
    /// The look at which it was there.
    seen: u64,
    watchers: Vec<Watcher>,
}

/// A subscription.
#[derive(Clone)]
struct Watch {
    mailbox: Arc<Mailbox>,
    rule: Rule,
    choice: Choice,
}

/// A subscription to which a series belongs.
struct Watcher {
    mailbox: Arc<Mailbox>,
    rule: Rule,
    seen: Seen,
}

impl Choice {
    fn includes(&self, labels: &Labels) -> bool {
        let is_told_apart_by_pid = |name: &str| name == "pid";
        self.labels.iter().all(|(name, value)| labels.value(name) == Some(value))
            && self.others.as_ref().is_none_or(|others| {
                labels.iter().all(|label| {
                    self.labels.contains(label) || others.contains(label) || is_told_apart_by_pid(&label.0)
                })
            })
    }
}

impl Home {
    pub(super) fn new(path: &Path, family: &Arc<str>) -> Self {
        let source = Source::new(path, family);
        Self {
            path: path.to_owned(),
            family: Arc::clone(family),
            source,
            slots: Vec::new(),
            by_id: HashMap::new(),
            watches: Vec::new(),
            looks: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.watches.is_empty()
    }

    pub(super) fn mailboxes(&self) -> impl Iterator<Item = &Arc<Mailbox>> {
        self.watches.iter().map(|watch| &watch.mailbox)
    }

    /// Adds a subscription; what there is now is what changes are compared with.
    pub(super) fn add(
        &mut self,
        mailbox: Arc<Mailbox>,
        rule: Rule,
        choice: Choice,
        work: &mut Vec<Arc<Mailbox>>,
    ) {
        self.source.refresh();
        self.read(work);
        let watch = Watch { mailbox, rule, choice };
        let now = SystemTime::now();
        for slot in &mut self.slots {
            let Some(mut watcher) = watch.watcher(&slot.labels) else { continue };
            let is_told = rule.take(&mut watcher.seen, slot.value).is_some() && rule.tells_of_the_first();
            if is_told {
                let (name, labels) = (Arc::clone(&self.family), slot.labels.clone());
                let event = Event { name, labels, old: None, new: slot.value, time: now };
                watch.mailbox.post(slot.id, event, work);
            }
            slot.watchers.push(watcher);
        }
        self.watches.push(watch);
    }

    /// Lets go of subscriptions that have ended.
    pub(super) fn forget_ended(&mut self) {
        self.watches.retain(|watch| !watch.mailbox.is_ended());
        for slot in &mut self.slots {
            slot.watchers.retain(|watcher| !watcher.mailbox.is_ended());
        }
    }

    /// Reads every series, if any may have changed.
    pub(super) fn look(&mut self, now: Instant, work: &mut Vec<Arc<Mailbox>>) {
        if self.source.has_news(now) {
            self.read(work);
        }
    }

    /// Reads every series; where a value has changed, leaves events in the mailboxes of those who shall be told.
    fn read(&mut self, work: &mut Vec<Arc<Mailbox>>) {
        self.looks += 1;
        let Self { family, source, slots, by_id, watches, looks, .. } = self;
        let (mut now, mut at, mut told) = (None, 0, 0);
        source.read(|id, labels, value| {
            // They come in the same order as long as none comes or goes.
            if slots.get(at).is_none_or(|slot| slot.id != id) {
                at = *by_id.entry(id).or_insert_with(|| {
                    slots.push(Slot::new(id, labels, watches));
                    slots.len() - 1
                });
            }
            let slot = &mut slots[at];
            slot.seen = *looks;
            slot.take(family, value, &mut now, work);
            at += 1;
            told += 1;
        });
        if told < slots.len() {
            slots.iter_mut().filter(|slot| slot.seen != *looks).for_each(|slot| {
                slot.take(family, None, &mut now, work);
            });
            // Ids are never used again.
            slots.retain(|slot| slot.seen == *looks);
            *by_id = slots.iter().enumerate().map(|(at, slot)| (slot.id, at)).collect();
        }
    }
}

impl Slot {
    fn new(id: u64, labels: &Labels, watches: &[Watch]) -> Self {
        let watchers = watches.iter().filter_map(|watch| watch.watcher(labels)).collect();
        Self { id, labels: labels.clone(), value: None, seen: 0, watchers }
    }

    /// Takes in what the value is now.
    fn take(
        &mut self,
        family: &Arc<str>,
        value: Option<f64>,
        now: &mut Option<SystemTime>,
        work: &mut Vec<Arc<Mailbox>>,
    ) {
        if self.value.map(f64::to_bits) == value.map(f64::to_bits) {
            return;
        }
        self.value = value;
        for watcher in self.watchers.iter_mut() {
            let Some(old) = watcher.rule.take(&mut watcher.seen, value) else { continue };
            let time = *now.get_or_insert_with(SystemTime::now);
            let event =
                Event { name: Arc::clone(family), labels: self.labels.clone(), old, new: value, time };
            watcher.mailbox.post(self.id, event, work);
        }
    }
}

impl Watch {
    /// What watches a series with these labels, if the subscription is to it.
    fn watcher(&self, labels: &Labels) -> Option<Watcher> {
        let Self { mailbox, rule, choice } = self;
        let seen = Seen::default();
        choice.includes(labels).then(|| Watcher { mailbox: Arc::clone(mailbox), rule: *rule, seen })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Counter, Opts, Registry};

    #[test]
    #[cfg_attr(miri, ignore = "reads a file's mapping")]
    fn series_that_come_and_go_leave_nothing() {
        let directory = tempfile::tempdir_in("/dev/shm").unwrap();
        let registry = Registry::open_at(directory.path().join("s")).unwrap();
        let family = registry.family::<Counter>(&Opts::new("c_total", ""), &["n"]).unwrap();
        let name: Arc<str> = "c_total".into();
        let mut home = Home::new(registry.path(), &name);
        let mailbox = Mailbox::new(Arc::clone(&name), Box::new(|_| ()), None);
        home.add(Arc::clone(&mailbox), Rule::Change, Choice::default(), &mut Vec::new());
        let stays = family.with(&["stays"]);
        for n in 0..20 {
            let n = n.to_string();
            family.with(&[&n]).inc();
            stays.inc();
            home.source.refresh();
            home.read(&mut Vec::new());
            assert_eq!((home.slots.len(), home.by_id.len()), (2, 2));
            family.remove(&[&n]).unwrap();
            home.source.refresh();
            home.read(&mut Vec::new());
            assert_eq!((home.slots.len(), home.by_id.len()), (1, 1));
        }
        // Nobody is told of what has come and gone before anybody could be told.
        assert_eq!(mailbox.waiting(), 1);
    }
}
