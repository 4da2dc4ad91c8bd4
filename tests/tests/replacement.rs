//! Segments are made once, replaced rarely, and never at the cost of what somebody else has counted.

use std::collections::HashSet;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use dyn_metrics::{Counter, Opts, Registry};
use dyn_metrics_layout::header::{BYTES, Header, MAGIC};
use dyn_metrics_layout::sync::{AtomicU64, Ordering};
use dyn_metrics_reader::{Collector, SegmentState, Statistic};
use dyn_metrics_tests::reading::{
    assert_sound, assert_whole, by_pid, number, series_count, statistic, total,
};
use dyn_metrics_tests::servers::{have, wait_for};
use dyn_metrics_tests::stage::{Peer, Stage, held_slots, snapshot};

/// A peer that has counted `value` in `kept_total`, and set the gauge `running` if it is to.
fn counting(stage: &Stage, value: u32, sets_gauge: bool, options: &[&str]) -> Peer {
    let mut peer = stage.peer_with(options);
    peer.done("register counter kept_total");
    peer.done(&format!("update kept_total {value}"));
    if sets_gauge {
        peer.done("register gauge running livesum");
        peer.done("update running 1");
    }
    peer
}

fn inode(path: &Path) -> u64 {
    path.metadata().unwrap().ino()
}

fn wait_for_slots(stage: &Stage, count: usize) {
    wait_for("slots", || (held_slots(&stage.segment()).len() == count).then_some(()));
}

/// Writes `bytes` over what is at `offset`.
fn overwrite(path: &Path, offset: u64, bytes: &[u8]) {
    std::fs::File::options().write(true).open(path).unwrap().write_all_at(bytes, offset).unwrap();
}

fn superseded(stage: &Stage) -> Vec<PathBuf> {
    stage.files("segment.superseded-")
}

/// Files of the stage other than its control socket.
fn everything(stage: &Stage) -> Vec<PathBuf> {
    stage.files("").into_iter().filter(|path| !path.ends_with("control")).collect()
}

#[test]
fn yesterday_s_segment_is_continued() {
    let stage = Stage::new();
    counting(&stage, 2, true, &[]).kill();
    let old = inode(&stage.segment());
    let _peer = counting(&stage, 3, true, &[]);
    assert_eq!(inode(&stage.segment()), old);
    assert_eq!(number(&stage.snapshot(), "kept_total"), Some(5.0));
}

#[test]
fn fresh_is_refused_while_a_process_is_attached_even_if_it_only_counts() {
    let stage = Stage::new();
    let peer = counting(&stage, 2, false, &[]);
    let old = inode(&stage.segment());
    let error = stage.try_peer(&stage.segment(), &["fresh"]).unwrap_err();
    assert!(error.contains(&format!("pid {}", peer.pid())) && error.contains("force"), "{error}");
    assert_eq!(inode(&stage.segment()), old);
    assert_eq!(everything(&stage), [stage.segment()]);
    peer.kill();
    wait_for_slots(&stage, 0);
    let _fresh = stage.peer_with(&["fresh"]);
    assert_ne!(inode(&stage.segment()), old);
}

#[test]
fn fresh_is_refused_while_a_forked_child_without_a_slot_counts() {
    let stage = Stage::new();
    let mut parent = counting(&stage, 2, false, &[]);
    let mut child = stage.fork(&mut parent);
    parent.kill();
    wait_for_slots(&stage, 0);
    let error = stage.try_peer(&stage.segment(), &["fresh"]).unwrap_err();
    assert!(error.contains("without a slot") && error.contains("force"), "{error}");
    child.done("update kept_total 5");
    assert_eq!(number(&stage.snapshot(), "kept_total"), Some(7.0));
    child.kill();
    let _fresh = stage.peer_with(&["fresh"]);
    assert_eq!(number(&stage.snapshot(), "kept_total").unwrap_or(0.0), 0.0);
}

#[test]
fn what_a_forked_child_counts_into_an_unlinked_segment_is_served() {
    let stage = Stage::new();
    let mut parent = counting(&stage, 2, false, &[]);
    let mut child = stage.fork(&mut parent);
    let mut collector = Collector::new(&[stage.segment().display().to_string()]);
    assert_eq!(number(&collector.collect(), "kept_total"), Some(2.0));
    parent.kill();
    wait_for_slots(&stage, 0);
    std::fs::remove_file(stage.segment()).unwrap();
    child.done("update kept_total 5");
    assert_eq!(number(&collector.collect(), "kept_total"), Some(7.0));
    child.kill();
    wait_for("the end of the unlinked segment", || {
        number(&collector.collect(), "kept_total").is_none().then_some(())
    });
}

