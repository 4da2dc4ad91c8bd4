//! One collection's result: the exposition, shared by everybody who asked for it.

use std::io::{self, Write};
use std::sync::Arc;

use bytes::Bytes;
use dyn_metrics_reader::LeftOut;
use flate2::{Compression, write::GzEncoder};
use tokio::sync::OnceCell;
use tokio::task;

use crate::segments::SegmentView;

/// gzip's level: 3 is where text shrinks by a factor of ten or more at a small part of the time of the default 6.
const LEVEL: Compression = Compression::new(3);

/// What one collection found. Never changes; clients share its bytes, and it lives as long as any of them needs these.
#[derive(Debug)]
pub(crate) struct Page {
    text: Vec<u8>,
    gzip: OnceCell<Option<Vec<u8>>>,
    found: Found,
}

/// What a collection found, for people.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) segments: Vec<SegmentView>,
    /// Patterns that are directories or globs and lead to nothing.
    pub(crate) unmatched: Vec<String>,
    pub(crate) left_out: LeftOut,
}

impl Page {
    pub(crate) fn new(text: Vec<u8>, found: Found) -> Self {
        Self { text, gzip: OnceCell::new(), found }
    }

    /// The exposition. Cost: a reference count.
    pub(crate) fn text(self: &Arc<Self>) -> Bytes {
        Bytes::from_owner(Text(Arc::clone(self)))
    }

    /// The exposition, compressed by the first who asks, on a thread where that blocks nobody.
    ///
    /// `None` when it could not be compressed; the plain page then does.
    pub(crate) async fn gzip(self: &Arc<Self>) -> Option<Bytes> {
        let compressed = self.gzip.get_or_init(|| async {
            let text = self.text();
            task::spawn_blocking(move || compress(&text)).await.ok()?.ok()
        });
        compressed.await.as_ref().map(|_| Bytes::from_owner(Gzip(Arc::clone(self))))
    }

    /// What the collection found.
    pub(crate) const fn found(&self) -> &Found {
        &self.found
    }
}

/// A page's text as the body of a response.
struct Text(Arc<Page>);

impl AsRef<[u8]> for Text {
    fn as_ref(&self) -> &[u8] {
        &self.0.text
    }
}

/// A page's compressed text as the body of a response.
struct Gzip(Arc<Page>);

impl AsRef<[u8]> for Gzip {
    fn as_ref(&self) -> &[u8] {
        self.0.gzip.get().and_then(Option::as_deref).unwrap_or_default()
    }
}

fn compress(text: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(text.len() / 8), LEVEL);
    encoder.write_all(text)?;
    encoder.finish()
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[tokio::test]
    async fn the_page_is_compressed_once_and_shared() {
        let page = Arc::new(Page::new(b"up 1\n".repeat(1000), Found::default()));
        let (first, second) = (page.gzip().await.expect("gzip"), page.gzip().await.expect("gzip"));
        assert_eq!(first.as_ptr(), second.as_ptr());

        let mut text = Vec::new();
        flate2::read::GzDecoder::new(&first[..]).read_to_end(&mut text).expect("a gzip stream");
        assert_eq!(text, page.text());
        assert!(first.len() < text.len() / 10);
    }
}
