//! What a directory holds, byte by byte: what a death at that moment leaves.
#![allow(unsafe_code, reason = "compares mapped files with their copies")]

use std::collections::HashMap;
use std::fs::{File, Permissions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroUsize;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::Arc;

use nix::libc;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

/// A file of an image.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Which file it is, whatever its name.
    pub inode: u64,
    /// Its permission bits.
    pub mode: u32,
    /// Its bytes.
    pub bytes: Arc<[u8]>,
}

/// The files of a directory, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Image(pub Vec<Entry>);

impl Image {
    /// Of the directory at `path`.
    ///
    /// # Panics
    /// When it can't be read.
    #[must_use]
    pub fn of(path: &Path) -> Self {
        Live::new(path).image()
    }

    /// A number that differs between images that differ.
    #[must_use]
    pub fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        Hash::hash(self, &mut hasher);
        hasher.finish()
    }

    /// The file with this name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Entry> {
        self.0.iter().find(|entry| entry.name == name)
    }
}

/// A file of a directory that is being watched.
#[derive(Debug)]
struct Watched {
    entry: Entry,
    map: NonNull<libc::c_void>,
}

impl Watched {
    fn new(name: String, file: &File) -> Self {
        let meta = file.metadata().expect("what a file is");
        let len = meta.len() as usize;
        let mapped = NonZeroUsize::new(len).map(|len| {
            // SAFETY: a new mapping at an address of the kernel's choice.
            unsafe { mmap(None, len, ProtFlags::PROT_READ, MapFlags::MAP_SHARED, file, 0) }
                .expect("a mapping")
        });
        let mut bytes = vec![0; len];
        file.read_exact_at(&mut bytes, 0).expect("the file's bytes");
        let (inode, mode) = (meta.ino(), meta.permissions().mode() & 0o7777);
        let entry = Entry { name, inode, mode, bytes: bytes.into() };
        Self { entry, map: mapped.unwrap_or(NonNull::dangling()) }
    }

    /// Whether its bytes are still those of the copy.
    fn is_same(&self) -> bool {
        let (copy, len) = (self.entry.bytes.as_ptr().cast(), self.entry.bytes.len());
        // SAFETY: both are `len` bytes long; the only process that could change the file stands still.
        unsafe { libc::memcmp(self.map.as_ptr(), copy, len) == 0 }
    }

    fn copy_again(&mut self) {
        let len = self.entry.bytes.len();
        let mut bytes = vec![0_u8; len];
        // SAFETY: both are `len` bytes long, and as above.
        unsafe { libc::memcpy(bytes.as_mut_ptr().cast(), self.map.as_ptr(), len) };
        self.entry.bytes = bytes.into();
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if !self.entry.bytes.is_empty() {
            // SAFETY: the mapping is this one's, and nothing refers to it any more.
            let _ = unsafe { munmap(self.map, self.entry.bytes.len()) };
        }
    }
}

/// A directory whose files a process changes that stands still whenever they are looked at.
#[derive(Debug)]
pub struct Live {
    path: PathBuf,
    files: Vec<Watched>,
}

impl Live {
    /// The directory at `path`.
    ///
    /// # Panics
    /// When it can't be read.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        let mut live = Self { path: path.to_owned(), files: Vec::new() };
        live.look_again();
        live
    }

    /// Looks which files there are; whether anything about them has changed.
    ///
    /// # Panics
    /// When the directory can't be read.
    pub fn look_again(&mut self) -> bool {
        let mut found: Vec<(String, std::fs::Metadata)> = std::fs::read_dir(&self.path)
            .expect("the directory")
            .map(|entry| entry.expect("an entry"))
            .map(|entry| (entry.file_name().into_string().expect("UTF-8"), entry.metadata().expect("a file")))
            .collect();
        found.sort_by(|a, b| a.0.cmp(&b.0));
        let same = |(name, meta): &(String, std::fs::Metadata), watched: &Watched| {
            let Entry { name: known, inode, mode, bytes } = &watched.entry;
            let state = (meta.ino(), meta.permissions().mode() & 0o7777, meta.len() as usize);
            known == name && state == (*inode, *mode, bytes.len())
        };
        if found.len() == self.files.len() && found.iter().zip(&self.files).all(|(f, w)| same(f, w)) {
            return false;
        }
        let open = |(name, _): (String, _)| {
            let file = File::open(self.path.join(&name)).expect("a file that was just there");
            Watched::new(name, &file)
        };
        self.files = found.into_iter().map(open).collect();
        true
    }

    /// Whether bytes have changed since the last look.
    pub fn have_changed(&mut self) -> bool {
        let mut changed = false;
        for file in &mut self.files {
            if !file.is_same() {
                file.copy_again();
                changed = true;
            }
        }
        changed
    }

    /// What was there at the last look.
    #[must_use]
    pub fn image(&self) -> Image {
        Image(self.files.iter().map(|file| file.entry.clone()).collect())
    }
}

