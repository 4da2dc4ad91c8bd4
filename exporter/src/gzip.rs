//! Compression of pages.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use flate2::{Compress, CompressError, Compression, FlushCompress, Status};

use crate::buffers::Buffers;

/// gzip's level: 3 is where text shrinks by a factor of ten or more at a small part of the time of the default 6.
const LEVEL: Compression = Compression::new(3);

/// The logarithm of the window: the largest.
const WINDOW_BITS: u8 = 15;

/// Least room that the compressor is given at a time.
const ROOM: usize = 32 << 10;

/// Compresses one page after the other; clones share one state.
///
/// A state has a quarter of a megabyte. With one for each page every thread that compresses would keep as much in its
/// heap, and memory would rise with each new thread.
#[derive(Clone, Debug, Default)]
pub struct Gzip(Arc<Mutex<Option<State>>>);

#[derive(Debug)]
struct State {
    compress: Compress,
    buffers: Buffers,
}

impl Gzip {
    /// Compresses `text`; blocking, also while another page is compressed.
    pub(crate) fn compress(&self, text: &[u8]) -> Result<Bytes, CompressError> {
        // Poison is ignored: each page starts with a reset.
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || State { compress: Compress::new_gzip(LEVEL, WINDOW_BITS), buffers: Buffers::default() };
        let State { compress, buffers } = state.get_or_insert_with(new);
        compress.reset();
        let mut out = buffers.take();
        loop {
            out.reserve(ROOM);
            let rest = &text[compress.total_in() as usize..];
            if compress.compress_vec(rest, &mut out, FlushCompress::Finish)? == Status::StreamEnd {
                return Ok(buffers.share(out));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn pages_of_any_length_are_whole_one_after_the_other() {
        let gzip = Gzip::default();
        for length in [0, 1, 5000, 3_000_000, 7, 100_000] {
            // Hardly compressible: more than the room that is given at a time.
            let mut seed = 1_u32;
            let text = std::iter::repeat_with(|| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (seed >> 24) as u8
            });
            let text = text.take(length).collect::<Vec<_>>();
            let mut found = Vec::new();
            let page = gzip.compress(&text).expect("gzip");
            flate2::read::GzDecoder::new(&page[..]).read_to_end(&mut found).expect("a gzip stream");
            assert!(found == text, "{length}");
        }
    }

    #[test]
    fn threads_share_one_state() {
        let gzip = Gzip::default();
        let pages: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| gzip.compress(&b"up 1\n".repeat(1000)).expect("gzip")))
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("a page")).collect()
        });
        assert!(pages.windows(2).all(|pair| pair[0] == pair[1]));
    }
}
