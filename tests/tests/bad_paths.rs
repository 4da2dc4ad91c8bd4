//! Paths that lead to no usable segment: one clear error, and what is there stays as it was.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use dyn_metrics::Registry;
use dyn_metrics_layout::header::{self, MAGIC};
use dyn_metrics_reader::{Collector, SegmentState, check};
use dyn_metrics_tests::bytes::{field, put};
use dyn_metrics_tests::refusals::{Tree, assert_clear, is_root, stranger};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

/// A user that owns nothing here.
const SOMEBODY: u32 = 12345;

fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir_in("/dev/shm").expect("a directory in /dev/shm");
    set_mode(directory.path(), 0o755);
    directory
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("its mode");
}

/// A segment that nobody uses, with one counter that says 7.
fn make_segment(path: &Path) {
    let text = path.to_str().expect("a path in UTF-8");
    stranger(&["register", text, "counter", "events_total"], &[]).expect("a segment");
}

/// The bytes of a good segment.
fn good_bytes() -> Vec<u8> {
    let directory = directory();
    make_segment(&directory.path().join("good"));
    fs::read(directory.path().join("good")).expect("its bytes")
}

/// Gives up when `work` takes as long as something that waits for ever.
fn in_time<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(work()));
    receiver.recv_timeout(Duration::from_secs(30)).expect("an answer, not a wait or a panic")
}

fn writer_error(path: &Path) -> String {
    let path = path.to_owned();
    in_time(move || Registry::open_at(path).map(drop).expect_err("the writer refuses it").to_string())
}

fn reader_error(path: &Path) -> String {
    let pattern = path.to_str().expect("a path in UTF-8").to_owned();
    let snapshot = in_time(move || Collector::new(&[pattern]).collect());
    assert!(snapshot.families.is_empty(), "{:?}", snapshot.families);
    match &snapshot.segments[0].state {
        SegmentState::Unreadable(error) => error.to_string(),
        other => panic!("{}: the reader found it {}", path.display(), other.name()),
    }
}

fn check_error(path: &Path) -> String {
    let path = path.to_owned();
    in_time(move || check::check(path).map(drop).expect_err("check refuses it").to_string())
}

/// The writer refuses `path` with these words, and nothing changes.
fn assert_writer_refuses(path: &Path, parts: &[&str]) {
    let directory = path.parent().expect("a directory");
    let before = Tree::of(directory);
    let error = writer_error(path);
    before.assert_unchanged(directory, &error);
    assert_clear(&error, &[&[path.to_str().expect("UTF-8")], parts].concat());
}

/// Reader and check refuse `path` with these words, and nothing changes.
fn assert_reader_refuses(path: &Path, parts: &[&str]) {
    let directory = path.parent().expect("a directory");
    let before = Tree::of(directory);
    for error in [reader_error(path), check_error(path)] {
        before.assert_unchanged(directory, &error);
        assert_clear(&error, &[&[path.to_str().expect("UTF-8")], parts].concat());
    }
}

fn assert_both_refuse(path: &Path, parts: &[&str]) {
    assert_writer_refuses(path, parts);
    assert_reader_refuses(path, parts);
}

fn assert_bytes_refused(bytes: &[u8], parts: &[&str]) {
    let directory = directory();
    let path = directory.path().join("segment");
    fs::write(&path, bytes).expect("a file");
    assert_both_refuse(&path, parts);
}

#[test]
fn a_directory_is_no_segment() {
    let directory = directory();
    let path = directory.path().join("segment");
    fs::create_dir(&path).expect("a directory");
    assert_writer_refuses(&path, &["found a directory, expected a regular file"]);
    let before = Tree::of(directory.path());
    assert_clear(&check_error(&path), &["found a directory, expected a regular file"]);
    before.assert_unchanged(directory.path(), "check");
}

#[test]
fn a_fifo_is_refused_without_waiting_for_its_other_end() {
    let directory = directory();
    let path = directory.path().join("segment");
    mkfifo(&path, Mode::from_bits_truncate(0o666)).expect("a FIFO");
    assert_both_refuse(&path, &["found a FIFO, expected a regular file"]);
}

