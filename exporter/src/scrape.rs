//! Single flight: scrapes that arrive together share one collection.
//!
//! A request joins the next collection. Whoever waits when a collection begins gets its page; whoever
//! comes while it runs waits for the one after it, so that nobody gets values older than their request. At most
//! one collection runs at a time, and none runs for nobody.
//!
//! A page lives until the last client has read it. So that slow clients can't fill the memory, there are hardly more than
//! [`MAX_PAGES`]: while all of them are on their way, requests get the newest, and are counted, for a few seconds.

use std::collections::VecDeque;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::task;

use crate::page::Page;
use crate::self_metrics::Count;

/// Reads all segments once; blocking.
pub type Collect = Box<dyn FnMut() -> Page + Send>;

/// The collection panicked: a defect of ours. The next one starts afresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CollectionFailed;

type Outcome = Result<Arc<Page>, CollectionFailed>;

/// Pages alive at once beyond which requests get an older one. A page of 100 000 series has about 10 MB; clients that
/// read as they should leave one or two.
pub(crate) const MAX_PAGES: usize = 8;

/// Slow clients must not keep others from new values: a further page is made for those, one in this time. So within
/// the time that a client has for a response a dozen more can be alive.
const STALE_AFTER: Duration = Duration::from_secs(5);

/// Hands out pages. Clones share one queue and one collector.
#[derive(Clone)]
pub struct Scraper(Arc<Shared>);

struct Shared {
    queue: Mutex<Queue>,
    collect: Mutex<Collect>,
    /// Oldest first, with the time they were made at.
    pages: Mutex<VecDeque<(Instant, Weak<Page>)>>,
    /// A page as old as this is not handed out again.
    stale_after: Duration,
    failed: Count,
    older_pages: Count,
}

#[derive(Default)]
struct Queue {
    waiting: Vec<oneshot::Sender<Outcome>>,
    running: bool,
}

impl Scraper {
    /// `older_pages` counts the requests that got an older page.
    #[must_use]
    pub fn new(collect: Collect, older_pages: Count) -> Self {
        let (queue, pages, failed) = (Mutex::default(), Mutex::default(), Count::default());
        let (collect, stale_after) = (Mutex::new(collect), STALE_AFTER);
        Self(Arc::new(Shared { queue, collect, pages, stale_after, failed, older_pages }))
    }

    /// The page of the next collection to begin.
    ///
    /// # Errors
    /// [`CollectionFailed`] where it panicked.
    pub async fn scrape(&self) -> Outcome {
        self.join().await.unwrap_or(Err(CollectionFailed))
    }

    /// How many collections have panicked.
    pub(crate) fn failed(&self) -> u64 {
        self.0.failed.value()
    }

    /// Queues a request, and starts a thread for it where none is at work.
    fn join(&self) -> oneshot::Receiver<Outcome> {
        let (sender, receiver) = oneshot::channel();
        let mut queue = lock(&self.0.queue);
        queue.waiting.push(sender);
        if !mem::replace(&mut queue.running, true) {
            let shared = Arc::clone(&self.0);
            task::spawn_blocking(move || shared.drain());
        }
        receiver
    }
}

impl Shared {
    /// Collects until nobody waits.
    fn drain(&self) {
        while let Some(waiting) = self.next_batch() {
            let outcome = match self.surplus() {
                Some(page) => {
                    waiting.iter().for_each(|_| self.older_pages.inc());
                    Ok(page)
                }
                None => self.collect_once(),
            };
            for request in waiting {
                // A client that has gone meanwhile is no error.
                let _ = request.send(outcome.clone());
            }
        }
    }

    /// Takes everybody who still waits; with nobody, the thread's work is over.
    fn next_batch(&self) -> Option<Vec<oneshot::Sender<Outcome>>> {
        let mut queue = lock(&self.queue);
        let mut waiting = mem::take(&mut queue.waiting);
        waiting.retain(|request| !request.is_closed());
        queue.running = !waiting.is_empty();
        queue.running.then_some(waiting)
    }

    /// The newest page, when there are as many as there may be and it isn't stale.
    fn surplus(&self) -> Option<Arc<Page>> {
        let mut pages = lock(&self.pages);
        pages.retain(|(_, page)| page.strong_count() > 0);
        let (made, newest) = pages.back().filter(|_| pages.len() >= MAX_PAGES)?;
        if made.elapsed() < self.stale_after { newest.upgrade() } else { None }
    }

    fn collect_once(&self) -> Outcome {
        let mut collect = lock(&self.collect);
        let made = Instant::now();
        let page = catch_unwind(AssertUnwindSafe(&mut *collect)).map(Arc::new).map_err(|_| {
            self.failed.inc();
            tracing::error!("a collection panicked, its scrapes are answered with status 500");
            CollectionFailed
        })?;
        lock(&self.pages).push_back((made, Arc::downgrade(&page)));
        Ok(page)
    }
}

