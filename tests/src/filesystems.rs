//! Small filesystems that only one test sees.

use std::fs;
use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::refusals::is_root;

/// Runs `work` in a tmpfs of its own, with these mount options, that no other thread sees, and no process but
/// those that it starts. Without root it says so and runs nothing.
///
/// # Panics
/// When `work` does, or mounting fails.
pub fn in_small_filesystem(options: &str, work: impl FnOnce(&Path) + Send) {
    if !is_root("mounting a small filesystem") {
        return;
    }
    let directory = tempfile::tempdir_in("/dev/shm").expect("a directory in /dev/shm");
    let place = directory.path();
    // A thread has a mount namespace of its own; with the thread the mount ends.
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace");
            let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
            mount(None::<&str>, "/", None::<&str>, private, None::<&str>).expect("private mounts");
            mount(Some("tmpfs"), place, Some("tmpfs"), MsFlags::empty(), Some(options)).expect("a tmpfs");
            work(place);
        });
        worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    assert_eq!(place.read_dir().expect("a directory").count(), 0, "nothing was mounted for anybody else");
}

/// Leaves `free` bytes of the filesystem that holds `directory`, by a file `filler`.
///
/// # Panics
/// When it can't.
pub fn fill_up(directory: &Path, free: u64) {
    let stat = nix::sys::statvfs::statvfs(directory).expect("its numbers");
    let bytes = stat.blocks_free() * stat.fragment_size() - free;
    let file = fs::File::create(directory.join("filler")).expect("a file");
    let mode = nix::fcntl::FallocateFlags::empty();
    nix::fcntl::fallocate(&file, mode, 0, i64::try_from(bytes).expect("a size")).expect("space");
}