#[test]
fn a_socket_is_no_segment() {
    let directory = directory();
    let path = directory.path().join("segment");
    let _listener = UnixListener::bind(&path).expect("a socket");
    assert_both_refuse(&path, &["found a socket", "expected a regular file"]);
}

#[test]
fn a_device_is_no_segment() {
    let path = Path::new("/dev/null");
    for error in [writer_error(path), reader_error(path), check_error(path)] {
        assert_clear(&error, &["/dev/null: found a device, expected a regular file"]);
    }
}

#[test]
fn a_symbolic_link_is_not_followed_even_to_a_good_segment() {
    let directory = directory();
    make_segment(&directory.path().join("good"));
    for target in ["good", "missing", "segment"] {
        let path = directory.path().join("segment");
        symlink(target, &path).expect("a link");
        assert_both_refuse(&path, &["found a symbolic link, expected a regular file"]);
        fs::remove_file(&path).expect("it goes");
    }
}

#[test]
fn a_file_that_is_too_short_is_no_segment() {
    let good = good_bytes();
    for length in [0, 1, 15] {
        let found = format!("found {length} bytes, expected at least 4096");
        assert_bytes_refused(&vec![b'x'; length], &["too short", &found]);
    }
    for length in [8, 15, 16, 4095] {
        let found = format!("found {length} bytes, expected at least 4096");
        assert_bytes_refused(&good[..length], &["too short", &found]);
    }
}

#[test]
fn a_foreign_file_is_no_segment() {
    let expected = format!("expected {MAGIC:#018x}");
    for length in [16, 4095, 4096, 1 << 20] {
        assert_bytes_refused(
            &vec![b'x'; length],
            &["not a dyn-metrics segment", "found magic 0x7878787878787878", &expected],
        );
        assert_bytes_refused(&vec![0; length], &["found magic 0x0000000000000000", &expected]);
    }
    let mut other_case = good_bytes();
    other_case[..8].make_ascii_lowercase();
    assert_bytes_refused(&other_case, &["not a dyn-metrics segment", &expected]);
}

#[test]
fn a_segment_of_a_big_endian_machine_is_named_as_such() {
    let mut bytes = good_bytes();
    bytes[..8].copy_from_slice(&MAGIC.to_be_bytes());
    assert_bytes_refused(&bytes, &["segment of a big-endian machine, expected little-endian"]);
}

#[test]
fn a_newer_format_is_left_alone() {
    let mut bytes = good_bytes();
    for version in [2, 77, u32::MAX] {
        put(&mut bytes, "version", &version.to_le_bytes());
        assert_bytes_refused(&bytes, &[&format!("format version {version}, expected 1")]);
        // What else such a version changes, nobody knows.
        assert_bytes_refused(&bytes[..16], &[&format!("format version {version}, expected 1")]);
        bytes[1000] ^= 1;
        bytes[4095] ^= 1;
        assert_bytes_refused(&bytes, &[&format!("format version {version}, expected 1")]);
    }
}

#[test]
fn features_that_nobody_may_ignore_are_refused() {
    let mut bytes = good_bytes();
    put(&mut bytes, "incompat", &(1_u64 << 40).to_le_bytes());
    assert_bytes_refused(
        &bytes,
        &["unknown features 0x10000000000", "expected none that this version lacks"],
    );
}

#[test]
fn features_that_writers_must_know_keep_writers_out_and_let_readers_in() {
    let directory = directory();
    let path = directory.path().join("segment");
    let mut bytes = good_bytes();
    put(&mut bytes, "ro_compat", &2_u64.to_le_bytes());
    fs::write(&path, bytes).expect("a file");
    assert_writer_refuses(&path, &["unknown features 0x2", "expected none that this version lacks"]);
    let before = Tree::of(directory.path());
    assert_eq!(stranger(&["read", path.to_str().unwrap()], &[]), Ok("events_total".into()));
    check::check(&path).expect("check reads it");
    before.assert_unchanged(directory.path(), "reading");
}

