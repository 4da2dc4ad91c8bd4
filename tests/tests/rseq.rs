//! Without rseq, or when somebody takes it away, updates go to the shared block: nothing is lost, and it is counted.

use std::os::unix::fs::FileExt;

use dyn_metrics_layout::header::{BYTES, Header, MAGIC, STATISTICS};
use dyn_metrics_reader::{Statistic, encode};
use dyn_metrics_tests::delays::rseq_area;
use dyn_metrics_tests::reading::{assert_whole, number, statistic};
use dyn_metrics_tests::stage::{Peer, Stage};
use dyn_metrics_tests::work::{cpus, move_to};

const AUTO: &str = "DYN_METRICS_RSEQ=auto";
/// glibc 2.35 and later: don't register.
const NOT_REGISTERED: &str = "GLIBC_TUNABLES=glibc.pthread.rseq=0";

/// Whether restartable sequences are to be had here; in CI they must be.
fn have_sequences() -> bool {
    let have = rseq_area().is_some();
    assert!(have || std::env::var_os("CI").is_none(), "no rseq area is registered");
    if !have {
        eprintln!("SKIPPED: no rseq area is registered");
    }
    have
}

/// Counts in four threads, and checks the path, the totals and the reason's count.
fn falls_back(stage: &Stage, mut peer: Peer, reason: Statistic) {
    assert!(peer.ask("path").unwrap().starts_with("shared: "));
    let counted = peer.number("count all none 4 20000");
    let seen = stage.snapshot();
    assert_whole(&seen);
    assert_eq!(number(&seen, "work_total"), Some(counted));
    assert_eq!(number(&seen, "work_halves_total"), Some(counted / 2.0));
    assert_eq!(statistic(&seen, reason), 1);
    assert_eq!(statistic(&seen, Statistic::ProcessesWithoutRseq), 1);
    assert_eq!(statistic(&seen, Statistic::RseqLost), 0, "it never had it");
}

#[test]
fn switched_off_by_the_variable() {
    let stage = Stage::new();
    let peer = stage.peer_with(&["DYN_METRICS_RSEQ=OFF"]);
    falls_back(&stage, peer, Statistic::SharedOff);
}

#[test]
fn present_but_not_registered() {
    if !have_sequences() {
        return;
    }
    let stage = Stage::new();
    let peer = stage.peer_with(&[AUTO, NOT_REGISTERED]);
    falls_back(&stage, peer, Statistic::SharedUnregistered);
}

/// `on` is a wish, not a command: what isn't there can't be used.
#[test]
fn wished_for_and_not_registered() {
    if !have_sequences() {
        return;
    }
    let stage = Stage::new();
    let peer = stage.peer_with(&["DYN_METRICS_RSEQ=on", NOT_REGISTERED]);
    falls_back(&stage, peer, Statistic::SharedUnregistered);
}

#[test]
fn registered_by_another_library() {
    if !have_sequences() {
        return;
    }
    let stage = Stage::new();
    let mut peer = stage.peer_with(&[AUTO, NOT_REGISTERED, "PEER_REGISTERS_RSEQ=yes"]);
    // Another area than the one that is registered.
    assert!(peer.ask("register-rseq").unwrap_err().contains("EINVAL"), "the other library's is in force");
    falls_back(&stage, peer, Statistic::SharedUnregistered);
}

#[test]
fn the_kernel_knows_no_such_call() {
    if !have_sequences() {
        return;
    }
    let stage = Stage::new();
    let mut peer = stage.peer_without_rseq_call();
    assert!(peer.ask("register-rseq").unwrap_err().contains("ENOSYS"), "the filter is in force");
    falls_back(&stage, peer, Statistic::SharedUnregistered);
}

