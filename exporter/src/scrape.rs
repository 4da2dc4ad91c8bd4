//! Single flight: scrapes that arrive together share one collection.
//!
//! A request joins the next collection. Whoever waits when a collection begins gets its page; whoever
//! comes while it runs waits for the one after it, so that nobody gets values older than their request. At most
//! one collection runs at a time, and none runs for nobody.
//!
//! Requests say up to which priority level they want families: of those that wait together, those of one level share a
//! collection.
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

/// As [`Collect`], for families up to a priority level.
pub type CollectUpTo = Box<dyn FnMut(u8) -> Page + Send>;

/// Why there is no page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoPage {
    /// The collection panicked: a defect of ours. The next one starts afresh.
    Failed,
    /// Slow clients hold as many pages as there may be, and none of the level that was asked for.
    Busy,
}

type Outcome = Result<Arc<Page>, NoPage>;

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
    collect: Mutex<CollectUpTo>,
    /// Oldest first.
    pages: Mutex<VecDeque<Made>>,
    /// A page as old as this is not handed out again.
    stale_after: Duration,
    failed: Count,
    older_pages: Count,
}

/// A page that was made.
struct Made {
    at: Instant,
    level: u8,
    page: Weak<Page>,
}

/// A request that waits, with the level that it is for.
type Waiting = (u8, oneshot::Sender<Outcome>);

#[derive(Default)]
struct Queue {
    waiting: Vec<Waiting>,
    running: bool,
}

impl Scraper {
    /// `older_pages` counts the requests that got an older page.
    #[must_use]
    pub fn new(mut collect: Collect, older_pages: Count) -> Self {
        Self::selective(Box::new(move |_| collect()), older_pages)
    }

    /// As [`Self::new`], of pages that differ in the level up to which families are shown.
    #[must_use]
    pub fn selective(collect: CollectUpTo, older_pages: Count) -> Self {
        let (queue, pages, failed) = (Mutex::default(), Mutex::default(), Count::default());
        let (collect, stale_after) = (Mutex::new(collect), STALE_AFTER);
        Self(Arc::new(Shared { queue, collect, pages, stale_after, failed, older_pages }))
    }

    /// The page of the next collection to begin.
    ///
    /// # Errors
    /// [`NoPage`].
    pub async fn scrape(&self) -> Outcome {
        self.scrape_up_to(u8::MAX).await
    }

    /// As [`Self::scrape`], with families up to this priority level.
    ///
    /// # Errors
    /// As there.
    pub async fn scrape_up_to(&self, level: u8) -> Outcome {
        self.join(level).await.unwrap_or(Err(NoPage::Failed))
    }

    /// How many collections have panicked.
    pub(crate) fn failed(&self) -> u64 {
        self.0.failed.value()
    }

    /// Queues a request, and starts a thread for it where none is at work.
    fn join(&self, level: u8) -> oneshot::Receiver<Outcome> {
        let (sender, receiver) = oneshot::channel();
        let mut queue = lock(&self.0.queue);
        queue.waiting.push((level, sender));
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
        while let Some(mut waiting) = self.next_batch() {
            while let Some((level, _)) = waiting.first() {
                let level = *level;
                let (served, others) = waiting.into_iter().partition(|(wanted, _)| *wanted == level);
                waiting = others;
                self.serve(level, served);
            }
        }
    }

    /// Gives requests of one level their page.
    fn serve(&self, level: u8, waiting: Vec<Waiting>) {
        let outcome = match self.surplus(level) {
            Some(page) => {
                waiting.iter().for_each(|_| self.older_pages.inc());
                Ok(page)
            }
            None if self.is_crowded(level) => Err(NoPage::Busy),
            None => self.collect_once(level),
        };
        for (_, request) in waiting {
            // A client that has gone meanwhile is no error.
            let _ = request.send(outcome.clone());
        }
    }

    /// Whether there are so many pages that none is made for a level of which there is none.
    fn is_crowded(&self, level: u8) -> bool {
        let pages = lock(&self.pages);
        pages.len() >= 2 * MAX_PAGES && pages.iter().all(|made| made.level != level)
    }