/// Poison is ignored: no step under these locks leaves something half done (`Segments` drops what a panic saw).
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::gzip::Gzip;
    use crate::page::Found;

    /// A collection that reports its start, then waits to be let go, and numbers its pages.
    fn gated() -> (Scraper, mpsc::Receiver<u32>, mpsc::Sender<()>) {
        let (started, starts) = mpsc::channel();
        let (go, gate) = mpsc::channel();
        let mut number = 0;
        let scraper = Scraper::new(
            Box::new(move || {
                number += 1;
                started.send(number).expect("the test listens");
                gate.recv().expect("the test lets go");
                Page::new(format!("page {number}").into_bytes(), Found::default(), Gzip::default())
            }),
            Count::default(),
        );
        (scraper, starts, go)
    }

    async fn text(request: oneshot::Receiver<Outcome>) -> String {
        let page = request.await.expect("an answer").expect("a page");
        String::from_utf8(page.text().to_vec()).expect("UTF-8")
    }

    #[tokio::test]
    async fn requests_during_a_collection_share_the_next_one() {
        let (scraper, starts, go) = gated();
        let first = scraper.join();
        assert_eq!(starts.recv(), Ok(1));
        let (second, third) = (scraper.join(), scraper.join());
        go.send(()).expect("a collection");
        go.send(()).expect("a collection");
        assert_eq!(text(first).await, "page 1");
        let (second, third) = (second.await.expect("an answer"), third.await.expect("an answer"));
        let (second, third) = (second.expect("a page"), third.expect("a page"));
        assert!(Arc::ptr_eq(&second, &third));
        assert_eq!(second.text(), "page 2");
        assert_eq!(starts.try_iter().collect::<Vec<_>>(), [2]);
    }

    #[tokio::test]
    async fn a_request_after_a_collection_gets_a_new_one() {
        let (scraper, starts, go) = gated();
        for number in 1..4 {
            let request = scraper.join();
            go.send(()).expect("a collection");
            assert_eq!(text(request).await, format!("page {number}"));
        }
        assert_eq!(starts.try_iter().collect::<Vec<_>>(), [1, 2, 3]);
    }

    #[tokio::test]
    async fn nothing_is_collected_for_clients_who_have_gone() {
        let (scraper, starts, go) = gated();
        let first = scraper.join();
        assert_eq!(starts.recv(), Ok(1));
        drop(scraper.join());
        go.send(()).expect("a collection");
        assert_eq!(text(first).await, "page 1");
        let last = scraper.join();
        go.send(()).expect("a collection");
        assert_eq!(text(last).await, "page 2");
    }

    #[tokio::test]
    async fn slow_clients_hold_a_bounded_number_of_pages() {
        let (mut number, older) = (0, Count::default());
        let collect = Box::new(move || {
            number += 1;
            Page::new(format!("page {number}").into_bytes(), Found::default(), Gzip::default())
        });
        let scraper = Scraper::new(collect, older.clone());
        let scrape = async || scraper.scrape().await.expect("a page").text();
        let mut held = Vec::new();
        for number in 1..=MAX_PAGES {
            held.push(scrape().await);
            assert_eq!(held[number - 1], format!("page {number}"));
        }
        assert_eq!(older.value(), 0);
        // No more of them: whoever comes now gets the newest there is.
        let newest = format!("page {MAX_PAGES}");
        for surplus in 1..=3 {
            assert_eq!(scrape().await, newest);
            assert_eq!(older.value(), surplus);
        }
        held.swap_remove(2);
        assert_eq!(scrape().await, format!("page {}", MAX_PAGES + 1));
        assert_eq!(older.value(), 3);
    }

    #[tokio::test]
    async fn slow_clients_keep_nobody_from_new_values_for_long() {
        let (mut number, older) = (0, Count::default());
        let collect = Box::new(move || {
            number += 1;
            Page::new(format!("page {number}").into_bytes(), Found::default(), Gzip::default())
        });
        let mut scraper = Scraper::new(collect, older.clone());
        Arc::get_mut(&mut scraper.0).expect("the only one").stale_after = Duration::ZERO;
        let mut held = Vec::new();
        for number in 1..=2 * MAX_PAGES {
            held.push(scraper.scrape().await.expect("a page").text());
            assert_eq!(held[number - 1], format!("page {number}"));
        }
        assert_eq!(older.value(), 0);
    }

    #[tokio::test]
    async fn a_panic_fails_its_own_scrapes_only() {
        let mut calls = 0;
        let scraper = Scraper::new(
            Box::new(move || {
                calls += 1;
                assert!(calls != 1, "the first collection panics on purpose");
                Page::new(b"fine".to_vec(), Found::default(), Gzip::default())
            }),
            Count::default(),
        );
        assert_eq!(scraper.scrape().await.expect_err("a failure"), CollectionFailed);
        assert_eq!(scraper.scrape().await.expect("a page").text(), "fine");
        assert_eq!(scraper.failed(), 1);
    }
}
