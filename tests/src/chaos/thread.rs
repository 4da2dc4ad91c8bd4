//! A thread of a worker: counts in batches, and writes each into its book before and after.

use std::sync::Barrier;

use dyn_metrics::{Gauge, Result};
use nix::sys::signal::kill;
use nix::unistd::Pid;

use super::ledger::{Book, Command, Global, Line};
use super::series::{Group, LOWEST_FROM, RARE, Target, What};
use super::twin::PlainWord;
use super::worker::{Worker, end, fail};
use crate::random::Random;

/// Batches between two looks at what the driver wants.
const ROUND: u64 = 64;
/// Series of the growing families that a thread goes on counting in.
const RECENT: usize = 8;

/// A line of the book and what counts there.
#[derive(Debug)]
struct Job {
    line: Line,
    target: Target,
}

/// A thread of a worker.
#[derive(Debug)]
pub struct Thread {
    worker: &'static Worker,
    random: Random,
    book: Book,
    /// What all count in; the first is what is counted most.
    jobs: Vec<Job>,
    /// What the growing families had lately.
    recent: Vec<Job>,
    /// Gauges that are set, by one thread of a process alone.
    statement: Option<Statement>,
    /// Series and families known to this thread.
    known: (u32, u32),
    batches: u64,
}

impl Thread {
    /// Registers what it will count in.
    ///
    /// # Errors
    /// Those of registration.
    pub fn begin(worker: &'static Worker, number: u64) -> Result<Self> {
        let seed = worker.seed ^ (number << 48) ^ (worker.life as u64) << 24;
        let (mut random, mut book) = (Random::new(seed), Book::new(worker.ledger, worker.life));
        // A process has one cell for a gauge, so only one of its threads knows what it has set.
        let statement = if number == 0 { Some(Statement::begin(worker, &mut book)?) } else { None };
        let (series, families) = (worker.global(Global::Series), worker.global(Global::Families));
        let known =
            (series.saturating_sub(random.below(32) as u32), families.saturating_sub(random.below(4) as u32));
        let (jobs, recent) = (Vec::new(), Vec::new());
        let mut thread = Self { worker, random, book, jobs, recent, statement, known, batches: 0 };
        thread.register()?;
        Ok(thread)
    }

    fn register(&mut self) -> Result<()> {
        let seat = self.worker.seat as u32;
        for group in [Group::Events, Group::Units, Group::Busy, Group::Mixed, Group::Bytes, Group::Kept] {
            let job = self.job(What::new(group, 0))?;
            self.jobs.push(job);
        }
        for group in [Group::Seat, Group::SeatKept] {
            let job = self.job(What::new(group, seat))?;
            self.jobs.push(job);
        }
        for what in [What::new(Group::Latency, 0), What::new(Group::SeatLatency, seat)] {
            let bucket = self.random.below(5) as u8;
            let job = self.job(what.bucket(bucket))?;
            self.jobs.push(job);
        }
        let rare = self.random.below(RARE) as u32;
        let job = self.job(What::new(Group::Rare, rare))?;
        self.jobs.push(job);
        // What others have registered long ago.
        for _ in 0..self.known.0.min(4) {
            let index = self.random.below(self.known.0.into()) as u32;
            self.take_up(What::new(Group::New, index))?;
        }
        if self.worker.twin == super::twin::Twin::Plain {
            let word = PlainWord::find(&self.worker.segment, &Group::Events.name(0));
            self.jobs[0].target = Target::Plain(word.unwrap_or_else(|error| fail(&error)));
        }
        Ok(())
    }

    /// A line, and then the series it is about.
    fn job(&mut self, what: What) -> Result<Job> {
        let line = self.book.line(what);
        let target = self.worker.handles.target(what, self.random.one_in(2))?;
        Ok(Job { line, target })
    }