#[test]
fn features_that_anybody_may_ignore_are_ignored() {
    let directory = directory();
    let path = directory.path().join("segment");
    let mut bytes = good_bytes();
    put(&mut bytes, "compat", &u64::MAX.to_le_bytes());
    fs::write(&path, &bytes).expect("a file");
    Registry::open_at(&path).expect("the writer attaches");
    assert_eq!(stranger(&["read", path.to_str().unwrap()], &[]), Ok("events_total".into()));
}

/// Files in `directory`, without the random part of superseded ones.
fn names(directory: &Path) -> Vec<String> {
    let entries =
        directory.read_dir().expect("a directory").map(|entry| entry.expect("an entry").file_name());
    let mut names: Vec<String> = entries.map(|name| name.into_string().expect("UTF-8")).collect();
    for name in &mut names {
        if let Some(at) = name.find(".superseded-") {
            name.truncate(at + ".superseded-".len());
        }
    }
    names.sort();
    names
}

fn superseded(directory: &Path) -> PathBuf {
    let entries = directory.read_dir().expect("a directory").map(|entry| entry.expect("an entry").path());
    entries
        .into_iter()
        .find(|path| path.to_str().unwrap().contains(".superseded-"))
        .expect("a superseded file")
}

#[test]
fn an_older_format_is_replaced_by_its_owner_and_kept_aside() {
    let directory = directory();
    let path = directory.path().join("segment");
    let mut bytes = good_bytes();
    put(&mut bytes, "version", &0_u32.to_le_bytes());
    fs::write(&path, &bytes).expect("a file");
    assert_reader_refuses(&path, &["format version 0, expected 1"]);
    let registry = Registry::open_at(&path).expect("a new segment");
    registry.counter("fresh_total", "").expect("a counter").inc();
    assert_eq!(names(directory.path()), ["segment", "segment.superseded-"]);
    let kept = fs::read(superseded(directory.path())).expect("the old file");
    let state = header::STATE as usize;
    assert_eq!(kept[..state], bytes[..state]);
    assert_eq!(kept[state..state + 8], header::STATE_SUPERSEDED.to_le_bytes());
    assert_eq!(kept[state + 8..], bytes[state + 8..]);
    assert_eq!(stranger(&["read", path.to_str().unwrap()], &[]), Ok("fresh_total".into()));
}

#[test]
fn a_damaged_header_or_index_is_replaced_by_its_owner_and_kept_aside() {
    for at in [100, field("checksum").offset, 2000, (4096 + 512 * 512)] {
        let directory = directory();
        let path = directory.path().join("segment");
        let mut bytes = good_bytes();
        bytes[at] ^= 0x10;
        fs::write(&path, &bytes).expect("a file");
        Registry::open_at(&path).expect("a new segment").counter("fresh_total", "").expect("a counter").inc();
        assert_eq!(names(directory.path()), ["segment", "segment.superseded-"], "byte {at}");
        assert!(
            stranger(&["read", path.to_str().unwrap()], &[]).unwrap().contains("fresh_total"),
            "byte {at}"
        );
    }
}

#[test]
fn a_damaged_or_older_segment_of_somebody_else_is_not_replaced() {
    if !is_root("giving files to another user") {
        return;
    }
    let directory = directory();
    set_mode(directory.path(), 0o777);
    let path = directory.path().join("segment");
    let allowing = ["uid=54321", "open-allowing", "12345", path.to_str().unwrap()];
    for (name, value, part) in
        [("version", 0, "format version 0, expected 1"), ("reserved", 1, "corrupt header checksum")]
    {
        let mut bytes = good_bytes();
        bytes[field(name).offset] = value;
        fs::write(&path, &bytes).expect("a file");
        chown(&path, Some(SOMEBODY), Some(SOMEBODY)).expect("root may");
        set_mode(&path, 0o666);
        let before = Tree::of(directory.path());
        let error = stranger(&allowing, &[]).expect_err("it is neither its owner nor root");
        before.assert_unchanged(directory.path(), &error);
        assert_clear(&error, &[path.to_str().unwrap(), part]);
    }
}

