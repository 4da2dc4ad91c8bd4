//! See `Target::Attach` in `tests/src/hostile/`: each input has a process of its own, because a writer never lets go of
//! a segment.
#![no_main]

use dyn_metrics_fuzz::{coverage::Shared, hostile, mutated, with_stage};

dyn_metrics_fuzz::fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    mutated(data, size, max_size, seed)
});

dyn_metrics_fuzz::fuzz_target!(|input: &[u8]| {
    let mut shared = Shared::get();
    with_stage(|stage| hostile::attach::run(stage, input, &mut shared));
});