#[test]
fn fresh_starts_from_zero_and_leaves_nothing_behind() {
    let stage = Stage::new();
    counting(&stage, 2, true, &[]).kill();
    wait_for_slots(&stage, 0);
    std::fs::copy(stage.segment(), stage.path("segment.superseded-0000000000000001")).unwrap();
    assert_eq!(number(&stage.snapshot(), "kept_total"), Some(2.0), "a copy of it counts nothing twice");
    let _peer = counting(&stage, 7, true, &["fresh"]);
    assert_eq!(number(&stage.snapshot(), "kept_total"), Some(7.0));
    assert_eq!(everything(&stage), [stage.segment()]);
}

#[test]
fn fresh_by_force_loses_what_warm_handles_count_and_nothing_else() {
    let stage = Stage::new();
    let mut warm = counting(&stage, 2, true, &[]);
    let mut fresh = counting(&stage, 10, true, &["fresh", "force"]);
    warm.done("update kept_total 5");
    assert_eq!(
        number(&stage.snapshot(), "kept_total"),
        Some(10.0),
        "the old handle counts into the old file"
    );
    assert_eq!(warm.number("value kept_total"), 7.0);
    // New registrations, also of the same series, go to the new file.
    warm.done("register counter kept_total");
    warm.done("register counter new_total");
    warm.done("update kept_total 1");
    warm.done("update new_total 1");
    fresh.done("update kept_total 100");
    let seen = stage.snapshot();
    assert_whole(&seen);
    assert_eq!((number(&seen, "kept_total"), number(&seen, "new_total")), (Some(111.0), Some(1.0)));
    assert_eq!(everything(&stage), [stage.segment()]);
    // Its gauges likewise: the old handle's cell went with the old file, a new one's is here.
    warm.done("register gauge running livesum");
    warm.done("update running 1");
    assert_eq!(number(&stage.snapshot(), "running"), Some(2.0));
    assert_eq!(held_slots(&stage.segment()).len(), 2);
}

#[test]
fn after_a_replacement_readers_merge_the_old_file_and_new_registrations_go_to_the_new_one() {
    let stage = Stage::new();
    let mut warm = counting(&stage, 2, true, &[]);
    warm.done("series labelled_total 100 0 3");
    // What a replacer leaves behind, done by hand.
    let old = stage.path("segment.superseded-00000000000000aa");
    std::fs::rename(stage.segment(), &old).unwrap();
    let _new = counting(&stage, 10, true, &[]);
    warm.done("update kept_total 5");
    warm.done("register counter new_total");
    warm.done("update new_total 1");
    let seen = stage.snapshot();
    assert_whole(&seen);
    assert_eq!(number(&seen, "kept_total"), Some(17.0), "both files count");
    assert_eq!(number(&seen, "new_total"), Some(1.0));
    assert_eq!(number(&seen, "running"), Some(2.0));
    assert_eq!(number(&snapshot(&old), "new_total"), None);
    let states: Vec<_> = seen.segments.iter().map(|segment| segment.state.name()).collect();
    assert_eq!(states, ["ok", "superseded"]);
    // A family held since then moves its new series, and keeps its old ones.
    warm.done("series labelled_total 100 0 6");
    let seen = stage.snapshot();
    assert_eq!((series_count(&seen, "labelled_total"), total(&seen, "labelled_total")), (6, 9.0));
}

#[test]
fn a_process_with_a_gauge_in_both_files_counts_with_the_newer() {
    let stage = Stage::new();
    let mut moving = stage.peer();
    let mut staying = stage.peer();
    for (peer, value) in [(&mut moving, 5), (&mut staying, 100)] {
        peer.done("register gauge held livesum");
        peer.done("register gauge each liveall");
        peer.done(&format!("update held {value}"));
        peer.done(&format!("update each {value}"));
    }
    std::fs::rename(stage.segment(), stage.path("segment.superseded-00000000000000aa")).unwrap();
    for name in ["held livesum", "each liveall"] {
        moving.done(&format!("register gauge {name}"));
    }
    moving.done("update held 7");
    moving.done("update each 7");
    let seen = stage.snapshot();
    assert_whole(&seen);
    assert_eq!(seen.segments.len(), 2);
    assert_eq!(number(&seen, "held"), Some(107.0));
    let mut each: Vec<_> = by_pid(&seen, "each").into_iter().map(|(_, value)| value).collect();
    each.sort_by(f64::total_cmp);
    assert_eq!(each, [7.0, 100.0]);
}

