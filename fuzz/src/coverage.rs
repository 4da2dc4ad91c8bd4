//! Coverage of a child process, brought home.
//!
//! libFuzzer's counters are ordinary memory, of which a forked child has a copy. Before it ends it copies them into
//! memory that it shares with its parent, which adds them to its own.

use std::sync::OnceLock;

use dyn_metrics_tests::hostile::attach::Hooks;

unsafe extern "C" {
    #[link_name = "__start___sancov_cntrs"]
    static mut START: u8;
    #[link_name = "__stop___sancov_cntrs"]
    static mut STOP: u8;
    fn mmap(address: *mut u8, len: usize, protection: i32, flags: i32, fd: i32, offset: i64) -> *mut u8;
}

const READ_WRITE: i32 = 3;
const SHARED_ANONYMOUS: i32 = 0x21;

/// Counters, and memory of the same length that children share.
#[derive(Clone, Copy)]
pub struct Shared {
    counters: *mut u8,
    shared: *mut u8,
    len: usize,
}

// SAFETY: one thread uses them, that which fuzzes; a child is waited for before the shared memory is read.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

static SHARED: OnceLock<Shared> = OnceLock::new();

impl Shared {
    /// Those of this program.
    pub fn get() -> Self {
        *SHARED.get_or_init(|| {
            let (counters, stop) = (&raw mut START, &raw mut STOP);
            let len = stop as usize - counters as usize;
            // SAFETY: a new mapping at an address of the kernel's choice.
            let shared = unsafe { mmap(std::ptr::null_mut(), len, READ_WRITE, SHARED_ANONYMOUS, -1, 0) };
            assert!(shared as isize != -1, "no memory to share");
            Self { counters, shared, len }
        })
    }
}

impl Hooks for Shared {
    fn done(&mut self) {
        // SAFETY: both are `len` bytes long and don't overlap.
        unsafe { std::ptr::copy_nonoverlapping(self.counters, self.shared, self.len) };
    }

    fn ended(&mut self) {
        // SAFETY: as above; the child, which had this process's counts to begin with, has ended.
        unsafe { std::ptr::copy_nonoverlapping(self.shared, self.counters, self.len) };
    }
}
