//! One collection's result: the exposition, shared by everybody who asked for it.

use std::io::{self, Write};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use tokio::sync::OnceCell;
use tokio::task;

use crate::segments::SegmentView;

/// gzip's level: 3 is where text shrinks by a factor of ten or more at a small part of the time of the default 6.
const LEVEL: Compression = Compression::new(3);

/// What one collection found. Never changes; clients share its bytes.
#[derive(Debug)]
pub(crate) struct Page {
    text: Bytes,
    gzip: OnceCell<Option<Bytes>>,
    segments: Vec<SegmentView>,
}

impl Page {
    pub(crate) fn new(text: impl Into<Bytes>, segments: Vec<SegmentView>) -> Self {
        Self { text: text.into(), gzip: OnceCell::new(), segments }
    }

    /// The exposition. Cost: a reference count.
    pub(crate) fn text(&self) -> Bytes {
        self.text.clone()
    }

    /// The exposition, compressed by the first who asks, on a thread where that blocks nobody.
    ///
    /// `None` when it could not be compressed; the plain page then does.
    pub(crate) async fn gzip(&self) -> Option<Bytes> {
        let compressed = self.gzip.get_or_init(|| async {
            let text = self.text();
            task::spawn_blocking(move || compress(&text)).await.ok()?.ok()
        });
        compressed.await.clone()
    }

    /// The segments that the collection saw.
    pub(crate) fn segments(&self) -> &[SegmentView] {
        &self.segments
    }
}

fn compress(text: &[u8]) -> io::Result<Bytes> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(text.len() / 8), LEVEL);
    encoder.write_all(text)?;
    Ok(Bytes::from(encoder.finish()?))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[tokio::test]
    async fn the_page_is_compressed_once_and_shared() {
        let page = Page::new(b"up 1\n".repeat(1000), Vec::new());
        let (first, second) = (page.gzip().await.expect("gzip"), page.gzip().await.expect("gzip"));
        assert_eq!(first.as_ptr(), second.as_ptr());

        let mut text = Vec::new();
        flate2::read::GzDecoder::new(&first[..]).read_to_end(&mut text).expect("a gzip stream");
        assert_eq!(text, page.text());
        assert!(first.len() < text.len() / 10);
    }
}
