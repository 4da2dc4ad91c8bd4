//! Scrapes of segments in which many CPUs have blocks: more than this machine has.
//!
//! The segment is made by the writer; then its header is changed to say that 256 CPUs are possible,
//! before anything is registered. What other CPUs would have counted is written to the file directly.

use std::fs::{File, OpenOptions};
use std::hint::black_box;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use dyn_metrics_benches::bars::OURS;
use dyn_metrics_benches::rows::RenderRow;
use dyn_metrics_layout::extent::{BLOCK_ALIGN, Extent, MAX_WORDS, NEXT_WORD};
use dyn_metrics_layout::header::{self, Header};
use dyn_metrics_layout::link::Link;
use dyn_metrics_layout::space::{Limits, reserve};
use dyn_metrics_layout::sync::{AtomicU64, Ordering};
use dyn_metrics_reader::{Collector, Number, Value};

use crate::args::Arguments;
use crate::peers::ours::{Home, scraper, toucher};
use crate::peers::{Kind, Page};
use crate::rendering::{Case, measure};
use dyn_metrics_benches::pool::pin;

/// CPUs that have blocks.
const BLOCKS: [u32; 4] = [1, 16, 64, 256];
/// CPUs that the segments are made for.
const POSSIBLE: u32 = 256;
/// Counters of each segment.
const SERIES: usize = 10_000;

pub fn run(arguments: &Arguments, home: &Home) -> io::Result<Vec<RenderRow>> {
    let before = nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(0));
    pin(0); // one CPU counts, and so has a block
    let cases = BLOCKS.iter().map(|blocks| cases(*blocks, home)).collect::<io::Result<Vec<_>>>();
    let rows = cases.map(|cases| measure(cases.into_iter().flatten().collect(), arguments.renderings()));
    if let Ok(before) = before {
        let _ = nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &before);
    }
    rows
}

/// A scrape with this many blocks, and the loop that does no more than add their cells.
fn cases(blocks: u32, home: &Home) -> io::Result<[Case; 2]> {
    let segment = format!("blocks_{blocks}");
    let path = home.path(&segment);
    // In another process: this one must not have seen the segment before its header says 256.
    let status = Command::new(std::env::current_exe()?).args(["--child", "create"]).arg(&path).status()?;
    if !status.success() {
        return Err(io::Error::other(format!("making a segment ended with {status}")));
    }
    make_possible(&path, POSSIBLE)?;
    let touch = toucher(Kind::Counter, SERIES, &home.open(&segment));
    touch();
    touch();
    let extents = Installer::open(&path)?.install(blocks)?;
    let scrape = scraper(&path);
    let mut bare = Bare::read(&path, extents)?;
    bare.check(&path)?;
    let sum = move || bare.run(|_| ());
    let case = |page| Case { kind: segment.clone(), series: SERIES, page };
    Ok([case(Page::new(OURS, touch, scrape)), case(Page::new("bare-loop", || (), sum))])
}

/// Makes an empty segment.
pub fn create(segment: &str) {
    dyn_metrics::Registry::open_at(segment).expect("a segment in a private directory");
}

/// Changes the number of possible CPUs in the header of a segment without extents.
fn make_possible(path: &Path, cpus: u32) -> io::Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut bytes = [0; header::BYTES];
    file.read_exact_at(&mut bytes, 0)?;
    let mut changed = Header::decode(&bytes, file.metadata()?.len()).map_err(io::Error::other)?;
    changed.possible_cpus = cpus;
    let mut encoded = [0; header::BYTES];
    changed.encode(changed.common_labels(&bytes), &mut encoded).map_err(io::Error::other)?;
    // The fixed fields alone: after the magic, up to the first word that changes.
    file.write_all_at(&encoded[8..header::RESERVED_END as usize], 8)
}

/// An extent: the offsets of its blocks, the words of it that are in use.
struct Blocks {
    offsets: Vec<u64>,
    used: usize,
}

/// Gives extents blocks while nobody else registers anything.
struct Installer {
    file: File,
    limits: Limits,
    end: AtomicU64,
}