#[test]
fn a_segment_of_somebody_else_is_refused_unless_that_user_is_allowed() {
    if !is_root("giving files to another user") {
        return;
    }
    let directory = directory();
    // Sticky and for all, as /dev/shm and /tmp are.
    set_mode(directory.path(), 0o1777);
    let path = directory.path().join("segment");
    make_segment(&path);
    let text = path.to_str().unwrap();
    set_mode(&path, 0o666);
    assert_eq!(stranger(&["uid=54321", "open", text], &[]), Ok(text.into()), "root is trusted");
    chown(&path, Some(SOMEBODY), Some(SOMEBODY)).expect("root may");
    assert_eq!(stranger(&["uid=12345", "open", text], &[]), Ok(text.into()), "its own");
    let before = Tree::of(directory.path());
    let refused = [stranger(&["uid=54321", "open", text], &[]), stranger(&["open", text], &[])];
    for (refused, uid) in refused.into_iter().zip([54321, 0]) {
        let error = refused.expect_err("somebody else's");
        before.assert_unchanged(directory.path(), &error);
        assert_clear(
            &error,
            &[text, "owned by uid 12345", &format!("expected uid {uid}"), "Builder::allow_uid"],
        );
    }
    assert_eq!(stranger(&["uid=54321", "open-allowing", "12345", text], &[]), Ok(text.into()));
    assert_eq!(stranger(&["uid=54321", "read", text], &[]), Ok("events_total".into()), "anybody may read");
}

#[test]
fn a_file_that_may_not_be_opened_names_user_mode_and_remedy() {
    if !is_root("becoming another user") {
        return;
    }
    let directory = directory();
    let path = directory.path().join("segment");
    make_segment(&path);
    let text = path.to_str().unwrap();
    chown(&path, Some(SOMEBODY), Some(777)).expect("root may");
    set_mode(&path, 0o640);
    let before = Tree::of(directory.path());
    let parts = [text, "permission denied", "uid 54321 gid 54322", "0640", "12345", "777"];
    for action in ["open", "read", "check"] {
        let error = stranger(&["gid=54322", "uid=54321", action, text], &[]).expect_err("it may not");
        before.assert_unchanged(directory.path(), &error);
        assert_clear(&error, &parts);
        assert!(error.contains("remedy: ") || error.contains("run as uid 12345"), "no remedy: {error}");
    }
    // Readable and not writable: enough for a reader.
    let words = ["gid=777", "uid=54321", "open", text];
    assert_clear(
        &stranger(&words, &[]).unwrap_err(),
        &["uid 54321 gid 777", "0640", "for reading and writing"],
    );
    assert_eq!(stranger(&["gid=777", "uid=54321", "read", text], &[]), Ok("events_total".into()));
    before.assert_unchanged(directory.path(), "reading");
}

#[test]
fn a_file_with_two_names_is_refused_by_writers() {
    let directory = directory();
    let path = directory.path().join("segment");
    make_segment(&path);
    fs::hard_link(&path, directory.path().join("other")).expect("a second name");
    assert_writer_refuses(&path, &["found 2 hard links, expected 1"]);
    assert_eq!(stranger(&["read", path.to_str().unwrap()], &[]), Ok("events_total".into()));
}

#[test]
fn a_missing_directory_is_named() {
    let directory = directory();
    let path = directory.path().join("missing").join("segment");
    let before = Tree::of(directory.path());
    let error = writer_error(&path);
    before.assert_unchanged(directory.path(), &error);
    let missing = format!("found no directory {}", path.parent().unwrap().display());
    assert_clear(&error, &[path.to_str().unwrap(), &missing]);
    let snapshot = Collector::new(&[path.to_str().unwrap().to_owned()]).collect();
    assert_eq!(snapshot.segments[0].state.name(), "missing", "nothing needs to exist yet for a reader");
    assert_clear(&check_error(&path), &[path.to_str().unwrap(), "no such file, expected a segment"]);
}

