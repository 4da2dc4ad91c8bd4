//! What can go wrong with an exporter as a whole. A bad segment is not here: it is logged, counted and skipped.

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;

/// Why an exporter could not start, or what was wrong while it ran.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The list of segments is empty, or holds an empty pattern.
    #[error("no segment to serve: each --shm needs a file, a directory or a glob")]
    NoSegments,

    /// The environment names a segment in bytes that are no text.
    #[error("{variable}: found {value:?}, expected UTF-8")]
    NotUtf8 {
        /// The variable.
        variable: &'static str,
        /// What it holds.
        value: OsString,
    },

    /// Somebody else listens there.
    #[error("cannot listen on {address}: the address is already in use, choose another with --listen")]
    AddressInUse {
        /// The address that was asked for.
        address: SocketAddr,
    },

    /// The address could not be bound for another reason: not ours, or a port that needs privileges.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address that was asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },

    /// The server ran to its end, but some collections panicked: a defect of the reader, not of a segment.
    #[error(
        "{failed} collections failed by a defect in the reader, their scrapes were answered with status 500"
    )]
    CollectionsFailed {
        /// How many.
        failed: u64,
    },
}

impl Error {
    /// Sorts what `bind` said about `address`.
    pub(crate) fn listen(address: SocketAddr, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::AddressInUse { address },
            _ => Self::Listen { address, source },
        }
    }
}
