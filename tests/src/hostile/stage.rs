//! Puts edited segments on a filesystem in memory, and puts them right again.

use std::fs::File;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use dyn_metrics_layout::process::lock_offset;
use nix::fcntl::{FallocateFlags, FcntlArg, fallocate, fcntl};
use nix::libc;

use super::base::{self, Base};
use super::edit::{Edit, Edited, Input, apply};
use super::sites::Sites;

/// All bases as files, each twice: its processes live, or are dead.
#[derive(Debug)]
pub struct Stage {
    directory: tempfile::TempDir,
    sets: Vec<Set>,
}

/// A base as files.
#[derive(Debug)]
struct Set {
    base: Base,
    /// By whether processes live.
    copies: [Vec<Copy>; 2],
    sites: Sites,
    edited: Edited,
}

/// A file. Locks on it live as long as it is open.
#[derive(Debug)]
struct Copy {
    path: PathBuf,
    file: File,
}

/// An edited segment, until it is put right again.
#[derive(Debug)]
pub struct Scene<'s> {
    set: &'s mut Set,
    living: bool,
}

impl Default for Stage {
    fn default() -> Self {
        Self::new()
    }
}

impl Stage {
    /// Writes all bases.
    ///
    /// # Panics
    /// When there is no `/dev/shm`, or a base can't be made.
    #[must_use]
    pub fn new() -> Self {
        let directory = tempfile::tempdir_in("/dev/shm").expect("a directory in /dev/shm");
        let sets = base::all().into_iter().enumerate();
        let sets = sets.map(|(number, base)| Set::new(base, &directory.path().join(number.to_string())));
        Self { sets: sets.collect(), directory }
    }

    /// Where it lies.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Paths of a base's files.
    ///
    /// # Panics
    /// When there is no such base.
    #[must_use]
    pub fn paths(&self, name: &str, living: bool) -> Vec<PathBuf> {
        let set = self.sets.iter().find(|set| set.base.name == name).expect("a base");
        set.copies[usize::from(living)].iter().map(|copy| copy.path.clone()).collect()
    }

    /// How many places each base has.
    #[must_use]
    pub fn sites(&self) -> Vec<usize> {
        self.sets.iter().map(|set| set.sites.list.len()).collect()
    }

    /// The base of `input`, with nothing edited.
    pub fn scene(&mut self, input: &Input) -> Scene<'_> {
        let number = input.base as usize % self.sets.len();
        Scene { set: &mut self.sets[number], living: input.living }
    }
}

impl Set {
    fn new(base: Base, directory: &Path) -> Self {
        let copies = [false, true].map(|living| {
            let directory = directory.join(if living { "living" } else { "dead" });
            std::fs::create_dir_all(&directory).expect("a directory");
            let copy = |(number, bytes): (usize, &Vec<u8>)| {
                let path = directory.join(file_name(number));
                let file = create(&path, bytes);
                if living {
                    lock(&file, base.living);
                }
                Copy { path, file }
            };
            base.files.iter().enumerate().map(copy).collect::<Vec<_>>()
        });
        let paths: Vec<_> = copies[1].iter().map(|copy| &copy.path).collect();
        let sites = Sites::of(&paths);
        let edited = Edited { files: base.files.clone(), ..Edited::default() };
        Self { base, copies, sites, edited }
    }
}

/// Name of the file of this number.
fn file_name(number: usize) -> String {
    if number == 0 { "s".to_owned() } else { format!("s.superseded-{number:016x}") }
}

fn create(path: &Path, bytes: &[u8]) -> File {
    let mut options = File::options();
    let file = options.read(true).write(true).create(true).truncate(true).mode(0o600).open(path);
    let file = file.expect("a new file");
    file.write_all_at(bytes, 0).expect("room");
    file
}

/// Holds the locks by which processes in these slots live.
fn lock(file: &File, slots: &[u32]) {
    for slot in slots {
        let request = libc::flock {
            l_type: libc::F_WRLCK as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: lock_offset(*slot) as libc::off_t,
            l_len: 1,
            l_pid: 0,
        };
        fcntl(file, FcntlArg::F_OFD_SETLK(&request)).expect("a free lock");
    }
}