/// A directory that is given the contents of images, one after the other; a file stays the same one (a reader that
/// has mapped it sees the change).
#[derive(Debug)]
pub struct Slide {
    directory: tempfile::TempDir,
    /// By the inode that it had when the image was taken.
    files: HashMap<u64, (File, PathBuf)>,
}

impl Slide {
    /// A directory with these contents.
    ///
    /// # Panics
    /// When `/dev/shm` can't be used.
    #[must_use]
    pub fn new(image: &Image) -> Self {
        let directory = tempfile::tempdir_in("/dev/shm").expect("a directory in /dev/shm");
        let mut slide = Self { directory, files: HashMap::new() };
        slide.show(image);
        slide
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Gives it these contents.
    ///
    /// # Panics
    /// When it can't.
    pub fn show(&mut self, image: &Image) {
        for (inode, (_, path)) in &mut self.files {
            let aside = self.directory.path().join(format!("aside-{inode}"));
            std::fs::rename(&path, &aside).expect("a file of the slide");
            *path = aside;
        }
        for Entry { name, inode, mode, bytes } in &image.0 {
            let to = self.directory.path().join(name);
            let (file, path) = self.files.entry(*inode).or_insert_with(|| {
                let new = || File::options().read(true).write(true).create_new(true).open(&to);
                (new().expect("a new file"), to.clone())
            });
            if *path != to {
                std::fs::rename(&path, &to).expect("a file of the slide");
                *path = to;
            }
            file.set_permissions(Permissions::from_mode(*mode)).expect("its mode");
            // Whole at every moment: never shorter than it was for a reader that has mapped it.
            file.set_len(bytes.len() as u64).expect("its length");
            file.write_all_at(bytes, 0).expect("its bytes");
        }
        let kept = |inode: &u64| image.0.iter().any(|entry| entry.inode == *inode);
        self.files.retain(|inode, (_, path)| {
            let keep = kept(inode);
            if !keep {
                std::fs::remove_file(path).expect("a file of the slide");
            }
            keep
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_of_bytes_names_and_modes_are_seen() {
        let directory = tempfile::tempdir_in("/dev/shm").unwrap();
        let path = directory.path().join("a");
        std::fs::write(&path, [1, 2, 3]).unwrap();
        let mut live = Live::new(directory.path());
        assert!(!live.have_changed() && !live.look_again());
        let file = File::options().write(true).open(&path).unwrap();
        file.write_all_at(&[7], 1).unwrap();
        assert!(live.have_changed() && !live.have_changed());
        assert_eq!(&*live.image().named("a").unwrap().bytes, [1, 7, 3]);
        file.set_permissions(Permissions::from_mode(0o640)).unwrap();
        assert!(live.look_again() && !live.look_again());
        std::fs::rename(&path, directory.path().join("b")).unwrap();
        assert!(live.look_again());
        assert!(live.image().named("b").is_some() && live.image().named("a").is_none());
    }

    #[test]
    fn a_slide_shows_what_the_image_has_and_keeps_files_what_they_are() {
        let entry = |name: &str, inode, byte| Entry {
            name: name.to_owned(),
            inode,
            mode: 0o600,
            bytes: vec![byte; 5].into(),
        };
        let mut slide = Slide::new(&Image(vec![entry("a", 1, 1), entry("b", 2, 2)]));
        let inode = std::fs::metadata(slide.path().join("a")).unwrap().ino();
        slide.show(&Image(vec![entry("a", 3, 3), entry("b", 1, 4)]));
        assert_eq!(std::fs::metadata(slide.path().join("b")).unwrap().ino(), inode);
        assert_eq!(std::fs::read(slide.path().join("b")).unwrap(), [4; 5]);
        assert_eq!(std::fs::read_dir(slide.path()).unwrap().count(), 2);
    }
}