/// The offsets of the header's creation time, and of the first index table's length.
fn places(path: &Path) -> [u64; 2] {
    let bytes = std::fs::read(path).unwrap();
    let header = Header::decode(&bytes[..BYTES], bytes.len() as u64).unwrap();
    [40, header.index + 4]
}

#[test]
fn a_damaged_segment_of_ours_is_replaced_and_kept_beside() {
    for which in 0..2 {
        let stage = Stage::new();
        let mut warm = counting(&stage, 2, true, &[]);
        overwrite(&stage.segment(), places(&stage.segment())[which], b"damage");
        let damaged = inode(&stage.segment());
        let mut owner = counting(&stage, 10, true, &[]);
        let [kept] = &superseded(&stage)[..] else { panic!("{:?}", everything(&stage)) };
        assert_eq!(inode(kept), damaged, "the damaged file is kept as it was");
        assert_eq!(std::fs::read(kept).unwrap()[384], 1, "and marked");
        assert_ne!(inode(&stage.segment()), damaged);
        // Who had it mapped counts on without harm, and moves with the next registration.
        warm.done("update kept_total 5");
        warm.done("register counter kept_total");
        warm.done("update kept_total 1");
        owner.done("update kept_total 100");
        let seen = snapshot(&stage.segment());
        assert!(number(&seen, "kept_total") >= Some(111.0));
        assert_eq!(everything(&stage).len(), 2);
    }
}

#[test]
fn many_that_find_a_damaged_segment_replace_it_once() {
    for _ in 0..10 {
        let stage = Stage::new();
        counting(&stage, 2, false, &[]).kill();
        overwrite(&stage.segment(), 40, b"damage");
        let mut peers: Vec<_> =
            (0..8).map(|n| stage.try_peer(&stage.path(&format!("other-{n}")), &[]).unwrap()).collect();
        open_together(&mut peers, &stage.segment(), "");
        count_together(&mut peers, 1000);
        assert_eq!(number(&snapshot(&stage.segment()), "work_total"), Some(8000.0));
        assert_eq!(superseded(&stage).len(), 1, "{:?}", everything(&stage));
    }
}

fn open_together(peers: &mut [Peer], path: &Path, options: &str) {
    peers.iter_mut().for_each(|peer| peer.tell(&format!("open {} {options}", path.display())));
    peers.iter_mut().for_each(|peer| drop(peer.answer().unwrap()));
}

fn count_together(peers: &mut [Peer], each: u32) {
    peers.iter_mut().for_each(|peer| peer.tell(&format!("count main none 1 {each}")));
    peers.iter_mut().for_each(|peer| drop(peer.answer().unwrap()));
}

#[test]
fn sixteen_processes_that_make_the_same_segment_at_once_share_one() {
    let stage = Stage::new();
    let mut peers: Vec<_> = (0..16).map(|_| stage.try_peer(&stage.path("first"), &[]).unwrap()).collect();
    for round in 0..10 {
        let path = stage.path(&format!("round-{round}"));
        open_together(&mut peers, &path, "");
        count_together(&mut peers, 1000);
        let seen = snapshot(&path);
        assert_whole(&seen);
        assert_eq!(number(&seen, "work_total"), Some(16_000.0), "round {round}");
        assert_eq!(stage.files(&format!("round-{round}")), [path], "nothing else is left");
    }
}

#[test]
fn threads_that_open_a_segment_at_once_attach_their_process_once() {
    let stage = Stage::new();
    let mut peers: Vec<_> = (0..2).map(|_| stage.try_peer(&stage.path("first"), &[]).unwrap()).collect();
    for round in 0..50 {
        let path = stage.path(&format!("round-{round}"));
        peers.iter_mut().for_each(|peer| peer.tell(&format!("open-at-once {} 8", path.display())));
        peers.iter_mut().for_each(|peer| drop(peer.answer().unwrap()));
        let seen = snapshot(&path);
        assert_eq!(number(&seen, "opened_total"), Some(16.0), "round {round}");
        assert_eq!(number(&seen, "running"), Some(16.0), "round {round}");
        assert_eq!(statistic(&seen, Statistic::ProcessesAttached), 2, "round {round}");
        assert_eq!(held_slots(&path), [0, 1]);
        std::fs::remove_file(path).unwrap();
    }
}