impl Scene<'_> {
    /// Path of the file that has the name.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.copies()[0].path
    }

    /// The same as text.
    #[must_use]
    pub fn pattern(&self) -> String {
        self.path().to_string_lossy().into_owned()
    }

    /// Paths of all files.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.copies().iter().map(|copy| copy.path.as_path())
    }

    /// Bytes of all files together, as long as they are now.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.copies().iter().filter_map(|copy| copy.file.metadata().ok()).map(|meta| meta.len()).sum()
    }

    /// The file of this number.
    #[must_use]
    pub fn file(&self, number: usize) -> &File {
        &self.copies()[number].file
    }

    /// What has been edited so far, and is in the files if [`Self::edit`] did it.
    #[must_use]
    pub const fn edited(&self) -> &Edited {
        &self.set.edited
    }

    fn copies(&self) -> &[Copy] {
        &self.set.copies[usize::from(self.living)]
    }

    /// Edits the bytes and not yet the files.
    pub fn prepare(&mut self, edits: &[Edit]) {
        apply(edits, &self.set.sites, &mut self.set.edited);
    }

    /// Edits the files.
    ///
    /// # Panics
    /// When the filesystem has no room.
    pub fn edit(&mut self, edits: &[Edit]) {
        let before = self.set.edited.dirty.len();
        self.prepare(edits);
        let Set { copies, edited, .. } = &*self.set;
        let copies = &copies[usize::from(self.living)];
        for (file, range) in &edited.dirty[before..] {
            let bytes = &edited.files[*file][range.clone()];
            copies[*file].file.write_all_at(bytes, range.start as u64).expect("room");
        }
        for (file, page) in &edited.holes {
            punch(&copies[*file].file, *page);
        }
        for (file, length) in &edited.lengths {
            copies[*file].file.set_len(*length).expect("room");
        }
    }

    /// Writes the edited files anew, to be used by somebody who changes them: into `directory`.
    ///
    /// # Panics
    /// When the filesystem has no room.
    #[must_use]
    pub fn write_to(&mut self, directory: &Path, edits: &[Edit]) -> Vec<(PathBuf, File)> {
        self.prepare(edits);
        let Set { base, edited, .. } = &*self.set;
        let mut files = Vec::new();
        for (number, bytes) in edited.files.iter().enumerate() {
            let path = directory.join(file_name(number));
            let file = create(&path, bytes);
            if self.living {
                lock(&file, base.living);
            }
            edited.holes.iter().filter(|(of, _)| *of == number).for_each(|(_, page)| punch(&file, *page));
            for (_, length) in edited.lengths.iter().filter(|(of, _)| *of == number) {
                file.set_len(*length).expect("room");
            }
            files.push((path, file));
        }
        files
    }
}

fn punch(file: &File, page: u64) {
    let mode = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    let _ = fallocate(file, mode, page as i64, 4096);
}

impl Drop for Scene<'_> {
    fn drop(&mut self) {
        let Set { base, copies, edited, .. } = &mut *self.set;
        let copies = &copies[usize::from(self.living)];
        for (file, length) in edited.lengths.drain(..) {
            let _ = copies[file].file.set_len(length.min(base.files[file].len() as u64));
            let _ = copies[file].file.set_len(base.files[file].len() as u64);
            let at = length.min(base.files[file].len() as u64);
            let _ = copies[file].file.write_all_at(&base.files[file][at as usize..], at);
        }
        for (file, page) in edited.holes.drain(..) {
            let page = page as usize..(page as usize + 4096).min(base.files[file].len());
            let _ = copies[file].file.write_all_at(&base.files[file][page.clone()], page.start as u64);
        }
        for (file, range) in edited.dirty.drain(..) {
            let bytes = &base.files[file][range.clone()];
            edited.files[file][range.clone()].copy_from_slice(bytes);
            let _ = copies[file].file.write_all_at(bytes, range.start as u64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(stage: &Stage) -> Vec<Vec<u8>> {
        let copies = stage.sets.iter().flat_map(|set| set.copies.iter().flatten());
        copies.map(|copy| std::fs::read(&copy.path).expect("its bytes")).collect()
    }

    #[test]
    fn every_edit_changes_something_and_is_undone() {
        let mut stage = Stage::new();
        let before = contents(&stage);
        let mut random = crate::bytes::Random::new(3);
        let mut changed = [0; super::super::edit::OPERATIONS as usize];
        for _ in 0..2000 {
            let mut bytes: Vec<u8> = (0..26).map(|_| random.number() as u8).collect();
            (bytes[0], bytes[1]) = (random.below(6) as u8, random.below(4) as u8);
            let input = Input::decode(&bytes);
            let mut scene = stage.scene(&input);
            let undamaged = scene.set.base.files.clone();
            scene.edit(&input.edits);
            let now: Vec<_> = scene.paths().map(|path| std::fs::read(path).expect("it")).collect();
            if now != undamaged {
                let operation = input.edits[0].operation % super::super::edit::OPERATIONS;
                changed[operation as usize] += 1;
            }
            drop(scene);
            for set in &stage.sets {
                assert!(set.edited.files == set.base.files, "{input:?}");
            }
        }
        assert!(contents(&stage) == before, "all is as it was");
        assert!(changed.iter().all(|count| *count > 20), "{changed:?}");
    }
}
