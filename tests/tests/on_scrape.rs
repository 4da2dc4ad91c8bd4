//! Values that processes compute when they are asked, as the exporter shows them.

use std::process::Command;

use dyn_metrics_tests::served::as_nobody;
use dyn_metrics_tests::servers::{Exporter, get, program, wait_for};
use dyn_metrics_tests::stage::{Peer, Stage, wait_until_stopped};
use nix::sys::signal::Signal;

const SOCKETS: &str = ".dynm-ask-";
/// Longer than anything takes that ends at all.
const LONG: &str = "10000";

/// An exporter that waits so many milliseconds.
fn exporter(stage: &Stage, milliseconds: &str) -> Exporter {
    let mut command = Command::new(program("dyn-metrics-exporter"));
    command.args(["--callback-timeout", milliseconds]);
    Exporter::start_by(command, &[&stage.segment().display().to_string()])
}

fn page(exporter: &Exporter) -> String {
    let (status, page) = get(exporter.address, "/metrics").expect("an answer");
    assert_eq!(status, 200, "{page}");
    page
}

/// The value of a sample without labels; none where there is no such.
fn value(page: &str, name: &str) -> Option<f64> {
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    line.parse().ok()
}

fn own(page: &str, name: &str) -> f64 {
    value(page, &format!("dyn_metrics_exporter_callbacks_{name}_total")).expect("a self-metric")
}

/// Scrapes until the gauge `asked` is more than it was.
fn advance(exporter: &Exporter) -> f64 {
    let before = value(&page(exporter), "asked").unwrap_or(0.0);
    wait_for("a new value", || value(&page(exporter), "asked").filter(|now| *now > before))
}

#[test]
fn each_scrape_shows_what_twenty_processes_have_just_computed() {
    let stage = Stage::new();
    let mut peers: Vec<Peer> = (0..20).map(|_| stage.peer()).collect();
    peers.iter_mut().for_each(|peer| peer.done("on-scrape count asked"));
    assert_eq!(stage.files(SOCKETS).len(), 20);
    let exporter = exporter(&stage, LONG);
    // It has looked once before it listens: that is the first run.
    for run in 2..5 {
        let page = page(&exporter);
        assert_eq!(value(&page, "asked"), Some(20.0 * f64::from(run)));
        assert_eq!((own(&page, "asked"), own(&page, "late")), (20.0 * f64::from(run), 0.0));
    }
    for peer in &mut peers {
        // One that runs callbacks may still be ending.
        wait_for("a single thread", || (peer.number("on-scrape threads") == 1.0).then_some(()));
        peer.done("on-scrape end");
        wait_for("its thread's end", || (peer.number("on-scrape threads") == 0.0).then_some(()));
    }
    assert!(stage.files(SOCKETS).is_empty());
    let page = page(&exporter);
    assert_eq!((value(&page, "asked"), own(&page, "asked")), (Some(80.0), 80.0), "the last values stay");
    let _ = exporter.end();
}

#[test]
fn a_stopped_process_is_served_with_its_last_values_and_not_waited_for_again() {
    let stage = Stage::new();
    let (mut lively, mut stopped) = (stage.peer(), stage.peer());
    lively.done("on-scrape count asked");
    stopped.done("on-scrape count other");
    let exporter = exporter(&stage, "1000");
    let last = value(&page(&exporter), "other").expect("a value");
    stopped.signal(Signal::SIGSTOP);
    wait_until_stopped(stopped.pid());
    let first = page(&exporter);
    assert!(own(&first, "late") >= 1.0);
    for _ in 0..3 {
        let before = page(&exporter);
        let after = page(&exporter);
        assert_eq!(value(&after, "other"), Some(last));
        assert!(own(&after, "late") >= own(&before, "late") + 1.0, "counted at each scrape");
        assert!(own(&after, "asked") <= own(&before, "asked") + 1.0, "and not asked again");
    }
    advance(&exporter);
    stopped.signal(Signal::SIGCONT);
    wait_for("its values", || value(&page(&exporter), "other").filter(|now| *now > last + 1.0));
    let _ = exporter.end();
}

#[test]
fn a_callback_that_hangs_or_panics_keeps_no_other_from_running() {
    let stage = Stage::new();
    let mut peer = stage.peer();
    for what in ["hang", "panic", "count asked", "hang"] {
        peer.done(&format!("on-scrape {what}"));
    }
    let exporter = exporter(&stage, "300");
    for _ in 0..3 {
        advance(&exporter);
    }
    assert!(own(&page(&exporter), "late") >= 3.0);
    // The first panic may take long, while its backtrace is written.
    wait_for("two failures", || (own(&page(&exporter), "failed") >= 2.0).then_some(()));
    peer.done("on-scrape release");
    wait_for("a scrape without late ones", || {
        let (before, after) = (page(&exporter), page(&exporter));
        (own(&before, "late") == own(&after, "late")).then_some(())
    });
    let _ = exporter.end();
}

