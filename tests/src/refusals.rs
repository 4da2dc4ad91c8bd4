//! Proof that a refusal is clear and has changed nothing.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use dyn_metrics_layout::fields::Field;
use dyn_metrics_layout::header::{FIELDS, Statistic};

use crate::servers::{Guard, program};

/// What is seen of one file: everything but the time of the last access.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    inode: u64,
    mode: u32,
    owner: (u32, u32),
    links: u64,
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    bytes: Vec<u8>,
}

/// Everything in a directory, to be compared with what is there later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree(BTreeMap<PathBuf, Seen>);

impl Tree {
    /// What `directory` and the directories in it hold now.
    ///
    /// # Panics
    /// When it can't be read.
    #[must_use]
    pub fn of(directory: &Path) -> Self {
        let mut tree = BTreeMap::new();
        add(directory, &mut tree);
        Self(tree)
    }

    /// Fails when `directory` holds anything else now.
    ///
    /// # Panics
    /// When it does.
    pub fn assert_unchanged(&self, directory: &Path, after: &str) {
        let now = Self::of(directory);
        let names = |tree: &Self| tree.0.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(self), names(&now), "{after}: files came or went");
        for (path, before) in &self.0 {
            assert!(now.0[path] == *before, "{after}: {} changed", path.display());
        }
    }
}

fn add(path: &Path, tree: &mut BTreeMap<PathBuf, Seen>) {
    let meta = path.symlink_metadata().expect("what is there has metadata");
    let kind = meta.file_type();
    let bytes = if kind.is_file() {
        fs::read(path).expect("a readable file")
    } else if kind.is_symlink() {
        fs::read_link(path).expect("a link").into_os_string().into_vec()
    } else {
        Vec::new()
    };
    let seen = Seen {
        inode: meta.ino(),
        mode: meta.mode(),
        owner: (meta.uid(), meta.gid()),
        links: meta.nlink(),
        length: meta.len(),
        modified: (meta.mtime(), meta.mtime_nsec()),
        changed: (meta.ctime(), meta.ctime_nsec()),
        bytes,
    };
    if kind.is_dir() {
        for entry in path.read_dir().expect("a readable directory") {
            add(&entry.expect("an entry").path(), tree);
        }
    }
    tree.insert(path.to_owned(), seen);
}

/// The bytes of a segment without the statistics in its header, where refusals are counted.
///
/// # Panics
/// When it can't be read.
#[must_use]
pub fn substance(path: &Path) -> Vec<u8> {
    let mut bytes = fs::read(path).expect("a readable segment");
    let Field { offset, bytes: length, .. } =
        FIELDS.iter().find(|field| field.name == "statistics").expect("a field");
    bytes[*offset..offset + length].fill(0);
    bytes
}

/// How often the segment has counted something.
///
/// # Panics
/// When it can't be read.
#[must_use]
pub fn counted(path: &Path, statistic: Statistic) -> u64 {
    let mut word = [0; 8];
    let file = fs::File::open(path).expect("a readable segment");
    file.read_exact_at(&mut word, statistic.offset()).expect("a whole header");
    u64::from_le_bytes(word)
}

/// Fails unless `text` is one line of at most 300 characters, without full stop, with every one of `parts`.
///
/// # Panics
/// When it isn't.
pub fn assert_clear(text: &str, parts: &[&str]) {
    assert!(!text.is_empty() && !text.contains(char::is_control), "not one line: {text:?}");
    let length = text.chars().count();
    assert!(length <= 300, "{length} characters: {text}");
    assert!(!text.ends_with('.'), "a full stop: {text}");
    for part in parts {
        assert!(text.contains(part), "lacks {part:?}: {text}");
    }
}

/// Whether tests that need root can run. In CI they must.
///
/// # Panics
/// When they can't and `CI` is set.
#[must_use]
pub fn is_root(what: &str) -> bool {
    let root = nix::unistd::geteuid().is_root();
    assert!(root || std::env::var_os("CI").is_none(), "{what} needs root");
    if !root {
        eprintln!("SKIPPED: {what} needs root");
    }
    root
}

/// Has another process do something: see `src/bin/stranger.rs`. Gives what it says, or its error.
///
/// # Errors
/// What went wrong, in its words.
///
/// # Panics
/// When it can't be started or is killed.
pub fn stranger(words: &[&str], environment: &[(&str, &str)]) -> Result<String, String> {
    let mut command = Command::new(program("stranger"));
    command.args(words).envs(environment.iter().copied()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.stdin(Stdio::null());
    Stranger::new(&mut command).answer()
}

/// A process that does one thing when it is told to.
#[derive(Debug)]
pub struct Stranger(Guard);

impl Stranger {
    fn new(command: &mut Command) -> Self {
        Self(Guard(command.spawn().expect("a stranger starts")))
    }

    /// One that waits for [`Self::go`].
    ///
    /// # Panics
    /// When it can't be started.
    #[must_use]
    pub fn waiting(words: &[&str]) -> Self {
        let mut command = Command::new(program("stranger"));
        command.arg("wait").args(words).stdin(Stdio::piped()).stdout(Stdio::piped());
        Self::new(&mut command)
    }

    /// Its pid.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.0.0.id()
    }

    /// Lets it begin.
    pub fn go(&mut self) {
        drop(self.0.0.stdin.take());
    }

    /// Waits for its end: what it says, or its error.
    ///
    /// # Errors
    /// What went wrong, in its words.
    ///
    /// # Panics
    /// When it was killed.
    pub fn answer(mut self) -> Result<String, String> {
        self.go();
        let (mut text, mut complaint) = (String::new(), String::new());
        let mut pipe = self.0.0.stdout.take().expect("a pipe");
        pipe.read_to_string(&mut text).expect("text");
        if let Some(mut pipe) = self.0.0.stderr.take() {
            pipe.read_to_string(&mut complaint).expect("text");
        }
        let status = self.0.0.wait().expect("its end");
        assert!(status.success(), "the stranger ended with {status}: {text}{complaint}");
        match text.split_once('\n').expect("an outcome") {
            ("ok", rest) => Ok(rest.to_owned()),
            (_, rest) => Err(rest.to_owned()),
        }
    }
}
