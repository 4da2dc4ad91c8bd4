//! One scenario, killed everywhere.

use std::time::{Duration, Instant};

use dyn_metrics_reader::check;

use crate::step::image::{Image, Slide};
use crate::step::judge::{Expected, Judge, reader};
use crate::step::page::Page;
use crate::step::scenario::{SEGMENT, Scenario};
use crate::step::tracee::Stop;
use crate::step::walk::{Program, Walk};

/// What killing a scenario everywhere came to.
#[derive(Debug, Default)]
pub struct Deaths {
    /// The way through it, once.
    pub walk: Walk,
    /// Real deaths.
    pub killed: u64,
    /// Instructions where one was to happen and which the victim didn't come by: clocks and random numbers have
    /// their say in it, and how many digits its pid has.
    pub missed: Vec<u64>,
    /// What is wrong, with where.
    pub wrong: Vec<String>,
    /// Most bytes that a death has wasted.
    pub most_wasted: u64,
    /// Most files that a death has left beside the segment.
    pub most_beside: usize,
    /// Time for the way through, for the images and for the deaths.
    pub times: [Duration; 3],
}

/// A scenario with what was there before.
#[derive(Debug)]
pub struct Prepared<'s> {
    /// Which one.
    pub scenario: &'s Scenario,
    /// The victims' program.
    pub program: &'s Program,
    /// What its victim finds.
    pub found: Image,
    /// What its victim is told.
    pub note: String,
}

/// How many of the protocols' instructions are to be deadly in each scenario: `all`, or a number.
///
/// # Panics
/// When `DYN_METRICS_DEATHS` is neither.
#[must_use]
pub fn wanted() -> usize {
    match std::env::var("DYN_METRICS_DEATHS").as_deref() {
        Ok("all") => usize::MAX,
        Ok(number) => number.parse().expect("DYN_METRICS_DEATHS: all, or a number"),
        Err(_) => 100,
    }
}

/// Has the kernel give the next process a pid behind this one, if it lets us.
fn ask_for_pid_after(pid: i32) {
    let _ = std::fs::write("/proc/sys/kernel/ns_last_pid", pid.to_string());
}

/// At most `most` of `all`, evenly.
#[must_use]
pub fn sample<T: Copy>(all: &[T], most: usize) -> Vec<T> {
    let count = most.min(all.len());
    (0..count).map(|n| all[n * all.len() / count]).collect()
}

impl<'s> Prepared<'s> {
    /// Has it prepared.
    ///
    /// # Panics
    /// When that fails.
    #[must_use]
    pub fn new(scenario: &'s Scenario, program: &'s Program) -> Self {
        let directory = tempfile::tempdir_in("/dev/shm").expect("a directory in /dev/shm");
        let prepared = program.prepare(scenario, directory.path());
        let note = prepared.unwrap_or_else(|error| panic!("{}: {error}", scenario.name));
        Self { scenario, program, found: Image::of(directory.path()), note }
    }

    /// Steps a victim through it, once.
    ///
    /// # Errors
    /// Those of tracing.
    pub fn walk(&self) -> std::io::Result<Walk> {
        let slide = Slide::new(&self.found);
        let mut victim = self.program.start(self.scenario, slide.path(), &self.note)?;
        let mut walk = self.program.walk(&mut victim, slide.path());
        walk.pid = victim.pid().as_raw();
        // Its remaining way, and its own opinion of how it went.
        let end = victim.go();
        assert!(matches!(end, Stop::Trap), "{}: {end:?}", self.scenario.name);
        let end = victim.go();
        let well = matches!(end, Stop::Ended(nix::sys::wait::WaitStatus::Exited(_, 0)));
        assert!(well, "{}: {end:?}", self.scenario.name);
        Ok(walk)
    }

    /// A real death at `place`, relative to where the program is loaded; looked at by `look` before the victim
    /// goes on from its first mark, and when it is dead. None when it didn't come by.
    ///
    /// # Panics
    /// When the victim can't be started.
    pub fn die_at<T>(&self, place: u64, look: impl FnOnce(&Slide) -> T) -> Option<(Slide, T)> {
        let slide = Slide::new(&self.found);
        let mut victim =
            self.program.start(self.scenario, slide.path(), &self.note).expect("a traced victim");
        let seen = look(&slide);
        let at = self.program.base(&victim) + place;
        victim.break_at(at);
        let stop = victim.go();
        assert_eq!(stop, Stop::Trap, "{} at {place:#x}", self.scenario.name);
        let came_by = victim.next() == at + 1;
        victim.kill();
        came_by.then_some((slide, seen))
    }

    /// Kills it everywhere: judges every image of one way through it, and real deaths at `most` of the protocols'
    /// instructions.
    ///
    /// # Errors
    /// Those of tracing.
    pub fn kill_everywhere(&self, most: usize) -> std::io::Result<Deaths> {
        let mut judge = Judge::default();
        let start = Instant::now();
        let mut deaths = Deaths { walk: self.walk()?, ..Deaths::default() };
        deaths.times[0] = start.elapsed();
        let pages = [&deaths.walk.before, deaths.walk.after()]
            .map(|image| Page::of(&mut reader(Slide::new(image).path())));
        let expected = expected(&deaths.walk, &pages);
        let start = Instant::now();
        let mut wrong = Vec::new();
        for (n, image) in std::iter::once(&deaths.walk.before).chain(&deaths.walk.images).enumerate() {
            let mut slide = Slide::new(&deaths.walk.before);
            let mut attached = reader(slide.path());
            let _ = Page::of(&mut attached);
            slide.show(image);
            let found = judge.judge(self.scenario, (slide.path(), &self.note), &mut attached, &expected);
            wrong.extend(found.into_iter().map(|what| format!("image {n}: {what}")));
        }
        deaths.times[1] = start.elapsed();
        let start = Instant::now();
        for place in sample(&deaths.walk.protocol, most) {
            let attach = |slide: &Slide| {
                let mut attached = reader(slide.path());
                let _ = Page::of(&mut attached);
                attached
            };
            // Clocks have their say in the way a victim takes, and so has the number of digits of its pid, which is part
            // of a family's record: it gets another chance to come by.
            let attempt = |n| {
                if n > 0 {
                    ask_for_pid_after(deaths.walk.pid);
                }
                self.die_at(place, attach)
            };
            let Some((slide, mut attached)) = (0..4).find_map(attempt) else {
                deaths.missed.push(place);
                continue;
            };
            deaths.killed += 1;
            let found = judge.judge(self.scenario, (slide.path(), &self.note), &mut attached, &expected);
            wrong.extend(found.into_iter().map(|what| format!("death at {place:#x}: {what}")));
        }
        deaths.times[2] = start.elapsed();
        deaths.wrong = wrong;
        (deaths.most_wasted, deaths.most_beside) = (judge.most_wasted, judge.most_beside);
        Ok(deaths)
    }
}

/// What readers are to show, and how much is drawn on the way.
fn expected<'p>(walk: &Walk, [before, done]: &'p [Page; 2]) -> Expected<'p> {
    let counts = |image: &Image| {
        let slide = Slide::new(image);
        let report = check::check(slide.path().join(SEGMENT)).ok();
        report.map_or((0, 0), |report| (report.bytes_reserved, report.bytes_wasted))
    };
    let ((first, wasted), (last, _)) = (counts(&walk.before), counts(walk.after()));
    let is_there = walk.before.named(SEGMENT).is_some();
    Expected { before, done, drawn: last.saturating_sub(first), wasted, is_there }
}
