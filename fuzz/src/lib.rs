//! What all fuzz targets have in common.

pub mod coverage;

pub use dyn_metrics_tests::hostile;
pub use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

use std::cell::RefCell;

use hostile::mutate::{MAX_INPUT, mutate};
use hostile::stage::Stage;

thread_local! {
    static STAGE: RefCell<Option<Stage>> = const { RefCell::new(None) };
}

/// Runs `work` with this thread's stage, which is set up once.
pub fn with_stage(work: impl FnOnce(&mut Stage)) {
    STAGE.with_borrow_mut(|stage| work(stage.get_or_insert_with(Stage::new)));
}

/// A new input: mostly edits of the old one's edits, sometimes of its bytes.
pub fn mutated(input: &mut [u8], len: usize, max_len: usize, seed: u32) -> usize {
    let limit = max_len.min(input.len()).min(MAX_INPUT);
    if seed % 8 == 0 {
        return fuzzer_mutate(&mut input[..limit], len.min(limit), limit);
    }
    mutate(&mut input[..limit], len.min(limit), seed)
}

/// A target whose inputs run in this process.
#[macro_export]
macro_rules! fuzz {
    ($target:ident) => {
        $crate::fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
            $crate::mutated(data, size, max_size, seed)
        });
        $crate::fuzz_target!(|input: &[u8]| {
            $crate::with_stage(|stage| $crate::hostile::Target::$target.run(stage, input));
        });
    };
}
