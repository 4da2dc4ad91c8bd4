//! Models of the segment's protocols: every interleaving, every value a relaxed load may see, threads that
//! vanish as killed processes do.
//!
//! # THESE TESTS ARE NOT RUN BY A PLAIN `cargo test`
//!
//! Without `--cfg loom` every file in `tests/` is empty. Run them with
//!
//! ```sh
//! RUSTFLAGS="--cfg loom" cargo test -p dyn-metrics-loom-tests --release
//! ```
//!
//! which is what `make test` does, in a target directory of its own.
//!
//! # What a model is
//!
//! Each file in `tests/` is one model. It calls the functions of `dyn_metrics_layout` that production calls,
//! on loom's atomics, from at most three threads. The words of a segment that a model needs are loom atomics
//! in an ordinary structure: loom's atomics have no layout, so `view` is not part of it.
//!
//! Each model has broken twins: one step implemented here, with one ordering or one instruction weakened,
//! under `#[should_panic(expected = ...)]`. A twin that ran through would mean that loom doesn't see the step.
//!
//! # Threads that vanish
//!
//! A process dies in a model by `dyn_metrics_layout::sync::vanish_before_write`, which stops a thread for ever
//! before a chosen write of the production code, or before a system call that the model plays. A stop before a
//! load, or between a load and the next write, is for everybody else the same as a stop before that write.
//! `explore_vanishing` runs a model with a stop before the first write, the second one, and so on, until no execution
//! stops any more: so it has tried all, also those that the code gains later. A `Life` is the lock byte of a process:
//! free only after everything that it did, and whoever finds it free sees all of that.
//!
//! | protocol | file in `tests/` | who vanishes | the others |
//! | --- | --- | --- | --- |
//! | space, growth | `space` | who draws | draw what nobody has, in a file that is long enough; no byte is lost that was not drawn |
//! | registration, family or series | `index_registrants` | who registers | have one record for each identity, complete, and wait for nobody |
//! | a further index table | `index_tables` | who links it | register behind the full table |
//! | extent, its words | `extents` | who makes or draws | have words of their own in a chain that loses no extent |
//! | removal of a series | `removal` | who removes it | never look up a series that is gone; share one new record |
//! | cells of a series | `extents` | a handle | count in one place, which readers find |
//! | block of a CPU, shared block | `blocks` | who counts and installs | the total is what was acknowledged, and a reader's never falls |
//! | shared updates | `shared_updates` | who observes | the count is what was acknowledged, and at most what was in flight |
//! | slot of a process | `slots` | who claims | get the slot under a new generation; nobody alive is taken for dead, nor the dead for alive |
//! | the word for claims of gauge cells | `slots`, `gauge_claim` | a thread that claims | of its process: one cell or none, without waiting; of the next one: claims |
//! | list of gauge cells | `gauge_list` | who adds a cell | are in the list, whose cells are whole |
//! | stamped value | `gauge_stamp` | the owner | retain no time without its value |
//! | take-over, reuse of a cell | `gauge_takeover` | who takes over | find every value once at every look; one of them gets the cell |
//! | fork during a claim | `forks` | the parent, while it claims | no child keeps a lock of its parent's |
//!
//! `forks` drives `writer/src/forks.rs` itself: the file takes its atomics from `crate::local`, which is loom's here.
//!
//! # Bounds
//!
//! Models of two threads explore every execution. Where that takes too long, the model says how often threads may
//! be interrupted in one execution (loom's preemption bound). `DYN_LOOM_PREEMPTIONS=4` then explores further, with a
//! bound of 4, `=all` without one: each model as far as it comes in `DYN_LOOM_SECONDS` (default 10).
//!
//! # What is not modelled
//!
//! The kernel (locks, `fallocate`, `linkat`), restartable sequences (a model's CPU runs one thread), and
//! values older than the last seven stores of a word, which loom forgets. A store that a machine delays past a later one
//! shows in other threads' loads only: loom lets a read-modify-write see the newest.
//!
//! **Birth and replacement** are steps of the kernel: files complete before they have a name, names exchanged under a
//! lock. The one word that replacement writes, the header's `state`, is one store that readers show to people and
//! decide nothing by. There is no interleaving of words to explore.
//!
//! **Names that clash** at the same moment, and series beyond a family's limit: readers put the first right, and the second
//! may pass by the number of registrants at once, or of those that die between a record and its count.