#[test]
fn a_killed_process_costs_a_scrape_nothing_and_leaves_nothing_for_long() {
    let stage = Stage::new();
    let mut killed = stage.peer();
    killed.done("on-scrape count asked");
    let left = stage.files(SOCKETS);
    assert_eq!(left.len(), 1);
    let exporter = exporter(&stage, LONG);
    killed.kill();
    assert_eq!(stage.files(SOCKETS), left);
    let seen = page(&exporter);
    assert_eq!((own(&seen, "late"), own(&seen, "failed")), (0.0, 0.0));
    let mut next = stage.peer();
    next.done("on-scrape count asked");
    let found = stage.files(SOCKETS);
    assert!(found.len() == 1 && found != left, "{found:?}");
    advance(&exporter);
    next.end();
    assert!(stage.files(SOCKETS).is_empty(), "who ends by itself leaves none");
    let _ = exporter.end();
}

#[test]
fn a_forked_child_has_callbacks_of_its_own_only() {
    let stage = Stage::new();
    let mut parent = stage.peer();
    parent.done("on-scrape count asked");
    let mut child = stage.fork(&mut parent);
    assert_eq!(child.number("on-scrape threads"), 0.0);
    child.done("on-scrape count other");
    let exporter = exporter(&stage, LONG);
    let seen = page(&exporter);
    assert_eq!(
        (value(&seen, "asked"), value(&seen, "other"), own(&seen, "asked")),
        (Some(2.0), Some(2.0), 4.0)
    );
    // What the child inherited doesn't make its parent seem alive.
    let _child_lives = parent.kill_and_keep_children();
    let seen = page(&exporter);
    assert_eq!((value(&seen, "other"), own(&seen, "late")), (Some(3.0), 0.0));
    let _ = exporter.end();
}

#[test]
fn nobody_is_asked_without_time() {
    let stage = Stage::new();
    let mut peer = stage.peer();
    peer.done("on-scrape count asked");
    let exporter = exporter(&stage, "0");
    let seen = page(&exporter);
    assert_eq!((value(&seen, "asked").unwrap_or(0.0), own(&seen, "asked")), (0.0, 0.0));
    let _ = exporter.end();
}

#[test]
fn processes_of_several_pid_namespaces_are_asked() {
    if !nix::unistd::geteuid().is_root() {
        assert!(std::env::var_os("CI").is_none(), "this test needs root");
        eprintln!("SKIPPED: needs root");
        return;
    }
    let stage = Stage::new();
    let mut peers = [stage.namespaced_peer(), stage.namespaced_peer(), stage.peer()];
    peers.iter_mut().for_each(|peer| peer.done("on-scrape count asked"));
    let exporter = exporter(&stage, LONG);
    assert_eq!(value(&page(&exporter), "asked"), Some(6.0));
    let _ = exporter.end();
}

#[test]
fn an_exporter_without_rights_on_a_read_only_mount_asks() {
    if !nix::unistd::geteuid().is_root() {
        assert!(std::env::var_os("CI").is_none(), "this test needs root");
        eprintln!("SKIPPED: needs root");
        return;
    }
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let anybody = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(directory.path(), anybody).unwrap();
    let path = directory.path().join("segment");
    let registry = dyn_metrics::Registry::builder().path(&path).mode(0o644).open().unwrap();
    let _function = registry.gauge("asked", "").unwrap().set_function(|| 7);
    let nobody = as_nobody(&directory);
    let mut command = Command::new("unshare");
    let script = "mount --bind \"$1\" \"$1\" && mount -o remount,bind,ro \"$1\" && shift && \
                  ! touch \"${1%/*}/x\" 2>/dev/null && exec setpriv --reuid 65534 --regid 65534 --clear-groups \"$@\"";
    command.args(["--mount", "sh", "-c", script, "sh"]).arg(directory.path()).arg(nobody.get_program());
    command.args(["--callback-timeout", LONG]);
    let exporter = Exporter::start_by(command, &[&path.display().to_string()]);
    let seen = page(&exporter);
    assert_eq!((value(&seen, "asked"), own(&seen, "failed")), (Some(7.0), 0.0), "{seen}");
    let _ = exporter.end();
}

#[test]
fn what_else_lies_in_the_directory_makes_no_difference() {
    let stage = Stage::new();
    let mut peer = stage.peer();
    for n in 0..3000 {
        std::fs::write(stage.path(&format!("{SOCKETS}{n:016x}-{n:016x}-0")), "").unwrap();
    }
    peer.done("on-scrape count asked");
    let directory = stage.segment().parent().unwrap().display().to_string();
    let mut command = Command::new(program("dyn-metrics-exporter"));
    command.args(["--callback-timeout", LONG]);
    let exporter = Exporter::start_by(command, &[&directory, &format!("{directory}/*")]);
    let seen = page(&exporter);
    assert_eq!((value(&seen, "asked"), own(&seen, "asked"), own(&seen, "failed")), (Some(2.0), 2.0, 0.0));
    let _ = exporter.end();
}

#[test]
fn a_host_that_closes_all_descriptors_gets_no_bytes_of_ours() {
    let stage = Stage::new();
    let mut peer = stage.peer();
    peer.done("on-scrape count asked");
    peer.done(&format!("replace-descriptors {} 20", stage.segment().parent().unwrap().display()));
    let exporter = exporter(&stage, "200");
    page(&exporter);
    for decoy in stage.files("decoy-") {
        assert_eq!(std::fs::read(&decoy).unwrap(), dyn_metrics_tests::host::DECOY);
    }
    peer.done("on-scrape count asked");
    advance(&exporter);
    let _ = exporter.end();
}