impl Installer {
    fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let mut bytes = [0; header::BYTES];
        file.read_exact_at(&mut bytes, 0)?;
        let header = Header::decode(&bytes, file.metadata()?.len()).map_err(io::Error::other)?;
        let limits = Limits { chunk_bytes: header.chunk_bytes.into(), max_bytes: header.max_bytes };
        let end = AtomicU64::new(word(&file, header::RESERVED_END)?);
        Ok(Self { file, limits, end })
    }

    /// Sees to it that the first `blocks` CPUs have a block in each extent.
    fn install(self, blocks: u32) -> io::Result<Vec<Blocks>> {
        let mut extents = Vec::new();
        let mut next = follow(&self.file, header::OPEN_EXTENT)?;
        while let Some(offset) = next {
            let mut bytes = [0; 40];
            self.file.read_exact_at(&mut bytes, offset)?;
            let extent = Extent::decode(&bytes, offset).map_err(io::Error::other)?;
            let mut offsets = vec![extent.shared];
            for cpu in 0..blocks {
                offsets.push(self.block(offset, &extent, cpu)?);
            }
            let used = word(&self.file, offset + NEXT_WORD)? as usize;
            extents.push(Blocks { offsets, used });
            next = (extent.previous != 0).then_some(extent.previous);
        }
        set_word(&self.file, header::RESERVED_END, self.end.load(Ordering::Relaxed))?;
        Ok(extents)
    }

    /// The block of a CPU, which is made if there is none.
    fn block(&self, offset: u64, extent: &Extent, cpu: u32) -> io::Result<u64> {
        let place = Extent::entry_place(offset, cpu);
        if let Some(block) = follow(&self.file, place)? {
            return Ok(block);
        }
        let bytes = Extent::block_bytes(extent.words);
        let drawn =
            reserve::<dyn_metrics_layout::Error>(&self.end, bytes, BLOCK_ALIGN, self.limits, |_| Ok(()));
        let block = drawn.map_err(io::Error::other)?;
        let needed = (block + bytes).next_multiple_of(self.limits.chunk_bytes);
        if self.file.metadata()?.len() < needed {
            self.file.set_len(needed)?;
        }
        let counted: Vec<u8> = (0..extent.words).flat_map(|n| u64::from(1000 + n).to_le_bytes()).collect();
        self.file.write_all_at(&counted, block)?;
        set_word(&self.file, place, Link::pack(block, place))?;
        Ok(block)
    }
}

fn word(file: &File, offset: u64) -> io::Result<u64> {
    let mut bytes = [0; 8];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(u64::from_le_bytes(bytes))
}

fn set_word(file: &File, offset: u64, value: u64) -> io::Result<()> {
    file.write_all_at(&value.to_le_bytes(), offset)
}

fn follow(file: &File, place: u64) -> io::Result<Option<u64>> {
    Link::unpack(word(file, place)?, place).map_err(io::Error::other)
}

/// A loop that adds the same cells, in a copy of the file that lies as the file does.
struct Bare {
    words: Vec<u64>,
    extents: Vec<Blocks>,
    sums: [u64; MAX_WORDS as usize],
}

impl Bare {
    fn read(path: &Path, extents: Vec<Blocks>) -> io::Result<Self> {
        let word = |bytes: &[u8]| bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
        let words = std::fs::read(path)?.chunks_exact(8).map(word).collect();
        Ok(Self { words, extents, sums: [0; MAX_WORDS as usize] })
    }

    /// Adds all cells, and hands the sums of each extent to `take`; the bytes that it has read.
    #[inline(always)] // with a `take` that does nothing, nothing but the loop is left
    fn run(&mut self, mut take: impl FnMut(&[u64])) -> usize {
        let mut read = 0;
        for extent in black_box(&self.extents) {
            let sums = &mut self.sums[..extent.used];
            sums.fill(0);
            for block in &extent.offsets {
                let start = (*block / 8) as usize;
                for (sum, cell) in sums.iter_mut().zip(&self.words[start..]) {
                    *sum = sum.wrapping_add(*cell);
                }
            }
            take(black_box(sums));
            read += 8 * extent.used * extent.offsets.len();
        }
        read
    }

    /// Whether a reader finds what this loop finds.
    fn check(&mut self, path: &Path) -> io::Result<()> {
        let mut expected = 0_u64;
        self.run(|sums| expected += sums.iter().sum::<u64>());
        let snapshot = Collector::new(&[path.display().to_string()]).collect();
        let series = snapshot.families.iter().flat_map(|family| &family.series);
        let value = |value: &Value| match value {
            Value::Counter(Number::Unsigned(total)) => *total,
            _ => 0,
        };
        let found: u64 = series.map(|series| value(&series.value)).sum();
        if found == expected {
            return Ok(());
        }
        Err(io::Error::other(format!("the reader counts {found}, the cells hold {expected}")))
    }
}
