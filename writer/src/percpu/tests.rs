//! The sequences on rseq areas that the test supplies: they run on every machine, under emulators too.
#![cfg(all(any(target_arch = "x86_64", target_arch = "aarch64"), not(miri)))]

use super::*;
use crate::local::AtomicU64;

/// As the kernel defines it.
#[repr(C, align(32))]
struct Area {
    cpu_id_start: AtomicU32,
    cpu_id: AtomicU32,
    rseq_cs: AtomicU64,
    flags: AtomicU32,
    rest: [AtomicU32; 3],
}

/// As the kernel defines it, but for the alignment, which the test checks.
#[repr(C)]
struct Descriptor {
    version: u32,
    flags: u32,
    start: u64,
    length: u64,
    abort: u64,
}

/// Three CPUs, of which the second has no block; blocks of four words.
struct Bench {
    area: Area,
    words: [[AtomicU64; 4]; 2],
    blocks: Blocks,
}

impl Bench {
    fn new() -> &'static Self {
        let bench: &'static Self = Box::leak(Box::new(Self {
            area: Area {
                // What nobody should look at.
                cpu_id_start: AtomicU32::new(1),
                cpu_id: AtomicU32::new(0),
                rseq_cs: AtomicU64::new(0),
                flags: AtomicU32::new(0),
                rest: Default::default(),
            },
            words: Default::default(),
            blocks: Blocks::new(3),
        }));
        for (cpu, words) in [0, 2].into_iter().zip(&bench.words) {
            bench.blocks.entry(cpu).unwrap().store(words.as_ptr() as usize, Ordering::Relaxed);
        }
        bench
    }

    fn on(&self, cpu: u32) -> &Self {
        self.area.cpu_id.store(cpu, Ordering::Relaxed);
        self
    }

    fn place(&self, byte_offset: usize) -> Place {
        let rseq = (&raw const self.area as isize).wrapping_sub(arch::thread_pointer());
        Place { rseq, entries: self.blocks.entries.as_ptr(), cpus: 3, byte_offset }
    }

    fn add_u64(&self, byte_offset: usize, n: u64) -> bool {
        // SAFETY: an rseq area of this thread's own, a table of blocks of four words.
        unsafe { add_u64(self.place(byte_offset), n) }
    }

    fn add_one(&self, byte_offset: usize) -> bool {
        // SAFETY: as above.
        unsafe { add_one(self.place(byte_offset)) }
    }

    fn add_f64(&self, byte_offset: usize, x: f64) -> bool {
        // SAFETY: as above.
        unsafe { add_f64(self.place(byte_offset), x) }
    }

    fn seen(&self) -> [[u64; 4]; 2] {
        [0, 1].map(|block| [0, 1, 2, 3].map(|word| self.words[block][word].load(Ordering::Relaxed)))
    }

    /// The descriptor that the last sequence has armed; none when none has.
    fn armed(&self) -> Option<&'static Descriptor> {
        // SAFETY: 0, or stored by a sequence: the address of a descriptor in this program.
        unsafe { (self.area.rseq_cs.swap(0, Ordering::Relaxed) as *const Descriptor).as_ref() }
    }
}

#[test]
fn an_update_reaches_its_word_and_no_other() {
    let bench = Bench::new();
    assert!(bench.on(0).add_u64(8, 5) && bench.add_u64(8, u64::MAX) && bench.add_one(8));
    assert!(bench.add_f64(24, 1.5) && bench.add_f64(24, 0.25) && bench.add_f64(24, -4.0));
    assert!(bench.on(2).add_one(0) && bench.add_f64(16, f64::INFINITY) && bench.add_u64(24, 1 << 40));
    let minus = (-2.25_f64).to_bits();
    assert_eq!(bench.seen(), [[0, 5, 0, minus], [1, 0, f64::INFINITY.to_bits(), 1 << 40]]);
}

#[test]
fn without_block_or_cpu_the_update_is_left_to_the_caller() {
    let bench = Bench::new();
    // No block; beyond the table; a number no kernel gives; registration failed; unregistered.
    for cpu in [1, 3, 4, 8191, 1 << 31, u32::MAX - 1, u32::MAX] {
        bench.on(cpu);
        assert!(!bench.add_u64(0, 1) && !bench.add_one(8) && !bench.add_f64(16, 1.0), "CPU {cpu}");
    }
    assert_eq!(bench.seen(), [[0; 4]; 2]);
    // SAFETY: an empty table stores nothing.
    assert!(!unsafe { Table::EMPTY.add_u64(0, 1) });
    // SAFETY: as above.
    assert!(!unsafe { Table::EMPTY.add_one(0) });
    // SAFETY: as above.
    assert!(!unsafe { Table::EMPTY.add_f64(0, 1.0) });
}

/// What the kernel checks before it restarts a section, and otherwise kills the process.
#[test]
fn each_sequence_arms_a_descriptor_that_the_kernel_accepts() {
    let bench = Bench::new();
    bench.on(0);
    let mut seen = Vec::new();
    for run in
        [Bench::add_one as fn(&Bench, usize) -> bool, |b, at| b.add_u64(at, 3), |b, at| b.add_f64(at, 3.0)]
    {
        assert!(run(bench, 0));
        let descriptor = bench.armed().expect("the sequence arms itself");
        assert_eq!(&raw const *descriptor as usize % 32, 0);
        assert_eq!((descriptor.version, descriptor.flags), (0, 0));
        assert!((8..100).contains(&descriptor.length), "{}", descriptor.length);
        let section = descriptor.start..descriptor.start + descriptor.length;
        assert!(!section.contains(&descriptor.abort));
        let before = (descriptor.abort as *const u32).wrapping_sub(1);
        // SAFETY: the abort handler lies in this program's code, with four bytes before it.
        let signature = unsafe { before.read_unaligned() };
        assert_eq!(signature, arch::SIGNATURE);
        seen.push(descriptor.start);
    }
    seen.dedup();
    assert_eq!(seen.len(), 3, "sections of their own");
    // Armed also when it is then left: the CPU is read within the section.
    assert!(!bench.on(1).add_one(0) && bench.armed().is_some());
}

#[test]
fn a_registered_thread_s_updates_reach_the_block_of_its_cpu() {
    let Path::Rseq { .. } = path() else {
        eprintln!("SKIPPED: {}", path());
        return;
    };
    let blocks = Blocks::new(crate::sys::possible_cpus());
    let table = Table::new(blocks, 16);
    let words: &'static [AtomicU64; 4] = Box::leak(Box::default());
    // SAFETY: a table without blocks stores nothing.
    assert!(!unsafe { table.add_f64(0, 1.0) });
    for cpu in 0..crate::sys::possible_cpus() {
        blocks.entry(cpu).unwrap().store(words.as_ptr() as usize, Ordering::Relaxed);
    }
    for _ in 0..100_000 {
        // SAFETY: the blocks have two words from offset 16 on.
        assert!(unsafe { table.add_one(0) });
        // SAFETY: as above.
        assert!(unsafe { table.add_f64(1, 0.5) });
    }
    assert_eq!(words.each_ref().map(|w| w.load(Ordering::Relaxed)), [0, 0, 100_000, 50_000_f64.to_bits()]);
    assert!(current_cpu().is_some_and(|cpu| blocks.entry(cpu).is_some()));
}

#[test]
#[cfg(target_env = "musl")]
fn musl_has_no_rseq_and_the_shared_block_serves() {
    assert_eq!(path(), Path::Shared(path::Reason::Library));
    assert_eq!(current_cpu(), None);
}
