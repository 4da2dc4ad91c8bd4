//! Callbacks on changes and thresholds, in C.

use std::process::Command;

use crate::library::{assert_done, directory, program};

#[test]
fn callbacks_of_a_c_program_are_told_and_end() {
    let directory = directory();
    assert_done(Command::new(program(directory.path(), "watch")).arg(directory.path().join("s")));
}
