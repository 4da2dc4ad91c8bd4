//! Memory of pages, written over once nobody reads it any more.

use bytes::Bytes;

/// Most that are kept: one that is being sent, and one for the next page.
const KEPT: usize = 2;

/// Memory for one page after the other: new memory would cost a fault for each of its pages.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    /// The newest, newest last; what no page and no client has any more is used again.
    shared: Vec<Bytes>,
    /// Length of the last one.
    length: usize,
}

impl Buffers {
    /// Empty memory: that of an earlier page, where nobody reads it any more and it is large enough, but not much too
    /// large.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        if let Some(free) = self.shared.iter().position(Bytes::is_unique) {
            let mut free = Vec::from(self.shared.remove(free));
            free.clear();
            if (self.length..=4 * self.length).contains(&free.capacity()) {
                return free;
            }
        }
        // This page will be about as long as the last: room for it at once, and an eighth to grow.
        Vec::with_capacity(self.length + self.length / 8)
    }

    /// Shares what was written, and remembers it for a later page.
    pub(crate) fn share(&mut self, written: Vec<u8>) -> Bytes {
        self.length = written.len();
        let written = Bytes::from(written);
        if self.shared.len() == KEPT {
            self.shared.remove(0);
        }
        self.shared.push(written.clone());
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(buffers: &mut Buffers) -> Bytes {
        let mut page = buffers.take();
        page.extend_from_slice(b"up 1\n");
        buffers.share(page)
    }

    #[test]
    fn memory_that_nobody_reads_is_used_again() {
        let mut buffers = Buffers::default();
        let (first, second) = (page(&mut buffers), page(&mut buffers));
        assert_ne!(first.as_ptr(), second.as_ptr(), "the first is still there");
        let free = first.as_ptr();
        drop(first);
        for _ in 0..3 {
            assert_eq!(page(&mut buffers).as_ptr(), free);
        }
        // A client that takes its time keeps its page, and no more are kept than two.
        let slow: Vec<_> = (0..4).map(|_| page(&mut buffers)).collect();
        assert!(slow.iter().all(|page| page == "up 1\n"));
        assert_eq!(buffers.shared.len(), KEPT);
        assert_eq!(second, "up 1\n");
    }

    #[test]
    fn memory_that_became_much_too_large_is_let_go() {
        let mut buffers = Buffers::default();
        drop(buffers.share(Vec::with_capacity(1 << 20)));
        buffers.length = 1000;
        assert!(buffers.take().capacity() < 4000);
        assert_eq!(buffers.shared.len(), 0);
    }
}
