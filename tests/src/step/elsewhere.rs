//! Death at every instruction, where the stepper doesn't know the instructions.

/// What the tests ask of deaths.
pub mod report {
    fn skip() {
        eprintln!("SKIPPED: the stepper knows x86-64 only");
    }

    /// Skips.
    pub fn survives(_: &str, _: usize, _: usize) {
        skip();
    }

    /// Skips.
    pub fn twin_is_found_out(_: &str) {
        skip();
    }

    /// Skips.
    pub fn is_in_or_out(_: &str) {
        skip();
    }

    /// Skips.
    pub fn half_an_update_is_found_out(_: &str) {
        skip();
    }
}