#[test]
fn processes_that_start_afresh_by_force_at_once_end_in_one_segment() {
    let stage = Stage::new();
    let mut peers: Vec<_> = (0..6).map(|_| stage.peer()).collect();
    for _ in 0..20 {
        open_together(&mut peers, &stage.segment(), "fresh force");
        // Some of them hold what a later one has replaced by now: the next registration moves them.
        count_together(&mut peers, 100);
        assert_eq!(number(&stage.snapshot(), "work_total"), Some(600.0));
        assert_eq!(everything(&stage), [stage.segment()]);
    }
}

/// One removes what it has replaced while another one, which replaces the replacement, has its new file ready: the
/// tracer stretches both moments.
#[test]
fn who_starts_afresh_never_removes_what_the_next_one_has_made() {
    if !have("strace") {
        return;
    }
    let stage = Stage::new();
    let slow = |call: &str| stage.traced_peer(&["-e", &format!("inject={call}")]);
    let mut first = slow("getdents64:delay_enter=300000");
    let mut second = slow("renameat2:delay_enter=600000");
    let (command, old) = (format!("open {} fresh force", stage.segment().display()), inode(&stage.segment()));
    first.tell(&command);
    wait_for("the first replacement", || (inode(&stage.segment()) != old).then_some(()));
    second.tell(&command);
    first.answer().unwrap();
    second.answer().unwrap();
    count_together(&mut [first, second], 100);
    assert_eq!(number(&stage.snapshot(), "work_total"), Some(200.0));
    assert_eq!(everything(&stage), [stage.segment()]);
}

#[test]
fn a_segment_that_somebody_removed_is_made_anew_by_the_next_registration() {
    let stage = Stage::new();
    let mut peer = counting(&stage, 2, true, &[]);
    let mut follower = Collector::new(&[stage.segment().display().to_string()]);
    assert_eq!(number(&follower.collect(), "kept_total"), Some(2.0));
    std::fs::remove_file(stage.segment()).unwrap();
    peer.done("update kept_total 3");
    assert!(!stage.segment().exists(), "an update makes nothing");
    assert_eq!(number(&follower.collect(), "kept_total"), Some(5.0), "a reader that has it open goes on");
    peer.done("register counter new_total");
    peer.done("update new_total 1");
    let seen = follower.collect();
    assert_eq!((number(&seen, "kept_total"), number(&seen, "new_total")), (Some(5.0), Some(1.0)));
    assert_eq!(number(&stage.snapshot(), "new_total"), Some(1.0));
    assert_eq!(
        number(&stage.snapshot(), "kept_total"),
        None,
        "a reader that comes later sees the new one alone"
    );
}

