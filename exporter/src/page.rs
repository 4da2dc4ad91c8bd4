//! One collection's result: the exposition, shared by everybody who asked for it.

use std::sync::Arc;

use bytes::Bytes;
use dyn_metrics_reader::LeftOut;
use tokio::sync::OnceCell;
use tokio::task;

use crate::gzip::Gzip;
use crate::segments::SegmentView;

/// What one collection found. Never changes; clients share its bytes, and it lives as long as any of them needs these.
#[derive(Debug)]
pub struct Page {
    text: Bytes,
    compressed: OnceCell<Option<Bytes>>,
    gzip: Gzip,
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
    /// A page of this text.
    pub fn of(text: impl Into<Bytes>, gzip: &Gzip) -> Self {
        Self::new(text, Found::default(), gzip.clone())
    }

    /// A page of this text, which `gzip` compresses for those who ask.
    pub(crate) fn new(text: impl Into<Bytes>, found: Found, gzip: Gzip) -> Self {
        Self { text: text.into(), compressed: OnceCell::new(), gzip, found }
    }

    /// The exposition. Cost: a reference count.
    pub fn text(self: &Arc<Self>) -> Bytes {
        self.body(&self.text)
    }

    /// The exposition, compressed by the first who asks, on a thread where that blocks nobody.
    ///
    /// `None` when it could not be compressed; the plain page then does.
    pub async fn gzip(self: &Arc<Self>) -> Option<Bytes> {
        let compressed = self.compressed.get_or_init(|| async {
            let (text, gzip) = (self.text(), self.gzip.clone());
            task::spawn_blocking(move || gzip.compress(&text)).await.ok()?.ok()
        });
        Some(self.body(compressed.await.as_ref()?))
    }

    /// Bytes of this page as the body of a response: while there is one, the page lives.
    fn body(self: &Arc<Self>, bytes: &Bytes) -> Bytes {
        Bytes::from_owner(Body { bytes: bytes.clone(), _page: Arc::clone(self) })
    }

    /// What the collection found.
    pub(crate) const fn found(&self) -> &Found {
        &self.found
    }
}

struct Body {
    bytes: Bytes,
    _page: Arc<Page>,
}

impl AsRef<[u8]> for Body {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[tokio::test]
    async fn the_page_is_compressed_once_and_shared() {
        let page = Arc::new(Page::new(b"up 1\n".repeat(1000), Found::default(), Gzip::default()));
        let (first, second) = (page.gzip().await.expect("gzip"), page.gzip().await.expect("gzip"));
        assert_eq!(first.as_ptr(), second.as_ptr());

        let mut text = Vec::new();
        flate2::read::GzDecoder::new(&first[..]).read_to_end(&mut text).expect("a gzip stream");
        assert_eq!(text, page.text());
        assert!(first.len() < text.len() / 10);
    }
}
