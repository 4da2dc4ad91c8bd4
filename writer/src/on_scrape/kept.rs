//! Descriptors that are kept for long in somebody else's process, who may close all that it doesn't know and open others.
#![allow(unsafe_code, reason = "closes a descriptor, or leaves it to whoever has its number now")]

use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::sys::FileId;

/// A descriptor that is closed in the end only if it is still what it was.
#[derive(Debug)]
pub(super) struct Kept {
    fd: ManuallyDrop<OwnedFd>,
    id: FileId,
}

impl Kept {
    pub(super) fn new(fd: OwnedFd) -> nix::Result<Self> {
        let id = FileId::of_fd(&fd)?;
        Ok(Self { fd: ManuallyDrop::new(fd), id })
    }

    /// Whether it is still what it was.
    pub(super) fn is_ours(&self) -> bool {
        FileId::of_fd(&*self.fd) == Ok(self.id)
    }
}

impl AsFd for Kept {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if self.is_ours() {
            // SAFETY: taken once: this is the drop of what holds it.
            drop(unsafe { ManuallyDrop::take(&mut self.fd) });
        }
    }
}