#[cfg(loom)]
pub use model::{Executions, Life, Records, Victim, explore, explore_bounded, explore_vanishing};

#[cfg(loom)]
mod model {
    use dyn_metrics_layout::sync::{AtomicU64, Ordering, load_acquire, vanish_before_write};
    use std::collections::BTreeSet;
    use std::sync::{Arc, Mutex};
    use std::time::{Duration, Instant};

    /// What a model's executions had as outcomes, over all of them.
    ///
    /// To show that a model isn't vacuous: that readers were early and late, that each side won once.
    #[derive(Clone, Debug)]
    pub struct Executions<T>(Arc<Mutex<BTreeSet<T>>>);

    impl<T: Ord + Clone> Executions<T> {
        /// Notes an outcome.
        ///
        /// # Panics
        /// When a model panicked while it noted one.
        pub fn note(&self, outcome: T) {
            self.0.lock().expect("no execution panicked here").insert(outcome);
        }

        /// Every outcome.
        ///
        /// # Panics
        /// As [`Self::note`].
        #[must_use]
        pub fn outcomes(&self) -> Vec<T> {
            self.0.lock().expect("no execution panicked here").iter().cloned().collect()
        }
    }

    /// Runs every execution of `model`; returns the outcomes that it noted, in order.
    ///
    /// # Panics
    /// When an execution does.
    pub fn explore<T, F>(model: F) -> Vec<T>
    where
        T: Ord + Clone + Send + 'static,
        F: Fn(&Executions<T>) + Send + Sync + 'static,
    {
        check(None, None, model)
    }

    /// As [`explore`], but only executions with at most this many interruptions of threads.
    ///
    /// # Panics
    /// When an execution does.
    pub fn explore_bounded<T, F>(preemptions: usize, model: F) -> Vec<T>
    where
        T: Ord + Clone + Send + 'static,
        F: Fn(&Executions<T>) + Send + Sync + 'static,
    {
        let deeper = match std::env::var("DYN_LOOM_PREEMPTIONS").as_deref() {
            Ok("all") => Some(None),
            Ok(bound) => {
                let bound = bound.parse().expect("DYN_LOOM_PREEMPTIONS is a number or `all`");
                (bound > preemptions).then_some(Some(bound))
            }
            Err(_) => None,
        };
        let model = Arc::new(model);
        let again = Arc::clone(&model);
        let outcomes = check(Some(preemptions), None, move |executions| model(executions));
        if let Some(bound) = deeper {
            let seconds = std::env::var("DYN_LOOM_SECONDS")
                .map_or(10, |seconds| seconds.parse().expect("DYN_LOOM_SECONDS is a number"));
            check(bound, Some(Duration::from_secs(seconds)), move |executions| again(executions));
        }
        outcomes
    }

    /// The thread of a model that vanishes.
    #[derive(Clone, Debug)]
    pub struct Victim {
        before: usize,
        has_vanished: Arc<Mutex<bool>>,
    }

    impl Victim {
        /// One that doesn't vanish.
        #[must_use]
        pub fn immortal() -> Self {
            Self { before: usize::MAX, has_vanished: Arc::default() }
        }

        /// Runs `body`, which vanishes before this exploration's write; None when it did.
        ///
        /// # Panics
        /// When `body` does.
        pub fn run<R>(&self, body: impl FnOnce() -> R) -> Option<R> {
            let completed = vanish_before_write(self.before, body);
            if completed.is_none() {
                *self.has_vanished.lock().expect("a flag") = true;
            }
            completed
        }

        /// How many writes the thread makes before it vanishes.
        #[must_use]
        pub const fn writes(&self) -> usize {
            self.before
        }
    }

    /// Runs `model` with a thread that vanishes before its first write, then before its second one, and so on until
    /// it reaches its end in every execution; the outcomes of each exploration, the last one without a death.
    ///
    /// So no write is left out when the code gets another one. `bound` is that of [`explore_bounded`], for the
    /// number of writes; None explores everything.
    ///
    /// # Panics
    /// When an execution does.
    pub fn explore_vanishing<T, F>(bound: impl Fn(usize) -> Option<usize>, model: F) -> Vec<Vec<T>>
    where
        T: Ord + Clone + Send + 'static,
        F: Fn(&Victim, &Executions<T>) + Send + Sync + 'static,
    {
        let (model, mut outcomes) = (Arc::new(model), Vec::new());
        loop {
            let victim = Victim { before: outcomes.len(), ..Victim::immortal() };
            let (model, each) = (Arc::clone(&model), victim.clone());
            let run = move |executions: &Executions<T>| model(&each, executions);
            outcomes.push(match bound(victim.before) {
                Some(bound) => explore_bounded(bound, run),
                None => explore(run),
            });
            if !*victim.has_vanished.lock().expect("a flag") {
                println!("{}: vanished before each of {} writes", name(), victim.before);
                return outcomes;
            }
        }
    }