    /// Takes everybody who still waits; with nobody, the thread's work is over.
    fn next_batch(&self) -> Option<Vec<Waiting>> {
        let mut queue = lock(&self.queue);
        let mut waiting = mem::take(&mut queue.waiting);
        waiting.retain(|(_, request)| !request.is_closed());
        queue.running = !waiting.is_empty();
        queue.running.then_some(waiting)
    }

    /// The newest page of this level, when there are as many as there may be and it isn't stale.
    fn surplus(&self, level: u8) -> Option<Arc<Page>> {
        let mut pages = lock(&self.pages);
        pages.retain(|made| made.page.strong_count() > 0);
        if pages.len() < MAX_PAGES {
            return None;
        }
        let newest = pages.iter().rev().find(|made| made.level == level)?;
        if newest.at.elapsed() < self.stale_after { newest.page.upgrade() } else { None }
    }

    fn collect_once(&self, level: u8) -> Outcome {
        let mut collect = lock(&self.collect);
        let at = Instant::now();
        let page = catch_unwind(AssertUnwindSafe(|| collect(level))).map(Arc::new).map_err(|_| {
            self.failed.inc();
            tracing::error!("a collection panicked, its scrapes are answered with status 500");
            NoPage::Failed
        })?;
        lock(&self.pages).push_back(Made { at, level, page: Arc::downgrade(&page) });
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
        let first = scraper.join(u8::MAX);
        assert_eq!(starts.recv(), Ok(1));
        let (second, third) = (scraper.join(u8::MAX), scraper.join(u8::MAX));
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
            let request = scraper.join(u8::MAX);
            go.send(()).expect("a collection");
            assert_eq!(text(request).await, format!("page {number}"));
        }
        assert_eq!(starts.try_iter().collect::<Vec<_>>(), [1, 2, 3]);
    }

    #[tokio::test]
    async fn nothing_is_collected_for_clients_who_have_gone() {
        let (scraper, starts, go) = gated();
        let first = scraper.join(u8::MAX);
        assert_eq!(starts.recv(), Ok(1));
        drop(scraper.join(u8::MAX));
        go.send(()).expect("a collection");
        assert_eq!(text(first).await, "page 1");
        let last = scraper.join(u8::MAX);
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
    async fn requests_that_wait_together_share_the_page_of_their_level() {
        let (started, starts) = mpsc::channel();
        let (go, gate) = mpsc::channel();
        let collect = Box::new(move |level| {
            started.send(level).expect("the test listens");
            gate.recv().expect("the test lets go");
            Page::new(format!("up to {level}").into_bytes(), Found::default(), Gzip::default())
        });
        let scraper = Scraper::selective(collect, Count::default());
        let first = scraper.join(7);
        assert_eq!(starts.recv(), Ok(7));
        let [a, b, c] = [2, 7, 2].map(|level| scraper.join(level));
        (0..3).for_each(|_| go.send(()).expect("a collection"));
        assert_eq!(text(first).await, "up to 7");
        assert_eq!([text(a).await, text(b).await, text(c).await], ["up to 2", "up to 7", "up to 2"]);
        assert_eq!(starts.try_iter().collect::<Vec<_>>(), [2, 7]);
    }

    #[tokio::test]
    async fn however_many_levels_are_asked_for_slow_clients_hold_a_bounded_number_of_pages() {
        let older = Count::default();
        let collect = Box::new(|level| Page::new(vec![level], Found::default(), Gzip::default()));
        let scraper = Scraper::selective(collect, older.clone());
        let mut held = Vec::new();
        for level in 0..2 * MAX_PAGES as u8 {
            held.push(scraper.scrape_up_to(level).await.expect("a page").text());
        }
        let surplus = 2 * MAX_PAGES as u8;
        assert_eq!(scraper.scrape_up_to(surplus).await.expect_err("no page"), NoPage::Busy);
        assert_eq!(scraper.scrape_up_to(3).await.expect("a page").text(), [3][..], "its own level's");
        assert_eq!((older.value(), scraper.failed()), (1, 0));
        drop(held);
        assert_eq!(scraper.scrape_up_to(surplus).await.expect("a page").text(), [surplus][..]);
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
        assert_eq!(scraper.scrape().await.expect_err("a failure"), NoPage::Failed);
        assert_eq!(scraper.scrape().await.expect("a page").text(), "fine");
        assert_eq!(scraper.failed(), 1);
    }
}
