//! The exporter as `deploy/dyn-metrics-exporter.service` runs it: without rights, over file systems that it can't write.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use dyn_metrics_tests::clients::Client;
use dyn_metrics_tests::served::{SAMPLE, Served, segment};
use dyn_metrics_tests::servers::{Exporter, have, program};
use nix::unistd::geteuid;

/// The unit, with the program that was just built.
fn unit(directory: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/dyn-metrics-exporter.service");
    let text = fs::read_to_string(source).expect("the unit");
    let installed = "/usr/local/bin/dyn-metrics-exporter";
    assert!(text.contains(installed));
    let text = text.replace(installed, program("dyn-metrics-exporter").to_str().expect("UTF-8"));
    let path = directory.join("dyn-metrics-exporter.service");
    fs::write(&path, text).expect("a file");
    path
}

/// What `systemd-analyze` says, which must be content.
fn analyze(arguments: &[&str]) -> String {
    let output = Command::new("systemd-analyze").args(arguments).output().expect("systemd-analyze");
    let said =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success(), "{arguments:?}: {said}");
    said
}

#[test]
fn the_unit_is_right_and_leaves_little_exposed() {
    if !have("systemd-analyze") {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let unit = unit(directory.path());
    let unit = unit.to_str().expect("UTF-8");
    assert_eq!(analyze(&["verify", unit]), "", "no remark");
    // In tenths: 1.5 of 10. What is left is that it listens, and that it may read a group's files.
    let said = analyze(&["security", "--offline=yes", "--threshold=15", unit]);
    println!("{}", said.lines().last().unwrap_or_default());
}

/// System calls of a set of systemd's, sets in it included.
fn calls(set: &str) -> BTreeSet<String> {
    let text = analyze(&["syscall-filter", set]);
    let lines = text.lines().skip(1).map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .flat_map(|line| if line.starts_with('@') { calls(line) } else { BTreeSet::from([line.to_owned()]) })
        .collect()
}

#[test]
fn it_makes_no_system_call_that_the_unit_forbids() {
    if !have("systemd-analyze") || !have("strace") {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let trace = directory.path().join("trace");
    let served = Served::start_by(segment(100, 1), |exporter| {
        let mut command = Command::new("strace");
        command.args(["-f", "-D", "-qq", "-o"]).arg(&trace).arg(exporter.get_program());
        command
    });
    for _ in 0..3 {
        Client::connect(served.exporter.address).expect("a connection").scrape().expect("a page");
    }
    drop(served);
    let mut allowed = calls("@system-service");
    for forbidden in ["@privileged", "@resources"] {
        allowed = &allowed - &calls(forbidden);
    }
    let trace = fs::read_to_string(&trace).expect("a trace");
    let made: BTreeSet<String> = trace
        .lines()
        .filter_map(|line| line.split_once(' ')?.1.trim_start().split_once('('))
        .map(|(name, _)| name.to_owned())
        .filter(|name| {
            name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        })
        .collect();
    assert!(made.contains("accept4") && made.contains("openat"), "{made:?}");
    assert_eq!(&made - &allowed, BTreeSet::new(), "of {made:?}");
}

/// What the unit asks of systemd, as far as it can be had without: the exporter is bound over another program, since where
/// it lies may be out of sight.
const RESTRICT: &str = r#"set -e
mount --make-rprivate /
mount --bind "$1" /usr/bin/true
mount --bind /dev/shm /dev/shm
mount -o remount,bind,ro,noexec,nosuid,nodev /dev/shm
mount -t tmpfs -o ro tmpfs /tmp
mount -t tmpfs -o ro tmpfs /home
mount -t tmpfs -o ro tmpfs /root
mount -o remount,bind,ro /
mount -t proc -o hidepid=invisible,subset=pid proc /proc
shift
exec setpriv --reuid=54321 --regid=54321 --groups="$GROUP" --no-new-privs --bounding-set=-all --inh-caps=-all \
    /usr/bin/true "$@"
"#;

/// A group that owns the segment.
const GROUP: u32 = 54_322;

#[test]
fn it_serves_a_groups_segment_without_rights_and_without_a_file_that_it_could_write() {
    if !geteuid().is_root() {
        assert!(std::env::var_os("CI").is_none(), "mounting needs root");
        eprintln!("SKIPPED: mounting needs root");
        return;
    }
    if !have("unshare") || !have("setpriv") {
        return;
    }
    let (directory, path, _registry) = segment(100, 1);
    std::os::unix::fs::chown(&path, None, Some(GROUP)).expect("root may");
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o640)).expect("root may");
    let start = |group: u32| {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--ipc", "sh", "-c", RESTRICT, "sh"]).arg(program("dyn-metrics-exporter"));
        command.env("GROUP", group.to_string());
        Exporter::start_by(command, &[path.to_str().expect("UTF-8")])
    };
    let scrape = |exporter: &Exporter| {
        let (page, _) = Client::connect(exporter.address).expect("a connection").scrape().expect("a page");
        page.samples
    };
    let exporter = start(GROUP);
    let status = fs::read_to_string(format!("/proc/{}/status", exporter.child.0.id())).expect("it runs");
    for line in ["CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1"] {
        assert!(status.contains(line), "{status}");
    }
    let samples = scrape(&exporter);
    assert!(samples.contains_key(SAMPLE), "{:?}", exporter.log());
    let up = format!("dyn_metrics_segment_up{{segment=\"{}\"}}", path.display());
    assert_eq!(samples[&up], 1.0);
    // Who isn't in the group sees nothing of it, and says so.
    let stranger = start(GROUP + 1);
    assert_eq!(scrape(&stranger)[&up], 0.0);
    assert!(stranger.log().iter().any(|line| line.contains("segment skipped")), "{:?}", stranger.log());
    drop(directory);
}