    /// Of the test.
    fn name() -> String {
        std::thread::current().name().unwrap_or("model").to_owned()
    }

    fn check<T, F>(preemptions: Option<usize>, limit: Option<Duration>, model: F) -> Vec<T>
    where
        T: Ord + Clone + Send + 'static,
        F: Fn(&Executions<T>) + Send + Sync + 'static,
    {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = preemptions;
        builder.max_duration = limit;
        builder.max_branches = 10_000;
        builder.checkpoint_interval = 1000; // how often loom looks at the time
        let executions = Executions(Arc::new(Mutex::new(BTreeSet::new())));
        let report = Report { count: Arc::new(Mutex::new(0)), start: Instant::now(), preemptions, limit };
        let (seen, count) = (executions.clone(), Arc::clone(&report.count));
        builder.check(move || {
            *count.lock().expect("counting doesn't panic") += 1;
            model(&seen);
        });
        executions.outcomes()
    }

    /// Says at the end, also of a panic, how much was explored.
    struct Report {
        count: Arc<Mutex<u64>>,
        start: Instant,
        preemptions: Option<usize>,
        limit: Option<Duration>,
    }

    impl Drop for Report {
        fn drop(&mut self) {
            let test = name();
            let count = self.count.lock().map_or(0, |count| *count);
            let bound = self.preemptions.map_or("any".to_owned(), |bound| format!("up to {bound}"));
            let elapsed = self.start.elapsed();
            let cut = if self.limit.is_some_and(|limit| elapsed >= limit) { ", not all" } else { "" };
            let seconds = elapsed.as_secs_f64();
            println!("{test}: {count} executions with {bound} interruptions in {seconds:.2} s{cut}");
        }
    }

    /// The lock byte of a process.
    ///
    /// The kernel frees it after the last instruction of the process, and its own lock orders that before
    /// the answer to whoever asks.
    #[derive(Debug)]
    pub struct Life(AtomicU64);

    impl Life {
        /// Of a process that lives.
        #[must_use]
        #[allow(clippy::new_without_default, reason = "a life starts in a model, explicitly")]
        pub fn new() -> Self {
            Self(AtomicU64::new(1))
        }

        /// The process ends: the last thing that its thread does.
        pub fn end(&self) {
            self.0.store(0, Ordering::Release);
        }

        /// Asks whether the process has ended.
        #[must_use]
        pub fn has_ended(&self) -> bool {
            load_acquire(&self.0) == 0
        }
    }

    /// Records of two words each: an identity, and its complement, which shows half a record.
    #[derive(Debug)]
    pub struct Records(Vec<[AtomicU64; 2]>);

    impl Records {
        /// Space for this many records, all zero.
        #[must_use]
        pub fn zeroed(count: usize) -> Self {
            Self((0..count).map(|_| [AtomicU64::new(0), AtomicU64::new(0)]).collect())
        }

        /// Completes record `n`, which nobody else can see yet, and returns its offset.
        pub fn write(&self, n: usize, identity: u64) -> u64 {
            self.0[n][0].store(identity, Ordering::Relaxed);
            self.0[n][1].store(!identity, Ordering::Relaxed);
            64 * (n as u64 + 1)
        }

        /// The identity of record `n` if it is complete: its complement stands for a checksum.
        #[must_use]
        pub fn published(&self, n: usize) -> Option<u64> {
            let [first, second] = self.0[n].each_ref().map(|word| word.load(Ordering::Relaxed));
            (first != 0 && second == !first).then_some(first)
        }

        /// The identity of the record at `offset`.
        ///
        /// # Panics
        /// When the record isn't complete.
        #[must_use]
        pub fn identity(&self, offset: u64) -> u64 {
            let [first, second] = &self.0[offset as usize / 64 - 1];
            let identity = first.load(Ordering::Relaxed);
            assert_eq!(second.load(Ordering::Relaxed), !identity, "half a record");
            identity
        }
    }
}
