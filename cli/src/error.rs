//! What can stop a verb.

use std::io::{self, ErrorKind};

use crate::demo::DemoError;

/// Why a verb could not run, or not to its end. Each text is one line.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The segment can't be read.
    #[error(transparent)]
    Reader(#[from] dyn_metrics_reader::Error),
    /// Standard output has gone.
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
    /// The demo could not run, or not to its end.
    #[error(transparent)]
    Demo(#[from] DemoError),
}

impl CliError {
    /// Whether only the reader of our output has gone.
    pub fn is_broken_pipe(&self) -> bool {
        let (Self::Output(error) | Self::Demo(DemoError::Output(error))) = self else { return false };
        error.kind() == ErrorKind::BrokenPipe
    }

    /// 1 for what had started, else 2.
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Output(_) | Self::Demo(DemoError::Output(_) | DemoError::Ended { .. }) => 1,
            Self::Reader(_) | Self::Demo(_) => 2,
        }
    }

    /// As an error of output, which it may be.
    pub fn into_io(self) -> io::Error {
        match self {
            Self::Output(error) => error,
            other => io::Error::other(other),
        }
    }
}
