//! The script of composites, replayed in C++.

use std::fs;
use std::process::Command;

use crate::library::{assert_done, directory, here, linked};

#[test]
fn cpp_answers_the_script_as_rust_does() {
    let directory = directory();
    let data = here().join("../tests/data/composites");
    let program = linked(directory.path(), &here().join("tests/cpp/composites.cpp"));
    let mut run = Command::new(program);
    let output = assert_done(run.arg(data.join("script.txt")).arg(directory.path().join("s")));
    let expected = fs::read_to_string(data.join("answers.txt")).unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
}