/// Updates of the thread that lost its registration and of one that has it; expects `lost` processes counted.
fn updates_are_kept(stage: &Stage, peer: &mut Peer, lost: u64) {
    for (kind, name) in [("counter", "c_total"), ("float", "f_total"), ("tally", "t"), ("histogram", "h")] {
        peer.done(&format!("register {kind} {name}"));
        let before = peer.number(&format!("value {name}"));
        for _ in 0..50 {
            peer.done(&format!("update {name} 1"));
        }
        peer.done(&format!("in-thread {name} 1"));
        assert_eq!(peer.number(&format!("value {name}")), before + 51.0, "{name}");
    }
    let seen = stage.snapshot();
    assert_whole(&seen);
    assert_eq!(number(&seen, "c_total"), Some(peer.number("value c_total")));
    assert_eq!(statistic(&seen, Statistic::RseqLost), lost);
    assert_eq!(statistic(&seen, Statistic::BlockFailed), 0);
}

#[test]
fn taken_away_from_a_thread_by_another_library() {
    if !have_sequences() {
        return;
    }
    let stage = Stage::new();
    let mut peer = stage.peer();
    assert_eq!(peer.ask("path").unwrap(), "rseq");
    updates_are_kept(&stage, &mut peer, 0);
    peer.done("unregister-rseq");
    updates_are_kept(&stage, &mut peer, 1);
    peer.done("register-rseq"); // elsewhere; glibc's area stays without CPU number
    updates_are_kept(&stage, &mut peer, 1);
    let mut child = stage.fork(&mut peer);
    updates_are_kept(&stage, &mut child, 1);
    assert_eq!(statistic(&stage.snapshot(), Statistic::ProcessesWithoutRseq), 0);
}

/// A segment whose creator saw fewer CPUs than there are.
#[test]
fn on_a_cpu_beyond_the_table() {
    let cpu = cpus().last().copied().unwrap_or(0);
    if cpu == 0 || !have_sequences() {
        assert!(std::env::var_os("CI").is_none(), "one CPU");
        eprintln!("SKIPPED: one CPU");
        return;
    }
    let stage = Stage::new();
    drop(stage.peer());
    let file = std::fs::File::options().read(true).write(true).open(stage.segment()).unwrap();
    let mut bytes = [0; BYTES];
    file.read_exact_at(&mut bytes, 0).unwrap();
    let mut header = Header::decode(&bytes, file.metadata().unwrap().len()).unwrap();
    header.possible_cpus = cpu as u32;
    header.encode(&[], &mut bytes).unwrap();
    assert_eq!(bytes[..8], MAGIC.to_le_bytes());
    file.write_all_at(&bytes[..STATISTICS as usize], 0).unwrap();

    // Peers inherit where this thread may run.
    move_to(cpu);
    let mut peer = stage.peer();
    updates_are_kept(&stage, &mut peer, 1);
    let counted = peer.number("count all pinned 4 20000");
    assert_eq!(number(&stage.snapshot(), "work_total"), Some(counted));
    assert_eq!(statistic(&stage.snapshot(), Statistic::RseqLost), 1);
}

/// What the exporter shows: how many processes, on which path, and why.
#[test]
fn the_path_of_each_process_is_exposed() {
    if !have_sequences() {
        return;
    }
    let stage = Stage::new();
    let peers = [AUTO, AUTO, "DYN_METRICS_RSEQ=off", NOT_REGISTERED].map(|option| stage.peer_with(&[option]));
    let mut page = Vec::new();
    encode::text::encode(&stage.snapshot(), &mut page);
    let page = String::from_utf8(page).unwrap();
    let shown: Vec<_> = page
        .lines()
        .filter_map(|line| line.strip_prefix("dyn_metrics_update_path_processes_total{"))
        .filter(|line| !line.ends_with(" 0"))
        .map(|line| line.replace(&format!(",segment=\"{}\"", stage.segment().display()), ""))
        .collect();
    assert_eq!(
        shown,
        [
            "path=\"rseq\",reason=\"\"} 2",
            "path=\"shared\",reason=\"off\"} 1",
            "path=\"shared\",reason=\"unregistered\"} 1"
        ]
    );
    drop(peers);
}