#[test]
fn a_file_in_the_place_of_a_directory_is_named() {
    let directory = directory();
    fs::write(directory.path().join("file"), "text").expect("a file");
    let path = directory.path().join("file").join("segment");
    let before = Tree::of(directory.path());
    for error in [writer_error(&path), check_error(&path)] {
        before.assert_unchanged(directory.path(), &error);
        assert_clear(&error, &[path.to_str().unwrap(), "Not a directory"]);
    }
}

#[test]
fn a_directory_that_may_not_be_written_or_searched_names_user_mode_and_remedy() {
    if !is_root("becoming another user") {
        return;
    }
    let directory = directory();
    let path = directory.path().join("segment");
    let text = path.to_str().unwrap();
    for mode in [0o755, 0o700] {
        set_mode(directory.path(), mode);
        let before = Tree::of(directory.path());
        let error = stranger(&["gid=54322", "uid=54321", "open", text], &[]).expect_err("it may not");
        before.assert_unchanged(directory.path(), &error);
        let place = format!("{} with mode {mode:04o} owner 0:0", directory.path().display());
        assert_clear(&error, &[text, "permission denied", "uid 54321 gid 54322", &place, "remedy: "]);
    }
}

#[test]
fn a_path_with_a_nul_or_without_a_name_is_refused_before_the_kernel_sees_it() {
    let directory = directory();
    let before = Tree::of(directory.path());
    let here = std::env::current_dir().expect("a directory");
    let before_here: Vec<_> = here.read_dir().expect("it").map(|entry| entry.unwrap().file_name()).collect();
    let base = directory.path().as_os_str().as_bytes();
    let nul = [base, b"/seg\0ment"].concat();
    for (bytes, part) in
        [(&b""[..], "found \"\""), (&nul, "seg\\0ment"), (&[base, b"/."].concat(), ""), (b"/", "")]
    {
        let path = Path::new(std::ffi::OsStr::from_bytes(bytes));
        let error = writer_error(path);
        before.assert_unchanged(directory.path(), &error);
        assert_clear(&error, &[part, "expected"]);
    }
    let after_here: Vec<_> = here.read_dir().expect("it").map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(before_here, after_here);
    let snapshot = Collector::new(&[String::new(), "a\0b".to_owned()]).collect();
    assert!(snapshot.segments.iter().all(|segment| !segment.state.is_served()));
    for path in ["", "a\0b"] {
        check_error(Path::new(path));
    }
}

#[test]
fn a_name_or_path_beyond_the_kernel_s_limit_is_refused() {
    let directory = directory();
    let before = Tree::of(directory.path());
    let error = writer_error(&directory.path().join("x".repeat(256)));
    before.assert_unchanged(directory.path(), &error);
    assert_clear(&error, &["xxx", "expected the path of a file, with a name of at most 227 bytes"]);
    // The longest name can be replaced, too.
    let longest = directory.path().join("x".repeat(227));
    for fresh in [false, true] {
        Registry::builder().path(&longest).fresh(fresh).force(true).open().expect("a segment");
    }
}

#[test]
fn an_empty_variable_means_the_default_path() {
    if !is_root("mounting an empty /dev/shm") {
        return;
    }
    assert_eq!(stranger(&["shm", "default"], &[("DYN_METRICS_SHM", "")]), Ok("/dev/shm/dynamo".into()));
    let directory = directory();
    let path = directory.path().join("named");
    let text = path.to_str().unwrap();
    assert_eq!(stranger(&["default"], &[("DYN_METRICS_SHM", text)]), Ok(text.into()));
}

#[test]
fn a_bad_variable_is_refused_like_a_bad_path() {
    let directory = directory();
    let before = Tree::of(directory.path());
    let text = directory.path().to_str().unwrap();
    let error = stranger(&["default"], &[("DYN_METRICS_SHM", text)]).expect_err("a directory");
    before.assert_unchanged(directory.path(), &error);
    assert_clear(&error, &[text, "found a directory"]);
}