    /// Counts until the driver says that it is enough.
    ///
    /// # Errors
    /// Those of registration.
    pub fn run(mut self, all_begun: &Barrier) -> Result<()> {
        all_begun.wait();
        let ledger = self.worker.ledger;
        for round in 0_u64.. {
            if ledger.global(Global::Stop) != 0 {
                break;
            }
            if let Some(command) = ledger.take_command(self.worker.life) {
                self.obey(command);
            }
            if round.is_multiple_of(1024) && !driver_lives(ledger.global(Global::Driver)) {
                end(0);
            }
            if let Some(statement) = &mut self.statement {
                statement.renew();
            }
            (0..ROUND).for_each(|_| self.count());
            self.grow()?;
        }
        Ok(())
    }

    /// One batch.
    fn count(&mut self) {
        self.batches += 1;
        let many = self.jobs.len() + self.recent.len();
        let at = if self.random.one_in(2) { 0 } else { self.random.below(many as u64) as usize };
        let n = match self.random.below(8) {
            0 | 1 => 1,
            2 => self.random.between(2, 9),
            3 | 4 => 64,
            _ if at == 0 => 1024,
            _ => 256,
        };
        let job = self.jobs.get(at).unwrap_or_else(|| &self.recent[at - self.jobs.len()]);
        job.target.count(n, &job.line);
        self.worker.twin.meddle(self.batches, &self.jobs[0].target, &self.jobs[0].line);
    }

    /// Registers some of what may be registered since the last look, as other threads and processes do right now.
    fn grow(&mut self) -> Result<()> {
        let (series, families) = (self.worker.global(Global::Series), self.worker.global(Global::Families));
        for index in self.known.0..series {
            if self.random.one_in(4) {
                self.take_up(What::new(Group::New, index))?;
            }
        }
        for index in self.known.1..families {
            let what = What::new(Group::NewFamily, index);
            let bucket = if what.is_histogram() { self.random.below(5) as u8 } else { 0 };
            self.take_up(what.bucket(bucket))?;
        }
        self.known = (self.known.0.max(series), self.known.1.max(families));
        Ok(())
    }

    fn take_up(&mut self, what: What) -> Result<()> {
        let job = self.job(what)?;
        job.target.count(1, &job.line);
        if self.recent.len() == RECENT {
            let oldest = self.random.below(RECENT as u64) as usize;
            self.recent[oldest] = job;
        } else {
            self.recent.push(job);
        }
        Ok(())
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Exec => self.worker.replace(self.random.next()),
            Command::Fork => match crate::forks::fork_and_go_on() {
                Ok(Some(_)) => (),
                Ok(None) => self.worker.live_as_child(&mut self.random),
                Err(error) => fail(&error),
            },
        }
    }
}

fn driver_lives(pid: u64) -> bool {
    kill(Pid::from_raw(pid as i32), None).is_ok()
}

/// The gauges that a process sets.
#[derive(Debug)]
struct Statement {
    turn: u64,
    mine: i64,
    lines: [Line; 6],
    gauges: [Gauge; 6],
}

impl Statement {
    const GROUPS: [Group; 6] =
        [Group::Alive, Group::Each, Group::EachKept, Group::Highest, Group::Lowest, Group::Latest];

    fn begin(worker: &Worker, book: &mut Book) -> Result<Self> {
        let mine = worker.life as u32 + 1;
        let index = |group| if group == Group::Latest { mine } else { 0 };
        let lines = Self::GROUPS.map(|group| book.line(What::new(group, index(group))));
        let mut gauges: [Gauge; 6] = Default::default();
        for (gauge, group) in gauges.iter_mut().zip(Self::GROUPS) {
            *gauge = worker.handles.gauge(group)?;
        }
        Ok(Self { turn: 0, mine: i64::from(mine), lines, gauges })
    }

    fn renew(&mut self) {
        self.turn += 1;
        let turn = self.turn as i64;
        let values = [1, 1, 1, turn, LOWEST_FROM as i64 - turn, self.mine];
        for ((line, gauge), (group, value)) in
            self.lines.iter().zip(&self.gauges).zip(Self::GROUPS.into_iter().zip(values))
        {
            let moves = matches!(group, Group::Highest | Group::Lowest);
            if moves || self.turn == 1 {
                line.count(1, || gauge.set(value));
            } else {
                gauge.set(value);
            }
        }
    }
}