/// Changes the segment's header by `change`, so that its checksum fits again, and its version byte.
fn rewrite_header(path: &Path, change: impl FnOnce(&mut Header), version: u8) {
    let mut bytes = std::fs::read(path).unwrap();
    let mut header = Header::decode(&bytes[..BYTES], bytes.len() as u64).unwrap();
    change(&mut header);
    let mut fixed = [0; BYTES];
    header.encode(&[], &mut fixed).unwrap();
    fixed[..8].copy_from_slice(&MAGIC.to_le_bytes());
    fixed[12] = version;
    bytes[..256].copy_from_slice(&fixed[..256]);
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn what_a_newer_version_made_is_an_error_and_stays_as_it_was() {
    type Change = fn(&mut Header);
    let cases: [(&str, Change, u8, &str); 3] = [
        ("a later version", |_| (), 9, "version"),
        ("a feature nobody may ignore", |header| header.incompat = 1 << 40, 1, "feature"),
        ("a feature writers may not ignore", |header| header.ro_compat = 2, 1, "feature"),
    ];
    for (what, change, version, expected) in cases {
        let stage = Stage::new();
        counting(&stage, 2, false, &[]).kill();
        rewrite_header(&stage.segment(), change, version);
        assert_untouched(&stage, what, expected);
    }
}

#[test]
fn a_foreign_file_is_an_error_and_stays_as_it_was() {
    let text = b"somebody else's database, longer than a header ".repeat(200);
    for (bytes, expected) in
        [(&text[..], "magic"), (&text[..100], "magic"), (&text[..4], "4"), (&[][..], "0")]
    {
        let stage = Stage::new();
        std::fs::write(stage.segment(), bytes).unwrap();
        assert_untouched(&stage, "a foreign file", expected);
    }
}

/// Neither an ordinary opening nor a fresh one by force touches the file at the stage's path.
fn assert_untouched(stage: &Stage, what: &str, expected: &str) {
    let (bytes, old) = (std::fs::read(stage.segment()).unwrap(), inode(&stage.segment()));
    for options in [&[][..], &["fresh"], &["fresh", "force"]] {
        let error = stage.try_peer(&stage.segment(), options).unwrap_err();
        let named = error.contains(&stage.segment().display().to_string());
        assert!(named && error.to_lowercase().contains(expected), "{what}: {error}");
        assert_eq!(inode(&stage.segment()), old, "{what}");
        assert_eq!(std::fs::read(stage.segment()).unwrap(), bytes, "{what}");
        assert_eq!(everything(stage), [stage.segment()], "{what}");
    }
}

#[test]
fn a_segment_of_before_the_last_reboot_counts_on_and_keeps_gauges_private() {
    let stage = Stage::new();
    counting(&stage, 2, true, &[]).kill();
    rewrite_header(&stage.segment(), |header| header.boot_id = [1, 2], 1);
    let mut peers: Vec<_> = (0..2).map(|_| counting(&stage, 10, true, &[])).collect();
    count_together(&mut peers, 10_000);
    let seen = stage.snapshot();
    assert_whole(&seen);
    assert_eq!(number(&seen, "kept_total"), Some(22.0));
    assert_eq!(number(&seen, "work_total"), Some(20_000.0));
    assert_eq!(number(&seen, "running").unwrap_or(0.0), 0.0, "gauges are private");
    assert_eq!(peers[0].number("value running"), 1.0);
    assert!(held_slots(&stage.segment()).is_empty());
    assert_eq!(statistic(&seen, Statistic::ProcessesWithoutRseq), 2, "the shared block alone is written");
    assert!(statistic(&seen, Statistic::PrivateNoSlot) >= 2);
    assert!(stage.try_peer(&stage.segment(), &["fresh"]).unwrap_err().contains("without a slot"));
    peers.into_iter().for_each(Peer::kill);
    let _fresh = counting(&stage, 1, true, &["fresh"]);
    assert_eq!(number(&stage.snapshot(), "running"), Some(1.0));
}

#[test]
fn a_superseded_file_that_cannot_be_read_is_skipped_and_the_rest_is_served() {
    let stage = Stage::new();
    let _peer = counting(&stage, 2, true, &[]);
    std::fs::write(stage.path("segment.superseded-00000000000000bb"), b"DYNMETRC and nothing that follows")
        .unwrap();
    let seen = stage.snapshot();
    assert_eq!(number(&seen, "kept_total"), Some(2.0));
    assert!(seen.segments.iter().any(|segment| matches!(segment.state, SegmentState::Unreadable(_))));
}

#[test]
fn a_process_counts_into_two_segments_at_once() {
    let stage = Stage::new();
    let mut peer = counting(&stage, 2, true, &[]);
    let second = stage.path("second");
    peer.done(&format!("open {}", second.display()));
    peer.done("register gauge other livesum");
    peer.done("update other 4");
    peer.done("update kept_total 1");
    assert_eq!(number(&stage.snapshot(), "kept_total"), Some(3.0));
    assert_eq!(number(&snapshot(&second), "other"), Some(4.0));
    let slots: HashSet<_> = [stage.segment(), second].iter().map(|path| held_slots(path).len()).collect();
    assert_eq!(slots, HashSet::from([1]), "one slot in each");
}

#[test]
fn a_family_that_moves_to_a_new_segment_while_others_look_series_up_never_mixes_the_two() {
    let stage = Stage::new();
    let options = || Registry::builder().path(stage.segment()).max_bytes(512 << 10).processes(16);
    let family = options().open().unwrap().family::<Counter>(&Opts::new("moved_total", ""), &["n"]).unwrap();
    for n in 0..50 {
        family.with(&[&n.to_string()]).inc();
    }
    let moves = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while moves.load(Ordering::Relaxed) < 100 {
                    let counter = family.try_with(&["49"]).expect("a series of one segment or the other");
                    assert!(!counter.is_private());
                    counter.inc();
                }
            });
        }
        for n in 0..100 {
            let other = options().fresh(true).force(true).open().unwrap();
            // What lies where in the new segment differs from round to round.
            let filler = other.family::<Counter>(&Opts::new("filler_total", ""), &["n"]).unwrap();
            (0..n % 40).for_each(|n: u32| filler.with(&[&n.to_string()]).inc());
            family.with(&[&format!("new {n}")]).inc(); // the family moves
            assert_sound(&stage.segment());
            moves.fetch_add(1, Ordering::Relaxed);
        }
    });
    assert_sound(&stage.segment());
}