#[test]
fn a_file_whose_tables_lie_beyond_its_end_is_damaged_not_a_crash() {
    let good = good_bytes();
    for length in [4096, 8192, 4096 + 512 * 512] {
        let directory = directory();
        let path = directory.path().join("segment");
        fs::write(&path, &good[..length]).expect("a file");
        assert_reader_refuses(&path, &["corrupt start of data"]);
        Registry::open_at(&path)
            .expect("its owner replaces it")
            .counter("x_total", "")
            .expect("a counter")
            .inc();
        assert_eq!(names(directory.path()), ["segment", "segment.superseded-"]);
    }
}

/// Puts something that is no usable segment at `path`.
type Put = fn(&Path);

const FOREIGN: [(&str, Put); 5] = [
    ("found a directory, expected a regular file", |path| fs::create_dir(path).expect("a directory")),
    ("found a symbolic link, expected a regular file", |path| symlink("/dev/null", path).expect("a link")),
    ("found a FIFO, expected a regular file", |path| mkfifo(path, Mode::S_IRWXU).expect("a FIFO")),
    ("not a dyn-metrics segment", |path| fs::write(path, [b'x'; 8192]).expect("a file")),
    ("format version 2, expected 1", |path| {
        let mut bytes = good_bytes();
        put(&mut bytes, "version", &2_u32.to_le_bytes());
        fs::write(path, bytes).expect("a file");
    }),
];

#[test]
fn starting_from_zero_replaces_segments_and_nothing_else() {
    for (part, put) in FOREIGN {
        let directory = directory();
        let path = directory.path().join("segment");
        put(&path);
        let before = Tree::of(directory.path());
        let error = Registry::builder().path(&path).fresh(true).force(true).open().expect_err("no segment");
        before.assert_unchanged(directory.path(), part);
        assert_clear(&error.to_string(), &[path.to_str().unwrap(), part]);
    }
}

#[test]
fn what_takes_the_name_of_a_segment_in_use_is_refused_and_handles_go_on() {
    let directory = directory();
    let (path, aside) = (directory.path().join("segment"), directory.path().join("aside"));
    let registry = Registry::open_at(&path).expect("a segment");
    let counter = registry.counter("events_total", "").expect("a counter");
    let family = registry.family::<dyn_metrics::Counter>(&dyn_metrics::Opts::new("f_total", ""), &["l"]);
    let family = family.expect("a family");
    family.with(&["known"]).inc();
    for (part, put) in FOREIGN {
        fs::rename(&path, &aside).expect("it moves");
        put(&path);
        let before = Tree::of(directory.path());
        for error in [registry.gauge("new", "").map(drop), family.try_with(&["new"]).map(drop)] {
            assert_clear(&error.expect_err("not there").to_string(), &[path.to_str().unwrap(), part]);
        }
        before.assert_unchanged(directory.path(), part);
        counter.inc();
        family.with(&["known"]).inc();
        family.with(&["new"]).inc();
        if path.is_dir() { fs::remove_dir(&path) } else { fs::remove_file(&path) }.expect("it goes");
        fs::rename(&aside, &path).expect("it moves back");
    }
    registry.gauge("new", "").expect("there again").set(1);
    let rounds = FOREIGN.len() as u64;
    assert_eq!(
        (counter.value(), family.with(&["known"]).value(), family.with(&["new"]).value()),
        (rounds, rounds + 1, 0)
    );
}

#[test]
fn a_relative_path_leads_to_the_same_segment_after_the_host_has_changed_its_directory() {
    let directory = directory();
    let other = directory.path().join("other");
    fs::create_dir(&other).expect("a directory");
    let words = [directory.path().to_str().unwrap(), other.to_str().unwrap()];
    let before = stranger(&["move", words[0], words[1], "segment"], &[]).expect("both register");
    assert_eq!(before, directory.path().join("segment").to_str().unwrap());
    assert_eq!(names(&other), [""; 0]);
    let text = directory.path().join("segment");
    assert_eq!(stranger(&["read", text.to_str().unwrap()], &[]), Ok("first_total second_total".into()));
}
